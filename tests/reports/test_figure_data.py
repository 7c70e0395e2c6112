"""What the figures show, before it is drawn."""

from __future__ import annotations

import pytest

from slws_lab.analysis import estimates
from slws_lab.reports.figures import data as figure_data
from slws_lab.reports.figures.draw import BASELINE, MOST, draw, looks


def test_accuracy_is_the_estimates_with_their_values(project) -> None:
    table = project(lambda i, seed: "failed" if i == 1 or seed == 0 else "finished").table
    found = figure_data.accuracy(table)
    assert [p.arm_id for p in found] == [arm.id for i, arm in enumerate(table.design.arms) if i != 1]
    first = estimates(table)[0]
    assert (found[0].mean, found[0].low, found[0].high) == (first.mean, first.low, first.high)
    assert found[0].values == tuple(table.values[first.arm_id].dropna()) and len(found[0].values) == 3


def test_curves_are_mean_and_range_over_finished_runs(project) -> None:
    table = project(lambda i, seed: "diverged" if (i, seed) == (0, 3) else "finished").table
    data = figure_data.training_curves(table)
    base = table.design.arms[0].id
    rows = data[(data["arm_id"] == base) & (data["name"] == "val/top1")]
    values = [table.record(base, seed).curves["val/top1"] for seed in range(3)]
    assert rows["step"].tolist() == [1, 2, 3]
    assert rows["low"].tolist() == [min(v[step] for v in values) for step in (1, 2, 3)]
    assert rows["high"].tolist() == [max(v[step] for v in values) for step in (1, 2, 3)]
    assert rows["mean"].tolist() == pytest.approx([sum(v[step] for v in values) / 3 for step in (1, 2, 3)])
    assert set(data["name"]) == {"train/loss", "val/top1"}


def test_shuffle_rates_of_the_arms_that_shuffle(project) -> None:
    table = project(lambda i, seed: None if i == 4 else "finished").table
    ids = [arm.id for arm in table.design.arms]
    assert figure_data.shuffle_rates(table) == {
        ids[1]: [0.0, 0.25, 0.5], ids[2]: [0.0, 0.05, 0.1], ids[3]: [0.5, 0.5, 0.5],
    }  # fmt: skip


def test_looks_tell_a_dozen_arms_apart(project) -> None:
    levels = [round(0.001 * i, 3) for i in range(1, 14)]
    body = f"factors: {{train.lr: {levels}}}\ndesigns: [{{grid: [train.lr]}}]\nseeds: 1"
    design = project(lambda i, seed: None, body).table.design
    found = list(looks(design).values())
    assert found[0].color == BASELINE and found[0].name == "baseline"
    assert len({(look.color, look.dash) for look in found}) == len({look.name for look in found}) == 13


def test_of_very_many_arms_the_baseline_and_the_best_are_drawn_and_no_two_look_alike(project) -> None:
    levels = [round(0.001 * i, 3) for i in range(1, 41)]
    body = f"factors: {{train.lr: {levels}}}\ndesigns: [{{grid: [train.lr]}}]\nseeds: 1"
    table = project(body=body).table
    ids, means = [arm.id for arm in table.design.arms], {e.arm_id: e.mean or 0.0 for e in estimates(table)}
    wanted = figure_data.shown(table, MOST)
    best = sorted(ids[1:], key=lambda i: -means[i])[: MOST - 1]
    assert wanted == [i for i in ids if i == ids[0] or i in best]
    found = looks(table.design, wanted)
    assert len({(look.color, look.dash) for look in found.values()}) == len(found) == MOST
    assert "of the baseline and the best 23 of 40 arms" in draw(table)[0].title
    assert figure_data.shown(project().table, MOST) == [arm.id for arm in project().table.design.arms]
