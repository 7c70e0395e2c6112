"""A dimension in Optuna's terms: what is suggested for it, and how a value is written in a trial's parameters."""

from __future__ import annotations

import json

from optuna.trial import Trial as Live

from slws_lab.spec.dimension import Dimension
from slws_lab.spec.levels import Factor, Level, Settings
from slws_lab.spec.space import Space

Choice = bool | int | float | str | None


def suggest(live: Live, name: str, dimension: Dimension) -> Level:
    """Have a trial suggest a dimension's value."""
    if dimension.levels is not None:
        levels = {as_choice(level): level for level in levels_of(dimension)}
        return levels[live.suggest_categorical(name, list(levels))]
    low, high = dimension.ends
    if dimension.kind in ("int", "log_int"):
        return live.suggest_int(
            name, int(low), int(high), step=int(dimension.step or 1), log=dimension.kind == "log_int"
        )
    return live.suggest_float(name, low, high, step=dimension.step, log=dimension.kind == "log")


def as_choice(level: Level) -> Choice:
    """Return a level as a parameter holds it: a list as JSON, since Optuna keeps only scalars."""
    return json.dumps(level) if isinstance(level, list) else level


def levels_of(dimension: Dimension) -> tuple[Level, ...]:
    """Return the levels of a dimension that has some, in the order of the file."""
    return Factor(levels=dimension.levels).values


def combinations(space: Space, dimensions: dict[str, Dimension]) -> int:
    """Return how many settings a finite space has, conditions counted."""

    def count(names: list[str], settings: Settings) -> int:
        if not names:
            return 1
        name, *rest = names
        when = space.factors[name].when
        if not all(other in settings and settings[other] in levels for other, levels in when.items()):
            return count(rest, settings)
        dimension = dimensions[name]
        named = any(name in dimensions[other].when for other in rest)
        if dimension.levels is None or not named:
            return _values(dimension) * count(rest, {**settings, name: _any(dimension)})
        return sum(count(rest, {**settings, name: level}) for level in levels_of(dimension))

    return count(list(space.order), {})


def _values(dimension: Dimension) -> int:
    if dimension.levels is not None:
        return len(levels_of(dimension))
    low, high = dimension.ends
    return int((high - low) / (dimension.step or 1) + 1e-9) + 1


def _any(dimension: Dimension) -> Level:
    return levels_of(dimension)[0] if dimension.levels is not None else dimension.ends[0]
