"""Shipping to MLflow while a study runs. Training never waits for it; what could not be sent is sent by the next pass."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from slws_lab.errors import AwayError
from slws_lab.lab.project import Project, open_workspace
from slws_lab.tracking import Workspace
from slws_lab.tracking.files import NotWritten
from slws_lab.tracking.mirror import (
    Memory,
    Mirror,
    MirrorAway,
    MirrorBusy,
    MirrorDamaged,
    Shipped,
    default_uri,
    own_uri,
)

EVERY_S = 5.0
PATIENCE_S = 30.0
PATIENCE_STEP_S = 0.5
LIMIT_S = 10.0  # how long the end of a study waits for a server
LATE = "MLflow takes long to answer; nothing is lost: `slws sync` sends what is missing"


Act = Callable[[Project], Shipped]


class Shipping:
    """Ships a study's journals in a thread beside the running study, and whatever is left when it ends.

    Attributes:
        project: What is shipped from now on: a search's arms come one by one.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self._ended, self._memory = threading.Event(), Memory()
        self._thread = threading.Thread(target=self._now_and_then, name="shipping", daemon=True)

    def start(self) -> None:
        """Begin to ship now and then."""
        self._thread.start()

    def finish(self) -> str:
        """Ship all that is left; return what the user must know if it could not be sent, else an empty string."""
        self._ended.set()
        limit = limit_s(self.project)
        until = None if limit is None else time.monotonic() + limit
        if self._thread.ident is not None:
            self._thread.join(limit)
            if self._thread.is_alive():
                return LATE
        return _within(None if until is None else until - time.monotonic(), self.project, PATIENCE_S)

    def _now_and_then(self) -> None:
        """Ship, then rest at least ten times as long as that took, so that it takes little from the runs."""
        rest = 0.0
        while not self._ended.wait(max(EVERY_S, rest)):
            started = time.monotonic()
            _attempt(self.project, 0.0, partial(ship, memory=self._memory))
            rest = 10 * (time.monotonic() - started)


def attempt(project: Project, patience_s: float = 0.0, *, report_only: bool = False) -> str:
    """Ship if the store can be reached; return what the user must know if not, else an empty string.

    Args:
        project: The study.
        patience_s: How long to wait for another process that ships at this moment.
        report_only: Send the report alone: all else was sent just now.
    """
    return _within(limit_s(project), project, patience_s, attach if report_only else ship)


def limit_s(project: Project) -> float | None:
    """Return how long a command that has other things to do waits for the store; None for the workspace's own file."""
    return None if default_uri(project.workspace) == own_uri(project.workspace) else LIMIT_S


def _within(limit: float | None, project: Project, patience_s: float, act: Act | None = None) -> str:
    """Ship, or act otherwise, in a thread that is left behind at the limit: it holds nothing that a later pass cannot send."""
    answers: list[str] = []
    thread = threading.Thread(
        target=lambda: answers.append(_attempt(project, patience_s, act or ship)), name="shipping", daemon=True
    )
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        return LATE
    return (
        answers[0] if answers else "shipping to MLflow stopped by an error of slws, see above; `slws sync` tries again"
    )


def _attempt(project: Project, patience_s: float, act: Act) -> str:
    until = time.monotonic() + patience_s
    while True:
        try:
            return act(project).note
        except MirrorDamaged as error:
            return f"MLflow's database is damaged ({error}); nothing is lost"
        except MirrorAway as error:
            return f"MLflow could not be reached ({error}); nothing is lost: `slws sync` sends it later"
        except MirrorBusy:
            if time.monotonic() >= until:
                return "another slws process ships to MLflow just now; `slws sync` sends what is missing"
            time.sleep(PATIENCE_STEP_S)
        except (OSError, NotWritten) as error:
            told = str(error).splitlines()[0]
            return f"what is noted of MLflow cannot be written ({told}); nothing is lost: `slws sync` sends it later"


def ship(project: Project, memory: Memory | None = None) -> Shipped:
    """Bring MLflow up to date with a study's run folders, and with its report if there is one.

    Args:
        project: The study.
        memory: See `Mirror.ship`.

    Raises:
        MirrorAway: The store cannot be reached.
        MirrorBusy: Another process ships this workspace.
    """
    with Mirror.open(project.workspace, None) as mirror:
        return _ship(mirror, project, memory)


