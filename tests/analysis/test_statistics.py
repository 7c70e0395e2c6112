"""The formulas against scipy, statsmodels and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from slws_lab.analysis import statistics

RNG = np.random.default_rng(7)


def enumerated_signflip(deltas: np.ndarray) -> float:
    """Count, over all 2^n flips, the means at least as far from zero as the one seen."""
    flips = np.array(list(itertools.product([1.0, -1.0], repeat=len(deltas))))
    means = np.abs((flips * deltas).mean(axis=1))
    return float((means >= abs(deltas.mean()) * (1 - 1e-9)).mean())


@pytest.mark.parametrize("n", [3, 4, 5, 6, 10])
def test_signflip_is_the_full_enumeration(n: int) -> None:
    deltas = RNG.normal(0.4, 1.0, n)
    assert statistics.signflip_p(deltas) == pytest.approx(enumerated_signflip(deltas), abs=1e-12)


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_signflip_is_smallest_when_all_deltas_agree(n: int) -> None:
    assert statistics.signflip_p(np.arange(1.0, n + 1)) == pytest.approx(statistics.smallest_signflip_p(n), abs=1e-12)


def test_signflip_of_many_pairs_is_repeatable() -> None:
    deltas = RNG.normal(0.2, 1.0, 17)
    exact = stats.permutation_test(
        (deltas,), lambda d, axis: d.mean(axis=axis), permutation_type="samples", n_resamples=2**17, batch=2**14
    ).pvalue
    assert statistics.signflip_p(deltas) == statistics.signflip_p(deltas)
    assert statistics.signflip_p(deltas) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_paired_is_scipys_paired_t(alpha: float) -> None:
    values, reference = RNG.normal(90.0, 1.0, 6), RNG.normal(89.0, 1.0, 6)
    found, expected = statistics.paired(values, reference, alpha), stats.ttest_rel(values, reference)
    interval = expected.confidence_interval(1 - alpha)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-12)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.delta == pytest.approx(np.mean(values - reference))
    assert found.effect == pytest.approx(expected.statistic / np.sqrt(6), rel=1e-9)


def test_equivalence_is_the_worse_of_two_one_sided_t_tests() -> None:
    reference = RNG.normal(90.0, 1.0, 8)
    values = reference + RNG.normal(0.05, 0.1, 8)
    above = stats.ttest_1samp(values - reference, -0.2, alternative="greater").pvalue
    below = stats.ttest_1samp(values - reference, 0.2, alternative="less").pvalue
    found = statistics.paired(values, reference, 0.05, margin=0.2)
    assert found.p_equivalence == pytest.approx(max(above, below), rel=1e-9)
    assert statistics.paired(values, reference, 0.05).p_equivalence is None


def test_t_interval_is_statsmodels() -> None:
    values = RNG.normal(0.0, 1.0, 5)
    assert statistics.t_interval(values, 0.1) == pytest.approx(DescrStatsW(values).tconfint_mean(alpha=0.1), rel=1e-9)


def test_holm_keeps_the_order_given() -> None:
    p = [0.04, 0.01, 0.03]
    assert statistics.holm(p) == pytest.approx([0.06, 0.03, 0.06])
    assert statistics.holm(p) == pytest.approx(list(multipletests(p, method="holm")[1]))
    assert statistics.holm([]) == []


def test_benjamini_hochberg_by_hand_and_as_scipy_has_it() -> None:
    p = [0.01, 0.04, 0.03, 0.5]
    assert statistics.adjust(p, "bh") == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert statistics.adjust(p, "bh") == pytest.approx(list(stats.false_discovery_control(p, method="bh")))


def test_a_hypothesis_without_a_test_is_not_counted() -> None:
    assert statistics.adjust_known([0.01, None, 0.03], "holm") == [0.02, None, 0.03]


def test_an_unknown_correction_is_an_error() -> None:
    with pytest.raises(ValueError, match="bonferroni"):
        statistics.adjust([0.1], "bonferroni")


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_pairs_give_a_difference_at_most(n: int) -> None:
    found = statistics.paired(np.arange(n) + 1.0, np.zeros(n), 0.05)
    assert found.n == n
    assert found.delta == (None if n == 0 else (n + 1) / 2)
    assert found.p is found.low is found.effect is found.p_signflip is None


def test_deltas_that_differ_by_rounding_have_no_spread() -> None:
    reference = np.array([91.3, 12.7, 0.1, 3.9])
    found = statistics.paired(reference + 0.1, reference, 0.05, margin=1.0)
    assert np.ptp((reference + 0.1) - reference) > 0
    assert not found.spread
    assert found.p is None and found.p_equivalence is None
    assert found.delta == pytest.approx(0.1)
