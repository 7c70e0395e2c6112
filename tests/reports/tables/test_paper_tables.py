"""The tables that a paper would print, from designs alone."""

from __future__ import annotations

import pytest

WOBBLE = [0.0, 0.1, -0.1]
ON_OFF = """
factors:
  train.smoothing: [0.0, 0.1]
  train.clip_grad: [null, 3.0]
  model.drop_path: [0.0, 0.1, 0.2]
comparisons: {margin: 0.5}
seeds: 3
"""


def gains(settings, seed) -> float:
    """1 for smoothing, 2 for clipping, 4 for drop path, all paired with a little noise."""
    total = (
        (settings["train.smoothing"] > 0)
        + 2 * (settings["train.clip_grad"] is not None)
        + 4 * (settings["model.drop_path"] > 0)
    )
    return 80 + seed + total + WOBBLE[(seed + round(total)) % 3]


def headers(view) -> list[str]:
    return [column.name for column in view.columns]


def test_leave_one_out_has_a_check_mark_for_each_component_and_deltas_to_the_whole(planted, rows) -> None:
    view = planted(
        ON_OFF + "designs: [{leave_one_out: [train.smoothing, train.clip_grad, model.drop_path]}]", gains
    ).view("ablation")
    assert headers(view) == ["smoothing", "clip_grad", "drop_path", "val/top1 (%)", "Δ [95 % interval] (points)"]
    assert [[*row[:3], row[4][:5]] for row in rows(view)] == [
        ["✓", "✓", "0.1", "–"], ["", "✓", "0.1", "−1.00"], ["✓", "", "0.1", "−2.00"], ["✓", "✓", "0.0", "−4.00"],
    ]  # fmt: skip
    assert (
        view.notes[0] == "✓: smoothing 0.1 (else 0.0); clip_grad 3.0 (else null)."
    )  # drop_path has three levels, so they are named
    assert any(note.startswith("Δ: mean difference to all on (") for note in view.notes)
    assert view.columns[3].better == "up" and not any(column.merges for column in view.columns)


def test_build_up_compares_each_step_with_the_row_above(planted, rows) -> None:
    view = planted(ON_OFF + "designs: [{build_up: [train.clip_grad, model.drop_path, train.smoothing]}]", gains).view(
        "ablation"
    )
    assert [[*row[:3], row[4][:5]] for row in rows(view)] == [
        ["", "0.0", "", "–"], ["✓", "0.0", "", "+2.00"], ["✓", "0.1", "", "+4.00"], ["✓", "0.1", "✓", "+1.00"],
    ]  # fmt: skip
    assert any("to the row above" in note for note in view.notes) and "against" not in headers(view)


def test_a_grid_of_switches_is_an_ablation_from_none_to_all(planted, rows) -> None:
    body = ON_OFF + "designs: [{grid: [train.smoothing, train.clip_grad]}]"
    views = planted(body, gains).views()
    assert list(views) == ["ablation"]  # no pivot of the same numbers
    assert [row[:2] for row in rows(views["ablation"])] == [["", ""], ["", "✓"], ["✓", ""], ["✓", "✓"]]


def test_pairs_of_switches_are_an_ablation_and_other_pairs_none(planted) -> None:
    factors = (
        "factors: {train.smoothing: [0.0, 0.1], train.clip_grad: [null, 3.0], model.drop_path: [0.0, 0.1]}\nseeds: 3\n"
    )
    pairs = "designs: [{pairwise: [train.smoothing, train.clip_grad, model.drop_path]}]"
    assert len(planted(factors + pairs, gains).view("ablation").rows) == 7
    assert planted(ON_OFF + pairs, gains).views() == {}


def test_a_study_whose_result_table_shows_it_all_has_no_second_one(planted) -> None:
    for design in (
        "grid: [model.drop_path]",
        "one_at_a_time: [model.drop_path]",
        "zip: [train.smoothing, train.clip_grad]",
    ):
        assert planted(ON_OFF + f"designs: [{{{design}}}]", gains).views() == {}


def test_one_setting_at_a_time_is_a_group_each_with_the_baseline_in_its_place(planted, rows) -> None:
    body = (
        ON_OFF.replace("[0.0, 0.1, 0.2]", "[0.1, 0.0, 0.2]")
        + "designs: [{one_at_a_time: [train.smoothing, model.drop_path]}]"
    )
    view = planted(body, gains).view("sweep")
    assert [(group.row, group.title) for group in view.groups] == [(0, "smoothing"), (2, "drop_path")]
    assert [[row[0], row[2][:5]] for row in rows(view)] == [
        ["0.0", "–"], ["0.1", "+1.00"], ["0.0", "−4.00"], ["0.1", "–"], ["0.2", "+0.00"],
    ]  # fmt: skip
    assert view.rows[0][1].run_ids == view.rows[3][1].run_ids


