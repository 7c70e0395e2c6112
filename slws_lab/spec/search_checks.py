"""Checks of a search before anything starts: its space within the recipe's fields, its objectives within what runs report."""

from __future__ import annotations

import itertools

from slws_lab.errors import UserError, nearest
from slws_lab.spec import checks, handoff, trials
from slws_lab.spec.expand import check_recipe
from slws_lab.spec.levels import Settings
from slws_lab.spec.load import Study
from slws_lab.spec.metric import Metric
from slws_lab.spec.objectives import OF_LOSS, PRESETS, Score
from slws_lab.spec.recipe import Recipe
from slws_lab.spec.samplers import Wilcoxon
from slws_lab.spec.stages import resolve


def check_search(study: Study) -> list[Settings]:
    """Check all that a search names, and return the settings in which each level and each end of a range occurs, the baseline first.

    Raises:
        UserError: With the place of the mistake.
    """
    search = study.spec.search
    assert search is not None
    ordinary = trials.with_trials(study, [])
    space = trials.space_of(ordinary)
    for name in study.spec.baseline:
        if name not in search.space:
            raise UserError(f"'{name}' is no dimension of the search", where=study.source.where(("baseline", name), of_key=True),
                            allowed=", ".join(search.space), todo=nearest(name, search.space) or "write it under `set:`")  # fmt: skip
    baseline = check_recipe(ordinary, space.baseline)
    for i, objective in enumerate(search.objectives):
        where = study.source.where(("search", "objectives", i))
        if study.command is not None and not isinstance(objective, Score):
            raise UserError(f"objective {objective.name}: of a command only its metrics are known", where=where,
                            allowed="metric")  # fmt: skip
        if isinstance(objective, PRESETS) and (study.spec.metric.goal == "minimize") != isinstance(objective, OF_LOSS):
            wants = "a loss" if isinstance(objective, OF_LOSS) else "an accuracy"
            raise UserError(f"objective {objective.name} is made of {wants}, and the study's metric is {study.spec.metric.name}",
                            where=where, todo="choose another `metric:`, or another form")  # fmt: skip
        if isinstance(objective, Score) and objective.of is not None:
            _reported(study, objective.of, i, baseline if isinstance(baseline, Recipe) else None)
    if search.constraints and study.command is not None:
        raise UserError("constraints: of a command nobody knows what it costs", where=study.source.where(("search", "constraints")),
                        todo="leave them out")  # fmt: skip
    if isinstance(search.pruner, Wilcoxon):
        _enough_seeds(study, search.pruner)
    corners = trials.corners(study)
    for settings in corners:
        check_recipe(ordinary, settings)
    trials.enqueued(study)
    if search.confirm:  # a name or seeds that leave no room for it, before anything is trained
        handoff.confirmation(study, [])
    return [space.baseline, *(one for one in corners if one != space.baseline)]


def _enough_seeds(study: Study, pruner: Wilcoxon) -> None:
    """Check that the signed-rank test can reach the pruner's p-value before a trial's last seed: of n seeds it is at least 2^-n."""
    needed = 1 + next(n for n in itertools.count(max(2, pruner.n_startup_steps)) if 0.5**n < pruner.p_threshold)
    if (given := len(study.spec.all_seeds)) < needed:
        raise UserError(f"pruner wilcoxon never ends a trial of {given} seed{'s' if given > 1 else ''}",
                        where=study.source.where(("search", "pruner")), allowed=f"at least {needed} seeds with these options",
                        todo="give more `seeds:`, a larger p_threshold, or a pruner that looks at epochs")  # fmt: skip


def _reported(study: Study, metric: Metric, number: int, recipe: Recipe | None) -> None:
    """Check that runs report a metric."""
    names = checks.TRAINING_METRICS if study.command is None else tuple(study.command.metrics.names)
    given = metric.name if study.command is None else metric.key
    where = study.source.where(("search", "objectives", number, "of", "name"))
    if given not in names:
        raise UserError(f"no run reports {given!r}", where=where, allowed=", ".join(names), todo=nearest(given, names))
    if metric.weights == "ema" and recipe is not None and resolve(recipe)[-1].train.ema_decay is None:
        raise UserError("the objective is of the moving average of the weights, and there is none", where=where,
                        todo="set train.ema_decay, or weights: raw")  # fmt: skip
