"""Executing runs: jobs work them off batch by batch, while this process ships their journals to MLflow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from slws_lab.errors import UserError, nearest
from slws_lab.lab.needs import Measured
from slws_lab.lab.project import Project
from slws_lab.lab.shipping import Shipping
from slws_lab.lab.spending import Purse
from slws_lab.lab.triage import Lost
from slws_lab.lab.watching import Task, Watched
from slws_lab.launch import LAUNCHERS, InProcess, Job, Launcher, Local, Ray, Slurm, Work, local
from slws_lab.spec import Resources, total_epochs
from slws_lab.tracking import Attempt, Claim, files
from slws_lab.tracking.claim import last_beat, owner_of
from slws_lab.tracking.folder import FINAL

POLL_S = 0.2
STOP_S = 60.0


@dataclass(frozen=True)
class Batch:
    """Tasks that are worked off together.

    Attributes:
        tasks: The tasks, in the order in which they are wanted.
        alone: Whether one is executed at a time, with the machine to itself.
    """

    tasks: tuple[Task, ...]
    alone: bool = False


@dataclass(frozen=True)
class Progress:
    """Where a study stands while it runs.

    Attributes:
        done: Runs ended so far, of `total` that this command works on as far as is known.
        failed: Of these, how many failed.
        running: Label of each run in hand -> epochs done, and of how many.
    """

    done: int
    failed: int
    total: int
    running: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Outcome:
    """How executing ended.

    Attributes:
        started: Runs that this command worked on.
        failed: Of these, the ones that failed.
        interrupted: Whether it was stopped before the end.
        seconds: Wall time.
        mirror: What the mirror has to say when it could not be brought up to date; empty otherwise.
        halted: Whether the study's budget ended it.
    """

    started: int
    failed: tuple[Lost, ...]
    interrupted: bool
    seconds: float
    mirror: str
    halted: bool = False


Watch = Callable[[Progress], None]


@dataclass
class Place:
    """Where tasks are executed, and who looks on.

    Attributes:
        project: The study.
        launcher: Starts the jobs.
        resources: What each run may use.
        watch: Called with the progress.
        purse: What may be spent; None for no limit.
    """

    project: Project
    launcher: Launcher
    resources: Resources
    watch: Watch
    purse: Purse | None = None


def make_launcher(name: str, purse: Purse | None = None) -> Launcher:
    """Return a launcher by its name.

    Args:
        name: One of `LAUNCHERS`.
        purse: What may be spent, for the launcher in whose process nobody else looks at it.

    Raises:
        UserError: There is none of that name.
    """
    if name == "local":
        return Local()
    if name == "in_process":
        return InProcess(partial(_execute_here, purse))
    if name == "slurm":
        return Slurm()
    if name == "ray":
        return Ray()
    raise UserError(
        f"no launcher '{name}'", where="--launcher", allowed=", ".join(LAUNCHERS), todo=nearest(name, LAUNCHERS)
    )


def execute(place: Place, batches: Iterable[Batch]) -> Outcome:
    """Execute tasks and mirror them meanwhile.

    Args:
        place: Where, and with what.
        batches: What to execute; a batch is asked for when the one before has ended. Running ends where the purse is empty.
    """
    started, shipping, watched = time.monotonic(), Shipping(place.project), Watched()
    interrupted = halted = False
    try:
        for batch in batches:
            if not watched.total:
                place.project.workspace.make()
                shipping.start()
            watched.add(batch.tasks)
            halted = not _work_off(place, watched, alone=batch.alone)
            if halted:
                break
        tidy(place.project)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        mirror = shipping.finish()
    watched.look(whole=True)
    failed = tuple(ended.lost for ended in watched.ended.values() if ended.status == "failed")
    return Outcome(watched.total, failed, interrupted, time.monotonic() - started, mirror, halted)


def _work_off(place: Place, watched: Watched, *, alone: bool) -> bool:
    """Start jobs until every attempt has ended; those held by another process are waited for. False if the purse is empty."""
    project, ranks = place.project, place.project.design.ranks
    jobs: list[Job] = []
    started = False
    try:
        watched.look()
        while watched.left:
            if place.purse is not None and place.purse.look(ranks * len(watched.held)):
                return False
            jobs = [job for job in jobs if job.poll()]
            if not jobs and started:
                watched.give_up_shut()
            if not jobs and (free := watched.free()):
                most, needs = 1 if alone else None, Measured(project, place.resources, watched.recipes)
                work = Work(project.study.root, free, place.resources, project.workspace.jobs, ranks, most, needs)
                jobs, started = place.launcher.start(work), True
            place.watch(_progress(watched))
            time.sleep(POLL_S)
            watched.look()
        place.watch(_progress(watched))
    finally:
        stop(jobs)
    return True


def stop(jobs: list[Job]) -> None:
    """Ask all jobs to stop and wait until they have written their checkpoints; a second interrupt ends them at once."""
    for job in jobs:
        job.cancel()
    try:
        until = time.monotonic() + STOP_S
        while time.monotonic() < until and any([job.poll() for job in jobs]):
            time.sleep(POLL_S)
    finally:
        for job in jobs:
            job.kill()


def tidy(project: Project) -> None:
    """Remove what killed processes left at runs that have ended, or that nobody wants to go on: no other process looks at these."""
    workspace = project.workspace
    runs = [workspace.run(run_id) for run_id in project.design.run_ids.values()]
    local.sweep(workspace.jobs)
    for place in (
        workspace.path,
        workspace.jobs,
        workspace.mirror,
        workspace.cache,
        project.report_folder,
        *(run.path for run in runs),
    ):
        files.sweep(place, ours=False)
    for run in runs:
        for attempt in run.attempts():
            if _is_left(attempt.claim) and (claim := Claim.take(attempt.claim)):
                with claim:
                    attempt.sweep()
                    for checkpoint in attempt.checkpoint.glob("resume*.pt") if attempt.status in FINAL else ():
                        checkpoint.unlink(missing_ok=True)


def _is_left(claim: Path) -> bool:
    """Say whether a claim is a dead process's, or was emptied by one that died before it had removed it."""
    if owner := owner_of(claim):
        return owner.dead
    with suppress(PermissionError):  # of a closed folder, which `shut` tells of
        return claim.is_dir() and last_beat(claim) is None
    return False


def _progress(watched: Watched) -> Progress:
    running = {
        f"{task.run.arm.label} · seed {task.run.seed}": (task.epochs, total_epochs(task.run.arm.recipe))
        for task in watched.held
    }
    failed = sum(ended.status == "failed" for ended in watched.ended.values())
    return Progress(len(watched.ended), failed, watched.total, running)


def _execute_here(purse: Purse | None, path: Path, work: Work, should_stop: Callable[[], bool]) -> str | None:
    from slws_lab import worker

    def should_end() -> bool:
        return should_stop() or (purse is not None and purse.look(work.ranks))

    try:
        return worker.execute(Attempt(path), worker.Place(work.root, work.resources, should_end))
    except files.NotWritten:
        if not Attempt(path).shut():  # else this one alone: the others go on
            raise
        return None
