"""Dose and response: trend, curve, and the best dose with its interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.isotonic import IsotonicRegression

from slws_lab.analysis import dose_response
from slws_lab.analysis.dose import fieller
from slws_lab.errors import UserError

RATES = [0.1, 0.3, 0.5, 0.7, 0.9]


def body(levels: list = RATES, factor: str = "shuffle.max_rate", more: str = "") -> str:
    fixed = "set: {shuffle.schedule: linear}" if factor.startswith("shuffle") else ""
    return f"{fixed}\nfactors: {{{factor}: {levels}}}\ndesigns: [{{grid: [{factor}]}}]\nseeds: 6\n{more}"


def curve(best: float, bend: float = -20.0, noise: float = 0.1):
    def value(settings: dict, seed: int) -> float:
        (x,) = settings.values()
        return 90 + seed + bend * (x - best) ** 2 + np.random.default_rng([seed, int(1e6 * x)]).normal(0, noise)

    return value


def test_the_best_rate_is_found_with_its_interval(plant_by) -> None:
    found = dose_response(plant_by(body(), curve(0.42)), "shuffle.max_rate")
    assert found.best.dose == pytest.approx(0.42, abs=0.02) and not found.best.at_border
    assert 0.1 < found.best.low < found.best.dose < found.best.high < 0.9
    assert found.curvature.high < 0 and found.doses == tuple(RATES)
    assert "best at 0.4" in repr(found) and "6 seeds" in repr(found)


def test_the_interval_holds_the_doses_where_the_slope_is_not_told_from_zero(plant_by) -> None:
    table = plant_by(body(), curve(0.42, noise=0.4))
    best = dose_response(table, "shuffle.max_rate").best
    bend, slope, _ = np.polyfit(RATES, table.values.to_numpy().T, 2)
    doses = np.linspace(0.1, 0.9, 2001)
    kept = doses[[stats.ttest_1samp(slope + 2 * bend * dose, 0).pvalue >= 0.05 for dose in doses]]
    assert (best.low, best.high) == pytest.approx((kept.min(), kept.max()), abs=1e-3)


def test_fieller_covers_the_ratio_of_means() -> None:
    rng, held = np.random.default_rng(4), 0
    for _ in range(2000):
        factor, offset = rng.multivariate_normal([4.0, -2.0], [[1.0, 0.3], [0.3, 1.0]], 5).T
        ends = fieller(factor, offset, 0.05)
        held += ends is None or ends[0] <= 0.5 <= ends[1]
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


def test_fieller_has_no_two_ends_where_the_factor_may_be_zero() -> None:
    assert fieller(np.array([0.1, -0.2, 0.15]), np.array([1.0, 1.2, 0.9]), 0.05) is None


def test_a_straight_response_is_best_at_the_border(plant_by) -> None:
    found = dose_response(
        plant_by(body(), lambda s, seed: 90 + 3 * s["shuffle.max_rate"] + curve(0.5, 0.0)(s, seed)), "shuffle.max_rate"
    )
    assert (
        found.best.dose == 0.9 and found.best.at_border and found.best.low is None and "not bent" in found.best.reason
    )
    assert found.direction == "rising" and found.p_trend < 0.01


def test_a_vertex_beyond_the_doses_is_at_the_border(plant_by) -> None:
    found = dose_response(plant_by(body(), curve(1.4, noise=0.02)), "shuffle.max_rate").best
    assert (found.dose, found.at_border, found.low) == (0.9, True, None) and "beyond the values tried" in found.reason


def test_a_curve_that_is_worst_inside_is_best_at_an_end(plant_by) -> None:
    found = dose_response(plant_by(body(), curve(0.42, bend=20.0)), "shuffle.max_rate").best
    assert (found.dose, found.at_border) == (0.9, True) and "bends the other way" in found.reason


def test_a_loss_is_best_where_it_is_least(plant_by) -> None:
    loss = "metric: {name: val/loss, goal: minimize}"
    found = dose_response(plant_by(body(more=loss), curve(0.42, bend=20.0)), "shuffle.max_rate").best
    assert found.dose == pytest.approx(0.42, abs=0.02) and found.low is not None


def test_trend_and_isotonic_fit_are_the_libraries(plant_by) -> None:
    table = plant_by(body(), curve(0.2, noise=1.0))
    found = dose_response(table, "shuffle.max_rate")
    values = table.values.to_numpy()
    assert found.direction == "falling"
    assert found.p_trend == pytest.approx(2 * stats.page_trend_test(values[:, ::-1]).pvalue)
    fit = IsotonicRegression(increasing=False).fit_transform(RATES, values.mean(0))
    assert found.isotonic == pytest.approx(tuple(fit))


def test_a_logarithmic_dose_finds_its_best_on_that_scale(plant_by) -> None:
    rates = [0.0001, 0.001, 0.01, 0.1]

    def value(settings: dict, seed: int) -> float:
        return 90 + seed - (np.log10(settings["train.lr"]) + 2.5) ** 2 + np.random.default_rng(seed).normal() * 0.01

    found = dose_response(plant_by(body(rates, "train.lr"), value), "train.lr", log=True)
    assert found.best.dose == pytest.approx(10**-2.5, rel=0.02)


@pytest.mark.parametrize(
    ("levels", "match"), [([0.1, 0.3], "has 2 different numbers"), ([0.0, 0.3, 0.6], "no logarithm")]
)
def test_too_few_doses_and_a_zero_on_a_logarithmic_scale_are_refused(plant_by, levels: list, match: str) -> None:
    with pytest.raises(UserError, match=match):
        dose_response(plant_by(body(levels), curve(0.4)), "shuffle.max_rate", log=True)


def test_an_unknown_factor_is_refused(plant_by) -> None:
    with pytest.raises(UserError, match="no arm of study planted varies"):
        dose_response(plant_by(body(), curve(0.4)), "train.lr")


SCHEDULES = """
factors:
  shuffle.schedule: [none, linear, constant]
  shuffle.max_rate: {levels: [0.2, 0.4], when: {shuffle.schedule: [linear, constant]}}
