"""Running a search: trials are drawn, run, watched, pruned and told, as many at a time as there are slots, until it ends.

All that must survive is in two places: the book (Optuna's storage) says which trials there are and what was told, the run folders what was
trained. Killed at any point, the same command takes over what was running, and goes on.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from slws_lab.errors import UserError
from slws_lab.lab import science
from slws_lab.lab.executing import POLL_S, Outcome, Progress, Watch, make_launcher, stop, tidy
from slws_lab.lab.inference import figures as measure
from slws_lab.lab.inference import known as measured
from slws_lab.lab.needs import Measured
from slws_lab.lab.planning import PlannedRun
from slws_lab.lab.project import Project
from slws_lab.lab.running import Options
from slws_lab.lab.shipping import Shipping
from slws_lab.lab.spending import RESERVE_S, Purse
from slws_lab.lab.triage import Lost
from slws_lab.lab.watching import Task
from slws_lab.launch import Feed, Job, Launcher, Local, Work, inventory
from slws_lab.launch.warm import Warm
from slws_lab.search import objectives
from slws_lab.search.book import Book
from slws_lab.search.trial import Trial
from slws_lab.spec import Arm, Recipe, total_epochs
from slws_lab.spec.objectives import ARCHITECTURE
from slws_lab.spec.samplers import Wilcoxon
from slws_lab.spec.search import SearchSpec
from slws_lab.spec.search_checks import check_search
from slws_lab.spec.trials import TrialArms, with_trials
from slws_lab.tracking import Attempt, is_held

TAKEN_S = 60.0  # until no job can still take what it was about to take when it was dropped


def search(project: Project, options: Options, watch: Watch) -> Outcome:
    """Search until the study's search is at its end. The same call after an interruption goes on where it stopped.

    Raises:
        UserError: A mistake in the study, or a storage that cannot be reached; nothing is lost then.
        LaunchError: No job can be started here.
    """
    purse = Purse.of(project)
    launcher = make_launcher(options.launcher, purse)
    everything = corners(project)
    slots = launcher.slots(project.study.spec.resources, everything.design.ranks)
    book = Book.of(project.study, project.workspace)
    with _warm(launcher, everything, slots) as warm:
        science.check(everything, warm.ask)
        book.begin()
        return _Search(project, book, launcher, watch, purse, slots).run()


def corners(project: Project) -> Project:
    """Return a study of the settings in which each level and each end of a range occurs, which is checked before anything starts."""
    study = with_trials(project.study, check_search(project.study))
    return replace(project, study=replace(study, spec=study.spec.model_copy(update={"search": None})), trials=())


def _warm(launcher: Launcher, project: Project, slots: int) -> Warm:
    if not isinstance(launcher, Local):
        return Warm()
    design, resources = project.design, project.study.spec.resources
    return launcher.warm(Work(project.study.root, (), resources, project.workspace.jobs, design.ranks, slots))


@dataclass
class _Hand:
    """A trial in hand.

    Attributes:
        trial: As it was drawn.
        arm: What is trained.
        runs: Its runs, in the order of the seeds.
        tasks: Run id -> the task of each run that was begun and had not ended before.
        costs: What it costs, as far as it is known.
    """

    trial: Trial
    arm: Arm
    runs: list[PlannedRun]
    tasks: dict[str, Task] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    measured: bool = False

    @property
    def number(self) -> int:
        return self.trial.number


class _Search:
    """One command's part in a search."""

    def __init__(
        self, project: Project, book: Book, launcher: Launcher, watch: Watch, purse: Purse | None, slots: int
    ) -> None:
        self._book, self._launcher, self._watch, self._purse = book, launcher, watch, purse
        self._spec: SearchSpec = book.search
        resources = project.study.spec.resources
        shared = isinstance(launcher, Local) and resources.gpus != 0 and bool(inventory.gpus())
        self._slots = (self._spec.parallel or slots) if shared else min(slots, self._spec.parallel or slots)
        self._needs = Measured(project, resources, {}) if shared else None
        self._arms = TrialArms(project.study)
        self._project = replace(project, arms=self._arms)
        self._hands: dict[int, _Hand] = {}
        self._stopping: list[tuple[Attempt, float]] = []
        self._drawn = 0
        self._lost: list[Lost] = []
        self._exhausted = False
        self._shipping = Shipping(project)
        self._feed = Feed.create(Feed.name(project.workspace.jobs))

    def run(self) -> Outcome:
        started, interrupted, halted = time.monotonic(), False, False
        try:
            self._retry_failed()
            self._shipping.start()
            halted = not self._work()
            tidy(self._project)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self._feed.remove()
            with suppress(UserError):  # the storage is away, which is being told
                self._see(self._book.trials())
                self._book.beat(at_once=True)
            mirror = self._shipping.finish()
        return Outcome(self._drawn, tuple(self._lost), interrupted, time.monotonic() - started, mirror, halted)

    def _work(self) -> bool:
        """Draw and run trials until all have ended, those of other drivers too; False if the purse is empty."""
        jobs: list[Job] = []
        try:
            while self._look():
                if self._is_spent():
                    return False
                jobs = [job for job in jobs if job.poll()]
                if not jobs and self._hands:
                    jobs = self._launcher.start(self._job_description())
                time.sleep(POLL_S)
            self._feed.close()
            while any([job.poll() for job in jobs]):
                self._stop_pruned()
                time.sleep(POLL_S)
        finally:
            stop(jobs)
        return True

    def _job_description(self) -> Work:
        project = self._project
        resources = project.study.spec.resources
        return Work(
            project.study.root, (), resources, project.workspace.jobs, project.design.ranks,
            self._slots if self._needs is None else None, self._needs, self._feed.path, self._look_in,
        )  # fmt: skip

    def _look_in(self) -> None:
        self._look()

    def _look(self) -> bool:
        """See how the trials in hand go on, tell what has ended, draw further ones; False when there is nothing left to wait for."""
        self._feed.touch()
        for hand in list(self._hands.values()):
            if hand.measured:
                self._follow(hand)
        self._stop_pruned()
        more = self._fill()
        self._watch(self._progress())
        return more

    def _fill(self) -> bool:
        """Take over what dead drivers left, and draw trials while there are slots; False when the search is at its end."""
        for trial in self._book.orphans():
            self._take(trial)
        while (
            len(self._wanted_runs) < self._slots
            and not self._unmeasured
            and not self._exhausted
            and not self._is_spent()
        ):
            if self._book.end(self._book.trials()):
                break
            drawn = self._book.ask()
            self._exhausted = drawn is None
            if drawn is not None:
                self._drawn += 1
                self._take(drawn)
        measuring = self._unmeasured if len(self._unmeasured) == len(self._hands) else []
        for hand in measuring:
            self._measure(hand)
        self._book.beat()
        return bool(self._hands or measuring) or any(trial.state == "running" for trial in self._book.trials())

    def _is_spent(self) -> bool:
        """Say whether the budget is: for what is at work, and for one more run that may begin or was stopped for that reason."""
        if self._purse is None:
            return False
        ranks = self._project.design.ranks
        return (
            self._purse.look(ranks * len(self._held)) or self._purse.spent_s + ranks * RESERVE_S >= self._purse.limit_s
        )

    def _take(self, trial: Trial) -> None:
        """Take a trial in hand, and begin it if all that must be known of it before is known."""
        self._see(self._book.trials())
        design = self._project.design  # which has the arms of earlier trials first
        arm = design.arm(self._arms.add(trial.number, trial.settings).id)
        ids = self._project.design.run_ids
        runs = [
            PlannedRun(arm, seed, ids[arm.id, seed], self._project.record(ids[arm.id, seed]))
            for seed in self._project.design.seeds
        ]
        hand = self._hands[trial.number] = _Hand(trial, arm, runs)
        wanted = objectives.needed(self._spec)
        if not wanted or not isinstance(arm.recipe, Recipe):
            self._begin(hand, {})
        elif (found := measured(self._project, arm.recipe)) is not None:
            self._begin(hand, {name: getattr(found, name) for name in wanted})

    def _measure(self, hand: _Hand) -> None:
        """Measure what an architecture costs, while nothing else is at work."""
        assert isinstance(hand.arm.recipe, Recipe)
        found = measure(self._project, hand.arm.recipe)
        self._begin(hand, {name: getattr(found, name) for name in objectives.needed(self._spec)})

    def _begin(self, hand: _Hand, costs: dict[str, float]) -> None:
        hand.measured, hand.costs = True, costs
        if costs and not self._book.note_figures(hand.number, costs):
            limits = {name: most for name, most in self._spec.constraints.items() if costs.get(name, 0) > most}
            over = ", ".join(f"{name} {costs[name]:g} above {most:g}" for name, most in limits.items())
            self._book.prune(hand.number, over)
            self._let_go(hand)
            return
        self._want(hand, hand.runs[:1] if self._spec.pruner else hand.runs)
        self._follow(hand)

    def _want(self, hand: _Hand, runs: list[PlannedRun]) -> None:
        """Have runs executed that have not ended."""
        tasks = {
            run.run_id: Task.of(self._project, run, replace=False)
            for run in runs
            if run.todo and run.run_id not in hand.tasks
        }
        hand.tasks |= tasks
        if self._needs is not None:
            self._needs.add({task.attempt.path: hand.arm.recipe for task in tasks.values()})
        self._feed.add([task.attempt.path for task in tasks.values()])

    def _follow(self, hand: _Hand) -> None:
        """Report a trial's curve, prune it, begin its next seeds, or tell how it has ended."""
        results = {run_id: task.attempt.result() for run_id, task in hand.tasks.items()}
        for run_id, result in results.items():
            if result is not None and result["status"] != "finished":
                self._fail(hand, run_id, str(result["status"]), str(result.get("cause", "")))
                return
        hand.runs = [
            replace(run, record=self._project.record(run.run_id)) if results.get(run.run_id) and run.todo else run
            for run in hand.runs
        ]
        ended = [run for run in hand.runs if not run.todo]
        if lost := next((run for run in ended if run.record.status != "finished"), None):
            self._fail(hand, lost.run_id, lost.record.status, lost.record.cause)
        elif self._spec.pruner is not None and self._book.report(
            hand.number, self._curve(hand), ask=len(ended) < len(hand.runs)
        ):
            self._prune(hand)
        elif len(ended) == len(hand.runs):
            self._tell(hand)
        elif not hand.runs[0].todo:
            seeds = 1 if isinstance(self._spec.pruner, Wilcoxon) else len(hand.runs)
            self._want(hand, [run for run in hand.runs if run.todo][:seeds])

    def _curve(self, hand: _Hand) -> dict[int, float]:
        """Return what the pruner goes by: the first seed's epochs, or for Wilcoxon's test a value for each seed that has ended."""
        objective, metric = self._spec.objectives[0], self._project.study.spec.metric
        key = objectives.metric_of(objective, metric).key
        try:
            if isinstance(self._spec.pruner, Wilcoxon):
                ended = [(i, run.record) for i, run in enumerate(hand.runs) if not run.todo]
                return {i: objectives.values(self._spec, metric, [record], self._costs(hand))[0] for i, record in ended}
            first = hand.runs[0]
            record = self._project.record(first.run_id) if first.todo else first.record
            return {
                step: objectives.at_step(objective, value, hand.costs)
                for step, value in record.curves.get(key, {}).items()
            }
        except objectives.NoValue:  # which the end of the trial tells
            return {}

    def _costs(self, hand: _Hand) -> dict[str, float]:
        return hand.costs | objectives.figures([run.record for run in hand.runs if not run.todo])

    def _tell(self, hand: _Hand) -> None:
        costs = self._costs(hand)
        try:
            values = objectives.values(
                self._spec, self._project.study.spec.metric, [run.record for run in hand.runs], costs
            )
        except objectives.NoValue as error:
            self._book.fail(hand.number, str(error))
        else:
            if trained := {name: value for name, value in costs.items() if name not in ARCHITECTURE}:
                self._book.note_figures(hand.number, trained)
            self._book.complete(hand.number, values)
        self._let_go(hand)

    def _fail(self, hand: _Hand, run_id: str, status: str, cause: str) -> None:
        run = next(run for run in hand.runs if run.run_id == run_id)
        log = hand.tasks[run_id].attempt.log if run_id in hand.tasks else self._project.workspace.run(run_id).path
        self._lost.append(Lost(hand.arm.label, run.seed, status, cause, log))
        self._book.fail(hand.number, f"{status}: {cause}")
        self._let_go(hand)

    def _prune(self, hand: _Hand) -> None:
        self._book.prune(hand.number)
        self._let_go(hand)

    def _let_go(self, hand: _Hand) -> None:
        """Put a trial aside that has been told; what it still trains is stopped, unless another trial wants it too."""
        del self._hands[hand.number]
        wanted = {task.attempt.path for other in self._hands.values() for task in other.tasks.values()}
        for task in hand.tasks.values():
            if task.attempt.path not in wanted and task.attempt.status is None:
                self._feed.drop(task.attempt.path)
                self._stopping.append((task.attempt, time.monotonic() + TAKEN_S))

    def _stop_pruned(self) -> None:
        """Ask those that hold what this search wants no more to stop, once: whoever takes it later has a study that wants it."""
        wanted = {task.attempt.path for hand in self._hands.values() for task in hand.tasks.values()}
        left = [(one, until) for one, until in self._stopping if one.path not in wanted and one.status is None]
        self._stopping = [(one, until) for one, until in left if not one.ask_to_stop() and time.monotonic() < until]

    def _retry_failed(self) -> None:
        """Enqueue again what failed before this command, unless it is a result: whoever repeats a command has mended something."""
        for trial in self._book.trials():
            if trial.state == "failed" and trial.again is None and trial.cause.startswith("failed:"):
                self._book.retry(trial)

    def _see(self, trials: list[Trial]) -> None:
        """Work on, and ship to MLflow, the project with these trials."""
        self._project = self._shipping.project = self._project.with_trials(tuple(trials))

    @property
    def _unmeasured(self) -> list[_Hand]:
        return [hand for hand in self._hands.values() if not hand.measured]

    @property
    def _wanted_runs(self) -> list[Path]:
        """The attempts that jobs are to work on, or work on."""
        return [
            task.attempt.path
            for hand in self._hands.values()
            for task in hand.tasks.values()
            if task.attempt.status is None
        ]

    @property
    def _held(self) -> list[Task]:
        return [task for hand in self._hands.values() for task in hand.tasks.values() if is_held(task.attempt.claim)]

    def _progress(self) -> Progress:
        trials = self._book.trials()
        ended = [trial for trial in trials if trial.state != "running"]
        running = {
            f"trial {hand.number} · seed {task.run.seed}": (task.epochs, total_epochs(hand.arm.recipe))
            for hand in self._hands.values()
            for task in hand.tasks.values()
            if is_held(task.attempt.claim)
        }
        total = max(self._spec.trials or 0, len(trials))
        return Progress(len(ended), sum(trial.state == "failed" for trial in ended), total, running)
