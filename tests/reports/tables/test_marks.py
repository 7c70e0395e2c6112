"""Marks in tables: bold, underlined, verdicts, daggers, n below plan, sparklines; each with its note."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slws_lab.analysis import best
from slws_lab.reports.tables.main import contrasts_view, main_view
from slws_lab.reports.tables.paper import paper_views

RATES = """
factors: {train.smoothing: [0.0, 0.1], model.drop_path: [0.0, 0.1, 0.2]}
designs: [{grid: [train.smoothing]}, {name: other, one_at_a_time: [model.drop_path]}]
seeds: 5
comparisons: {margin: 0.5}
"""


def value(settings, seed) -> float:
    smooth, drop = settings["train.smoothing"], settings["model.drop_path"]
    wobble = [0.02, -0.03, 0.01, 0.03, -0.02][(seed + int(10 * (smooth + 2 * drop))) % 5]
    return 80 + seed + 30 * smooth + (0.01 if drop == 0.1 else 0) + (-4 if drop == 0.2 else 0) + wobble


def note(view, mark: str) -> str:
    (found,) = [note for note in view.notes if note.startswith(f"{mark} ")]
    return found


def test_the_best_is_bold_and_the_best_of_the_others_underlined(planted) -> None:
    made = planted(RATES, value)
    found = best(made.table)
    top, second = made.table.design.arms[1], made.table.design.arms[2]
    assert found.bold == (top.id,) and found.second == second.id
    view = main_view(made.table)
    assert [[c.text for c in row if c.second] for row in view.rows] == [[], [], [view.rows[2][3].text], []]
    assert not any(cell.bold and cell.second for row in view.rows for cell in row)
    assert "Underlined: the best mean of the others." in view.notes[-1]
    sweep = made.view("sweep-2")
    assert [cell.text for row in sweep.rows for cell in row if cell.second] == [sweep.rows[1][1].text]
    assert "Underlined" in sweep.notes[-1]


def test_a_loss_has_its_second_from_below(planted) -> None:
    body = RATES.replace("comparisons", "metric: {name: val/loss, goal: minimize}\ncomparisons")
    assert best(planted(body, lambda s, seed: -value(s, seed)).table).second == best(planted(RATES, value).table).second


def test_nothing_is_underlined_where_nothing_is_bold_or_all_share_it(planted) -> None:
    for plan in (lambda s, seed: 80.0 + seed, lambda s, seed: 80.0 if seed < 2 else None):
        made = planted(RATES, plan)
        assert best(made.table).second == ""
        assert not any(
            cell.second for view in [main_view(made.table), *made.views().values()] for row in view.rows for cell in row
        )


def test_verdicts_are_marked_with_a_legend(planted) -> None:
    made = planted(RATES, value)
    view = made.view("sweep-2")
    assert [row[-1].mark for row in view.rows] == ["", "=", "*"]
    assert note(view, "*") == "* The difference is told from zero: p below 0.05, adjusted by Holm over 3 contrasts."
    assert note(view, "=").startswith("= Equivalent: within ±0.5 points by two one-sided tests")
    noisy = planted(
        RATES, lambda s, seed: value(s, seed) * (1 + 0.1 * ((seed * 7 + round(100 * s["model.drop_path"])) % 3))
    )
    unclear = noisy.view("sweep-2")
    assert "" in [row[-1].mark for row in unclear.rows[1:]]
    assert "No mark: inconclusive, which does not mean equal." in unclear.notes


def test_two_pairs_have_no_interval_and_a_note(planted) -> None:
    view = planted(RATES, lambda s, seed: value(s, seed) if seed < 2 else None).view("sweep-2")
    assert [row[-1].mark for row in view.rows] == ["", "", ""] and "[" not in view.rows[1][-1].text
    assert "No interval: too few pairs for a test." in view.notes
    assert [row[1].mark for row in view.rows] == ["2 of 5"] * 3
    assert "2 of 5 seeds have finished there." in view.notes


def test_n_below_plan_is_raised_or_stands_in_its_column(planted) -> None:
    body = RATES + "report: {tables: [{name: counted, show: [n]}]}"
    made = planted(body, lambda s, seed: "failed" if s["model.drop_path"] == 0.1 and seed == 4 else value(s, seed))
    assert [row[1].mark for row in made.view("sweep-2").rows] == ["", "4 of 5", ""]
    assert note(made.view("sweep-2"), "4 of 5") == "4 of 5 seeds have finished there."
    view = made.view("counted")
    assert [row[2].text for row in view.rows] == ["5", "5", "4 of 5", "5"] and not any(row[3].mark for row in view.rows)


def test_an_undeclared_difference_has_a_dagger_wherever_it_is_shown(planted) -> None:
    made = planted(RATES, value)
    odd = made.table.design.arms[2]
    run_id = made.table.design.run_ids[odd.id, 3]
    changed = replace(made.table.records[run_id], result={**made.table.records[run_id].result, "device": "gpu"})
    table = replace(made.table, records={**made.table.records, run_id: changed})
    views = {view.name: view for view in [main_view(table), contrasts_view(table), *paper_views(table, made.study)]}
    for name, column in (("planted", "Δ"), ("contrasts", "Δ"), ("sweep-2", "Δ")):
        view = views[name]
        i = next(i for i, c in enumerate(view.columns) if c.name.startswith(column))
        assert ["†" in row[i].mark for row in view.rows] == [odd.id == a for a in arms_of(view, made)], name
        assert "may explain Δ" in note(view, "†") and "device" in note(view, "†")
    assert "†" not in "".join(cell.mark for row in views["sweep"].rows for cell in row)
    assert [row[-1].mark for row in views["sweep-2"].rows] == ["", "=†", "*"]


def arms_of(view, made) -> list[str]:
    """Return the arm of each row: that of its first run."""
    of = {run_id: arm_id for (arm_id, _), run_id in made.table.design.run_ids.items()}
    return [of[row[0].run_ids[0]] for row in view.rows]


SCHEDULES = """
factors:
  shuffle.schedule: [none, linear]
  shuffle.max_rate: {levels: [0.3, 0.6], when: {shuffle.schedule: linear}}
  train.smoothing: [0.0, 0.1]
