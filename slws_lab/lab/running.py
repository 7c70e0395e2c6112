"""Running a study: jobs execute what is missing, this process ships their journals to MLflow and writes the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from slws_lab.errors import UserError, nearest
from slws_lab.lab.planning import PlannedRun, plan
from slws_lab.lab.project import Project
from slws_lab.lab.shipping import Shipping
from slws_lab.launch import LAUNCHERS, InProcess, Job, Launcher, Local, Work
from slws_lab.spec import Resources, total_epochs
from slws_lab.tracking import Attempt, is_held, journal

POLL_S = 0.2
STOP_S = 60.0


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        launcher: Name of the launcher.
        only: Factor (or `seed`) to level: runs no others.
        refresh: Rerun what changed code, data or packages made stale.
    """

    launcher: str = "local"
    only: Mapping[str, str] = field(default_factory=dict)
    refresh: bool = False


@dataclass(frozen=True)
class Progress:
    """Where a study stands while it runs.

    Attributes:
        done: Runs ended so far, of `total` that this command works on.
        failed: Of these, how many failed.
        running: Label of each run in hand -> epochs done, and of how many.
    """

    done: int
    failed: int
    total: int
    running: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Outcome:
    """How running ended.

    Attributes:
        started: Runs that this command worked on.
        failed: Of these, the ones that failed, as (label, seed, cause, log).
        interrupted: Whether it was stopped before the end.
        seconds: Wall time.
        mirror: What the mirror has to say when it could not be brought up to date; empty otherwise.
    """

    started: int
    failed: tuple[tuple[str, int, str, Path], ...]
    interrupted: bool
    seconds: float
    mirror: str


Watch = Callable[[Progress], None]


def run(project: Project, options: Options, watch: Watch) -> Outcome:
    """Run what is missing of a study. The same call after an interruption goes on where it stopped.

    Raises:
        UserError: A mistake in the study or the options; nothing has been started then.
        LaunchError: No job can be started here.
    """
    launcher = make_launcher(options.launcher)
    state = plan(project, options.only)
    resources = project.study.spec.resources
    launcher.slots(resources, project.design.ranks)
    stale = state.stale if options.refresh else {}
    todo = [run for run in state.runs if run.todo or run.run_id in stale]
    attempts = [prepare(project, run, replace=run.run_id in stale) for run in todo]
    return execute(project, launcher, todo, attempts, watch, resources)


def make_launcher(name: str) -> Launcher:
    """Return a launcher by its name.

    Raises:
        UserError: There is none of that name.
    """
    if name == "local":
        return Local()
    if name == "in_process":
        return InProcess(_execute_here)
    raise UserError(
        f"no launcher '{name}'", where="--launcher", allowed=", ".join(LAUNCHERS), todo=nearest(name, LAUNCHERS)
    )


def execute(
    project: Project,
    launcher: Launcher,
    runs: list[PlannedRun],
    attempts: list[Attempt],
    watch: Watch,
    resources: Resources,
) -> Outcome:
    """Execute attempts by a launcher and mirror them meanwhile."""
    started = time.monotonic()
    work = Work(project.study.root, tuple(a.path for a in attempts), resources, project.workspace.jobs,
                project.design.ranks)  # fmt: skip
    shipping = Shipping(project)
    interrupted = False
    try:
        if attempts:
            shipping.start()
            _work_off(launcher, work, runs, attempts, watch)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        mirror = shipping.finish()
    failed = tuple(
        (run.arm.label, run.seed, str((attempt.result() or {}).get("cause", "")), attempt.log)
        for run, attempt in zip(runs, attempts, strict=True)
        if attempt.status == "failed"
    )
    return Outcome(len(attempts), failed, interrupted, time.monotonic() - started, mirror)


def prepare(project: Project, run: PlannedRun, *, replace: bool) -> Attempt:
    """Make the folder of the attempt that comes next by the run's record; another process that read the same makes the same.

    With `replace` the tables use this attempt as soon as it has a result, also if this process does not live to see it.
    """
    folder = project.workspace.run(run.run_id)
    folder.create(run.arm.run(run.seed))
    attempt = folder.attempt(run.record.next_attempt)
    if replace:
        folder.choose(attempt)
    return attempt


def _work_off(launcher: Launcher, work: Work, runs: list[PlannedRun], attempts: list[Attempt], watch: Watch) -> None:
    """Start jobs until every attempt has ended; those held by another process are waited for."""
    jobs: list[Job] = []
    try:
        left = [attempt for attempt in attempts if attempt.status is None]
        while left:
            jobs = [job for job in jobs if job.poll()]
            free = tuple(attempt.path for attempt in left if not is_held(attempt.claim))
            if not jobs and free:
                jobs = launcher.start(Work(work.root, free, work.resources, work.jobs, work.ranks))
            watch(_progress(runs, attempts))
            time.sleep(POLL_S)
            left = [attempt for attempt in left if attempt.status is None]
        watch(_progress(runs, attempts))
    finally:
        _stop(jobs)


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


def _progress(runs: list[PlannedRun], attempts: list[Attempt]) -> Progress:
    statuses = [attempt.status for attempt in attempts]
    running = {
        f"{run.arm.label} · seed {run.seed}": (_epochs(attempt), total_epochs(run.arm.recipe))
        for run, attempt, status in zip(runs, attempts, statuses, strict=True)
        if status is None and is_held(attempt.claim)
    }
    done = sum(status is not None for status in statuses)
    return Progress(done, statuses.count("failed"), len(attempts), running)


def _epochs(attempt: Attempt) -> int:
    return max((entry.step for entry in journal.read(attempt.journal)), default=0)


def _execute_here(path: Path, work: Work, should_stop: Callable[[], bool]) -> None:
    from slws_lab import worker

    worker.execute(Attempt(path), worker.Place(work.root, work.resources, should_stop))
