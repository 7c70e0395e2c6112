"""Shipping to MLflow while a study runs. Training never waits for it; what could not be sent is sent by the next pass."""

from __future__ import annotations

import time
from pathlib import Path

from slws_lab.errors import UserError
from slws_lab.lab.project import Project
from slws_lab.tracking.mirror import Mirror, MirrorAway, MirrorBusy, Shipped


class Shipping:
    """Ships a study's journals now and then; a store that is away is tried again later."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._last = time.monotonic()

    def sometimes(self, every_s: float) -> None:
        """Ship if the last pass is longer ago than `every_s`, or than ten times what it took."""
        if time.monotonic() - self._last < every_s:
            return
        started = time.monotonic()
        self._pass()
        self._last = time.monotonic() + 10 * (time.monotonic() - started)

    def finish(self) -> str:
        """Ship all that is left; return what the user must know if it could not be sent, else an empty string."""
        return self._pass()

    def _pass(self) -> str:
        try:
            ship(self._project)
        except MirrorAway as error:
            return f"MLflow could not be reached ({error}); nothing is lost: `slws sync` sends it later"
        except MirrorBusy:
            return "another slws process ships this workspace's runs to MLflow"
        return ""


def ship(project: Project) -> Shipped:
    """Bring MLflow up to date with a study's run folders, and with its report if there is one.

    Raises:
        MirrorAway: The store cannot be reached.
        MirrorBusy: Another process ships this workspace.
    """
    with Mirror.open(project.workspace, None) as mirror:
        shipped = mirror.ship(project.study, project.design)
        if project.report_folder.is_dir():
            mirror.attach_report(project.study, project.report_folder)
    return shipped


def studies_with_runs(root: Path, workspace: Path | None) -> list[Project]:
    """Return the studies under studies/ that have run folders in the workspace.

    Raises:
        UserError: There is none.
    """
    projects = [Project.open(str(path), workspace) for path in sorted((root / "studies").glob("*.yaml"))]
    found = [p for p in projects if any(p.workspace.run(i).path.is_dir() for i in p.design.run_ids.values())]
    if not found:
        raise UserError("no study under studies/ has runs in this workspace", where=str(root / "studies"),
                        todo="name the study: slws sync STUDY")  # fmt: skip
    return found
