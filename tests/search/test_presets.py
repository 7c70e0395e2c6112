"""Objectives of papers against numbers worked out by hand, and the time to a value."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from slws_lab.search.presets import mnasnet, proxyless_product, proxyless_reward, proxyless_sum, time_to

NAN, INF = math.nan, math.inf


def test_mnasnets_soft_reward_trades_twice_the_latency_for_a_twentieth_of_accuracy() -> None:
    assert mnasnet(80.0, 50.0, 50.0) == 80.0
    assert mnasnet(80.0, 100.0, 50.0) == pytest.approx(80.0 * 0.952638, rel=1e-6)  # 2^-0.07 = exp(-0.07 x 0.693147)
    assert mnasnet(80.0, 25.0, 50.0) == pytest.approx(80.0 * 1.049717, rel=1e-6)


def test_mnasnets_hard_reward_is_accuracy_up_to_the_target_and_falls_in_proportion_above() -> None:
    found = [mnasnet(0.5, latency, 80.0, hard=True) for latency in (40.0, 80.0, 160.0, 320.0)]
    assert found == pytest.approx([0.5, 0.5, 0.25, 0.125])


def test_the_product_of_proxylessnas_weighs_logarithms() -> None:
    assert proxyless_product(2.0, 10.0, 10.0) == 2.0
    # log 100 / log 10 = 2, and 2^0.6 = 1.515717
    assert proxyless_product(2.0, 100.0, 10.0) == pytest.approx(3.031433, rel=1e-6)
    assert proxyless_product(2.0, 100.0, 10.0, alpha=0.5, beta=1.0) == pytest.approx(2.0)


def test_the_sum_of_proxylessnas_adds_a_fifth_of_the_relative_excess() -> None:
    assert proxyless_sum(2.0, 10.0, 10.0) == 2.0
    assert proxyless_sum(2.0, 15.0, 10.0) == pytest.approx(2.1)
    assert proxyless_sum(2.0, 5.0, 10.0, weight=1.0) == pytest.approx(1.5)
    assert proxyless_sum(2.0, 0.5, 0.4) == pytest.approx(2.05)  # below a millisecond, where the product is not defined


def test_the_reward_of_proxylessnas_is_a_tenth_power() -> None:
    assert proxyless_reward(75.0, 40.0, 40.0) == 75.0
    assert proxyless_reward(75.0, 80.0, 40.0) == pytest.approx(75.0 * 0.933033, rel=1e-6)  # 2^-0.1
    assert proxyless_reward(75.0, 80.0, 40.0, exponent=1.0) == pytest.approx(37.5)


@pytest.mark.parametrize(
    ("preset", "given", "said"),
    [
        (mnasnet, (-1.0, 5.0, 5.0), "accuracy"),
        (mnasnet, (NAN, 5.0, 5.0), "accuracy"),
        (mnasnet, (50.0, 0.0, 5.0), "latency_ms"),
        (mnasnet, (50.0, 5.0, 0.0), "target_ms"),
        (proxyless_product, (1.0, 1.0, 5.0), "latency_ms must be a number of milliseconds above 1"),
        (proxyless_product, (1.0, 5.0, 0.9), "reference_ms must be a number of milliseconds above 1"),
        (proxyless_product, (INF, 5.0, 5.0), "loss"),
        (proxyless_sum, (1.0, INF, 5.0), "latency_ms"),
        (proxyless_sum, (1.0, 5.0, -5.0), "reference_ms"),
        (proxyless_reward, (50.0, NAN, 5.0), "latency_ms"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(
    preset: Callable[..., float], given: tuple[float, ...], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        preset(*given)


def test_the_time_to_a_value_is_that_at_the_end_of_the_first_epoch_that_reaches_it() -> None:
    top1, seconds = {3: 92.0, 1: 60.0, 2: 90.0, 4: 89.0}, {1: 10.0, 2: 21.0, 3: 30.0, 4: 41.0}
    assert time_to(top1, seconds, 90.0, "maximize") == 21.0
    assert time_to(top1, seconds, 90.5, "maximize") == 30.0
    assert time_to({1: 2.0, 2: NAN, 3: 0.5}, seconds, 1.0, "minimize") == 30.0


def test_a_value_that_is_never_reached_has_no_time_and_one_that_nobody_timed_is_an_error() -> None:
    assert time_to({1: 60.0}, {1: 10.0}, 90.0, "maximize") is None
    assert time_to({}, {}, 90.0, "maximize") is None
    with pytest.raises(ValueError, match="epoch 2"):
        time_to({1: 60.0, 2: 95.0}, {1: 10.0}, 90.0, "maximize")
