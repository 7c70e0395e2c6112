"""Running a study: which runs are executed, in which order, and where it stops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from slws_lab.errors import UserError, nearest
from slws_lab.lab.costing import likely_seconds
from slws_lab.lab.executing import Batch, Outcome, Place, Watch, execute, make_launcher
from slws_lab.lab.planning import Plan, PlannedRun, plan
from slws_lab.lab.project import Project
from slws_lab.lab.spending import Purse
from slws_lab.lab.watching import Task
from slws_lab.launch import Launcher, Local, Work
from slws_lab.launch.warm import Warm
from slws_lab.tracking.causes import KINDS, kind_of


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        launcher: Name of the launcher.
        only: Factor (or `seed`) to level: runs no others.
        refresh: Rerun what changed code, data or packages made stale.
        retry: Name of a kind of failure: run only what failed so; empty for all that is missing.
    """

    launcher: str = "local"
    only: Mapping[str, str] = field(default_factory=dict)
    refresh: bool = False
    retry: str = ""


def run(project: Project, options: Options, watch: Watch) -> Outcome:
    """Run what is missing of a study. The same call after an interruption goes on where it stopped.

    Raises:
        UserError: A mistake in the study or the options; nothing has been started then.
        LaunchError: No job can be started here.
    """
    kinds = [kind.name for kind in KINDS]
    if options.retry and options.retry not in kinds:
        raise UserError(f"no kind of failure '{options.retry}'", where="--retry", allowed=", ".join(kinds),
                        todo=nearest(options.retry, kinds))  # fmt: skip
    purse = Purse.of(project)
    launcher = make_launcher(options.launcher, purse)
    resources = project.study.spec.resources
    with _warm(launcher, project) as warm:
        state = plan(project, options.only, warm.ask)
        rounds = _Rounds(state, options, purse, launcher.slots(resources, project.design.ranks))
        outcome = execute(Place(project, launcher, resources, watch, purse), rounds)
    return replace(outcome, halted=outcome.halted or rounds.cut)


def _warm(launcher: Launcher, project: Project) -> Warm:
    """Return the workers that load while the study is checked: one that has to be has runs which never began."""
    if isinstance(launcher, Local):
        design, resources = project.design, project.study.spec.resources
        coming = Work(project.study.root, (), resources, project.workspace.jobs, design.ranks, len(design.run_ids))
        return launcher.warm(coming)
    return Warm()


class _Rounds:
    """The batches of a study: all at once, unless what ends says what comes next (seeds as needed) or what still fits (a budget).

    A run is tried once in a command, so that one which fails does not hold the study; but where the cause was memory, it is tried
    once more with the machine to itself.
    """

    def __init__(self, state: Plan, options: Options, purse: Purse | None, slots: int) -> None:
        self._state, self._options, self._purse, self._slots = state, options, purse, slots
        self._stale = frozenset(state.stale if options.refresh else ())
        self._tried: set[str] = set()
        self.cut = False

    def __iter__(self) -> Iterator[Batch]:
        project = self._state.project
        while runs := self._next():
            batch = Batch(tuple(Task.of(project, run, replace=run.run_id in self._stale) for run in runs))
            yield batch
            short = [
                replace(task.run, record=project.record(task.run.run_id)) for task in batch.tasks if _was_short(task)
            ]
            if short:
                yield Batch(
                    tuple(Task.of(project, run, replace=run.run_id in self._stale) for run in short), alone=True
                )
            if self._purse is None and project.study.spec.adaptive is None:
                return
            self._state = plan(project, self._options.only)

    def _next(self) -> list[PlannedRun]:
        """Return the runs of the next batch; none where all have been tried, or none fits into the budget."""
        wanted = [run for run in self._state.runs if run.todo or run.run_id in self._stale]
        todo = [run for run in wanted if run.run_id not in self._tried and self._is_asked_for(run)]
        if self._purse is not None and todo:
            self._purse.count(self._state.project)
            todo = self._purse.affordable(todo, likely_seconds(self._state.project, todo), self._slots)
            self.cut = not todo
        self._tried |= {run.run_id for run in todo}
        return todo

    def _is_asked_for(self, run: PlannedRun) -> bool:
        kind = self._options.retry
        return not kind or (run.record.status == "failed" and kind_of(run.record.cause).name == kind)


def _was_short(task: Task) -> bool:
    """Say whether an attempt failed by a cause that having the machine to itself may help against."""
    result = task.attempt.result() or {}
    return result.get("status") == "failed" and kind_of(str(result.get("cause", ""))).again
