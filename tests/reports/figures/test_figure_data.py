"""The data of the figures of arms, contrasts and curves, against values computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from slws_lab.analysis import contrasts, estimates
from slws_lab.reports.figures import data as figure_data
from slws_lab.reports.figures.style import BASELINE, MOST, csv, looks

MANY = "factors: {{train.lr: {levels}}}\ndesigns: [{{grid: [train.lr]}}]\nseeds: 1"
DROP = "factors: {model.drop_path: [0.0, 0.1, 0.2]}\ndesigns: [{grid: [model.drop_path]}]\nseeds: 4"
STEPS = "factors: {model.drop_path: [0.0, 0.1], train.smoothing: [0.0, 0.1]}\ndesigns: [{build_up: [model.drop_path, train.smoothing]}]\nseeds: 3"


def rising(settings: dict, seed: int) -> float:
    return 80 + (1000 * settings["train.lr"] * 7) % 40 / 10


def many(count: int) -> str:
    return MANY.format(levels=[round(0.001 * i, 3) for i in range(1, count + 1)])


def test_accuracy_is_the_estimates_with_their_values(project) -> None:
    table = project(lambda i, seed: "failed" if i == 1 or seed == 0 else "finished").table
    found = figure_data.accuracy(table)
    assert found["arm_id"].unique().tolist() == [arm.id for i, arm in enumerate(table.design.arms) if i != 1]
    first = estimates(table)[0]
    rows = found[found["arm_id"] == first.arm_id]
    assert rows["value"].tolist() == table.values[first.arm_id].dropna().tolist()
    assert rows["seed"].tolist() == [1, 2, 3]
    assert rows[["mean", "low", "high"]].drop_duplicates().to_numpy().tolist() == [[first.mean, first.low, first.high]]


def test_a_single_run_has_no_interval(project) -> None:
    found = figure_data.accuracy(project(lambda i, seed: "finished" if seed == 0 else None).table)
    assert len(found) == 5 and found["low"].isna().all() and found["high"].isna().all()


def test_effects_are_the_pairs_of_each_contrast_at_the_seeds_that_both_finished(plant) -> None:
    def value(settings: dict, seed: int) -> float | str:
        drop = settings["model.drop_path"]
        return "failed" if (drop, seed) == (0.2, 3) else 80.0 + 10 * seed + (seed + 1 if drop == 0.1 else 0.5 * drop)

    table = plant(DROP, value)
    found = figure_data.effects(table)
    one, two = (found[found["arm"] == f"drop_path={drop}"] for drop in (0.1, 0.2))
    assert one["difference"].tolist() == [1.0, 2.0, 3.0, 4.0] and one["seed"].tolist() == [0, 1, 2, 3]
    assert one["delta"].unique().tolist() == [2.5]
    half = (
        3.182446305 * math.sqrt(5 / 3) / 2
    )  # the t quantile of 3 degrees, the spread of 1, 2, 3, 4 over the root of 4
    assert one["low"].iloc[0] == pytest.approx(2.5 - half) and one["high"].iloc[0] == pytest.approx(2.5 + half)
    assert two["seed"].tolist() == [0, 1, 2] and two["difference"].tolist() == pytest.approx([0.1] * 3)
    assert two["low"].isna().all() and set(two["verdict"]) == {"inconclusive"}
    for contrast in contrasts(table):
        rows = found[found["arm_id"] == contrast.arm_id]
        assert rows["delta"].iloc[0] == contrast.delta and rows["verdict"].iloc[0] == contrast.verdict
        assert rows["difference"].mean() == pytest.approx(contrast.delta)


def test_effects_name_the_block_and_the_reference_of_each_step(plant) -> None:
    found = figure_data.effects(plant(STEPS, lambda settings, seed: 80.0 + seed**2))
    rows = found.drop_duplicates("arm_id")
    assert rows["block"].tolist() == [1, 1]
    assert rows["reference"].tolist() == ["step 0: all off", rows["arm"].iloc[0]]


def test_contrasts_without_a_pair_have_no_row(project) -> None:
    assert figure_data.effects(project(lambda i, seed: "finished" if i == 0 else None).table).empty


def test_curves_are_mean_and_range_over_finished_runs(project) -> None:
    table = project(lambda i, seed: "diverged" if (i, seed) == (0, 3) else "finished").table
    data = figure_data.training_curves(table)
    base = table.design.arms[0].id
    for name in ("train/loss", "val/loss", "val/top1"):
        rows = data[(data["arm_id"] == base) & (data["name"] == name)]
        values = [table.record(base, seed).curves[name] for seed in range(3)]
        assert rows["step"].tolist() == [1, 2, 3]
        assert rows["low"].tolist() == [min(v[step] for v in values) for step in (1, 2, 3)]
        assert rows["high"].tolist() == [max(v[step] for v in values) for step in (1, 2, 3)]
        assert rows["mean"].tolist() == pytest.approx([sum(v[step] for v in values) / 3 for step in (1, 2, 3)])
    assert set(data["name"]) == {"train/loss", "val/loss", "val/top1"}
    assert figure_data.panels(table, data) == [["train/loss", "val/loss"], ["val/top1"]]


def test_a_study_about_the_loss_has_one_panel(project) -> None:
    made = project(metric={"name": "val/loss", "goal": "minimize"})  # type: ignore[arg-type]
    assert figure_data.panels(made.table, figure_data.training_curves(made.table)) == [["train/loss", "val/loss"]]


def test_curves_read_back_from_their_file_are_the_same_numbers(project) -> None:
    curves = figure_data.training_curves(project().table)
    again = figure_data.read_curves(csv(curves.assign(arm="a, b")).decode())
    assert again.equals(curves) and again.dtypes.tolist() == curves.dtypes.tolist()


def test_curves_of_very_many_arms_are_those_of_the_baseline_and_the_best(plant) -> None:
    table = plant(many(12), rising)
    kept = figure_data.shown(table, figure_data.FEW)
    assert len(kept) == 7 and kept[0] == table.design.arms[0].id
    assert set(figure_data.training_curves(table)["arm_id"]) == set(kept)


def test_shuffle_rates_of_the_arms_that_shuffle(project) -> None:
    table = project(lambda i, seed: None if i == 4 else "finished").table
    ids = [arm.id for arm in table.design.arms]
    found = figure_data.shuffle_rates(table, figure_data.training_curves(table))
    by_arm = {arm_id: own["rate"].tolist() for arm_id, own in found.groupby("arm_id", sort=False)}
    assert by_arm == {ids[1]: [0.0, 0.25, 0.5], ids[2]: [0.0, 0.05, 0.1], ids[3]: [0.5, 0.5, 0.5]}
    assert set(found["over"]) == {"depth"} and figure_data.shuffles(table)


def test_rates_that_change_over_the_training_have_a_course(whole) -> None:
    table = whole("factors: {shuffle.over_time: [constant, ramp_up]}\ndesigns: [{grid: [shuffle.over_time]}]\nseeds: 2")
    usual, ramp = (arm.id for arm in table.design.arms)
    found = figure_data.shuffle_rates(table, figure_data.training_curves(table))
    course = found[found["over"] == "time"]
    assert set(course["arm_id"]) == {ramp} and course["at"].tolist() == [1, 2, 3, 4, 5, 6]
    assert course["rate"].tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert found[found["arm_id"] == usual]["over"].unique().tolist() == ["depth"]


def test_looks_tell_a_dozen_arms_apart(plant) -> None:
    design = plant(many(13), rising).design
    found = list(looks(design).values())
    assert found[0].color == BASELINE and found[0].name == "baseline"
    assert len({(look.color, look.dash) for look in found}) == len({look.name for look in found}) == 13
    assert len({(look.color, look.marker) for look in found}) == 13


def test_the_few_that_every_figure_shows_are_told_apart_by_colour_alone(plant) -> None:
    table = plant(many(20), rising)
    few = figure_data.shown(table, figure_data.FEW)
    found = looks(table.design, first=few)
    assert len({found[arm_id].color for arm_id in few}) == 7 and {found[arm_id].dash for arm_id in few} == {"-"}


def test_of_very_many_arms_the_baseline_and_the_best_are_shown(plant) -> None:
    table = plant(many(40), rising)
    ids, means = [arm.id for arm in table.design.arms], {e.arm_id: e.mean or 0.0 for e in estimates(table)}
    wanted = figure_data.shown(table, MOST)
    best = sorted(ids[1:], key=lambda i: -means[i])[: MOST - 1]
    assert wanted == [i for i in ids if i == ids[0] or i in best]
    assert len({(look.color, look.dash) for look in looks(table.design, wanted).values()}) == MOST
    assert figure_data.shown(table, 40) == ids


def test_a_second_reference_is_not_black_too(plant) -> None:
    two = STEPS.replace("designs: [", "designs: [{one_at_a_time: [model.drop_path], set: {train.smoothing: 0.1}}, ")
    table = plant(two, lambda settings, seed: 80.0)
    assert sum(arm.is_baseline for arm in table.design.arms) == 2
    assert sum(look.is_baseline for look in looks(table.design).values()) == 1


def test_without_journals_the_curves_are_those_that_were_given(project) -> None:
    table = project().table
    bare = replace(table, records={run: replace(one, curves={}, kept=one.digest) for run, one in table.records.items()})
    assert figure_data.training_curves(bare).empty
    curves = figure_data.training_curves(table)
    assert figure_data.accuracy(bare).equals(figure_data.accuracy(table)) and len(curves)