designs: [{grid: [shuffle.schedule, shuffle.max_rate]}, {one_at_a_time: [train.smoothing]}]
seeds: 3
report: {tables: [{name: each}]}
"""


def shuffled(settings, seed):
    rate = settings.get("shuffle.max_rate", 0.0)
    rates = [0.0, rate / 2, rate] if settings["shuffle.schedule"] != "none" else []
    return 80.0 + seed + rate, {"shuffle_rates": rates}


def test_the_schedules_cell_carries_the_course_of_the_rate(planted) -> None:
    made = planted(SCHEDULES, shuffled)
    for view in (main_view(made.table), made.view("each")):
        lines = [[(view.columns[i].name, cell.line) for i, cell in enumerate(row) if cell.line] for row in view.rows]
        assert lines == [[], [("schedule", (0.0, 0.15, 0.3))], [("schedule", (0.0, 0.3, 0.6))], []]


def test_a_row_of_several_courses_shows_none(planted) -> None:
    view = planted(SCHEDULES, shuffled).view("grid")
    assert [row[0].text for row in view.rows] == ["none", "linear"] and not any(
        cell.line for row in view.rows for cell in row
    )


def test_without_a_schedule_the_rate_carries_its_course_and_without_either_nothing_does(planted) -> None:
    rate = "factors: {shuffle.max_rate: [0.3, 0.6]}\ndesigns: [{grid: [shuffle.max_rate]}]\nset: {shuffle.schedule: linear}\nseeds: 3"
    made = planted(rate, lambda s, seed: (80.0 + seed, {"shuffle_rates": [0.0, s["shuffle.max_rate"]]}))
    assert [row[0].line for row in main_view(made.table).rows] == [(0.0, 0.3), (0.0, 0.6)]
    other = "factors: {train.smoothing: [0.0, 0.1]}\ndesigns: [{grid: [train.smoothing]}]\nseeds: 3"
    made = planted(other, lambda s, seed: (80.0 + seed, {"shuffle_rates": [0.0, 0.5]}))
    assert not any(cell.line for row in main_view(made.table).rows for cell in row)


def test_a_list_of_variants_draws_all_courses_in_the_schedules_column(planted) -> None:
    body = (
        "designs: [{list: [{shuffle.schedule: none}, {shuffle.window: 3}]}]\nset: {shuffle.schedule: linear}\nseeds: 3"
    )
    made = planted(
        body, lambda s, seed: (80.0 + seed, {"shuffle_rates": [] if s.get("shuffle.schedule") else [0.0, 0.3]})
    )
    view = main_view(made.table)
    assert [row[0].text for row in view.rows] == ["–", "none", "–"]
    assert [row[0].line for row in view.rows] == [(0.0, 0.3), (), (0.0, 0.3)] and not any(
        row[1].line for row in view.rows
    )


@pytest.mark.parametrize("mark", ["*", "=", "†", "4 of 5"])
def test_every_mark_has_one_note(planted, mark) -> None:
    made = planted(RATES, lambda s, seed: None if s["model.drop_path"] == 0.1 and seed == 4 else value(s, seed))
    for arm in made.table.design.arms[2:]:
        run_id = made.table.design.run_ids[arm.id, 0]
        record = made.table.records[run_id]
        made.table.records[run_id] = replace(record, result={**record.result, "threads": 7})
    for view in paper_views(made.table, made.study):
        used = any(mark in cell.mark for row in view.rows for cell in row)
        assert sum(note.startswith(f"{mark} ") for note in view.notes) == used


def with_another_device(made, arm_id: str):
    """Return the results with one run of an arm made on another device than all others."""
    run_id = made.table.design.run_ids[arm_id, 1]
    changed = replace(made.table.records[run_id], result={**made.table.records[run_id].result, "device": "gpu"})
    return replace(made.table, records={**made.table.records, run_id: changed})


def test_a_difference_that_the_study_does_not_test_has_its_dagger_too(planted) -> None:
    body = """
