"""A trial in hand: its runs, what a pruner sees of them, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from slws_lab.lab.planning import PlannedRun
from slws_lab.lab.project import Project
from slws_lab.lab.triage import Lost
from slws_lab.lab.watching import Task
from slws_lab.search import objectives
from slws_lab.search.trial import Trial
from slws_lab.spec import Arm, Metric, SearchSpec, total_epochs
from slws_lab.spec.samplers import Wilcoxon
from slws_lab.tracking import is_held


@dataclass
class Hand:
    """A trial that this process looks after.

    Attributes:
        trial: As it was drawn.
        arm: What is trained.
        runs: Its runs, in the order of the seeds.
        tasks: Run id -> the task of each run that was begun and had not ended before.
        costs: What its architecture costs, as far as the search asks.
        measured: Whether all that must be known before it begins is.
    """

    trial: Trial
    arm: Arm
    runs: list[PlannedRun]
    tasks: dict[str, Task] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    measured: bool = False

    @classmethod
    def of(cls, project: Project, trial: Trial, arm: Arm) -> Hand:
        """Take a trial in hand; nothing is begun."""
        ids = project.design.run_ids
        named = [(seed, ids[arm.id, seed]) for seed in project.design.seeds]
        return cls(trial, arm, [PlannedRun(arm, seed, run_id, project.record(run_id)) for seed, run_id in named])

    @property
    def number(self) -> int:
        return self.trial.number

    @property
    def ended(self) -> list[PlannedRun]:
        """The runs that have a result."""
        return [run for run in self.runs if not run.todo]

    @property
    def unfinished(self) -> list[Task]:
        """The tasks without a result."""
        return [task for task in self.tasks.values() if task.attempt.status is None]

    @property
    def held(self) -> list[Task]:
        """The tasks that some process works on."""
        return [task for task in self.tasks.values() if is_held(task.attempt.claim)]

    @property
    def attempts(self) -> set[Path]:
        return {task.attempt.path for task in self.tasks.values()}

    @property
    def progress(self) -> dict[str, tuple[int, int]]:
        """Label of each run at work -> epochs done, and of how many."""
        epochs = total_epochs(self.arm.recipe)
        return {f"trial {self.number} · seed {task.run.seed}": (task.epochs, epochs) for task in self.held}

    def begin(self, project: Project, runs: list[PlannedRun]) -> list[Task]:
        """Return new tasks for those of some runs that have not ended and were not begun."""
        wanted = [run for run in runs if run.todo and run.run_id not in self.tasks]
        tasks = {run.run_id: Task.of(project, run, replace=False) for run in wanted}
        self.tasks |= tasks
        return list(tasks.values())

    def look(self, project: Project) -> Lost | None:
        """See which runs have ended, and return one that has other than finished; None where there is none."""
        results = {run_id: task.attempt.result() for run_id, task in self.tasks.items()}
        for run_id, result in results.items():
            if result is not None and result["status"] != "finished":
                return self.lost(project, run_id, str(result["status"]), str(result.get("cause", "")))
        self.runs = [
            replace(run, record=project.record(run.run_id)) if results.get(run.run_id) and run.todo else run
            for run in self.runs
        ]
        lost = next((run for run in self.ended if run.record.status != "finished"), None)
        return self.lost(project, lost.run_id, lost.record.status, lost.record.cause) if lost else None

    def shut(self, project: Project) -> Lost | None:
        """Return a run that nobody works on and whose folder cannot be written; None where there is none."""
        for run_id, task in self.tasks.items():
            if task.attempt.status is None and not is_held(task.attempt.claim) and (why := task.attempt.shut()):
                return self.lost(project, run_id, "failed", f"its folder cannot be written: {why}")
        return None

    def lost(self, project: Project, run_id: str, status: str, cause: str) -> Lost:
        """Return what is told of a run that gives no value."""
        run = next(run for run in self.runs if run.run_id == run_id)
        log = self.tasks[run_id].attempt.log if run_id in self.tasks else project.workspace.run(run_id).path
        return Lost(self.arm.label, run.seed, status, cause, log)

    def curve(self, project: Project, search: SearchSpec) -> dict[int, float]:
        """Return what a pruner goes by: the first seed's epochs, or for Wilcoxon's test a value for each seed that has ended."""
        objective, metric = search.objectives[0], project.study.spec.metric
        try:
            if isinstance(search.pruner, Wilcoxon):
                ended = [(i, run.record) for i, run in enumerate(self.runs) if not run.todo]
                return {i: objectives.values(search, metric, [record], self.all_costs)[0] for i, record in ended}
            first = self.runs[0]
            record = project.record(first.run_id) if first.todo else first.record
            points = record.curves.get(objectives.metric_of(objective, metric).key, {})
            return {step: objectives.at_step(objective, value, self.costs) for step, value in points.items()}
        except objectives.NoValue:  # which the end of the trial tells
            return {}

    @property
    def all_costs(self) -> dict[str, float]:
        """What it costs: its architecture, and its training as far as that has ended."""
        return {**self.costs, **objectives.figures([run.record for run in self.ended])}

    def values(self, search: SearchSpec, metric: Metric) -> list[float]:
        """Return its value of each objective, all its runs having finished.

        Raises:
            NoValue: A run has none, or nothing tells what an objective or a constraint needs.
        """
        costs = self.all_costs
        for name in search.constraints:
            if name not in costs:
                raise objectives.NoValue(f"nothing tells its {name}, of which the search allows so much")
        return objectives.values(search, metric, [run.record for run in self.runs], costs)
