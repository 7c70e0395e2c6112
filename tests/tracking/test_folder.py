"""Run folders: attempts, which one counts, and what a record reads from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slws_lab.spec import Metric, RunSpec
from slws_lab.tracking import Attempt, RunFolder, Workspace, journal, record, starts

RUN = RunSpec.model_validate(
    {"kind": "train", "model": {"name": "m"}, "data": {"name": "d"}, "train": {"epochs": 2, "batch_size": 8}, "seed": 0}
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = Workspace(tmp_path).run(RUN)
    folder.create(RUN)
    return folder


def finish(attempt: Attempt, status: str = "finished", top1: float = 90.0, **result: Any) -> None:
    for epoch, value in ((1, top1 + 1), (2, top1)):
        journal.append(
            attempt.journal, epoch, 100.0 + epoch, {"val/top1": value, "train/images_per_s": 5.0 * attempt.number}
        )
    attempt.finish({"status": status, "cause": "", **result})


def test_a_run_folder_holds_its_run(folder: RunFolder) -> None:
    assert folder.spec() == RUN
    assert folder.canonical()["model.name"] == "m"


def test_an_attempt_that_has_not_ended_is_gone_on_with(folder: RunFolder) -> None:
    assert folder.next_attempt() == 1
    first = folder.attempt(1)
    assert (folder.attempt(1), folder.next_attempt()) == (first, 1)
    finish(first, "failed")
    assert folder.next_attempt() == 2


def test_the_first_final_attempt_counts_unless_another_is_chosen(folder: RunFolder) -> None:
    for status in ("failed", "finished", "finished"):
        finish(folder.new_attempt(), status)
    assert folder.chosen() == folder.attempts()[1]
    folder.choose(folder.attempts()[2])
    assert folder.chosen() == folder.attempts()[2]


def test_a_chosen_attempt_that_failed_does_not_count(folder: RunFolder) -> None:
    finish(folder.new_attempt())
    finish(folder.new_attempt(), "failed")
    folder.choose(folder.attempts()[1])
    assert folder.chosen() == folder.attempts()[0]


def test_values_of_a_record(folder: RunFolder) -> None:
    assert record(folder).status == "pending"
    finish(folder.new_attempt(), top1=80.0)
    known = record(folder)
    assert (known.status, known.attempt, known.differs) == ("finished", 1, False)
    assert known.value(Metric(name="val/top1")) == 80.0
    assert known.value(Metric(name="val/top1", at="best")) == 81.0
    assert known.value(Metric(name="val/top5")) is None


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_what_did_not_finish_has_no_value(folder: RunFolder, status: str) -> None:
    finish(folder.new_attempt(), status)
    assert record(folder).value(Metric()) is None


def test_attempts_that_differ_are_flagged_and_measurements_do_not_count(folder: RunFolder) -> None:
    finish(folder.new_attempt())
    finish(folder.new_attempt())
    assert record(folder).differs is False
    finish(folder.new_attempt(), top1=90.000001)
    assert record(folder).differs is True


def start(attempt: Attempt, threads: int = 1) -> None:
    starts.note_start(attempt, threads=threads, made_by="code/packages/cpu")


def test_an_attempt_that_dies_again_and_again_is_told_from_one_that_goes_on(folder: RunFolder) -> None:
    attempt = folder.new_attempt()
    for _ in range(2):
        start(attempt, threads=3)
    assert not starts.keeps_dying(attempt)
    start(attempt)
    assert starts.keeps_dying(attempt)
    journal.append(attempt.journal, 1, 0.0, {"a": 1.0})
    assert not starts.keeps_dying(attempt)
    assert (starts.starts(attempt), starts.threads_of(attempt, 9)) == (3, 3)


def test_a_stop_that_was_asked_for_is_no_death(folder: RunFolder) -> None:
    attempt = folder.new_attempt()
    for _ in range(5):
        start(attempt)
        starts.note_stop(attempt)
    assert not starts.keeps_dying(attempt)


def test_a_torn_line_of_starts_is_left_out(folder: RunFolder) -> None:
    attempt = folder.new_attempt()
    start(attempt)
    with attempt.starts.open("a") as file:
        file.write('{"time": 1, "ep\n')
    start(attempt)
    assert starts.starts(attempt) == 2
    assert starts.made_by(attempt) == "code/packages/cpu"