factors: {model.name: [shufflemamba_tiny, shufflemamba_micro], shuffle.schedule: [none, linear]}
designs: [{grid: [model.name, shuffle.schedule]}]
seeds: 3
"""

    def sized(settings, seed):
        wobble = [0.0, 0.1, -0.1][(seed + (settings["shuffle.schedule"] == "linear")) % 3]
        return 80.0 + seed + wobble, {"params": 7e6 if "tiny" in settings["model.name"] else 2e4}

    made = planted(body, sized)
    small = next(
        arm for arm in made.table.design.arms if list(arm.settings.values()) == ["shufflemamba_micro", "linear"]
    )
    compared = {role.reference for role in small.roles}
    (plain,) = [a for a in made.table.design.arms if list(a.settings.values()) == ["shufflemamba_micro", "none"]]
    assert plain.id not in compared  # else the study would test this pair
    table = with_another_device(made, small.id)
    view = next(view for view in paper_views(table, made.study) if view.name == "scaling")
    assert [row[-1].mark for row in view.rows] == ["†", ""]
    assert "device" in note(view, "†")


@pytest.mark.parametrize("show", ["p", "verdict", "p, verdict"])
def test_p_and_verdict_without_their_difference_are_explained_and_marked(planted, show) -> None:
    made = planted(RATES + f"report: {{tables: [{{name: judged, show: [{show}]}}]}}", value)
    table = with_another_device(made, made.table.design.arms[2].id)
    view = next(view for view in paper_views(table, made.study) if view.name == "judged")
    (said,) = [one for one in view.notes if "of the mean difference to baseline" in one]
    assert "adjusted by Holm over 3 contrasts" in said and ("djusted p" in said.split(":")[0]) == (
        "p" in show.split(", ")
    )
    assert any(one.startswith("Equivalent: within ±0.5 points") for one in view.notes) == ("verdict" in show)
    assert any(one.startswith("Helps, hurts: ") for one in view.notes) == ("verdict" in show)
    assert [row[-1].mark for row in view.rows] == ["", "", "†", ""] and "the difference: device" in note(view, "†")
    assert not any(one.startswith(("* ", "= ", "Δ")) for one in view.notes)


def test_an_adjusted_p_beside_unclear_differences_is_explained(planted) -> None:
    made = planted(
        RATES + "report: {tables: [{name: judged, show: [delta, p]}]}",
        lambda s, seed: 80.0 + (seed * 7 + len(str(s))) % 3,
    )
    view = made.view("judged")
    assert "*" not in "".join(cell.mark for row in view.rows for cell in row)
    assert any(one.startswith("Adjusted p: paired t, adjusted by Holm") for one in view.notes)
