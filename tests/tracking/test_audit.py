"""The audit of a run folder: any digit that is changed in any of its files is found, in the file where it was changed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from slws_lab.spec import RunSpec
from slws_lab.tracking import Attempt, RunFolder, Workspace, journal, write_json, write_text
from slws_lab.tracking.audit import audit
from slws_lab.tracking.audit_digests import result_text
from slws_lab.tracking.files import checked_line

FILES = (
    "run.json",
    "attempt-1/journal.jsonl",
    "attempt-1/starts.jsonl",
    "attempt-1/diff.patch",
    "attempt-1/result.json",
)


def wrong(folder: RunFolder) -> dict[str, str]:
    """Return file within the folder -> what is wrong with it."""
    return {Path(fault.file).relative_to(folder.path).as_posix(): fault.what for fault in audit(folder).faults}


def finish(attempt: Attempt, digests: bool = True, **changed: object) -> None:
    result = {
        "status": "finished", "cause": "", "epochs": 3, "params": 1234, "seconds": 2.5, "provenance": {"commit": "c0ffee0"},
        "metrics": {"val/top1": 3 / 7, "train/images_per_s": 912.5}, **changed,
    }  # fmt: skip
    if digests:
        write_text(attempt.path / "result.json", result_text(attempt.path, result))
    else:
        write_json(attempt.path / "result.json", result)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """The folder of a run with one finished attempt."""
    run = RunSpec.model_validate({
        "kind": "train", "seed": 3, "model": {"name": "vim_tiny"}, "data": {"name": "digits"},
        "shuffle": {"schedule": "linear", "max_rate": 0.3}, "train": {"epochs": 3, "batch_size": 64, "lr": 0.00123},
    })  # fmt: skip
    made = Workspace(tmp_path).run(run)
    made.create(run)
    attempt = made.new_attempt()
    attempt.starts.write_text('{"time": 1795273174.6551266, "epochs": 0, "pid": 9064}\n')
    for epoch in (1, 2, 3):
        journal.append(attempt.journal, epoch, 1e9 + epoch / 7, {"val/top1": epoch / 7, "train/images_per_s": 912.5})
    (attempt.path / "diff.patch").write_text("-x = 1\n+x = 2\n")
    attempt.checkpoint.mkdir()
    (attempt.checkpoint / "last.safetensors").write_bytes(bytes(range(256)))
    finish(attempt)
    return made


def test_what_nobody_has_touched_is_sound(folder: RunFolder) -> None:
    found = audit(folder)
    assert (found.faults, found.ended, found.unrecorded) == ((), 1, 0)


@pytest.mark.parametrize("name", FILES)
def test_any_changed_digit_is_found_and_only_its_file_is_blamed(name: str, folder: RunFolder) -> None:
    path = folder.path / name
    whole = path.read_bytes()
    places = [match.start() for match in re.finditer(rb"[0-9]", whole)]
    assert places
    for place in places:
        other = b"%d" % ((whole[place] - ord("0") + 1) % 10)
        path.write_bytes(whole[:place] + other + whole[place + 1 :])
        assert list(wrong(folder)) == [name], (place, whole[max(0, place - 30) : place + 10])
    path.write_bytes(whole)
    assert wrong(folder) == {}


def test_a_digit_that_leaves_its_number_the_same_is_found_too(folder: RunFolder) -> None:
    (attempt,) = folder.attempts()
    finish(attempt, finished=1795273174.6551266)
    path = attempt.path / "result.json"
    assert float("1795273174.6551265") == 1795273174.6551266
    path.write_text(path.read_text().replace("1795273174.6551266", "1795273174.6551265"))
    assert list(wrong(folder)) == ["attempt-1/result.json"]


def test_changed_weights_are_found_and_removed_ones_are_not_missed(folder: RunFolder) -> None:
    weights = folder.attempts()[0].checkpoint / "last.safetensors"
    weights.write_bytes(bytes(range(255)) + b"\x00")
    assert list(wrong(folder)) == ["attempt-1/checkpoint/last.safetensors"]
    weights.unlink()
    assert wrong(folder) == {}


def test_a_log_may_grow_or_go_but_not_change(folder: RunFolder) -> None:
    (attempt,) = folder.attempts()
    attempt.log.write_text("epoch 1: val/top1 10.5\n")
    finish(attempt)
    with attempt.log.open("a") as file:
        file.write("another process has taken it over; stopping\n")
    assert wrong(folder) == {}
    attempt.log.write_text(attempt.log.read_text().replace("10.5", "11.5"))
    assert wrong(folder) == {"attempt-1/log.txt": "what it held when the run ended was changed"}
    attempt.log.write_text("epoch")
    assert list(wrong(folder)) == ["attempt-1/log.txt"]
    attempt.log.unlink()
    assert wrong(folder) == {}


@pytest.mark.parametrize("name", ["journal.jsonl", "starts.jsonl"])
def test_a_damaged_line_of_an_attempt_that_has_not_ended_is_found(name: str, folder: RunFolder) -> None:
    (attempt,) = folder.attempts()
    (attempt.path / "result.json").unlink()
    path = attempt.path / name
    lines = [checked_line({"step": n, "time": 1e9, "metrics": {"a": 0.5}}) for n in (1, 2, 3)]
    for number in (1, 2, 3):
        other = [line.replace(b"0.5", b"0.6") if n == number else line for n, line in enumerate(lines, 1)]
        path.write_bytes(b"".join(other))
        assert wrong(folder) == {f"attempt-1/{name}": f"line {number} is damaged"}
    path.write_bytes(b"".join(lines) + b'{"torn')
    assert wrong(folder) == {}


def test_a_digit_of_a_run_that_leaves_its_number_the_same_is_found_before_it_has_any_result(folder: RunFolder) -> None:
    (folder.attempts()[0].path / "result.json").unlink()
    path = folder.path / "run.json"
    path.write_text(path.read_text().replace('"lr": 0.00123,', '"lr": 0.001230000000000000000001,'))
    assert wrong(folder) == {"run.json": "it was changed after it was written"}


def test_a_changed_choice_is_found_also_where_it_names_another_attempt(folder: RunFolder) -> None:
    folder.choose(folder.new_attempt())
    path = folder.path / "chosen.json"
    assert wrong(folder) == {}
    path.write_text(path.read_text().replace('"attempt": 2', '"attempt": 1'))
    assert wrong(folder) == {"chosen.json": "it was changed after it was written, and names attempt 1 now"}
    path.write_text('{"attempt": 1}')  # of an older version
    assert wrong(folder) == {}


def test_an_attempt_that_cannot_be_read_has_failed_and_is_named(folder: RunFolder) -> None:
    again = folder.new_attempt().path
    again.rmdir()
    again.write_text("a file in the folder's place")
    attempt = folder.attempts()[1]
    assert attempt.result() == {"status": "failed", "cause": "its folder cannot be read: Not a directory"}
    assert (list(journal.read(attempt.journal)), attempt.lacks()) == ([], "")
    assert wrong(folder) == {"attempt-2": "it cannot be read: Not a directory"}
    assert folder.chosen() == folder.attempts()[0]


def test_a_journal_that_is_gone_is_missed(folder: RunFolder) -> None:
    folder.attempts()[0].journal.unlink()
    assert wrong(folder) == {"attempt-1/journal.jsonl": "it is gone"}


def test_a_result_of_an_older_version_is_compared_with_its_journal(folder: RunFolder) -> None:
    (attempt,) = folder.attempts()
    finish(attempt, digests=False, metrics={"val/top1": 3 / 7, "train/images_per_s": 1.0})
    found = audit(folder)
    assert (found.faults, found.ended, found.unrecorded) == ((), 1, 1), "speed may differ: a resume measures it again"
    finish(attempt, digests=False, metrics={"val/top1": 0.5})
    assert "its last val/top1 is 0.42857142857142855" in wrong(folder)["attempt-1/journal.jsonl"]
    finish(attempt, digests=False, epochs=4)
    assert wrong(folder) == {"attempt-1/journal.jsonl": "the journal holds 3 of 4 epochs"}


def test_a_torn_line_is_a_fault_only_of_an_attempt_that_has_ended(folder: RunFolder) -> None:
    (attempt,) = folder.attempts()
    finish(attempt, digests=False)
    with attempt.journal.open("a") as file:
        file.write('{"step": 4, "ti')
    assert wrong(folder) == {"attempt-1/journal.jsonl": "line 4 is no entry"}
    (attempt.path / "result.json").unlink()
    assert wrong(folder) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"status": 1, "digests": 2}', "\x00\x01"])
def test_a_damaged_result_is_one_fault(text: str, folder: RunFolder) -> None:
    (folder.attempts()[0].path / "result.json").write_text(text)
    assert list(wrong(folder)) == ["attempt-1/result.json"]


@pytest.mark.parametrize("text", ["", "[]", "null", '{"spec": {}}', '{"spec": 1}'])
def test_a_damaged_run_is_one_fault(text: str, folder: RunFolder) -> None:
    finish(folder.attempts()[0], digests=False)
    (folder.path / "run.json").write_text(text)
    assert wrong(folder) == {"run.json": "it is not there, or holds no run"}


def test_a_run_under_another_ones_name_is_found_before_it_has_any_result(folder: RunFolder) -> None:
    (folder.attempts()[0].path / "result.json").unlink()
    assert wrong(folder) == {}
    raw = json.loads((folder.path / "run.json").read_text())
    raw["spec"]["train"]["lr"] = 0.00124
    write_json(folder.path / "run.json", raw)
    assert wrong(folder) == {"run.json": "it holds another run than the one that its folder is named after"}


@pytest.mark.parametrize(("text", "said"), [('{"attempt": 2}', "attempt 2, which is not there"), ("{", "names no attempt"), ("[1]", "names no attempt")])  # fmt: skip
def test_a_choice_of_nothing_is_found(text: str, said: str, folder: RunFolder) -> None:
    (folder.path / "chosen.json").write_text(text)
    assert said in wrong(folder)["chosen.json"]
