"""Shapley attribution: what each on/off component contributes, averaged over all orders in which they can be switched on.

Exact, from all 2^k arms, within each seed; then a t over seeds. The contributions sum to the total effect, all on against all off.

Source: L. S. Shapley, A value for n-person games, 1953.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import factorial

import numpy as np

from slws_lab.analysis.cells import Cells, cells
from slws_lab.analysis.effects import Effect, corrected, effect
from slws_lab.analysis.results import ResultTable
from slws_lab.analysis.statistics import Array
from slws_lab.errors import UserError
from slws_lab.spec.levels import Level, Settings

MAX_COMPONENTS = 6


def shapley(
    table: ResultTable, components: Mapping[str, tuple[Level, Level]], given: Settings | None = None
) -> tuple[Effect, ...]:
    """Return each component's contribution, and the total effect last; corrected over the components, the total on its own.

    Args:
        table: The results.
        components: Factor -> its level that is off, and the one that is on.
        given: Levels of other factors; one that is not named is at the baseline's.

    Raises:
        UserError: More than 6 components, or not all 2^k arms at 3 common seeds; they are named.
    """
    if not 1 <= len(components) <= MAX_COMPONENTS:
        raise UserError(f"{len(components)} components would need {2 ** len(components):,} arms",
                        allowed=f"1 to {MAX_COMPONENTS} components")  # fmt: skip
    grid = cells(table, components, given, "exact Shapley attribution")
    rules = table.study.comparisons
    found = [
        effect(name, (factor,), *_sides(grid, axis), rules.alpha)
        for axis, (name, factor) in enumerate(zip(grid.names, components, strict=True))
    ]
    axes = range(len(components))
    total = effect(
        "all on - all off",
        tuple(components),
        grid.mean(dict.fromkeys(axes, 1)),
        grid.mean(dict.fromkeys(axes, 0)),
        rules.alpha,
    )
    return (*corrected(found, rules.correction), *corrected([total], rules.correction))


def _sides(grid: Cells, axis: int) -> tuple[Array, Array]:
    """Return each seed's mean with the component on, and with it off, weighted by the orders in which it comes after the others."""
    k, cell = len(grid.levels), np.moveaxis(grid.values, 0, -1)
    sides = np.zeros((2, len(grid.seeds)))
    for others in product((0, 1), repeat=k - 1):
        before = sum(others)
        weight = factorial(before) * factorial(k - 1 - before) / factorial(k)
        for on in (0, 1):
            sides[on] += weight * cell[(*others[:axis], on, *others[axis:])]
    return sides[1], sides[0]
