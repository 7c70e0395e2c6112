"""Shipping to MLflow while a study runs. Training never waits for it; what could not be sent is sent by the next pass."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

from slws_lab.lab.project import Project
from slws_lab.tracking.mirror import Mirror, MirrorAway, MirrorBusy, Shipped

EVERY_S = 5.0
PATIENCE_S = 30.0
PATIENCE_STEP_S = 0.5


class Shipping:
    """Ships a study's journals in a thread beside the running study, and whatever is left when it ends."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._now_and_then, name="shipping", daemon=True)

    def start(self) -> None:
        """Begin to ship now and then."""
        self._thread.start()

    def finish(self) -> str:
        """Ship all that is left; return what the user must know if it could not be sent, else an empty string."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        return attempt(self._project, patience_s=PATIENCE_S)

    def _now_and_then(self) -> None:
        """Ship, then rest at least ten times as long as that took, so that it takes little from the runs."""
        rest = 0.0
        while not self._ended.wait(max(EVERY_S, rest)):
            started = time.monotonic()
            attempt(self._project)
            rest = 10 * (time.monotonic() - started)


def attempt(project: Project, patience_s: float = 0.0) -> str:
    """Ship if the store can be reached; return what the user must know if not, else an empty string.

    Args:
        project: The study.
        patience_s: How long to wait for another process that ships at this moment.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            ship(project)
            return ""
        except MirrorAway as error:
            return f"MLflow could not be reached ({error}); nothing is lost: `slws sync` sends it later"
        except MirrorBusy:
            if time.monotonic() >= until:
                return "another slws process ships to MLflow just now; `slws sync` sends what is missing"
            time.sleep(PATIENCE_STEP_S)


def ship(project: Project, *, fresh: bool = False) -> Shipped:
    """Bring MLflow up to date with a study's run folders, and with its report if there is one.

    Args:
        project: The study.
        fresh: Replace the workspace's own SQLite store by an empty one first.

    Raises:
        MirrorAway: The store cannot be reached.
        MirrorBusy: Another process ships this workspace.
    """
    with Mirror.open(project.workspace, None, fresh=fresh) as mirror:
        shipped = mirror.ship(project.study, project.design)
        if project.report_folder.is_dir():
            mirror.attach_report(project.study, project.report_folder)
    return shipped


def pages(projects: list[Project]) -> dict[str, str]:
    """Return study name -> its page within MLflow's UI; without those whose store is away or in use just now."""
    found: dict[str, str] = {}
    for project in projects:
        with contextlib.suppress(MirrorAway, MirrorBusy), Mirror.open(project.workspace, None) as mirror:
            found[project.study.spec.name] = mirror.page(project.study)
    return found


def studies_with_runs(root: Path, workspace: Path | None) -> list[Project]:
    """Return the studies under studies/ that have run folders in the workspace.

    Raises:
        UserError: A study under studies/ cannot be loaded.
    """
    projects = [Project.open(str(path), workspace) for path in sorted((root / "studies").glob("*.yaml"))]
    return [p for p in projects if any(p.workspace.run(i).path.is_dir() for i in p.design.run_ids.values())]
