"""The book of a search: what was tried and what came of it, kept in Optuna's storage. Trials are drawn and told here, and nowhere else.

A trial's state changes once: whoever tells it second changes nothing. Each running trial names its driver, the process that looks after
it; when that is dead another takes it over.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from optuna.trial import Trial as Live

from slws_lab.search.dimensions import as_choice, combinations, suggest
from slws_lab.search.pruning import make_pruner
from slws_lab.search.reading import CAUSE, DRIVER, FIGURES, OVER, RETRY, SETTINGS, name_of, quiet, trial_of, trials_of
from slws_lab.search.sampling import Reseeded, make_sampler
from slws_lab.search.storage import Address, reaching
from slws_lab.search.trial import Trial, counts
from slws_lab.spec import SearchSpec, Study
from slws_lab.spec.levels import Settings
from slws_lab.spec.objectives import goal_of
from slws_lab.spec.trials import enqueued, space_of, with_trials
from slws_lab.tracking import Workspace
from slws_lab.tracking.claim import STALE_S, Owner

BEAT_S, PATIENCE_S = 15.0, 10.0
OWNER = ("host", "system", "pid", "started")
BEAT, READY = "driver ", "ready"


class Book:
    """A search at work, or looked at.

    Args:
        study: A study with `search:`, as loaded.
        address: Where it is kept.
    """

    def __init__(self, study: Study, address: Address) -> None:
        search = study.spec.search
        assert search is not None
        self.address, self._study, self._search = address, with_trials(study, []), search
        self.name = name_of(study)
        self._space = space_of(self._study)
        self._me, self._begun, self._beat_at = _driver(), time.monotonic(), 0.0
        self._seen: dict[str, tuple[Any, float]] = {}
        self._live: dict[int, Live] = {}
        self._taken: set[int] = set()
        self._optuna: optuna.Study | None = None
        self._kept: BaseStorage | None = None

    @classmethod
    def of(cls, study: Study, workspace: Workspace) -> Book:
        """Return the book of a search; nothing is opened or created yet.

        Raises:
            UserError: The address of the storage holds a variable that is not set.
        """
        return cls(study, Address.of(study, workspace))

    @property
    def search(self) -> SearchSpec:
        return self._search

    def trials(self) -> list[Trial]:
        """Return all trials that were drawn, in their order; none where the search has not begun.

        Raises:
            UserError: The storage cannot be reached.
        """
        return trials_of(self._frozen())

    def begin(self) -> None:
        """Open the search to draw from it, or go on with it. What is to be enqueued, and was not yet, is.

        Raises:
            UserError: The storage cannot be reached, or a trial that is to be enqueued does not fit.
        """
        first = enqueued(self._study)
        with quiet(), reaching(self.address):
            made = self._make()
            self._optuna = optuna.load_study(
                study_name=self.name, storage=self._storage, sampler=make_sampler(self._search.sampler, self._search.seed),
                pruner=make_pruner(self._search.pruner),
            )  # fmt: skip
            until = time.monotonic() + PATIENCE_S
            while not made and READY not in self._optuna.user_attrs and time.monotonic() < until:
                time.sleep(0.1)
            for settings in first:
                self._optuna.enqueue_trial(self._params(settings), skip_if_exists=True)
            self._optuna.set_user_attr(READY, True)
        self.beat()

    def ask(self) -> Trial | None:
        """Draw the next trial; None when every combination of a finite space was tried."""
        with quiet(), reaching(self.address):
            study = self._open
            if self._search.finite and self._exhausted(self.trials()):
                return None
            live = study.ask()
            live.set_user_attr(DRIVER, self._me)
            self._draw(live)
            self._live[live.number] = live
            return self._read(live.number)

    def orphans(self) -> list[Trial]:
        """Take over the running trials whose drivers are dead, and return them; what was not drawn to its end is, as it was begun."""
        found = []
        with quiet(), reaching(self.address):
            for frozen in self._frozen():
                if frozen.state != TrialState.RUNNING or not self._is_orphan(frozen):
                    continue
                with suppress(UpdateFinishedTrialError):  # its driver told it and ended, since this one looked
                    self._take_over(frozen)
                    found.append(self._read(frozen.number))
        return found

    def _take_over(self, frozen: FrozenTrial) -> None:
        """Name this process as a trial's driver, and draw what is left of it."""
        try:
            live = self._trial(frozen.number)
            live.set_user_attr(DRIVER, self._me)
            if SETTINGS not in frozen.user_attrs:
                self._draw(live)
            self._taken.add(frozen.number)
        except UpdateFinishedTrialError:
            self._live.pop(frozen.number, None)
            raise
        finally:  # else the sampler would go on as if this process had drawn this one, and draw it again
            if isinstance(self._open.sampler, Reseeded):
                self._open.sampler.forget()

    def note_figures(self, number: int, figures: Mapping[str, float]) -> bool:
        """Note what a trial costs, and by how much it is over its budgets; return whether it keeps to those known so far."""
        known = dict(figures)
        with quiet(), reaching(self.address), suppress(UpdateFinishedTrialError):  # another driver took it for dead
            live = self._trial(number)
            known = {**live.user_attrs.get(FIGURES, {}), **figures}
            live.set_user_attr(FIGURES, known)
            for name, most in self._search.constraints.items():
                if name in figures and name not in live.constraints:
                    live.set_constraint(name, figures[name] - most)
        return all(known[name] <= most for name, most in self._search.constraints.items() if name in known)

    def report(self, number: int, curve: Mapping[int, float], *, ask: bool = True) -> bool:
        """Report what the pruner goes by, as far as it is not reported yet, and return whether the trial is to be pruned.

        Steps are reported one by one, as they would be if the trial were watched without a break.

        Args:
            number: The trial.
            curve: Step to value.
            ask: Whether the pruner is asked; not where the whole value is known already.
        """
        with quiet(), reaching(self.address), suppress(UpdateFinishedTrialError):  # another driver took it for dead
            live = self._trial(number)
            known = self._storage.get_trial(self._id_of(number)).intermediate_values
            taken = number in self._taken and bool(known)  # its driver may have died between reporting and pruning
            self._taken.discard(number)
            if ask and taken and live.should_prune():
                return True
            for step in sorted(step for step in curve if step not in known):
                live.report(curve[step], step)
                if ask and live.should_prune():
                    return True
        return False

    def complete(self, number: int, values: list[float]) -> None:
        """Tell a trial's values; one that is not a finite number fails it."""
        if all(math.isfinite(value) for value in values):
            self._tell(number, TrialState.COMPLETE, values)
        else:
            self.fail(number, "an objective is no finite number")

    def prune(self, number: int, over: str = "") -> None:
        """Tell that a trial was ended early.

        Args:
            number: The trial.
            over: The budget that it exceeds, where it was not trained at all.
        """
        self._tell(number, TrialState.PRUNED, attributes={OVER: over} if over else {})

    def fail(self, number: int, cause: str) -> None:
        """Tell that a trial has no value."""
        self._tell(number, TrialState.FAIL, attributes={CAUSE: cause})

    def retry(self, trial: Trial) -> None:
        """Enqueue a failed trial's setting again, once."""
        with reaching(self.address):
            self._open.enqueue_trial(self._params(trial.settings), user_attrs={RETRY: trial.number})

    def beat(self, *, at_once: bool = False) -> float:
        """Note now and then that this driver is alive, and for how long it has searched; return the seconds of all drivers so far."""
        now = time.monotonic()
        with reaching(self.address):
            if at_once or now >= self._beat_at:
                self._open.set_user_attr(BEAT + self._me["token"], now - self._begun)
                self._beat_at = now + BEAT_S
        return self._seconds({BEAT + self._me["token"]: now - self._begun})

    def end(self, trials: Sequence[Trial]) -> str:
        """Say why no further trial is to be drawn; empty while one is.

        Args:
            trials: All trials by now.
        """
        search = self._search
        if search.trials is not None and sum(counts(trial) for trial in trials) >= search.trials:
            return f"{search.trials} trials"
        if search.finite and trials and self._exhausted(trials):
            return "every combination was tried"
        if search.minutes is not None and trials:
            seconds = self.beat() if self._optuna is not None else self._seconds({})
            return f"{search.minutes:g} minutes" if seconds >= 60 * search.minutes else ""
        return ""

    def _seconds(self, own: Mapping[str, float]) -> float:
        """Return for how long all drivers have searched, given what this one has by now."""
        with reaching(self.address):
            kept = self._storage.get_study_user_attrs(self._storage.get_study_id_from_name(self.name))
        return sum({**{key: float(value) for key, value in kept.items() if key.startswith(BEAT)}, **own}.values())

    def _draw(self, live: Live) -> None:
        """Have a trial's settings suggested; what has been already stays."""
        settings: Settings = {}
        for name in self._space.order:
            when = self._space.factors[name].when
            if all(other in settings and settings[other] in levels for other, levels in when.items()):
                settings[name] = suggest(live, name, self._search.space[name])
        live.set_user_attr(SETTINGS, {name: settings[name] for name in self._search.space if name in settings})

    @property
    def _open(self) -> optuna.Study:
        assert self._optuna is not None, "begin() comes first"
        return self._optuna

    @property
    def _storage(self) -> BaseStorage:
        if self._kept is None:
            self._kept = self.address.connect()
        return self._kept

    def _make(self) -> bool:
        """Make the search in its storage; False if another driver or command has."""
        goals = [goal_of(objective, self._study.spec.metric) for objective in self._search.objectives]
        try:
            self._storage.create_new_study([StudyDirection[goal.upper()] for goal in goals], self.name)
        except DuplicatedStudyError:
            return False
        return True

    def _frozen(self) -> list[FrozenTrial]:
        if self._kept is None and self.address.file is not None and not self.address.file.exists():
            return []
        with reaching(self.address):
            if self._optuna is not None:  # which keeps in memory what has ended
                return self._optuna.get_trials(deepcopy=False)
            try:
                study = self._storage.get_study_id_from_name(self.name)
            except KeyError:
                return []
            return self._storage.get_all_trials(study, deepcopy=False)

    def _id_of(self, number: int) -> int:
        study = self._storage.get_study_id_from_name(self.name)
        return self._storage.get_trial_id_from_study_id_trial_number(study, number)

    def _trial(self, number: int) -> Live:
        """Return a running trial; one that another process has drawn too."""
        if number not in self._live:
            self._open.get_trials(
                deepcopy=False
            )  # Optuna's cache writes no parameter of a trial that it has never read
            self._live[number] = Live(self._open, self._id_of(number))
        return self._live[number]

    def _read(self, number: int) -> Trial:
        return trial_of(self._storage.get_trial(self._id_of(number)))

    def _tell(
        self,
        number: int,
        state: TrialState,
        values: list[float] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        with quiet(), reaching(self.address), suppress(UpdateFinishedTrialError):  # another driver was first
            for key, value in (attributes or {}).items():
                self._storage.set_trial_user_attr(self._id_of(number), key, value)
            self._open.tell(number, values, state=state, skip_if_finished=True)
        self._live.pop(number, None)

    def _params(self, settings: Settings) -> dict[str, Any]:
        return {name: as_choice(value) for name, value in settings.items()}

    def _exhausted(self, trials: Sequence[Trial]) -> bool:
        drawn = {repr(sorted(t.settings.items())) for t in trials if t.settings and t.again is None}
        return len(drawn) >= combinations(self._space, self._search.space)

    def _is_orphan(self, frozen: FrozenTrial) -> bool:
        """Say whether nobody looks after a running trial: its driver is dead here, or elsewhere its beat stands still by this clock."""
        driver = frozen.user_attrs.get(DRIVER)
        if driver is None:  # killed in the moment after it was made, or about to be named
            return frozen.datetime_start is not None and time.time() - frozen.datetime_start.timestamp() > STALE_S
        if driver["token"] == self._me["token"]:
            return False
        if driver["system"] and all(driver[key] == self._me[key] for key in ("host", "system")):
            # The process can be seen, and may be at work for long without a beat.
            return Owner(**{key: driver[key] for key in OWNER}).dead
        beat, now = self._open.user_attrs.get(BEAT + driver["token"]), time.monotonic()
        last, since = self._seen.setdefault(driver["token"], (beat, now))
        if beat != last:
            self._seen[driver["token"]] = (beat, now)
            return False
        return now - since > STALE_S


def _driver() -> dict[str, Any]:
    return {"token": uuid.uuid4().hex, **asdict(Owner.me())}
