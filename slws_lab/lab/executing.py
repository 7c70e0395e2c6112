"""Executing runs: jobs work them off batch by batch, while this process ships their journals to MLflow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from slws_lab.errors import UserError, nearest
from slws_lab.lab.planning import PlannedRun
from slws_lab.lab.project import Project
from slws_lab.lab.shipping import Shipping
from slws_lab.lab.spending import Purse
from slws_lab.lab.triage import Lost
from slws_lab.launch import LAUNCHERS, InProcess, Job, Launcher, Local, Slurm, Work, local
from slws_lab.spec import Resources, total_epochs
from slws_lab.tracking import Attempt, Claim, files, is_held, journal
from slws_lab.tracking.claim import owner_of
from slws_lab.tracking.folder import FINAL

POLL_S = 0.2
STOP_S = 60.0


@dataclass(frozen=True)
class Task:
    """A run, and the attempt that executes it."""

    run: PlannedRun
    attempt: Attempt

    @classmethod
    def of(cls, project: Project, run: PlannedRun, *, replace: bool) -> Task:
        """Make the folder of the attempt that comes next by the run's record; another process that read the same makes the same.

        With `replace` the tables use this attempt as soon as it has a result, also if this process does not live to see it.
        """
        folder = project.workspace.run(run.run_id)
        folder.create(run.arm.run(run.seed))
        attempt = folder.attempt(run.record.next_attempt)
        if replace:
            folder.choose(attempt)
        return cls(run, attempt)


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
    raise UserError(
        f"no launcher '{name}'", where="--launcher", allowed=", ".join(LAUNCHERS), todo=nearest(name, LAUNCHERS)
    )


def execute(place: Place, batches: Iterable[Batch]) -> Outcome:
    """Execute tasks and mirror them meanwhile.

    Args:
        place: Where, and with what.
        batches: What to execute; a batch is asked for when the one before has ended. Running ends where the purse is empty.
    """
    started, shipping = time.monotonic(), Shipping(place.project)
    latest: dict[str, Task] = {}
    interrupted = halted = False
    try:
        for batch in batches:
            if not latest:
                shipping.start()
            latest |= {task.run.run_id: task for task in batch.tasks}
            halted = not _work_off(place, list(latest.values()), alone=batch.alone)
            if halted:
                break
        _tidy(place.project)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        mirror = shipping.finish()
    failed = tuple(
        Lost(t.run.arm.label, t.run.seed, "failed", str((t.attempt.result() or {}).get("cause", "")), t.attempt.log)
        for t in latest.values()
        if t.attempt.status == "failed"
    )
    return Outcome(len(latest), failed, interrupted, time.monotonic() - started, mirror, halted)


def _work_off(place: Place, tasks: list[Task], *, alone: bool) -> bool:
    """Start jobs until every attempt has ended; those held by another process are waited for. False if the purse is empty."""
    project, ranks = place.project, place.project.design.ranks
    jobs: list[Job] = []
    try:
        left = [task.attempt for task in tasks if task.attempt.status is None]
        while left:
            held = [attempt for attempt in left if is_held(attempt.claim)]
            if place.purse is not None and place.purse.look(ranks * len(held)):
                return False
            jobs = [job for job in jobs if job.poll()]
            free = tuple(attempt.path for attempt in left if attempt not in held)
            if not jobs and free:
                work = Work(
                    project.study.root, free, place.resources, project.workspace.jobs, ranks, 1 if alone else None
                )
                jobs = place.launcher.start(work)
            place.watch(_progress(tasks))
            time.sleep(POLL_S)
            left = [attempt for attempt in left if attempt.status is None]
        place.watch(_progress(tasks))
    finally:
        _stop(jobs)
    return True


def _stop(jobs: list[Job]) -> None:
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


def _tidy(project: Project) -> None:
    """Remove what processes left that were killed when their work was done: nobody else looks at runs that have ended."""
    workspace = project.workspace
    runs = [workspace.run(run_id) for run_id in project.design.run_ids.values()]
    local.sweep(workspace.jobs)
    for place in (
        workspace.path,
        workspace.mirror,
        workspace.cache,
        project.report_folder,
        *(run.path for run in runs),
    ):
        files.sweep(place, ours=False)
    for run in runs:
        for attempt in run.attempts():
            owner = owner_of(attempt.claim)
            if owner and owner.dead and attempt.status and (claim := Claim.take(attempt.claim)):
                with claim:
                    attempt.sweep()
                    for checkpoint in attempt.checkpoint.glob("resume*.pt") if attempt.status in FINAL else ():
                        checkpoint.unlink(missing_ok=True)


def _progress(tasks: list[Task]) -> Progress:
    statuses = [task.attempt.status for task in tasks]
    running = {
        f"{task.run.arm.label} · seed {task.run.seed}": (_epochs(task.attempt), total_epochs(task.run.arm.recipe))
        for task, status in zip(tasks, statuses, strict=True)
        if status is None and is_held(task.attempt.claim)
    }
    done = sum(status is not None for status in statuses)
    return Progress(done, statuses.count("failed"), len(tasks), running)


def _epochs(attempt: Attempt) -> int:
    return max((entry.step for entry in journal.read(attempt.journal)), default=0)


def _execute_here(purse: Purse | None, path: Path, work: Work, should_stop: Callable[[], bool]) -> None:
    from slws_lab import worker

    def stop() -> bool:
        return should_stop() or (purse is not None and purse.look(work.ranks))

    worker.execute(Attempt(path), worker.Place(work.root, work.resources, stop))