def test_two_blocks_of_one_factor_each_are_two_sweeps_in_the_order_of_the_levels(planted, rows) -> None:
    body = ON_OFF + (
        "baseline: {model.drop_path: 0.1}\n"
        "designs: [{grid: [model.drop_path]}, {name: both, set: {train.clip_grad: 3.0}, zip: [train.smoothing]}]"
    )
    views = planted(body, gains).views()
    assert list(views) == ["sweep", "sweep-2"]
    assert [row[0] for row in rows(views["sweep"])] == ["0.0", "0.1", "0.2"]
    assert [row[2][:5] for row in rows(views["sweep"])] == ["−4.00", "–", "+0.00"]
    assert views["sweep-2"].title == "planted: sweep of smoothing (both), all with train.clip_grad=3.0"


def test_a_control_stands_below_its_schedules_with_a_difference_of_its_own(planted, rows) -> None:
    body = """
factors:
  shuffle.schedule: [none, linear, reverse]
  shuffle.max_rate: {levels: [0.6], when: {shuffle.schedule: [linear, reverse]}}
designs: [{grid: [shuffle.schedule], control: equal_mean_constant}]
seeds: 3
"""
    values = {"none": 80, "linear": 83, "reverse": 82, "constant": 81}
    view = planted(
        body, lambda s, seed: values[s["shuffle.schedule"]] + seed + WOBBLE[(seed + len(s["shuffle.schedule"])) % 3]
    ).view("sweep")
    assert headers(view)[-1] == "Δ to its control [95 % interval] (points)"
    assert [[row[0], row[-2][:5], row[-1][:5]] for row in rows(view)] == [
        ["none", "–", "–"], ["linear", "+3.00", "+2.00"], ["reverse", "+2.00", "+1.00"], ["constant", "+1.00", "–"],
    ]  # fmt: skip
    assert [(group.row, group.title) for group in view.groups] == [(3, "Controls: a constant rate of the same mean")]


SCHEDULES = """
factors:
  shuffle.schedule: [none, linear, constant]
  shuffle.max_rate: {levels: [0.6, 0.3], when: {shuffle.schedule: [linear, constant]}}
  train.smoothing: [0.0, 0.1]
seeds: 3
"""


def rated(settings, seed) -> float:
    schedule = {"none": 0, "linear": 1, "constant": 2}[settings["shuffle.schedule"]]
    return (
        80 + seed + schedule + 10 * settings.get("shuffle.max_rate", 0) + 0.5 * (settings.get("train.smoothing", 0) > 0)
    )


def test_a_grid_of_two_factors_has_one_across_and_arms_without_it_in_a_column_of_their_own(planted, rows) -> None:
    view = planted(SCHEDULES + "designs: [{grid: [shuffle.schedule, shuffle.max_rate]}]", rated).view("grid")
    assert headers(view) == ["schedule", "–", "0.3", "0.6"]
    assert {column.over for column in view.columns[1:]} == {"val/top1 (%) at max_rate"}
    assert rows(view) == [
        ["none", "81.00 ± 1.00", "–", "–"],
        ["linear", "–", "85.00 ± 1.00", "88.00 ± 1.00"],
        ["constant", "–", "86.00 ± 1.00", "89.00 ± 1.00"],
    ]
    assert view.rows[1][1].faint and not view.rows[1][1].run_ids
    assert (
        "The column –: arms in which max_rate has no meaning." in view.notes
        and "val/top1 (%): higher is better." in view.notes
    )


def test_further_factors_of_a_grid_are_groups(planted, rows) -> None:
    view = planted(SCHEDULES + "designs: [{grid: [shuffle.schedule, shuffle.max_rate, train.smoothing]}]", rated).view(
        "grid"
    )
    assert headers(view) == ["schedule", "0.0", "0.1"]
    assert [(group.row, group.title) for group in view.groups] == [
        (0, "no max_rate"),
        (1, "max_rate 0.3"),
        (3, "max_rate 0.6"),
    ]
    assert [row[0] for row in rows(view)] == ["none", "linear", "constant", "linear", "constant"]
    assert rows(view)[4] == ["constant", "89.00 ± 1.00", "89.50 ± 1.00"]


def test_settings_that_are_another_arms_training_fill_their_cells(planted, rows) -> None:
    body = "factors: {shuffle.schedule: [none, linear], shuffle.max_rate: [0.3, 0.6, 0.9]}\ndesigns: [{grid: [shuffle.schedule, shuffle.max_rate]}]\nseeds: 3"
    made = planted(body, lambda s, seed: 80.0 + seed + (s["shuffle.schedule"] != "none") * s["shuffle.max_rate"])
    assert len(made.table.design.arms) == 4
    assert rows(made.view("grid")) == [
        ["0.3", "81.00 ± 1.00", "81.30 ± 1.00"], ["0.6", "81.00 ± 1.00", "81.60 ± 1.00"], ["0.9", "81.00 ± 1.00", "81.90 ± 1.00"],
    ]  # fmt: skip


