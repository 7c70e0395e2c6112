"""Which dimension matters: PED-ANOVA and fANOVA by Optuna, over a study in memory that is rebuilt from the trials."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)

from slws_lab.analysis.searching import Axis, Importance
from slws_lab.search.trial import Trial
from slws_lab.spec.objectives import Goal

ENOUGH = 10  # completed trials
# PED-ANOVA looks at the best tenth. Of few trials that is one or two, which named a dimension that makes nearly all of the spread in 45 to
# 63 of 100 searches of 10 to 20 random trials; the best five named it in 80 to 92. So it looks at no fewer than these.
BEST, TENTH = 5, 0.1
# fANOVA's time grows faster than the trials: 0.8 s of 100, 2.3 s of 200, 5.7 s of 400 and 27 s of 1,000 on a CPU core.
MOST = 200
ON = 2  # completed trials in which a dimension must be on


def importances(
    trials: Sequence[Trial], axes: Sequence[Axis], objective: int, goal: Goal, needed: int = ENOUGH
) -> tuple[Importance, ...]:
    """Return what each dimension is responsible for, by PED-ANOVA and by fANOVA.

    PED-ANOVA asks what the best trials have in common, and knows conditional dimensions. fANOVA asks what spreads the values of all (of
    very many, of an even choice by number), and knows only dimensions that every completed trial has. Pruned trials have no value and
    count in neither.

    Args:
        trials: All trials.
        axes: The dimensions of the space.
        objective: Number of the objective.
        goal: Whether it is made large or small.
        needed: Completed trials under which nothing is said.

    Source: Watanabe et al., PED-ANOVA, IJCAI 2023; Hutter et al., fANOVA, ICML 2014.
    """
    done = [t for t in trials if t.state == "complete" and math.isfinite(t.values[objective])]
    reason = _too_little([t.values[objective] for t in done], axes, needed)
    if reason:
        return tuple(Importance(method, {}, {}, len(done), reason) for method in ("PED-ANOVA", "fANOVA"))
    study, chosen = _rebuilt(done, axes, objective, goal), done[:: -(-len(done) // MOST)]
    thinned = study if chosen == done else _rebuilt(chosen, axes, objective, goal)
    seldom = {axis.name: _seldom(axis, done) for axis in axes if _seldom(axis, done)}
    off = {axis.name: _unusable(axis, chosen) for axis in axes if _unusable(axis, chosen)}
    share = max(TENTH, BEST / len(done))
    local, spread = PedAnovaImportanceEvaluator(target_quantile=share), FanovaImportanceEvaluator(seed=0)
    common = _shares("PED-ANOVA", study, local, [axis.name for axis in axes if axis.name not in seldom], seldom)
    return (
        replace(common, best=math.ceil(share * len(done))),
        _shares("fANOVA", thinned, spread, [axis.name for axis in axes if axis.name not in off], off),
    )


def _too_little(values: Sequence[float], axes: Sequence[Axis], needed: int) -> str:
    if len(axes) < 2:
        return "the space has one dimension, so there is nothing to weigh it against"
    if len(values) < needed:
        return f"{needed} completed trials are needed, not {len(values)}"
    return "" if len(set(values)) > 1 else "all completed trials have the same value"


def _seldom(axis: Axis, done: Sequence[Trial]) -> str:
    on = sum(axis.name in t.settings for t in done)
    return "" if on >= ON else f"on in {on} of {len(done)} completed trials"


def _unusable(axis: Axis, done: Sequence[Trial]) -> str:
    """Say why fANOVA cannot take a dimension; nothing where it can."""
    if not all(axis.name in t.settings for t in done):
        return "off in some trials, which fANOVA cannot take"
    return "" if len({axis.number(t.settings[axis.name]) for t in done}) > 1 else "the same in all completed trials"


def _shares(
    method: str,
    study: optuna.Study,
    evaluator: BaseImportanceEvaluator,
    names: list[str],
    left_out: Mapping[str, str],
) -> Importance:
    """Evaluate, the largest share first; equal ones in the order of the space."""
    count = len(study.get_trials(deepcopy=False))
    if len(names) < 2:
        return Importance(method, {}, left_out, count, "fewer than two dimensions vary in enough trials")
    with warnings.catch_warnings():  # small regimes, which `left_out` names where they matter
        warnings.simplefilter("ignore")
        found = get_param_importances(study, evaluator=evaluator, params=names)
    if len(set(found.values())) == 1:  # Optuna's word for "nothing seen"
        return Importance(method, {}, left_out, count, "the values tell the dimensions not apart")
    ordered = sorted(found, key=lambda name: (-found[name], names.index(name)))
    return Importance(method, {name: float(found[name]) for name in ordered}, left_out, count)


def _rebuilt(done: Sequence[Trial], axes: Sequence[Axis], objective: int, goal: Goal) -> optuna.Study:
    """Return a study in memory of one objective; levels are held by their number."""
    distributions = {axis.name: _distribution(axis) for axis in axes}
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction=goal)
    finally:
        optuna.logging.set_verbosity(before)
    for trial in done:
        params = {axis.name: _param(axis, trial) for axis in axes if axis.name in trial.settings}
        on = {name: distributions[name] for name in params}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=on, value=trial.values[objective]))
    return study


def _param(axis: Axis, trial: Trial) -> float | int:
    number = axis.number(trial.settings[axis.name])
    return int(number) if axis.levels or axis.whole else number


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.levels:
        return CategoricalDistribution(range(len(axis.levels)))
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)
