"""The table of dose and response: its curves, dose 0, scales, and what it says of each best dose."""

from __future__ import annotations

import numpy as np

from slws_lab.analysis import dose_response
from slws_lab.reports import TableView, wording
from slws_lab.reports.tables.doses import dose_views

RATES = """
factors:
  shuffle.schedule: [none, linear, constant]
  shuffle.max_rate: {levels: [0.6, 0.2, 0.4], when: {shuffle.schedule: [linear, constant]}}
designs: [{grid: [shuffle.schedule, shuffle.max_rate]}]
seeds: 5
"""


def value(settings: dict, seed: int) -> float:
    x = settings.get("shuffle.max_rate", 0.0)
    noise = np.random.default_rng([seed, int(100 * x), len(str(settings.get("shuffle.schedule")))]).normal(0, 0.1)
    return 90 + seed - 30 * (x - 0.25) ** 2 + noise


def by_name(name: str, of):
    return lambda settings, seed: (
        90 + seed + of(settings[name]) + np.random.default_rng([seed, int(1e6 * settings[name])]).normal(0, 0.1)
    )


def column(view: TableView, name: str) -> list[str]:
    (i,) = [i for i, c in enumerate(view.columns) if c.name == name]
    return [row[i].text for row in view.rows]


def said(view: TableView) -> str:
    return "\n".join(view.notes)


def test_each_schedule_has_its_curve_from_no_shuffle_on(plant) -> None:
    table = plant(RATES, value)
    (view,) = dose_views(table)
    assert column(view, "factor") == ["max_rate"] * 2
    assert column(view, "other factors") == ["schedule=linear", "schedule=constant"]
    assert column(view, "doses") == ["4 from 0 to 0.6"] * 2 and column(view, "n") == ["5", "5"]
    fits = [
        dose_response(table, "shuffle.max_rate", given={"shuffle.schedule": s}, absent=0.0)
        for s in ("linear", "constant")
    ]
    best = [f"{fit.best.dose:.3g} [{fit.best.low:.3g}, {fit.best.high:.3g}]" for fit in fits]
    assert column(view, "best dose [95 % interval]") == best
    assert column(view, "p") == [wording.p_value(fit.p_trend) for fit in fits]
    assert "Dose 0 of max_rate is the arm that does not shuffle (schedule=none)." in view.notes
    assert "corrected by Holm over 2 trends" in said(view) and "three doses" not in said(view)


def test_its_cells_know_the_runs_of_all_doses(plant) -> None:
    table = plant(RATES, lambda s, seed: "failed" if (s["shuffle.schedule"], seed) == ("none", 2) else value(s, seed))
    (view,) = dose_views(table)
    arms = [arm.id for arm in table.design.arms if arm.settings["shuffle.schedule"] != "constant"]
    expected = {table.design.run_ids[arm, seed] for arm in arms for seed in (0, 1, 3, 4)}
    assert set(view.rows[0][0].run_ids) == expected and column(view, "n") == ["4", "4"]


def test_no_arm_is_dose_0_where_another_has_no_rate_either(plant) -> None:
    body = RATES.replace("[none, linear, constant]", "[none, custom, linear]").replace("[linear, constant]", "[linear]")
    body = body.replace(
        "designs",
        "  shuffle.rates: {levels: [[0.1, 0.1, 0.1, 0.1, 0.1, 0.1]], when: {shuffle.schedule: custom}}\ndesigns",
    )
    (view,) = dose_views(plant(body, value))
    assert column(view, "doses") == ["3 from 0.2 to 0.6"] and "Dose 0" not in said(view)
    assert "With three doses the parabola goes through all three means" in said(view)


def test_of_a_grid_of_numbers_each_factor_has_the_curve_at_the_baseline(plant) -> None:
    factors = (
        "factors: {train.lr: [0.001, 0.002, 0.003], model.drop_path: [0.0, 0.1, 0.2], train.smoothing: [0.1, 0.0]}\n"
    )
    body = f"{factors}baseline: {{train.lr: 0.002}}\ndesigns: [{{grid: [train.lr, model.drop_path, train.smoothing]}}]\nseeds: 3"
    (view,) = dose_views(plant(body, lambda s, seed: value({}, seed) + 100 * s["train.lr"]))
    assert column(view, "factor") == ["lr", "lr", "drop_path", "drop_path"]
    assert column(view, "other factors") == ["–", "smoothing=0.0"] * 2