SIZES = """
factors:
  model.name: [shufflemamba_tiny, shufflemamba_micro]
  shuffle.schedule: [none, linear]
designs: [{grid: [model.name, shuffle.schedule]}]
seeds: 3
"""


def sized(settings, seed):
    small = settings["model.name"].endswith("micro")
    gain = (0.5 if small else 2.0) * (settings.get("shuffle.schedule") == "linear")
    value = (80 if small else 90) + seed + gain + WOBBLE[(seed + bool(gain)) % 3]
    return value, {"params": 20_000 if small else 7_150_000, "flops": None if small else 1.26e9}


def test_models_of_several_sizes_are_ordered_by_parameters_with_the_gain_at_each(planted, rows) -> None:
    views = planted(SIZES, sized).views()
    assert list(views) == ["scaling"]  # a pivot would show the same
    view = views["scaling"]
    assert headers(view) == [
        "model",
        "params (M)",
        "FLOPs (G)",
        "val/top1 (%)",
        "val/top1 (%)",
        "Δ [95 % interval] (points)",
    ]
    assert [column.over for column in view.columns] == [
        "",
        "",
        "",
        "schedule none",
        "schedule linear",
        "schedule linear",
    ]
    assert [row[:4] for row in rows(view)] == [
        ["shufflemamba_micro", "0.0200", "", "81.00 ± 0.95"], ["shufflemamba_tiny", "7.15", "1.26", "91.00 ± 0.95"],
    ]  # fmt: skip
    assert [row[5][:5] for row in rows(view)] == ["+0.50", "+2.00"]
    assert [row[5].mark for row in view.rows] == ["", "*"]  # the study compares all with the large model's baseline
    assert any("the study does not test these two arms" in note for note in view.notes)
    assert any("to the same size with schedule none" in note for note in view.notes)
    assert any("a multiply-add counted as two" in note for note in view.notes)


def test_sizes_alone_are_a_row_each(planted, rows) -> None:
    body = "factors: {model.name: [shufflemamba_micro, shufflemamba_tiny]}\ndesigns: [{grid: [model.name]}]\nseeds: 3"
    view = planted(body, sized).view("scaling")
    assert [row[:3] for row in rows(view)] == [
        ["shufflemamba_micro", "0.0200", ""],
        ["shufflemamba_tiny", "7.15", "1.26"],
    ]
    assert rows(view)[0][4] == "–" and rows(view)[1][4].startswith("+10.00")


def test_many_treatments_of_each_size_stand_below_a_header_of_its_own(planted, rows) -> None:
    body = SIZES.replace("shuffle.schedule: [none, linear]", "train.smoothing: [0.0, 0.1, 0.2, 0.3, 0.4]").replace(
        ", shuffle.schedule", ", train.smoothing"
    )
    view = planted(body, sized).view("scaling")
    assert [group.title for group in view.groups] == [
        "shufflemamba_micro (0.0200 M parameters)", "shufflemamba_tiny (7.15 M parameters, 1.26 GFLOPs)",
    ]  # fmt: skip
    assert len(view.rows) == 10 and [row[2][:5] for row in rows(view)[:2]] == ["–", "+0.00"]


@pytest.mark.parametrize(
    "name",
    ["quickstart", "build_up", "components", "sensitivity", "strengths", "interactions", "variants", "shape_or_amount"],
)
def test_every_shipped_study_has_its_tables_before_a_single_run(name) -> None:
    from conftest import REPOSITORY

    from slws_lab.analysis import ResultTable
    from slws_lab.reports.tables.paper import paper_views
    from slws_lab.spec import expand, load_study
    from slws_lab.tracking import RunRecord

    study = load_study(REPOSITORY / "studies" / f"{name}.yaml")
    design = expand(study)
    nothing = {run_id: RunRecord(run_id, "pending", 0, 0) for run_id in design.run_ids.values()}
    views = paper_views(ResultTable(study.spec, design, nothing), study)
    expected = {
        "quickstart": ["grid"], "build_up": ["ablation"], "components": ["ablation"], "sensitivity": ["sweep"],
        "strengths": ["sweep", "sweep-2"], "interactions": ["ablation"], "variants": [], "shape_or_amount": ["sweep"],
    }  # fmt: skip
    assert [view.name for view in views] == expected[name]
    assert not any(cell.bold or cell.second or "±" in cell.text for view in views for row in view.rows for cell in row)
