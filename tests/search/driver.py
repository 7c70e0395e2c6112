"""Searches the study of the folder it is started in, as `slws run` does, but looks often and leaves out the mirror.

`python driver.py PARALLEL POLL_S`; it ends with 130 where it was interrupted.
"""

from __future__ import annotations

import sys

from slws_lab.lab import searching
from slws_lab.lab.project import Project
from slws_lab.lab.running import Options
from slws_lab.launch import inventory
from slws_lab.search import book


class Quiet:
    """Stands in for the mirror, which has tests of its own and takes seconds to load."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def start(self) -> None:
        pass

    def finish(self) -> str:
        return ""


if __name__ == "__main__":
    book.STALE_S = 5.0  # for a trial whose process died before it named itself
    searching.Shipping, inventory.cores = Quiet, lambda: int(sys.argv[1])  # type: ignore[assignment, misc]
    searching.POLL_S = float(sys.argv[2])
    outcome = searching.search(Project.open("studies/tiny.yaml"), Options("local"), lambda _: None)
    sys.exit(130 if outcome.interrupted else 0)
