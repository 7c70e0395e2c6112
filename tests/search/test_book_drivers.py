"""Several drivers write in one book, and die: nothing is drawn twice, and what one leaves another takes over."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from search.books import FINITE, FIRST, NUMBERS, Desk, distinct, draw, ended, fork, value

from slws_lab.search import book as book_module
from slws_lab.search.trial import counts
from slws_lab.spec.levels import Settings

RESTARTED = ["tpe", "random", "nsgaii", "cmaes", "qmc"]


@pytest.mark.parametrize("sampler", RESTARTED)
def test_after_restarts_no_draw_repeats_and_the_same_restart_goes_on_alike(desk: Desk, sampler: str) -> None:
    study = desk.study(NUMBERS, f"  storage: journal\n  sampler: {sampler}\n")
    few = 4
    drawn = draw(desk.book(study), few)
    drawn += draw(desk.book(study), 1)
    shutil.copytree(desk.folder / ".slws", desk.folder / "other")
    here, there = draw(desk.book(study), few), draw(desk.book(study, "other"), few)
    assert here == there
    drawn += here + draw(desk.book(study), few)
    assert distinct(drawn) == len(drawn)
    assert [trial.number for trial in desk.book(study).trials()] == list(range(len(drawn)))


@pytest.mark.parametrize("sampler", RESTARTED)
def test_two_books_on_one_storage_never_draw_the_same(desk: Desk, sampler: str) -> None:
    study = desk.study(NUMBERS, f"  storage: journal\n  sampler: {sampler}\n")
    first, second = desk.book(study), desk.book(study)
    drawn: list[Settings] = []
    for _ in range(5):
        trials = [book.ask() for book in (first, second, first)]
        for trial in trials:
            assert trial is not None
            drawn.append(trial.settings)
            second.complete(trial.number, [value(trial.settings)])  # whoever drew it
    assert distinct(drawn) == len(drawn)


def test_what_it_begins_with_is_enqueued_once_however_many_begin(desk: Desk) -> None:
    study = desk.study(keys=FIRST)
    children = [fork(lambda: desk.book(study)) for _ in range(3)]
    assert [ended(child) for child in children] == [0, 0, 0]
    drawn = draw(desk.book(study), 4)
    assert [settings["shuffle.schedule"] for settings in drawn[:2]] == ["linear", "none"]
    assert drawn[0]["train.weight_decay"] == drawn[1]["train.weight_decay"] == 0.05
    assert 0.05 not in [settings["train.weight_decay"] for settings in drawn[2:]]


def test_a_dead_drivers_trial_is_taken_over_once_and_a_living_ones_is_not(desk: Desk) -> None:
    study = desk.study()

    def die() -> None:
        book = desk.book(study)
        trial = book.ask()
        assert trial is not None
        book.report(trial.number, {1: 0.5})

    assert ended(fork(die)) == 0
    first, second = desk.book(study), desk.book(study)
    mine = first.ask()
    assert mine is not None
    taken = first.orphans()
    assert [(trial.number, trial.state, dict(trial.curve)) for trial in taken] == [(0, "running", {1: 0.5})]
    assert taken[0].settings == first.trials()[0].settings != {}
    assert second.orphans() == [] == first.orphans()
    first.report(0, {1: 0.5, 2: 0.6})
    first.complete(0, [0.6])
    assert [trial.state for trial in second.trials()] == ["complete", "running"]


@pytest.mark.parametrize("sampler", ["tpe", "random", "{name: nsgaii, population_size: 30}", "qmc"])
def test_no_draw_repeats_where_each_driver_dies_and_the_next_takes_its_trials_over(desk: Desk, sampler: str) -> None:
    study = desk.study(NUMBERS, f"  storage: journal\n  sampler: {sampler}\n")

    def die() -> None:
        book = desk.book(study)
        book.orphans()
        draw(book, 1)
        book.ask()

    for _ in range(4):
        assert ended(fork(die)) == 0
    drawn = [trial.settings for trial in desk.book(study).trials()]
    assert len(drawn) == distinct(drawn) == 8


def test_a_trial_that_its_driver_told_before_it_ended_is_not_taken_over(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = desk.study()
    theirs, mine = desk.book(study), desk.book(study)
    trial = theirs.ask()
    assert trial is not None

    def looks_dead(_: object) -> bool:
        theirs.complete(trial.number, [0.5])  # between this driver's look at the storage and at the process
        return True

    monkeypatch.setattr(mine, "_is_orphan", looks_dead)
    assert mine.orphans() == []
    assert [(t.state, t.values) for t in mine.trials()] == [("complete", (0.5,))]
    assert not theirs.report(trial.number, {1: 0.5}), "what was told takes no further step"


def test_a_driver_elsewhere_is_judged_by_its_beat_against_this_clock(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = desk.study()
    with monkeypatch.context() as patch:
        owner = book_module._driver()
        patch.setattr(book_module, "_driver", lambda: {**owner, "host": "elsewhere", "token": "elsewhere"})
        there = desk.book(study)
    there.ask()
    here, clock = desk.book(study), [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    assert here.orphans() == []
    clock[0] += book_module.STALE_S - 1
    assert here.orphans() == []
    there._beat_at = 0.0
    there.beat()  # it lives
    clock[0] += 2
    assert here.orphans() == []
    clock[0] += book_module.STALE_S + 1
    assert [trial.number for trial in here.orphans()] == [0]


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_draw_that_its_process_did_not_live_to_end_is_ended_by_another(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    study = desk.study(FINITE.replace("sampler: grid", f"sampler: {sampler}"), FIRST)

    def dies_after(count: int) -> Callable[..., Any]:
        calls, real = iter(range(count)), book_module.suggest
        return lambda *given: real(*given) if next(calls, None) is not None else os._exit(9)

    for suggestions in (1, 0, 1):  # the baseline, the second that is enqueued, and one of the sampler's own
        with monkeypatch.context() as patch:
            patch.setattr(book_module, "suggest", dies_after(suggestions))
            assert ended(fork(lambda: desk.book(study).ask())) == 9
        book = desk.book(study)
        assert book.trials()[-1].settings == {}
        assert [counts(trial) for trial in book.orphans()] == [True]
        book.complete(book.trials()[-1].number, [0.5])
    trials = book.trials()
    assert [trial.settings["shuffle.schedule"] for trial in trials[:2]] == ["linear", "none"]
    assert [trial.state for trial in trials] == ["complete"] * 3
    assert book.ask() is not None


def test_the_time_that_all_drivers_searched_is_summed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    study, clock = desk.study(), [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    first = desk.book(study)
    clock[0] += 100
    first.beat()
    second = desk.book(study)
    clock[0] += 30
    assert second.beat() == pytest.approx(130)
    assert first.beat() == pytest.approx(160)
