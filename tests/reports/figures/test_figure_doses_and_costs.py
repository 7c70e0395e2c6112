"""The data of dose and response and of cost against accuracy, against values computed by hand."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from slws_lab.analysis import dose_response
from slws_lab.reports.figures.data_costs import cost_accuracy, front
from slws_lab.reports.figures.data_doses import doses, doses_frame

RATES = """
factors:
  shuffle.schedule: [none, linear, constant]
  shuffle.max_rate: {levels: [0.6, 0.2, 0.4], when: {shuffle.schedule: [linear, constant]}}
designs: [{grid: [shuffle.schedule, shuffle.max_rate]}]
seeds: 4
"""
SIZES = "factors: {model.drop_path: [0.0, 0.1, 0.2]}\ndesigns: [{grid: [model.drop_path]}]\nseeds: 2"


def value(settings: dict, seed: int) -> float:
    rate = settings.get("shuffle.max_rate", 0.0)
    noise = random.Random(f"{sorted(settings.items())}-{seed}").gauss(0, 0.05)
    return 90 + seed - 30 * (rate - 0.25) ** 2 + noise


def test_the_doses_of_each_schedule_with_their_seeds_and_fit(plant) -> None:
    table = plant(RATES, value)
    found = doses(table)
    assert [(one.factor, one.others) for one in found] == [
        ("max_rate", "schedule=linear"),
        ("max_rate", "schedule=constant"),
    ]
    linear = found[0]
    fit = dose_response(table, "shuffle.max_rate", given={"shuffle.schedule": "linear"}, absent=0.0)
    means = linear.points.drop_duplicates("dose")
    assert means["dose"].tolist() == list(fit.doses) and means["mean"].tolist() == pytest.approx(list(fit.means))
    none = next(arm.id for arm in table.design.arms if arm.is_baseline)
    assert linear.points[linear.points["dose"] == 0.0]["value"].tolist() == table.values[none].tolist()
    assert linear.best == fit.best and abs(fit.best.dose - 0.25) < 0.02
    x, y = linear.parabola()
    assert (x[0], x[-1]) == (0.0, 0.6) and np.interp(list(fit.doses), x, y) == pytest.approx(
        list(fit.quadratic), abs=1e-3
    )
    assert x[int(np.argmax(y))] == pytest.approx(fit.best.dose, abs=0.01)


def test_points_are_limited_to_the_seeds_that_the_fit_is_of(plant) -> None:
    table = plant(RATES, lambda s, seed: "failed" if (s.get("shuffle.max_rate"), seed) == (0.4, 1) else value(s, seed))
    assert all(sorted(set(one.points["seed"])) == [0, 2, 3] for one in doses(table))


def test_doses_that_cannot_be_fitted_keep_their_points(plant) -> None:
    table = plant(
        RATES, lambda s, seed: "failed" if (s.get("shuffle.max_rate"), seed > 0) == (0.4, True) else value(s, seed)
    )
    one = doses(table)[0]
    assert one.fit is None and one.best is None and one.parabola() == ([], [])
    assert one.points.groupby("dose").size().tolist() == [4, 4, 1, 4]
    assert one.points[one.points["dose"] == 0.4]["low"].isna().all()
    frame = doses_frame([one])
    assert frame[["fitted", "best", "best_low", "best_high"]].isna().all(axis=None) and len(frame) == 13


def test_ratios_are_drawn_as_ratios(plant) -> None:
    body = "factors: {train.lr: [0.001, 0.01, 0.1]}\ndesigns: [{grid: [train.lr]}]\nseeds: 3"
    table = plant(body, lambda s, seed: 80 + seed - (np.log10(s["train.lr"]) + 2 + seed / 50) ** 2)
    (one,) = doses(table)
    assert one.log and one.parabola()[0][40] == pytest.approx(0.01)
    assert one.best is not None and one.best.dose == pytest.approx(0.01, rel=0.1)


def test_without_a_finished_run_there_are_no_doses(plant) -> None:
    assert doses(plant(RATES, lambda s, seed: None)) == []
    assert doses_frame([]).empty


def test_an_arm_is_on_the_front_unless_another_is_as_good_in_both_and_better_in_one() -> None:
    assert front([1, 2, 3, 3, 4], [5, 7, 6, 7, 9]) == [True, True, False, False, True]
    assert front([1, 1], [2, 2]) == [True, True]
    rng = random.Random(0)
    points = [(rng.randint(0, 9), rng.randint(0, 9)) for _ in range(60)]
    found = front([p for p, _ in points], [g for _, g in points])
    best = -1
    for price in sorted({p for p, _ in points}):  # going up in price, a point is on the front only where the gain grows
        top = max(g for p, g in points if p == price)
        for (p, g), on in zip(points, found, strict=True):
            assert on == (g == top > best) or p != price
        best = max(best, top)


def test_costs_are_means_over_an_arms_runs_and_only_those_that_tell_arms_apart(plant) -> None:
    table = plant(SIZES, lambda s, seed: 80 + 10 * s["model.drop_path"] + seed)
    seconds = {0.0: (3600, 7200), 0.1: (1800, 1800), 0.2: (7200, 7200)}
    records = {}
    for (arm_id, seed), run in table.design.run_ids.items():
        drop = table.design.arm(arm_id).settings["model.drop_path"]
        records[run] = replace(table.records[run], result={"seconds": seconds[drop][seed], "params": 1000})
    found = cost_accuracy(replace(table, records=records))
    assert found["cost"].unique().tolist() == ["device_hours"]  # all have the same parameters, nobody knows the speed
    assert found["value"].tolist() == [1.5, 0.5, 2.0] and found["mean"].tolist() == [80.5, 81.5, 82.5]
    assert found["front"].tolist() == [False, True, True]


def test_where_a_small_metric_is_good_the_front_turns(plant) -> None:
    table = plant(SIZES + "\nmetric: {name: val/loss, goal: minimize}", lambda s, seed: 1 + s["model.drop_path"])
    hours = {0.0: 9, 0.1: 5, 0.2: 1}
    records = {
        run: replace(
            table.records[run], result={"seconds": hours[table.design.arm(arm_id).settings["model.drop_path"]]}
        )
        for (arm_id, _), run in table.design.run_ids.items()
    }
    assert cost_accuracy(replace(table, records=records))["front"].tolist() == [True, True, True]
    assert cost_accuracy(table).empty