designs: [{grid: [shuffle.schedule, shuffle.max_rate]}]
seeds: 5
"""
LINEAR = {"shuffle.schedule": "linear"}


def off_or_curved(settings: dict, seed: int) -> float:
    return curve(0.25)({"x": settings.get("shuffle.max_rate", 0.0)}, seed)


def test_an_arm_without_the_factor_counts_as_the_dose_that_is_said(plant_by) -> None:
    table = plant_by(SCHEDULES, off_or_curved)
    found = dose_response(table, "shuffle.max_rate", given=LINEAR, absent=0.0)
    arms = [arm.id for arm in table.design.arms if arm.settings["shuffle.schedule"] != "constant"]
    assert found.doses == (0.0, 0.2, 0.4) and found.means == pytest.approx(tuple(table.values[arms].mean()))
    assert found.best.dose == pytest.approx(0.25, abs=0.02)


def test_an_arm_that_differs_in_another_factor_is_not_that_dose(plant_by) -> None:
    two = SCHEDULES.replace("]}]", "]}, {one_at_a_time: [train.lr]}]").replace(
        "factors:", "factors:\n  train.lr: [0.001, 0.002]"
    )
    table = plant_by(two, lambda s, seed: off_or_curved(s, seed) + 50 * (s["train.lr"] > 0.001))
    found = dose_response(table, "shuffle.max_rate", given=LINEAR, absent=0.0)
    assert found.doses == (0.0, 0.2, 0.4) and max(found.means) < 100


def test_it_is_left_out_unless_that_is_said(plant_by) -> None:
    with pytest.raises(UserError, match="has 2 different numbers"):
        dose_response(plant_by(SCHEDULES, off_or_curved), "shuffle.max_rate", given=LINEAR)


def test_its_seeds_are_those_that_it_finished_too(plant_by) -> None:
    def failing(settings: dict, seed: int) -> float | str:
        return "failed" if settings["shuffle.schedule"] == "none" and seed == 1 else off_or_curved(settings, seed)

    table = plant_by(SCHEDULES, failing)
    assert dose_response(table, "shuffle.max_rate", given=LINEAR, absent=0.0).seeds == (0, 2, 3, 4)


def test_too_few_seeds_of_the_arm_without_the_factor_are_refused(plant_by) -> None:
    def failing(settings: dict, seed: int) -> float | str:
        return "failed" if settings["shuffle.schedule"] == "none" and seed > 1 else off_or_curved(settings, seed)

    with pytest.raises(UserError, match="needs 3 seeds that 'schedule=none' and the other arms finished, not 2"):
        dose_response(plant_by(SCHEDULES, failing), "shuffle.max_rate", given=LINEAR, absent=0.0)


@pytest.mark.parametrize(
    ("schedules", "match"),
    [
        ("[linear, constant]", "0 arms in which 'shuffle.max_rate' is off"),
        ("[none, custom, linear]", "2 arms in which"),
    ],
)
def test_where_it_is_not_one_arm_it_is_refused(plant_by, schedules: str, match: str) -> None:
    rates = "  shuffle.rates: {levels: [[0.1, 0.1, 0.1, 0.1, 0.1, 0.1]], when: {shuffle.schedule: custom}}\ndesigns"
    body = SCHEDULES.replace("[none, linear, constant]", schedules).replace("0.2, 0.4", "0.2, 0.3, 0.4")
    body = (
        body.replace("designs", rates).replace("{shuffle.schedule: [linear, constant]}", "{shuffle.schedule: linear}")
        if "custom" in schedules
        else body
    )
    table = plant_by(body, lambda settings, seed: 90.0 + seed + len(repr(settings)))
    with pytest.raises(UserError, match=match):
        dose_response(table, "shuffle.max_rate", given=LINEAR, absent=0.0)


def test_a_dose_that_is_a_level_too_is_refused(plant_by) -> None:
    with pytest.raises(UserError, match=r"has the level 0.2, so an arm without it is no other dose"):
        dose_response(plant_by(SCHEDULES, off_or_curved), "shuffle.max_rate", given=LINEAR, absent=0.2)


def test_dose_0_has_no_logarithm(plant_by) -> None:
    with pytest.raises(UserError, match="no logarithm"):
        dose_response(plant_by(SCHEDULES, off_or_curved), "shuffle.max_rate", given=LINEAR, absent=0.0, log=True)


@pytest.mark.parametrize("level", [0.1 * i for i in range(8)])
def test_a_parabola_that_is_best_just_at_a_border_but_for_rounding_is_best_there(plant_by, level: float) -> None:
    body = "factors: {train.lr: [0.1, 0.2, 0.3]}\ndesigns: [{one_at_a_time: [train.lr]}]\nseeds: 3"
    values = {0.1: 96.8, 0.2: 92.4, 0.3: 79.2}
    table = plant_by(body, lambda settings, seed: values[settings["train.lr"]] + level + seed * 0.3)
    assert dose_response(table, "train.lr").best.at_border


def test_doses_that_lie_on_no_parabola_give_no_interval_of_the_best(plant_by) -> None:
    body = "factors: {train.lr: [0.1, 0.2, 0.3, 0.4, 0.5]}\ndesigns: [{one_at_a_time: [train.lr]}]\nseeds: 5"
    curve = dict(zip([0.1, 0.2, 0.3, 0.4, 0.5], [90.0, 92.0, 92.5, 92.6, 84.0], strict=True))
    noise = {lr: np.random.default_rng(int(100 * lr)).normal(0, 0.1, 5) for lr in curve}
    found = dose_response(plant_by(body, lambda s, seed: curve[s["train.lr"]] + noise[s["train.lr"]][seed]), "train.lr")
    assert found.best.low is None and found.best.reason == "a parabola does not fit these doses"
