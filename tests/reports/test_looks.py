"""Seeds as needed in a report: what is said of levels, corrections and runs is true of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slws_lab.analysis import ResultTable, allotment, contrasts
from slws_lab.reports import TableView, answer, contrasts_view, main_view, wording
from slws_lab.reports.page.facts import design_facts, runs_view
from slws_lab.reports.page.page import page
from slws_lab.reports.tables.effects import effects_views

BODY = "factors: {train.lr: [0.001, 0.002, 0.003]}\ndesigns: [{one_at_a_time: [train.lr]}]\nseeds: {min: 3, max: 9}\n"
SHIFTS = {0.001: 0.0, 0.002: 4.0, 0.003: 0.6}


def value(settings: dict, seed: int) -> float:
    noise = np.random.default_rng([seed, int(1e4 * settings["train.lr"])]).normal(0, 0.3)
    return 90 + 3 * np.sin(seed) + SHIFTS[settings["train.lr"]] + noise


def spent(plant, rounds: int = 99, body: str = BODY, of=value) -> ResultTable:
    """Return a study whose runs have been run as its allotment asked for them, at most that many times."""
    whole = plant(body, of)
    pending = {run: replace(record, status="pending", curves={}, result={}) for run, record in whole.records.items()}
    table, asked = replace(whole, records=pending), dict[str, int]()
    while rounds and asked != (asked := allotment(table)):
        wanted = [whole.design.run_ids[arm, s] for arm, n in asked.items() for s in whole.design.seeds[:n]]
        table = replace(table, records={**pending, **{run: whole.records[run] for run in wanted}})
        rounds -= 1
    return table


def column(view: TableView, name: str) -> list[str]:
    (i,) = [i for i, c in enumerate(view.columns) if c.name == name]
    return [row[i].text for row in view.rows]


def said(view: TableView) -> str:
    return "\n".join(view.notes)


def fact(table: ResultTable, name: str) -> tuple[str, ...]:
    return next(one.texts for one in design_facts(table) if one.name == name)


def test_intervals_of_different_levels_each_say_theirs(plant) -> None:
    table = spent(plant)
    first, second = contrasts(table)
    assert first.level != second.level
    view = main_view(table)
    cells = column(view, "Δ [interval] (points)")[1:]
    assert [text.split("] at ")[1] for text in cells] == [wording.coverage(c.level) for c in (first, second)]
    assert column(view, "look (seeds)") == ["–", *(f"{c.look.seeds} of 9" for c in (first, second))]
    assert "they differ here, so each is written beside its interval." in said(view) and "95 %" not in said(view)
    assert column(contrasts_view(table), "interval") == [wording.coverage(c.level) for c in (first, second)]


def test_intervals_of_one_level_say_it_once_in_the_header(plant) -> None:
    table = spent(plant, rounds=1)
    (level,) = {wording.coverage(c.level) for c in contrasts(table)}
    view = main_view(table)
    assert level != "95 %" and f"Δ [{level} interval] (points)" in [c.name for c in view.columns]
    assert f"(at the level of its look, {level})" in said(view) and f"here all have {level}." in said(view)


def test_the_rule_is_one_note_of_two_sentences(plant) -> None:
    for view in (main_view(spent(plant)), contrasts_view(spent(plant))):
        (note,) = [note for note in view.notes if note.startswith("Seeds were spent as needed")]
        assert note.count(". ") == 1 and "each seed from 3 to 9" in note and "at most 5 %" in note


def test_p_is_said_to_be_corrected_for_the_looks_too(plant) -> None:
    table = spent(plant)
    assert "paired t, corrected for all looks and by Holm within all contrasts (2 tested)" in said(main_view(table))
    assert "corrected for all looks and by Holm within" in said(contrasts_view(table))
    assert "p is that of the look alone" in said(contrasts_view(table))
    assert "Seeds were spent as needed, and p corrected for all looks and by Holm over 2." in answer(table)


def test_what_further_seeds_may_decide_is_not_called_final(plant) -> None:
    table = spent(plant, rounds=1)
    assert column(main_view(table), "verdict") == ["baseline", "helps", "inconclusive so far"]
    assert "1 of 2 contrasts not decided yet; further seeds are for these." in said(main_view(table))
    assert "1 of 2 comparisons not decided yet." in answer(table)
    assert "so far" not in "".join(column(main_view(spent(plant)), "verdict"))


def test_n_is_below_plan_only_against_what_is_wanted(plant) -> None:
    done, waiting = spent(plant), spent(plant, rounds=1)
    wanted = list(allotment(done).values())
    assert wanted[1] == 3 < wanted[0] and column(main_view(done), "n") == [str(n) for n in wanted]
    assert "not finished yet" not in said(main_view(done)) and "runs finished" not in answer(done)
    assert column(main_view(waiting), "n") == ["3 of 4", "3", "3 of 4"]
    assert "2 runs of 11 not finished yet." in said(main_view(waiting)) and answer(waiting).endswith(
        "9 of 11 runs finished."
    )


def test_a_run_beyond_what_is_wanted_counts_once_it_has_begun(plant) -> None:
    table = spent(plant)
    run_id = table.design.run_ids[table.design.arms[1].id, 8]
    failed = replace(table, records={**table.records, run_id: replace(table.records[run_id], status="failed")})
    assert column(main_view(failed), "n")[1] == "3 of 4" and column(main_view(failed), "failed")[1] == "1"


def test_facts_give_the_range_and_what_was_spent(plant) -> None:
    table = spent(plant)
    wanted = list(allotment(table).values())
    assert fact(table, "Size") == ("3 arms × 3 to 9 seeds = 9 to 27 runs",)
    assert fact(table, "Seeds") == (
        "3 to 9 seeds, spent as needed", f"so far 3 to {max(wanted)} an arm, in {sum(wanted)} runs that ended",
    )  # fmt: skip
    statuses = column(runs_view(table), "status")
    assert statuses.count("not needed") == 27 - sum(wanted) and "pending" not in statuses


def test_the_page_shows_no_level_that_is_not_so(plant) -> None:
    table = spent(plant)
    html = page(table, [main_view(table)], contrasts_view(table), [])
    assert "3 to 9 seeds, as needed" in html and "95 %" not in html


def test_before_the_first_look_nothing_is_claimed(plant) -> None:
    table = spent(plant, rounds=0)
    view = main_view(table)
    assert column(view, "look (seeds)") == ["–"] * 3 and column(view, "n") == ["0 of 3"] * 3
    assert "Seeds were spent" not in answer(table)


def test_tables_that_know_no_looks_say_so(plant) -> None:
    body = "factors: {train.lr: [0.001, 0.002], train.weight_decay: [0.1, 0.2]}\ndesigns: [{grid: [train.lr, train.weight_decay]}]\n"
    table = spent(plant, 1, f"{body}seeds: {{min: 3, max: 5}}", value)
    assert effects_views(table)[0].notes[-1].endswith("intervals and p of this table are not corrected for that.")


@pytest.mark.parametrize(
    ("error", "text"), [(0.05, "95 %"), (0.01, "99 %"), (0.013, "98.7 %"), (0.00035, "99.965 %"), (2e-6, "99.9998 %")]
)
def test_a_level_never_rounds_to_certainty(error: float, text: str) -> None:
    assert wording.coverage(error) == text


def test_a_study_with_given_seeds_speaks_of_no_looks(project, tmp_path: Path) -> None:
    table = project().table
    for view in (main_view(table), contrasts_view(table)):
        assert not any("look" in text for text in (said(view), *(c.name for c in view.columns)))
    assert fact(table, "Size") == ("5 arms × 4 seeds = 20 runs",) and fact(table, "Seeds") == ("0, 1, 2, 3",)


def test_means_over_different_seeds_are_called_so(plant) -> None:
    note = "The means are over different seeds where n differs: compare arms by Δ, which is paired."
    assert note in main_view(spent(plant)).notes
    assert note not in main_view(spent(plant, rounds=1)).notes
