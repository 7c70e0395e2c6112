"""Main effects and two-way interactions of a whole grid, each a contrast of means within every seed, then a t over seeds.

The seed is the block: what all arms of a seed share cancels. Each effect has its own spread over seeds, so none is assumed equal.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from slws_lab.analysis.cells import Cells, Levels, block_levels, cells
from slws_lab.analysis.contrast import sized
from slws_lab.analysis.results import ResultTable
from slws_lab.analysis.statistics import CORRECTIONS, Array, adjust_known, paired_t
from slws_lab.errors import UserError
from slws_lab.spec import level_text
from slws_lab.spec.levels import Settings


@dataclass(frozen=True)
class Effect:
    """A contrast of means of several arms.

    Attributes:
        name: What it is of, in words.
        factors: The factors that it is of: one, or two for an interaction.
        n: Number of seeds.
        delta: Its mean over seeds, in the metric's unit.
        low: Lower end of its t interval alone; None without spread.
        high: Upper end.
        p: Two-sided p of the t test over seeds, not adjusted; None without spread.
        p_adjusted: The same, corrected over all effects asked for together.
        family: How many these are.
        correction: `holm` or `bh`.
    """

    name: str
    factors: tuple[str, ...]
    n: int
    delta: float
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None = None
    family: int = 1
    correction: str = "holm"

    def __repr__(self) -> str:
        found = (
            "no spread"
            if self.p_adjusted is None
            else f"p {self.p_adjusted:.2g}, {CORRECTIONS[self.correction]} over {self.family}"
        )
        return f"{self.name}: {sized(self.delta, self.low, self.high)} ({found}, {self.n} seeds)"


@dataclass(frozen=True, eq=False)
class Sides:
    """What an effect is the difference of: `plus - minus`, each of shape (seeds,)."""

    name: str
    factors: tuple[str, ...]
    plus: Array
    minus: Array


def effects(
    table: ResultTable, levels: Levels | None = None, *, block: int = 0, given: Settings | None = None
) -> tuple[Effect, ...]:
    """Return the main effects of a grid's factors, then the interactions of every two.

    A main effect is a level's mean against that of the factor's first level, over all combinations of the others. An interaction is
    how much such a difference changes from the first level of the other factor to another: a difference of differences.

    Args:
        table: The results.
        levels: Factor -> levels, the reference first; None takes all levels of a grid block.
        block: Number of that block, from 0.
        given: Levels of other factors; one that is not named is at the baseline's.

    Raises:
        UserError: No such grid, or it is not whole at 3 common seeds.
    """
    if levels is None:
        levels, given = _grid_levels(table, block), {**table.study.designs[block].set, **(given or {})}
    grid = cells(table, levels, given, "main effects and interactions")
    rules = table.study.comparisons
    return corrected(tested([*_main(grid), *_interactions(grid)], rules.alpha), rules.correction)


def tested(sides: Sequence[Sides], alpha: float) -> list[Effect]:
    """Return effects over the same seeds, all tested at once, not yet corrected."""
    if not sides:
        return []
    plus, minus = (np.stack(found, axis=1) for found in zip(*((one.plus, one.minus) for one in sides), strict=True))
    return [
        Effect(one.name, one.factors, found.n, float(found.delta or 0.0), found.low, found.high, found.p)
        for one, found in zip(sides, paired_t(plus, minus, alpha), strict=True)
    ]


def effect(name: str, factors: tuple[str, ...], plus: Array, minus: Array, alpha: float) -> Effect:
    """Return the effect `plus - minus`, each one value a seed, not yet corrected."""
    return tested([Sides(name, factors, plus, minus)], alpha)[0]


def corrected(found: Sequence[Effect], correction: str) -> tuple[Effect, ...]:
    """Return effects with their p corrected over all of them."""
    adjusted = adjust_known([one.p for one in found], correction)
    size = sum(p is not None for p in adjusted)
    return tuple(
        replace(one, p_adjusted=p, family=size, correction=correction) for one, p in zip(found, adjusted, strict=True)
    )


def _grid_levels(table: ResultTable, block: int) -> Levels:
    grids = [number for number, one in enumerate(table.study.designs) if one.kind == "grid"]
    if block not in grids:
        raise UserError(f"block {block} of study {table.study.name} is no grid", allowed=" or ".join(f"block {n}" for n in grids),
                        todo="" if grids else "name the factors and their levels")  # fmt: skip
    return block_levels(table, block, table.study.designs[block].content)


def _main(grid: Cells) -> Iterator[Sides]:
    for axis, (factor, levels) in enumerate(grid.levels.items()):
        for i in range(1, len(levels)):
            name = f"{grid.names[axis]} {level_text(levels[i])} - {level_text(levels[0])}"
            yield Sides(name, (factor,), grid.mean({axis: i}), grid.mean({axis: 0}))


def _interactions(grid: Cells) -> Iterator[Sides]:
    axes = list(enumerate(grid.levels.items()))
    for (a, (first, ones)), (b, (second, others)) in itertools.combinations(axes, 2):
        for i, j in itertools.product(range(1, len(ones)), range(1, len(others))):
            names = [
                f"({grid.names[axis]} {level_text(levels[k])} - {level_text(levels[0])})"
                for axis, levels, k in ((a, ones, i), (b, others, j))
            ]
            plus = grid.mean({a: i, b: j}) + grid.mean({a: 0, b: 0})
            minus = grid.mean({a: i, b: 0}) + grid.mean({a: 0, b: j})
            yield Sides(" x ".join(names), (first, second), plus, minus)