def test_doses_that_are_one_and_the_same_training_are_no_curve(plant) -> None:
    body = RATES.replace("{levels: [0.6, 0.2, 0.4], when: {shuffle.schedule: [linear, constant]}}", "[0.6, 0.2, 0.4]")
    table = plant(body, lambda s, seed: value(s if s["shuffle.schedule"] != "none" else {}, seed))
    (view,) = dose_views(table)
    assert len(table.design.arms) == 7 and column(view, "other factors") == ["schedule=linear", "schedule=constant"]


def test_rates_that_reach_0_need_no_other_arm(plant) -> None:
    (view,) = dose_views(plant(RATES.replace("0.6, 0.2", "0.6, 0.0"), value))
    assert column(view, "doses") == ["3 from 0 to 0.6"] * 2 and "Dose 0" not in said(view)


def test_ratio_spaced_doses_are_fitted_by_their_logarithm(plant) -> None:
    body = "factors: {train.lr: {logspace: [1e-4, 1e-2, 5]}}\ndesigns: [{one_at_a_time: [train.lr]}]\nseeds: 5"
    (view,) = dose_views(plant(body, by_name("train.lr", lambda x: -((np.log10(x) + 3.2) ** 2))))
    low, high = column(view, "best dose [95 % interval]")[0].split(" [")[1].strip("]").split(", ")
    assert float(low) < 10**-3.2 < float(high)
    assert "Fitted against the logarithm of the dose, since the doses are spaced that way: lr." in view.notes


def test_a_best_dose_at_the_border_has_its_sign_and_its_reason(plant) -> None:
    body = "factors: {model.drop_path: [0.0, 0.1, 0.2, 0.3]}\ndesigns: [{one_at_a_time: [model.drop_path]}]\nseeds: 5"
    (view,) = dose_views(plant(body, by_name("model.drop_path", lambda x: 3 * x)))
    assert column(view, "best dose [95 % interval]") == ["≥ 0.3"] and column(view, "trend") == ["rising"]
    assert "No interval for the best dose of drop_path: the curve is not bent enough" in said(view)
    (view,) = dose_views(plant(body, by_name("model.drop_path", lambda x: -3 * x)))
    assert column(view, "best dose [95 % interval]") == ["≤ 0"]
    assert "≤ and ≥: the parabola is best at that border of the doses tried, or beyond it." in view.notes


def test_a_loss_is_best_where_it_is_lowest(plant) -> None:
    body = "factors: {model.drop_path: [0.0, 0.1, 0.2, 0.3]}\ndesigns: [{one_at_a_time: [model.drop_path]}]\nseeds: 5\n"
    (view,) = dose_views(
        plant(
            f"{body}metric: {{name: val/loss, goal: minimize}}",
            by_name("model.drop_path", lambda x: 99 * (x - 0.2) ** 2),
        )
    )
    assert "parabola is lowest within" in said(view) and "bend [95 % interval]" in [c.name for c in view.columns]
    assert column(view, "best dose [95 % interval]")[0].startswith(("0.19", "0.2"))


def test_factors_that_move_together_and_words_and_two_numbers_have_no_curve(plant) -> None:
    factors = "factors: {model.drop_path: [0.0, 0.1, 0.2], train.smoothing: [0.0, 0.1, 0.2], train.lr: [0.001, 0.002]}\nseeds: 3\n"
    body = f"{factors}designs: [{{zip: [model.drop_path, train.smoothing]}}, {{one_at_a_time: [train.lr]}}]"
    assert dose_views(plant(body, lambda s, seed: 90.0 + seed)) == []


def test_too_few_seeds_leave_a_note(plant) -> None:
    body = "factors: {model.drop_path: [0.0, 0.1, 0.2]}\ndesigns: [{one_at_a_time: [model.drop_path]}]\nseeds: 2"
    (view,) = dose_views(plant(body, by_name("model.drop_path", lambda x: x)))
    assert not view.rows and view.notes[0].startswith("Not made for drop_path: a dose-response fit needs 3 seeds")
