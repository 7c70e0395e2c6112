"""The tables of main effects and interactions: which designs have one, and what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slws_lab.analysis import effects
from slws_lab.analysis.statistics import holm
from slws_lab.reports import TableView, wording
from slws_lab.reports.tables.effects import effects_views

TWO = """
factors: {train.lr: [0.001, 0.002], train.weight_decay: [0.05, 0.1, 0.2]}
designs: [{grid: [train.lr, train.weight_decay]}]
seeds: 4
"""
RATES = """
factors:
  shuffle.schedule: [none, linear, constant]
  shuffle.max_rate: {levels: [0.3, 0.6], when: {shuffle.schedule: [linear, constant]}}
designs: [{grid: [shuffle.schedule, shuffle.max_rate]}]
seeds: 4
"""
PAIRS = """
factors: {train.lr: [0.001, 0.002], train.weight_decay: [0.05, 0.1], model.drop_path: [0.0, 0.1]}
designs: [{pairwise: [train.lr, train.weight_decay, model.drop_path]}]
seeds: 4
"""


def value(settings: dict, seed: int) -> float:
    numbers = [int(1e6 * level) if isinstance(level, float) else len(level) for level in settings.values()]
    return 80 + seed + sum(numbers) * 1e-6 + np.random.default_rng([seed, *numbers]).normal(0, 0.5)


def column(view: TableView, name: str) -> list[str]:
    (i,) = [i for i, c in enumerate(view.columns) if c.name == name]
    return [row[i].text for row in view.rows]


def test_a_grid_has_its_effects_with_interval_n_and_both_p(plant) -> None:
    table = plant(TWO, value)
    (view,) = effects_views(table)
    found = effects(table)
    assert [c.name for c in view.columns] == ["effect", "n", "Δ [95 % interval] (points)", "p", "adjusted p"]
    assert column(view, "effect") == [wording.contrast_name(one.name) for one in found] and set(column(view, "n")) == {
        "4"
    }
    signed = [[wording.signed(x, 2) for x in (one.delta, one.low, one.high)] for one in found]
    assert column(view, "Δ [95 % interval] (points)") == [f"{d} [{low}, {high}]" for d, low, high in signed]
    assert column(view, "adjusted p") == [wording.p_value(one.p_adjusted) for one in found]
    assert "corrected by Holm over 5 effects of this table" in view.notes[-1] and "all 6 arms" in view.notes[-1]


def test_its_cells_know_the_runs_of_the_grid_that_all_arms_finished(plant) -> None:
    table = plant(TWO, lambda s, seed: "failed" if (s["train.lr"], seed) == (0.002, 1) else value(s, seed))
    (view,) = effects_views(table)
    runs = {run for (_, seed), run in table.design.run_ids.items() if seed != 1}
    assert all(set(cell.run_ids) == runs for row in view.rows for cell in row) and column(view, "n")[0] == "3"


def test_arms_outside_the_grid_are_not_among_its_runs(plant) -> None:
    more = TWO.replace("factors: {", "factors: {model.drop_path: [0.0, 0.1], ")
    table = plant(more.replace("]}]", "]}, {one_at_a_time: [model.drop_path]}]"), value)
    (view,) = effects_views(table)
    assert len(table.design.arms) == 7 and len(view.rows[0][0].run_ids) == 6 * 4


def test_where_a_factor_is_off_in_some_arms_the_rest_is_the_grid(plant) -> None:
    (view,) = effects_views(plant(RATES, value))
    assert column(view, "effect") == [
        "schedule constant − linear", "max_rate 0.6 − 0.3", "(schedule constant − linear) × (max_rate 0.6 − 0.3)",
    ]  # fmt: skip
    assert view.notes[0] == (
        "From the 4 arms of schedule (linear, constant) × max_rate (0.3, 0.6). Arms in which one of these factors is off are left out."
    )


def test_an_undeclared_difference_of_one_of_its_arms_is_said(plant) -> None:
    table = plant(RATES, value)
    (view,) = effects_views(table)
    assert not any("does not declare" in note for note in view.notes)
    odd = table.design.run_ids[table.design.arms[2].id, 1]
    changed = replace(table.records[odd], result={"epochs": 2, "device": "NVIDIA A100"})
    (view,) = effects_views(replace(table, records={**table.records, odd: changed}))
    assert (
        "Some of these arms' runs also differ in what the study does not declare: device; see the contrasts."
        in view.notes
    )


def test_a_control_is_no_level_of_the_grid(plant) -> None:
    body = RATES.replace("[none, linear, constant]", "[none, linear, reverse]").replace(
        "[linear, constant]", "[linear, reverse]"
    )
    (view,) = effects_views(plant(body.replace("max_rate]}", "max_rate], control: equal_mean_constant}"), value))
    assert view.notes[0].startswith("From the 4 arms of schedule (linear, reverse) × max_rate (0.3, 0.6).")


def test_combinations_that_are_one_training_count_as_one_arm(plant) -> None:
    body = RATES.replace("{levels: [0.3, 0.6], when: {shuffle.schedule: [linear, constant]}}", "[0.3, 0.6]")
    (view,) = effects_views(plant(body, lambda s, seed: value({} if s["shuffle.schedule"] == "none" else s, seed)))
    assert view.notes[0] == "From the 5 arms of schedule (none, linear, constant) × max_rate (0.3, 0.6)."
    assert len(view.rows[0][0].run_ids) == 5 * 4


def test_a_hole_in_the_grid_leaves_a_note_that_names_it(plant) -> None:
    (view,) = effects_views(plant(TWO + "exclude: [{train.lr: 0.002, train.weight_decay: 0.2}]", value))
    assert view.rows == view.columns == ()
    assert view.notes == (
        "Not made: a table of main effects and interactions needs every combination: 1 of 6 arms is missing: "
        "(lr=0.002, weight_decay=0.2).",
    )


def test_too_few_common_seeds_leave_a_note(plant) -> None:
    (view,) = effects_views(plant(TWO, lambda s, seed: None if seed > 1 else value(s, seed)))
    assert not view.rows and "needs 3 seeds that all 6 arms finished, not 2" in view.notes[0]


def test_pairwise_has_its_interactions_corrected_together(plant) -> None:
    table = plant(PAIRS, value)
    (view,) = effects_views(table)
    names = ["train.lr", "train.weight_decay", "model.drop_path"]
    levels = {name: list(table.study.factors[name].values) for name in names}
    grids = [{n: levels[n] for n in names if n != left_out} for left_out in reversed(names)]
    found = [one for grid in grids for one in effects(table, grid) if len(one.factors) == 2]
    assert view.title == "Two-way interactions" and column(view, "effect") == [
        wording.contrast_name(one.name) for one in found
    ]
    assert column(view, "adjusted p") == [wording.p_value(p) for p in holm([one.p for one in found])]
    assert [len(row[0].run_ids) for row in view.rows] == [16, 16, 16]


def test_a_block_of_fixed_levels_says_so(plant) -> None:
    body = TWO.replace("weight_decay]}", "weight_decay], set: {train.epochs: 4}}")
    (view,) = effects_views(
        plant(body, lambda s, seed: value({n: v for n, v in s.items() if n != "train.epochs"}, seed))
    )
    assert view.rows and ", all with train.epochs=4." in view.notes[0]


@pytest.mark.parametrize("designs", ["{one_at_a_time: [train.lr, train.weight_decay]}", "{grid: [train.lr]}"])
def test_other_designs_have_no_such_table(plant, designs: str) -> None:
    body = TWO.replace("{grid: [train.lr, train.weight_decay]}", designs)
    assert effects_views(plant(body, value)) == []


def test_two_grids_have_two_tables_with_names_of_their_own(plant) -> None:
    body = TWO.replace("]}]", "]}, {grid: [train.lr, model.drop_path]}]").replace(
        "factors: {", "factors: {model.drop_path: [0.0, 0.1], "
    )
    views = effects_views(plant(body, value))
    assert [view.name for view in views] == ["effects", "effects-2"]
    assert views[1].title == "Main effects and interactions: lr × drop_path"


def test_effects_without_spread_say_so(plant) -> None:
    (view,) = effects_views(plant(TWO, lambda s, seed: 80 + seed + 1000 * s["train.lr"]))
    assert set(column(view, "p")) == {"–"} and "no spread to test against" in view.notes[-1]
