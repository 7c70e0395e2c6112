"""Running a search: trials are drawn, run, watched, pruned and told, as many at a time as there are slots, until it ends.

All that must survive is in two places: the book (Optuna's storage) says which trials there are and what was told, the run folders what was
trained. Killed at any point, the same command takes over what was running, and goes on.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from slws_lab.errors import UserError
from slws_lab.lab import science
from slws_lab.lab.executing import POLL_S, Outcome, Progress, Watch, make_launcher, stop, tidy
from slws_lab.lab.hand import Hand
from slws_lab.lab.inference import figures as measure
from slws_lab.lab.inference import known as measured
from slws_lab.lab.needs import Measured
from slws_lab.lab.planning import PlannedRun
from slws_lab.lab.project import Project
from slws_lab.lab.running import Options
from slws_lab.lab.shipping import Shipping
from slws_lab.lab.spending import RESERVE_S, Purse
from slws_lab.lab.triage import Lost
from slws_lab.launch import Feed, Job, Launcher, Local, Work, inventory
from slws_lab.launch.warm import Warm
from slws_lab.search import objectives
from slws_lab.search.book import Book
from slws_lab.search.trial import Trial
from slws_lab.spec import Recipe
from slws_lab.spec.objectives import ARCHITECTURE
from slws_lab.spec.samplers import Wilcoxon
from slws_lab.spec.search import SearchSpec
from slws_lab.spec.search_checks import check_search
from slws_lab.spec.trials import TrialArms, with_trials
from slws_lab.tracking import Attempt

RARELY_S = 2.0  # from one look at what changes seldom to the next
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
        self._hands: dict[int, Hand] = {}
        self._trials: list[Trial] = []
        self._stopping: list[tuple[Attempt, float]] = []
        self._drawn = 0
        self._lost: list[Lost] = []
        self._inside, self._rarely_at = False, 0.0
        self._shipping = Shipping(project)
        self._feed = Feed.create(Feed.name(project.workspace.jobs))

    def run(self) -> Outcome:
        started, interrupted, halted = time.monotonic(), False, False
        try:
            self._retry_failed()
            self._project.workspace.make()
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
        """Look while a run trains in this process."""
        self._inside = True
        try:
            self._look()
        finally:
            self._inside = False

    def _look(self) -> bool:
        """See how the trials in hand go on, tell what has ended, draw further ones; False when there is nothing left to wait for."""
        self._feed.touch()
        self._book.beat()
        now, self._trials = time.monotonic(), self._book.trials()
        ours = {trial.number for trial in self._trials if trial.state == "running"}
        rare = now >= self._rarely_at
        if rare:
            self._rarely_at = now + RARELY_S
        for hand in list(self._hands.values()):
            if hand.number not in ours:  # another driver took this one for dead, and told it
                self._let_go(hand)
            elif hand.measured:
                self._follow(hand)
            if rare and hand.number in self._hands and (lost := hand.shut(self._project)):
                self._fail(hand, lost)
        self._stop_pruned()
        for trial in self._book.orphans() if rare else ():
            self._take(trial)
        more = self._fill()
        self._watch(self._progress())
        return more

    def _fill(self) -> bool:
        """Draw trials while there are slots; False when the search is at its end."""
        while self._has_room():
            drawn = None if self._book.end(self._trials) else self._book.ask()
            if drawn is None:
                break
            self._drawn += 1
            self._take(drawn)
        waiting = [hand for hand in self._hands.values() if not hand.measured]
        quiet = not self._inside and len(waiting) == len(self._hands)
        for hand in waiting if quiet else ():
            self._measure(hand)
        others = any(trial.state == "running" for trial in self._trials if trial.number not in self._hands)
        return bool(self._hands or waiting or others)

    def _has_room(self) -> bool:
        """Say whether another trial may be begun: there is a slot, none waits to be measured, and the budget allows it."""
        wanted = sum(len(hand.unfinished) for hand in self._hands.values())
        return wanted < self._slots and all(hand.measured for hand in self._hands.values()) and not self._is_spent()

    def _is_spent(self) -> bool:
        """Say whether the budget is: for what is at work, and for one more run that may begin or was stopped for that reason."""
        if self._purse is None:
            return False
        ranks, held = self._project.design.ranks, sum(len(hand.held) for hand in self._hands.values())
        return self._purse.look(ranks * held) or self._purse.spent_s + ranks * RESERVE_S >= self._purse.limit_s

    def _take(self, trial: Trial) -> None:
        """Take a trial in hand, and begin it if all that must be known of it before is known."""
        self._see(self._book.trials())
        design = self._project.design  # which has the arms of earlier trials first
        arm = design.arm(self._arms.add(trial.number, trial.settings).id)
        hand = self._hands[trial.number] = Hand.of(self._project, trial, arm)
        wanted = objectives.needed(self._spec)
        if not wanted or not isinstance(arm.recipe, Recipe):
            self._begin(hand, {})
        elif (found := measured(self._project, arm.recipe)) is not None:
            self._begin(hand, {name: getattr(found, name) for name in wanted})

    def _measure(self, hand: Hand) -> None:
        """Measure what an architecture costs, while nothing else is at work."""
        assert isinstance(hand.arm.recipe, Recipe)
        found = measure(self._project, hand.arm.recipe)
        self._begin(hand, {name: getattr(found, name) for name in objectives.needed(self._spec)})

    def _begin(self, hand: Hand, costs: dict[str, float]) -> None:
        hand.measured, hand.costs = True, costs
        if costs and not self._book.note_figures(hand.number, costs):
            limits = {name: most for name, most in self._spec.constraints.items() if costs.get(name, 0) > most}
            over = ", ".join(f"{name} {costs[name]:g} above {most:g}" for name, most in limits.items())
            self._book.prune(hand.number, over)
            self._let_go(hand)
            return
        self._want(hand, hand.runs[:1] if self._spec.pruner else hand.runs)
        self._follow(hand)

    def _want(self, hand: Hand, runs: list[PlannedRun]) -> None:
        """Have runs executed that have not ended."""
        tasks = hand.begin(self._project, runs)
        if self._needs is not None:
            self._needs.add({task.attempt.path: hand.arm.recipe for task in tasks})
        self._feed.add([task.attempt.path for task in tasks])

    def _follow(self, hand: Hand) -> None:
        """Report a trial's curve, prune it, begin its next seeds, or tell how it has ended."""
        if lost := hand.look(self._project):
            self._fail(hand, lost)
            return
        whole = len(hand.ended) == len(hand.runs)
        if self._spec.pruner is not None:
            curve = hand.curve(self._project, self._spec)
            if self._book.report(hand.number, curve, ask=not whole):
                self._book.prune(hand.number)
                self._let_go(hand)
                return
        if whole:
            self._tell(hand)
        elif not hand.runs[0].todo:
            seeds = 1 if isinstance(self._spec.pruner, Wilcoxon) else len(hand.runs)
            self._want(hand, [run for run in hand.runs if run.todo][:seeds])

    def _tell(self, hand: Hand) -> None:
        try:
            values = hand.values(self._spec, self._project.study.spec.metric)
        except objectives.NoValue as error:
            self._book.fail(hand.number, str(error))
        else:
            if trained := {name: value for name, value in hand.all_costs.items() if name not in ARCHITECTURE}:
                self._book.note_figures(hand.number, trained)
            self._book.complete(hand.number, values)
        self._let_go(hand)

    def _fail(self, hand: Hand, lost: Lost) -> None:
        self._lost.append(lost)
        self._book.fail(hand.number, f"{lost.status}: {lost.cause}")
        self._let_go(hand)

    def _let_go(self, hand: Hand) -> None:
        """Put a trial aside that has been told; what it still trains is stopped, unless another trial wants it too."""
        del self._hands[hand.number]
        wanted = self._wanted
        for task in hand.unfinished:
            if task.attempt.path not in wanted:
                self._feed.drop(task.attempt.path)
                self._stopping.append((task.attempt, time.monotonic() + TAKEN_S))

    def _stop_pruned(self) -> None:
        """Ask those that hold what this search wants no more to stop, once: whoever takes it later has a study that wants it."""
        wanted = self._wanted
        left = [(one, until) for one, until in self._stopping if one.path not in wanted and one.status is None]
        self._stopping = [(one, until) for one, until in left if not one.ask_to_stop() and time.monotonic() < until]

    def _retry_failed(self) -> None:
        """Enqueue again what failed before this command, unless it is a result: whoever repeats a command has mended something."""
        for trial in self._book.trials():
            if trial.state == "failed" and trial.again is None and trial.cause.startswith("failed:"):
                self._book.retry(trial)

    def _see(self, trials: list[Trial]) -> None:
        """Work on, and ship to MLflow, the project with these trials."""
        self._trials = trials
        self._project = self._shipping.project = self._project.with_trials(tuple(trials))

    @property
    def _wanted(self) -> set[Path]:
        """The attempts that trials in hand are made of."""
        return {path for hand in self._hands.values() for path in hand.attempts}

    def _progress(self) -> Progress:
        ended = [trial for trial in self._trials if trial.state != "running"]
        running = {label: at for hand in self._hands.values() for label, at in hand.progress.items()}
        total = max(self._spec.trials or 0, len(self._trials))
        return Progress(len(ended), sum(trial.state == "failed" for trial in ended), total, running)
