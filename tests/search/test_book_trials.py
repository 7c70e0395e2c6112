"""What a book holds of its trials: told once, tried again, every combination of a finite space once."""

from __future__ import annotations

import json
import math

import pytest
from search.books import COMBINATIONS, FINITE, NUMBERS, Desk, distinct, draw

from slws_lab.search.trial import counts, front


def test_telling_twice_changes_nothing(desk: Desk) -> None:
    study = desk.study()
    book = desk.book(study)
    numbers = [trial.number for trial in (book.ask(), book.ask(), book.ask()) if trial is not None]
    book.complete(numbers[0], [0.5])
    book.prune(numbers[1])
    book.fail(numbers[2], "failed: out of memory")
    before = book.trials()
    for other in (book, desk.book(study)):
        for number in numbers:
            other.complete(number, [0.9])
            other.prune(number, "params 5 above 4")
            other.fail(number, "failed: nothing")
    assert book.trials() == before
    assert [(trial.state, trial.values, trial.cause) for trial in before] == [
        ("complete", (0.5,), ""),
        ("pruned", (), ""),
        ("failed", (), "failed: out of memory"),
    ]


def test_a_value_that_is_no_number_fails_the_trial(desk: Desk) -> None:
    book = desk.book(desk.study())
    for bad in (math.nan, math.inf):
        trial = book.ask()
        assert trial is not None
        book.complete(trial.number, [bad])
    assert [(trial.state, trial.cause) for trial in book.trials()] == [
        ("failed", "an objective is no finite number")
    ] * 2


def test_a_failed_trial_is_tried_again_with_its_setting_and_counts_once(desk: Desk) -> None:
    study = desk.study()
    book = desk.book(study)
    draw(book, 2)
    failed = book.ask()
    assert failed is not None
    book.fail(failed.number, "failed: out of memory")
    book.retry(book.trials()[2])
    again = desk.book(study).ask()
    assert again is not None and again.number == 3 and again.settings == failed.settings
    assert [trial.again for trial in book.trials()] == [None, None, 3, None]
    assert [counts(trial) for trial in book.trials()] == [True, True, False, True]


def test_a_failed_trial_of_a_finite_space_is_tried_again_though_all_was_tried(desk: Desk) -> None:
    book = desk.book(desk.study(FINITE, "  storage: journal\n"))
    while (trial := book.ask()) is not None:
        book.fail(trial.number, "failed: x") if trial.number == 4 else book.complete(trial.number, [1.0])
    book.retry(book.trials()[4])
    assert book.end(book.trials()) == ""
    again = book.ask()
    assert again is not None and again.settings == book.trials()[4].settings
    book.complete(again.number, [1.0])
    assert book.ask() is None and book.end(book.trials()) == "every combination was tried"


@pytest.mark.parametrize("restarts", [False, True])
def test_a_finite_space_is_tried_whole_once_with_conditions_and_ends(desk: Desk, restarts: bool) -> None:
    study = desk.study(FINITE, "  storage: journal\n")
    book, drawn = desk.book(study), []
    while (trial := book.ask()) is not None:
        drawn.append(trial.settings)
        book.complete(trial.number, [1.0]) if trial.number % 2 else book.prune(trial.number)
        book = desk.book(study) if restarts else book
    assert len(drawn) == distinct(drawn) == COMBINATIONS
    rates = {settings.get("shuffle.max_rate") for settings in drawn}
    assert rates == {None, 0.1, 0.3, 0.5, 0.7}
    assert desk.book(study).ask() is None


def test_a_finite_space_ends_while_others_still_run(desk: Desk) -> None:
    study = desk.study(FINITE, "  storage: journal\n")
    books = [desk.book(study), desk.book(study)]
    drawn = []
    while (trial := books[len(drawn) % 2].ask()) is not None:
        drawn.append(trial.settings)
    assert len(drawn) == distinct(drawn) == COMBINATIONS


def test_several_objectives_give_a_front(desk: Desk) -> None:
    objectives = "  sampler: {name: nsgaii, population_size: 4}\n  objectives: [metric, params]\n"
    book = desk.book(desk.study(NUMBERS, objectives))
    told = [(0.5, 10.0), (0.6, 20.0), (0.4, 20.0), (0.6, 30.0), (0.9, 90.0)]
    for values in told:
        trial = book.ask()
        assert trial is not None
        book.complete(trial.number, list(values))
    assert [trial.values for trial in book.trials()] == told
    assert [trial.number for trial in front(book.trials(), ["maximize", "minimize"])] == [0, 1, 4]


def test_lists_truths_nothing_and_sub_trees_come_back_as_the_file_has_them(desk: Desk) -> None:
    search = """\
search:
  trials: 100
  sampler: grid
  enqueue: []
  space:
    train.betas: [[0.9, 0.95], [0.9, 0.999]]
    train.cosine: [true, false]
    train.clip_grad: [null, 3.0]
    style: [{name: plain}, {name: rich, set: {data.augment.mixup: 0.8, train.smoothing: 0.2}}]
"""
    study = desk.study(search.replace("train.cosine: [true, false]", "train.compile: [true, false]"))
    drawn = []
    for _ in range(8):  # a driver each, so that what is drawn went through the storage
        trial = desk.book(study).ask()
        assert trial is not None
        drawn.append(trial.settings)
    found = {name: {json.dumps(settings[name]) for settings in drawn} for name in drawn[0]}
    assert found == {
        "train.betas": {"[0.9, 0.95]", "[0.9, 0.999]"},
        "train.compile": {"true", "false"},
        "train.clip_grad": {"null", "3.0"},
        "style": {'"plain"', '"rich"'},
    }
    assert [trial.settings for trial in desk.book(study).trials()] == drawn
