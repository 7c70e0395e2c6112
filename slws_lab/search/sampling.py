"""Optuna's samplers as a search wants them: no draw repeats after a restart, and an uninterrupted search draws what plain Optuna draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from slws_lab.spec.samplers import BruteForce, CmaEs, Gp, NsgaII, Qmc, Sampler, Tpe

QUIET: dict[str, Any] = {
    "warn_independent_sampling": False
}  # what has conditions or levels is drawn alone, as the study language says
MAKERS: dict[type, tuple[Callable[..., BaseSampler], dict[str, Any]]] = {
    Tpe: (TPESampler, {}),
    Gp: (GPSampler, QUIET),
    CmaEs: (CmaEsSampler, QUIET),
    NsgaII: (NSGAIISampler, {}),
}


def make_sampler(spec: Sampler, seed: int) -> BaseSampler:
    """Return the sampler that a search names.

    Args:
        spec: Its name and options.
        seed: The search's seed.
    """
    given = spec.model_dump(exclude={"name"})
    if isinstance(spec, Qmc):  # its sequence hangs on the seed, and the storage holds where in it a search stands
        alone = Reseeded(RandomSampler, seed)
        return QMCSampler(**given, **QUIET, seed=seed, warn_asynchronous_seeding=False, independent_sampler=alone)
    if isinstance(spec, BruteForce):
        return Reseeded(BruteForceSampler, seed)
    make, own = MAKERS.get(type(spec), (RandomSampler, {}))
    return Reseeded(lambda seed: make(**given, **own, seed=seed), seed)


class Reseeded(BaseSampler):
    """A sampler whose draws depend on the search's seed, and after a restart on the number of the first trial drawn then.

    As long as one process draws trial after trial, from the first one on, its draws are those of the plain sampler with that seed. Where
    a trial does not follow the one that this process drew before (a restart, another driver), the generator is made anew from the
    seed and the trial's number, so that no draw repeats.

    Args:
        make: Makes the sampler of a seed.
        seed: The search's seed.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed, self._next = make, seed, 0
        self._inner = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if trial.number != self._next:
            self._inner = self._make(int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0]))
        self._next = trial.number + 1
        self._inner.before_trial(study, trial)

    def forget(self) -> None:
        """Have the next trial begin a generator of its own: this process has looked at one that another drew."""
        self._next = -1

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        if not isinstance(
            self._inner, BruteForceSampler
        ):  # which would only look whether all was tried, as `Book` does
            self._inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._inner.reseed_rng()
