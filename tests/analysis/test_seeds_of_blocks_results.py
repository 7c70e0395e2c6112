"""Contrasts, power and records of a study whose blocks ask for different numbers of seeds."""

from __future__ import annotations

import csv
import io

import pytest

from slws_lab.analysis import ResultTable, contrasts, estimates, prospects, smallest_effect
from slws_lab.spec import load_study

BODY = (
    "factors: {train.lr: [0.001, 0.002, 0.003]}\n"
    "designs:\n  - list: [{train.lr: 0.002}]\n  - {grid: [train.lr], seeds: 3}\nseeds: 5\n"
)


def value(settings: dict, seed: int) -> float:
    return 80 + settings["train.lr"] * 1000 * (1 + 0.1 * seed) + (seed > 2) * 20


@pytest.fixture
def mixed(plant_by) -> ResultTable:
    return plant_by(BODY, value)


def test_a_contrast_is_paired_over_the_seeds_of_both_its_arms(mixed: ResultTable) -> None:
    central, other = contrasts(mixed)
    assert (central.seeds, central.blocks) == ((0, 1, 2, 3, 4), (0, 1))
    assert other.seeds == (0, 1, 2) and other.delta == pytest.approx(2.2)
    assert [e.n for e in estimates(mixed)] == [5, 5, 3] and len(mixed.records) == 13


def test_a_contrast_of_a_block_of_three_uses_all_five_where_its_arms_have_them(plant_by) -> None:
    found = contrasts(plant_by(BODY + "comparisons: {family: block}\n", value))
    assert [(c.blocks, c.n, c.family) for c in found] == [((0,), 5, 1), ((1,), 5, 2), ((1,), 3, 2)]


def test_a_run_that_diverged_at_a_seed_without_a_partner_does_not_count_against_an_arm(plant_by) -> None:
    body = (
        "factors: {train.lr: [0.001, 0.002]}\ndesigns:\n  - {grid: [train.lr], seeds: 3}\n"
        "  - {set: {train.lr: 0.002}, list: [{train.smoothing: 0.2}]}\nseeds: 5\n"
    )

    def one(settings: dict, seed: int) -> float | str:
        better = settings["train.lr"] == 0.002
        return "diverged" if better and seed == 4 else 80.0 + better * (10 + 0.1 * seed)

    first = contrasts(plant_by(body, one))[0]
    assert (first.n, first.verdict, first.reason) == (3, "helps", "")


def test_prospects_tell_each_number_of_planned_pairs(mixed: ResultTable, plant_by) -> None:
    ahead = prospects(mixed)
    assert (ahead.seeds, ahead.contrasts, ahead.smallest) == (5, 2, smallest_effect(5, 2))
    assert [(r.seeds, r.contrasts, r.smallest) for r in ahead.others] == [(3, 2, smallest_effect(3, 2))]
    by_block = prospects(plant_by(BODY + "comparisons: {family: block}\n", value))
    assert (by_block.seeds, by_block.contrasts) == (3, 2)
    assert [(r.seeds, r.contrasts, r.smallest) for r in by_block.others] == [(5, 1, smallest_effect(5, 1))]


def test_records_hold_the_runs_that_are_asked_for_and_read_back(mixed: ResultTable, tmp_path) -> None:
    text = mixed.to_csv()
    assert len(list(csv.DictReader(io.StringIO(text)))) == 13 and "not needed" not in text
    read = ResultTable.from_csv(load_study(tmp_path / "study.yaml"), mixed.design, text)
    assert read.to_csv() == text and read.values.equals(mixed.values)
    assert len(mixed.curves()) == 2 * 13
