"""Why a run is as it is: what it was, what it was made by, and what has changed since."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from slws_lab.errors import UserError, nearest
from slws_lab.lab.freshness import Present
from slws_lab.lab.naming import begins
from slws_lab.lab.project import Project
from slws_lab.spec import AnyRun, load_study
from slws_lab.tracking import Attempt, RunRecord, Workspace, record

OWN = ("sqlite", "journal")  # storages of searches that are files of the workspace


@dataclass(frozen=True)
class Tried:
    """How a search tried a run.

    Attributes:
        search: Name of the search, or of its file where it cannot be read.
        trial: The trial's number, or several; empty where it is not known.
        state: How that stands or ended, such as `pruned at 3`; or why it is not known.
    """

    search: str
    trial: str
    state: str

    def __str__(self) -> str:
        if not self.trial:
            return f"search '{self.search}' cannot be looked at: {self.state}"
        return f"trial{'s' if ',' in self.trial else ''} {self.trial} of search '{self.search}': {self.state}"


@dataclass(frozen=True)
class Explanation:
    """All that is known of a run.

    Attributes:
        run: Its spec.
        canonical: What its id hashes.
        record: Its record.
        attempts: Its attempts.
        stale: Why it is stale, one sentence each; empty if it is fresh or has no result.
        root: The project's folder.
        workspace: Where the run is.
    """

    run: AnyRun
    canonical: dict[str, Any]
    record: RunRecord
    attempts: tuple[Attempt, ...]
    stale: tuple[str, ...]
    root: Path
    workspace: Workspace

    @cached_property
    def tried(self) -> tuple[Tried, ...]:
        """Which searches under studies/ tried the run; one that cannot be read is named too."""
        found = []
        for path in sorted((self.root / "studies").glob("*.yaml")):
            try:
                one = _tried(path, self.workspace, self.record.run_id)
            except (UserError, OSError) as error:
                one = Tried(path.stem, "", error.given if isinstance(error, UserError) else str(error))
            found += [one] if one is not None else []
        return tuple(found)


def _tried(path: Path, workspace: Workspace, run_id: str) -> Tried | None:
    """Return how a study's search tried a run; None if it is no search, has not begun, or did not."""
    if b"search" not in path.read_bytes():  # most studies are none, and need not be loaded
        return None
    study = load_study(path)
    if study.spec.search is None:
        return None
    if study.spec.search.storage in OWN and not (workspace.path / "searches").is_dir():
        return None  # it has not begun, and Optuna takes long to load
    project = Project.of(study, workspace.path)
    arms = {run: arm for (arm, _), run in project.design.run_ids.items()}
    tags = project.design.arm(arms[run_id]).tags if run_id in arms else {}
    return Tried(study.spec.name, tags["trial"], tags["trial_state"]) if tags else None


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
        root, workspace,
    )  # fmt: skip
