"""What the book keeps right when a driver dies between two writes, another was first, or the study file grew."""

from __future__ import annotations

import pytest
from search.books import NUMBERS, Desk, ended, fork

from slws_lab.errors import UserError
from slws_lab.search.storage import Address
from slws_lab.tracking import Workspace

MEDIAN = NUMBERS + "  pruner: {name: median, n_startup_trials: 1}\n"


def test_a_driver_that_dies_between_reporting_and_pruning_leaves_the_decision_to_the_next(desk: Desk) -> None:
    study = desk.study(MEDIAN)

    def die() -> None:
        book = desk.book(study)
        good, poor = book.ask(), book.ask()
        assert good is not None and poor is not None
        book.report(good.number, {1: 50.0, 2: 60.0})
        book.complete(good.number, [60.0])
        book.report(poor.number, {1: 1.0}, ask=False)  # noted; it dies before it asks

    assert ended(fork(die)) == 0
    book = desk.book(study)
    (poor,) = book.orphans()
    assert book.report(poor.number, {1: 1.0})
    assert not book.report(poor.number, {1: 1.0}), "once: what was not pruned at a step is not asked again at it"


def test_what_another_driver_has_told_changes_nothing_and_raises_nothing(desk: Desk) -> None:
    study = desk.study(MEDIAN)
    first, second = desk.book(study), desk.book(study)
    trial = first.ask()
    assert trial is not None
    second.complete(trial.number, [3.0])
    assert first.note_figures(trial.number, {"params": 1.0})
    assert not first.report(trial.number, {1: 1.0})
    first.complete(trial.number, [4.0])
    assert first.trials()[0].values == (3.0,)


def test_a_failed_trial_that_is_enqueued_again_names_its_successor_before_that_is_drawn(desk: Desk) -> None:
    study = desk.study(NUMBERS)
    book = desk.book(study)
    trial = book.ask()
    assert trial is not None
    book.fail(trial.number, "failed: x")
    book.retry(book.trials()[0])
    assert [one.again for one in desk.book(study).trials()] == [1]
    again = book.ask()
    assert again is not None and (again.number, again.settings) == (1, trial.settings)


def test_what_is_added_to_enqueue_later_is_tried_next_and_nothing_is_tried_twice(desk: Desk) -> None:
    text = NUMBERS.replace("enqueue: []", "enqueue: [{model.drop_path: 0.1}]")
    book = desk.book(desk.study(text))
    first = book.ask()
    assert first is not None and first.settings["model.drop_path"] == 0.1
    later = desk.book(desk.study(text.replace("0.1}]", "0.1}, {model.drop_path: 0.2}]")))
    second, third = later.ask(), later.ask()
    assert second is not None and second.settings["model.drop_path"] == 0.2
    assert third is not None and third.settings["model.drop_path"] not in (0.1, 0.2)


def test_a_dollar_in_a_password_is_no_variable(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCH_AT", "postgresql://u:pa$word@host/base")
    study = desk.study(NUMBERS + "  storage: $SEARCH_AT\n")
    address = Address.of(study, Workspace(desk.folder / ".slws"))
    assert address.text == "postgresql+psycopg2://u:pa$word@host/base"
    assert "pa$word" not in address.shown


def test_a_gaussian_process_is_refused_where_it_would_never_learn_of_a_budget(desk: Desk) -> None:
    with pytest.raises(UserError, match="never learns"):
        desk.study(NUMBERS + "  sampler: gp\n  constraints: {params: 1}\n")


def test_a_finite_search_needs_no_other_end(desk: Desk) -> None:
    text = "search:\n  sampler: grid\n  enqueue: []\n  space: {model.drop_path: [0.0, 0.1]}\n"
    book = desk.book(desk.study(text))
    drawn = [book.ask(), book.ask(), book.ask()]
    assert drawn[2] is None and None not in drawn[:2]
