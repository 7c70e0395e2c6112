"""The result table: what is averaged, what records.csv holds."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import pandas as pd
import pytest

from slws_lab.analysis import estimates, varied
from slws_lab.tracking import MEASUREMENTS


def test_only_finished_runs_have_a_value(plant) -> None:
    table = plant([90.0, "failed", "diverged", None], [91.0, math.nan, math.inf, 92.0])
    one, other = table.design.arms
    assert table.values[one.id].dropna().to_dict() == {0: 90.0}
    assert table.values[other.id].dropna().to_dict() == {0: 91.0, 3: 92.0}


def test_best_epoch_follows_the_goal(plant) -> None:
    highest = plant([0.1, 0.9], more="metric: {name: val/top1, at: best}")
    assert highest.values.iloc[:, 0].tolist() == [0.5, 0.9]
    lowest = plant([0.1, 0.9], more="metric: {name: val/loss, goal: minimize, at: best}")
    assert lowest.values.iloc[:, 0].tolist() == [0.1, 0.5]


def test_estimates_leave_out_what_did_not_finish(plant) -> None:
    first, second, third = estimates(plant([1.0, 2.0, 6.0], ["failed", "diverged", 4.0], [None, "failed", "failed"]))
    assert (first.n, first.mean, first.sd) == (3, 3.0, pytest.approx(math.sqrt(7)))
    assert (second.n, second.mean, second.sd, second.low) == (1, 4.0, None, None)
    assert (second.failed, second.diverged) == (1, 1)
    assert (third.n, third.mean, third.failed) == (0, None, 2)


def test_csv_is_in_design_order_and_ends_with_the_measurements(plant) -> None:
    table = plant([90.1, 90.2], [91.1, "failed"])
    read = pd.read_csv(io.StringIO(table.to_csv()))
    assert list(read.columns[-len(MEASUREMENTS) :]) == list(MEASUREMENTS)
    assert list(read.columns[:5]) == ["arm", "arm_id", "role", "train.lr", "seed"]
    assert read["arm_id"].tolist() == [arm.id for arm in table.design.arms for _ in range(2)]
    assert read["role"].tolist() == ["baseline"] * 2 + ["variant"] * 2
    assert read["status"].tolist() == ["finished", "finished", "finished", "failed"]
    assert read["cause"].tolist()[-1] == "planted"
    assert math.isnan(read["value"].tolist()[-1])


def test_csv_floats_read_back_the_same(plant) -> None:
    values = [0.1 + 0.2, 1 / 3, 94.76124098802758, 1e-300]
    table = plant(values)
    assert [float(row["value"]) for row in csv.DictReader(io.StringIO(table.to_csv()))] == values


def test_a_factor_that_is_off_is_an_empty_cell(plant) -> None:
    table = plant([1.0], [2.0])
    base, other = table.design.arms
    off = replace(table.design, arms=(base, replace(other, settings={"train.epochs": 3})))
    assert varied(off) == ["train.lr", "train.epochs"]
    rows = list(csv.DictReader(io.StringIO(replace(table, design=off).to_csv())))
    assert [(row["train.lr"], row["train.epochs"]) for row in rows] == [("0.001", ""), ("", "3")]


def test_curves_hold_every_point_with_its_run(plant) -> None:
    table = plant([90.0, None], [91.0, "diverged"])
    curves = table.curves()
    one, other = (arm.id for arm in table.design.arms)
    assert list(curves.itertuples(index=False, name=None))[:3] == [
        (one, 0, 1, "val/top1", 0.5), (one, 0, 2, "val/top1", 90.0), (other, 0, 1, "val/top1", 0.5),
    ]  # fmt: skip
    assert len(curves) == 6 and math.isnan(curves["value"].iloc[-1])


def test_nothing_has_begun(plant) -> None:
    table = plant([None, None], [None, None])
    assert len(table.frame()) == 4
    assert table.curves().empty
    assert [e.n for e in estimates(table)] == [0, 0]
