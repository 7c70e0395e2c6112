"""The smallest effect and the seeds for a margin, against the design's figures and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from slws_lab.analysis import delta_spread, equivalence_power, prospects, seeds_for_margin, smallest_effect

NOISE = [0.9, -1.3, 0.4, 1.1]


@pytest.mark.parametrize(
    ("contrasts", "seeds", "effect"),
    [(1, 3, 3.26), (1, 5, 1.68), (1, 10, 1.00), (11, 3, 10.9), (11, 5, 3.2), (11, 10, 1.5)],
)
def test_the_smallest_effect_is_that_of_the_design(contrasts: int, seeds: int, effect: float) -> None:
    found = smallest_effect(seeds, contrasts)
    assert found == pytest.approx(effect, abs=0.005 if contrasts == 1 else 0.05)
    alone = TTestPower().power(found, seeds, 0.05 / contrasts / 2, alternative="larger")
    assert alone == pytest.approx(0.8, abs=1e-4)


def test_there_is_no_verdict_under_three_seeds() -> None:
    assert smallest_effect(2) is None


@pytest.mark.parametrize(("seeds", "margin"), [(3, 3.0), (5, 1.5), (10, 1.0)])
def test_the_power_of_equivalence_is_what_a_simulation_finds(seeds: int, margin: float) -> None:
    deltas = np.random.default_rng(2).standard_normal((100_000, seeds))
    above = stats.ttest_1samp(deltas, -margin, axis=1, alternative="greater").pvalue
    below = stats.ttest_1samp(deltas, margin, axis=1, alternative="less").pvalue
    assert equivalence_power(seeds, margin) == pytest.approx((np.maximum(above, below) < 0.05).mean(), abs=0.005)


@pytest.mark.parametrize(("margin", "contrasts"), [(1.0, 1), (0.5, 1), (1.0, 11)])
def test_the_seeds_for_a_margin_are_the_fewest_that_suffice(margin: float, contrasts: int) -> None:
    seeds = seeds_for_margin(margin, contrasts)
    assert equivalence_power(seeds, margin, contrasts) >= 0.8 > equivalence_power(seeds - 1, margin, contrasts)


def test_a_margin_may_ask_for_three_seeds_or_for_too_many() -> None:
    assert seeds_for_margin(50.0) == 3
    assert seeds_for_margin(0.001) is None


def test_the_spread_is_pooled_over_contrasts(plant) -> None:
    base, one, other = NOISE, [1.0, 0.2, 0.4, 3.0], [2.0, 2.5, None, 1.0]
    deltas = [np.array(one) - base, np.array([1.1, 3.8, -0.1])]
    expected = np.sqrt((3 * deltas[0].var(ddof=1) + 2 * deltas[1].var(ddof=1)) / 5)
    assert delta_spread(plant(base, one, other)) == pytest.approx(expected)
    assert delta_spread(plant(base, [1.0, None, None, None])) is None


def test_prospects_are_in_the_unit_of_the_metric_once_runs_tell_the_spread(plant) -> None:
    margin = "comparisons: {margin: 2.0}"
    before = prospects(plant([None] * 4, [None] * 4, [None] * 4, more=margin))
    assert (before.seeds, before.contrasts, before.spread, before.margin_seeds) == (4, 2, None, None)
    assert before.smallest == smallest_effect(4, 2) and before.smallest_in_unit is None
    table = plant(NOISE, [1.0, 0.2, 0.4, 3.0], [2.0, 2.5, 1.0, 1.0], more=margin)
    after, spread = prospects(table), delta_spread(table)
    assert after.smallest_in_unit == pytest.approx(before.smallest * spread)
    assert after.margin_seeds == seeds_for_margin(2.0 / spread, 2)


def test_one_arm_has_nothing_to_find(plant) -> None:
    assert prospects(plant(NOISE)).smallest is None
