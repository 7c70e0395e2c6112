"""A report of a study whose blocks ask for different numbers of seeds: its n, its sentences, its page."""

from __future__ import annotations

import json
import re

import pytest

from slws_lab.analysis import ResultTable
from slws_lab.reports import answer, main_view
from slws_lab.reports.figures.data_grids import maps
from slws_lab.reports.page.facts import design_facts, runs_view
from slws_lab.reports.page.page import page
from slws_lab.reports.tables.main import contrasts_view
from slws_lab.reports.tables.measures import Measures

BODY = (
    "factors: {train.lr: [0.001, 0.002, 0.003], train.smoothing: [0.1, 0.2]}\n"
    "designs:\n  - list: [{train.lr: 0.002}]\n  - {grid: [train.lr, train.smoothing], seeds: 3}\nseeds: [4, 6, 8, 9, 1]\n"
)


def value(settings: dict, seed: int) -> float:
    return 80 + 1000 * settings["train.lr"] + 0.1 * seed + (seed in (9, 1)) * 10


@pytest.fixture
def mixed(plant) -> ResultTable:
    return plant(BODY, value)


def test_n_is_counted_against_what_an_arm_is_asked_for(mixed: ResultTable, plant) -> None:
    view = main_view(mixed)
    (at,) = [i for i, column in enumerate(view.columns) if column.name == "n"]
    assert sorted(row[at].text for row in view.rows) == ["3", "3", "3", "3", "5", "5"]
    assert "As the study asks, 4 of 6 arms have only the first 3 of the 5 seeds." in view.notes
    assert not [note for note in view.notes if "not finished" in note] and "runs finished" not in answer(mixed)
    measures = Measures(mixed, {})
    assert {measures.below_plan(arm.id) for arm in mixed.design.arms} == {""}
    short = plant(BODY, lambda s, seed: None if seed == 8 else value(s, seed))
    assert "6 runs of 22 not finished yet." in main_view(short).notes and "16 of 22 runs finished." in answer(short)
    assert {Measures(short, {}).below_plan(arm.id) for arm in short.design.arms} == {"2 of 3", "4 of 5"}


def test_the_facts_say_how_many_runs_and_which_block_has_fewer(mixed: ResultTable) -> None:
    facts = {fact.name: fact.texts for fact in design_facts(mixed)}
    assert facts["Size"] == ("6 arms × 3 to 5 seeds = 22 runs",)
    assert facts["Seeds"] == ("4, 6, 8, 9, 1", "only the first 3 for 4 arms")
    assert facts["Blocks"][1] == "2. grid: train.lr; train.smoothing (3 seeds)"
    assert len(runs_view(mixed).rows) == 22


def test_the_page_knows_whose_each_run_is(mixed: ResultTable) -> None:
    view = main_view(mixed)
    html = page(mixed, [view], contrasts_view(mixed), [])
    data = json.loads(re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', html, re.DOTALL)[1])
    names = [row[0].text for row in runs_view(mixed).rows]
    assert "3 to 5 seeds" in html and len(data["arms"]) == 22 and len(data["commands"]) == 6
    assert len({*zip(data["arms"], names, strict=True)}) == 6, "the runs of an arm have one number, and no other arm's"


def test_a_map_differs_from_the_baseline_by_the_seeds_that_both_have(mixed: ResultTable) -> None:
    (found,) = maps(mixed)
    differences = sorted({round(delta, 9) for row in found.of("delta") for delta in row})
    assert differences == [0.0, 1.0, 2.0], "two further seeds of the baseline alone would make it look worse"
