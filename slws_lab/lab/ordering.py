"""In which order an ablation goes from a search's baseline to what it found: what mattered most in the search comes first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from slws_lab.search.trial import Trial
from slws_lab.spec import Study
from slws_lab.spec.differences import differences
from slws_lab.spec.dimension import Dimension
from slws_lab.spec.levels import Level
from slws_lab.spec.objectives import goal_of


def steps_in_order(study: Study, trials: Sequence[Trial], trial: Trial) -> tuple[list[str], str]:
    """Return the dimensions as a path from the baseline to a trial takes them up, and what comes first in words.

    By the search's own data: what PED-ANOVA says matters most, with what moves along by its `when`; where it says nothing, what the
    completed trials gained on the found side of each dimension, over those on the default's.

    Args:
        study: A study with `search:`, as loaded.
        trials: All its trials.
        trial: Where the path leads.
    """
    from slws_lab.search.findings import axes_of
    from slws_lab.search.importance import importances

    search = study.spec.search
    assert search is not None
    found, goal = differences(study, trial.settings), goal_of(search.objectives[0], study.spec.metric)
    shares = importances(trials, axes_of(search), 0, goal)[0].shares
    gains = {
        name: gain(trials, name, search.space[name], (found.default[name], found.found[name])) for name in found.steps
    }
    sign = 1 if goal == "maximize" else -1
    moved = {
        name: [name, *(other for other, factor in found.factors.items() if name in factor.get("when", {}))]
        for name in found.steps
    }
    weight = {name: math.fsum(shares.get(one, 0.0) for one in names) for name, names in moved.items()}
    order = sorted(found.steps, key=lambda name: (-weight[name], -sign * gains[name]))
    return order, "what matters most in the search by PED-ANOVA" if shares else "what gained most in the search"


def gain(trials: Sequence[Trial], name: str, dimension: Dimension, ends: tuple[Level, Level]) -> float:
    """Return by how much the completed trials on the found side of a dimension exceed those on the default's; 0 where nothing tells.

    Args:
        trials: All trials.
        name: The dimension's name.
        dimension: The dimension.
        ends: The default's value of it, and the found one.
    """
    near: tuple[list[float], list[float]] = ([], [])
    for trial in trials:
        if trial.state == "complete" and name in trial.settings:
            side = _side(trial.settings[name], dimension, ends)
            if side is not None:
                near[side].append(trial.values[0])
    default, found = near
    return math.fsum(found) / len(found) - math.fsum(default) / len(default) if default and found else 0.0


def _side(value: Level, dimension: Dimension, ends: tuple[Level, Level]) -> int | None:
    """Return 0 if a value is nearer to the default's, 1 if to the found one, None if to neither; levels are near themselves only."""
    if dimension.levels is not None or not all(isinstance(end, int | float) for end in ends):
        return ends.index(value) if value in ends else None
    numbers = [float(number) for number in (value, *ends)]  # type: ignore[arg-type]
    if dimension.kind.startswith("log") and min(numbers) > 0:
        numbers = [math.log(number) for number in numbers]
    away = [abs(numbers[0] - end) for end in numbers[1:]]
    return None if away[0] == away[1] else away.index(min(away))