def _ship(mirror: Mirror, project: Project, memory: Memory | None = None) -> Shipped:
    for left in project.workspace.path.glob(".mlflow.db.*.tmp*"):  # by a process that was killed while it made one
        left.unlink(missing_ok=True)
    shipped = mirror.ship(project.study, project.design, memory)
    if project.report_folder.is_dir():
        mirror.attach_report(project.study, project.report_folder)
    return shipped


def attach(project: Project) -> Shipped:
    """Bring MLflow up to date with what came out of a study, all of whose runs were sent: report, answer, the best run's model.

    Raises as `ship` does.
    """
    with Mirror.open(project.workspace, None) as mirror:
        notes = [_attach(mirror, part) for part in with_confirmation(project) if _has_runs(part)]
    return Shipped(0, 0, "; ".join(note for note in notes if note))


def _attach(mirror: Mirror, project: Project) -> str:
    """Send what came out of one study; return what the user must know."""
    if project.study.source is project.study.recipe:  # one training outside any study, which has no question
        return ""
    from slws_lab.lab.telling import telling  # reports and statistics take long to load

    told = telling(project)
    mirror.attach_report(project.study, project.report_folder, told.tags)
    why = mirror.attach_model(project.study, told.best, told.weights) if told.best is not None else ""
    return f"{project.study.spec.name}: {why}" if why else ""


def sync(projects: list[Project], *, rebuild: bool) -> list[tuple[Project, Shipped]]:
    """Bring MLflow up to date with studies.

    Args:
        projects: The studies, all of one workspace.
        rebuild: First replace the workspace's own SQLite store by an empty one; in any other store, delete the studies' runs.

    Raises:
        MirrorAway: The store cannot be reached.
        MirrorBusy: Another process ships this workspace.
    """
    for i, project in enumerate(projects if rebuild else ()):
        with Mirror.open(project.workspace, None, fresh=i == 0) as mirror:
            mirror.forget(project.study, project.design)
    return [(project, _sync(project)) for project in projects]


def _sync(project: Project) -> Shipped:
    with Mirror.open(project.workspace, None) as mirror:
        shipped = _ship(mirror, project)
        return replace(shipped, note=_attach(mirror, project))


def studies_with_runs(
    root: Path, workspace: Path | None, out: Path | None = None, away: list[str] | None = None
) -> list[Project]:
    """Return the studies under studies/ that have run folders in the workspace, and what `slws train` has trained.

    Args:
        root: The project's folder.
        workspace: Folder of run folders; None takes the default one.
        out: Folder of reports; None takes the default one.
        away: Takes a message for each search that is left out, since its storage cannot be reached.

    Raises:
        UserError: A study under studies/ cannot be loaded.
    """
    projects: list[Project] = []
    for path in sorted((root / "studies").glob("*.yaml")):
        try:
            projects += with_confirmation(Project.open(str(path), workspace, out))
        except AwayError as error:
            if away is not None:
                away.append(f"{path.stem} is left out: {error.given}")
    projects += _trained(root, workspace)
    return [project for project in projects if _has_runs(project)]


def _has_runs(project: Project) -> bool:
    return any(project.workspace.run(run_id).path.is_dir() for run_id in project.design.run_ids.values())


def with_confirmation(project: Project) -> list[Project]:
    """Return a study, and if it is a search that has ended, what confirms it."""
    if project.study.spec.search is None:
        return [project]
    from slws_lab.lab.standing import Standing  # it reads of reports, which are shipped here

    again = Standing.of(project).confirming
    return [project] if again is None else [project, again.project]


def _trained(root: Path, workspace: Path | None) -> list[Project]:
    """Return a study for each recipe under experiments/ that was mirrored as one, and for each seed that any run has."""
    place = open_workspace(root, workspace)
    recipes = [path for path in sorted((root / "experiments").glob("*.yaml")) if _mirrored(place, path)]
    found = [re.search(r"-s(\d+)-[0-9a-f]+$", folder.run_id) for folder in place.folders()] if recipes else []
    seeds = sorted({int(seed[1]) for seed in found if seed})
    return [Project.of_recipe(path, seed, workspace) for path in recipes for seed in seeds]


def _mirrored(workspace: Workspace, recipe: Path) -> bool:
    return (workspace.mirror / f"train-{recipe.stem}.json").exists()
