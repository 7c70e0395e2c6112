"""Why a run is as it is: what it was, what it was made by, and what has changed since."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slws_lab.errors import UserError, nearest
from slws_lab.lab.freshness import Present
from slws_lab.lab.naming import begins
from slws_lab.spec import AnyRun
from slws_lab.tracking import Attempt, RunRecord, Workspace, record


@dataclass(frozen=True)
class Explanation:
    """All that is known of a run.

    Attributes:
        run: Its spec.
        canonical: What its id hashes.
        record: Its record.
        attempts: Its attempts.
        stale: Why it is stale, one sentence each; empty if it is fresh or has no result.
    """

    run: AnyRun
    canonical: dict[str, Any]
    record: RunRecord
    attempts: tuple[Attempt, ...]
    stale: tuple[str, ...]


def why(root: Path, workspace: Workspace, name: str) -> Explanation:
    """Explain a run, named by its id, or by the start of the id or of its last part.

    Raises:
        UserError: No run, or more than one, has that name.
    """
    folders = list(workspace.folders())
    found = [f for f in folders if f.run_id == name] or [f for f in folders if begins(f.run_id, name)]
    if len(found) != 1:
        some = ", ".join(folder.run_id for folder in found[:3])
        what = f"{len(found)} runs begin so: {some}{', ...' if len(found) > 3 else ''}" if found else "no such run"
        ids = [folder.run_id for folder in folders]
        raise UserError(f"'{name}': {what}", where=str(workspace.runs), allowed="a run id, or the start of one",
                        todo=nearest(name, ids) or "`slws status STUDY --json` lists run ids")  # fmt: skip
    folder = found[0]
    known = record(folder)
    return Explanation(
        folder.spec(), folder.canonical(), known, tuple(folder.attempts()),
        tuple(Present(root).staleness(known)) if known.done else (),
    )  # fmt: skip
