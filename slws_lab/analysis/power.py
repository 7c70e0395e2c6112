"""Power: the smallest effect that so many seeds detect, and how many seeds a margin needs. In standard deviations of the paired deltas.

A family of several contrasts is planned by Holm's first step: each at alpha over their number, which the first one found must reach.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from slws_lab.analysis.boundaries import last_level
from slws_lab.analysis.families import families, pairs
from slws_lab.analysis.results import ResultTable
from slws_lab.analysis.statistics import MIN_PAIRS, has_spread

POWER = 0.8
MAX_SEEDS = 1000


def smallest_effect(seeds: int, contrasts: int = 1, alpha: float = 0.05, power: float = POWER) -> float | None:
    """Return the smallest mean difference that the paired t test finds, in standard deviations of the deltas.

    Args:
        seeds: Number of pairs.
        contrasts: How many are corrected together.
        alpha: The family's level.
        power: The chance of finding it.

    Returns:
        The effect; None under 3 pairs, where no verdict is given.
    """
    from scipy.special import nctdtrinc, stdtrit

    if seeds < MIN_PAIRS:
        return None
    # One-sided at half the level: the chance of a finding of the wrong sign is nil at this power.
    critical = -stdtrit(seeds - 1, alpha / contrasts / 2)
    return float(nctdtrinc(seeds - 1, 1 - power, critical) / np.sqrt(seeds))


def equivalence_power(seeds: int, margin: float, contrasts: int = 1, alpha: float = 0.05) -> float:
    """Return the chance that both one-sided paired t tests pass where there is no difference.

    Args:
        seeds: Number of pairs, at least 2.
        margin: The margin, in standard deviations of the deltas.
        contrasts: How many are corrected together.
        alpha: The family's level.
    """
    from scipy.stats import chi, norm, t

    df, reach = seeds - 1, np.sqrt(seeds) * margin
    critical = t.isf(alpha / contrasts, df)
    # Given the estimated sd (s times the true one) both pass if the mean lies within margin - critical * s / root n of zero.
    spread = chi(df, scale=1 / np.sqrt(df))
    return float(spread.expect(lambda s: 2 * norm.cdf(reach - critical * s) - 1, lb=0, ub=reach / critical))


def seeds_for_margin(margin: float, contrasts: int = 1, alpha: float = 0.05, power: float = POWER) -> int | None:
    """Return how many seeds show equivalence within a margin, where there is no difference.

    Args:
        margin: The margin, in standard deviations of the deltas.
        contrasts: How many are corrected together.
        alpha: The family's level.
        power: The chance of showing it.

    Returns:
        Number of seeds, at least 3; None if 1000 do not suffice.
    """
    numbers = range(MIN_PAIRS, MAX_SEEDS + 1)
    found = bisect_left(numbers, power, key=lambda seeds: equivalence_power(seeds, margin, contrasts, alpha))
    return numbers[found] if found < len(numbers) else None


@dataclass(frozen=True)
class Reach:
    """What contrasts with so many planned pairs can find.

    Attributes:
        seeds: The pairs of each: the seeds that both its arms are asked for, or may be at most. Of a block that is a family of its own
            the fewest that one of its contrasts has.
        contrasts: How many are corrected together; of the largest such block, where each is a family.
        smallest: The smallest effect found with a chance of 80 % at Holm's first step, in sd of the deltas; of seeds as needed, found
            so at the last look. None under 3 seeds.
    """

    seeds: int
    contrasts: int
    smallest: float | None


@dataclass(frozen=True)
class Prospects(Reach):
    """What a study can find with its seeds, before any is spent: the contrasts of the largest family, those with most pairs there.

    Attributes:
        spread: The sd of the deltas, in the metric's unit; None as long as no runs tell.
        margin_seeds: Seeds that the margin needs; None without a margin or a spread, or where 1000 do not suffice.
        others: The same of contrasts with more or fewer planned pairs, where blocks ask for different numbers of seeds.
    """

    spread: float | None
    margin_seeds: int | None
    others: tuple[Reach, ...] = ()

    @property
    def smallest_in_unit(self) -> float | None:
        """The smallest effect in the metric's unit; None as long as no runs tell the spread."""
        return None if self.smallest is None or self.spread is None else self.smallest * self.spread


def prospects(table: ResultTable) -> Prospects:
    """Return what a study can find, with the spread of the deltas that its runs have shown so far."""
    rules, spread = table.study.comparisons, delta_spread(table)
    first, *others = _reaches(table) or [Reach(len(table.design.seeds), 0, None)]
    needed = None
    if first.contrasts and rules.margin is not None and spread is not None:
        needed = seeds_for_margin(rules.margin / spread, first.contrasts, rules.alpha)
    return Prospects(first.seeds, first.contrasts, first.smallest, spread, needed, tuple(others))


def _reaches(table: ResultTable) -> list[Reach]:
    """Return what contrasts of each number of planned pairs can find, those of the largest family first, then those with most pairs."""
    design, rule, largest = table.design, table.study.comparisons.family, dict[int, int]()
    for family in families(design, rule):
        planned = {len(design.seeds_of(h.arm_id, h.reference)) for h in family}
        for seeds in {min(planned)} if rule == "block" else planned:
            largest[seeds] = max(largest.get(seeds, 0), len(family))
    order = sorted(largest, key=lambda seeds: (-largest[seeds], -seeds))
    return [Reach(seeds, largest[seeds], _smallest(table, seeds, largest[seeds])) for seeds in order]


def _smallest(table: ResultTable, seeds: int, contrasts: int) -> float | None:
    alpha, first = table.study.comparisons.alpha, table.design.first_seeds
    if first is None:
        return smallest_effect(seeds, contrasts, alpha)
    # Found at the last look alone: what earlier looks find comes on top.
    return smallest_effect(seeds, 1, last_level(alpha / contrasts, len(first), seeds))


def delta_spread(table: ResultTable) -> float | None:
    """Return the standard deviation of a contrast's deltas, pooled over the contrasts with two pairs or more.

    Returns:
        In the metric's unit; None before any contrast has two pairs that differ.
    """
    if not any(record.status == "finished" for record in table.records.values()):
        return None  # and pandas, which takes most of a fresh plan's time, is not imported
    squares, freedom = 0.0, 0
    for hypothesis in (h for family in families(table.design, "all") for h in family):
        _, arm, reference = pairs(table, hypothesis, table.design.seeds)
        if len(arm) >= 2 and has_spread(arm, reference):
            squares += float(((arm - reference) - (arm - reference).mean()) @ (arm - reference))
            freedom += len(arm) - 1
    return float(np.sqrt(squares / freedom)) if freedom else None
