"""Run folders: attempts, which one counts, and what a record reads from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from full_disk import room_for

from slws_lab.spec import Metric, RunSpec
from slws_lab.tracking import Attempt, RunFolder, Workspace, journal, record, starts, write_text
from slws_lab.tracking import folder as folder_module
from slws_lab.tracking.files import NotWritten, write_all

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


def test_a_folder_that_refuses_alone_is_told_from_a_disk_that_refuses_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = Workspace(tmp_path / ".slws").run("vim_tiny-s0-0123456789ab").new_attempt()
    assert attempt.shut() == ""
    assert list(attempt.path.iterdir()) == []
    attempt.path.rmdir()
    attempt.path.write_text("a file in the folder's place")
    assert attempt.shut() == "Not a directory"
    monkeypatch.setattr(folder_module, "refusal", lambda _: "No space left on device")
    assert attempt.shut() == "", "the whole workspace refuses"


def test_many_files_are_written_whole_and_take_their_names_last(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(NotWritten, match="b cannot be written"):
        write_all({tmp_path / "a": b"1", tmp_path / "b": b"2", tmp_path / "c": b"3"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"], (
        "those behind it, and temporary files, are not there"
    )
    with room_for(10), pytest.raises(NotWritten):
        write_all({tmp_path / "a": b"new", tmp_path / "d": b"x" * 100})
    assert (tmp_path / "a").read_bytes() == b"1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_workspace_is_made_with_what_keeps_it_out_of_git_and_no_folder_of_another_is(tmp_path: Path) -> None:
    for name in ("old", "own", "shared"):
        (tmp_path / name / "runs").mkdir(parents=True)
    (tmp_path / "own" / ".gitignore").write_text("mlflow.db")
    (tmp_path / "shared" / "paper.tex").touch()
    for name in ("new", "old", "own", "shared"):
        Workspace(tmp_path / name).make()
    found = {path.parent.name: path.read_text() for path in tmp_path.glob("*/.gitignore")}
    assert found == {"new": "*\n", "old": "*\n", "own": "mlflow.db"}


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
    assert starts.is_damaged(attempt)
    start(attempt)
    assert starts.starts(attempt) == 2
    assert starts.made_by(attempt) == "code/packages/cpu"
    with attempt.starts.open("a") as file:
        file.write('{"pid": 3}\n')
    assert starts.threads_of(attempt, 7) == 1
    assert starts.starts(attempt) == 2


def test_a_checkpoint_within_an_epoch_is_progress_and_no_death(folder: RunFolder) -> None:
    attempt = folder.new_attempt()
    attempt.checkpoint.mkdir()
    for moment in range(4):
        start(attempt)
        (attempt.checkpoint / "resume.pt").touch()
        os.utime(attempt.checkpoint / "resume.pt", (moment, moment))
    assert not starts.keeps_dying(attempt)
    for _ in range(3):
        start(attempt)
    assert starts.keeps_dying(attempt)


@pytest.mark.parametrize("left", [b'{"time": 1, "ep', b"\xff\n", b"[]\n", b"5\n", b"[" * 200_000 + b"\n"])
def test_a_start_is_noted_after_whatever_a_crash_has_left(folder: RunFolder, left: bytes) -> None:
    attempt = folder.new_attempt()
    start(attempt)
    with attempt.starts.open("ab") as file:
        file.write(left)
    start(attempt)
    starts.note_stop(attempt)
    assert starts.starts(attempt) == 2
    assert len(starts.lines(attempt)) == 3


def test_only_the_owner_of_an_attempt_can_change_what_it_holds(folder: RunFolder, tmp_path: Path) -> None:
    attempt, gone, desk = folder.new_attempt(), tmp_path / "gone", tmp_path / "desk"
    start(attempt)
    journal.append(attempt.journal, 1, 0.0, {"a": 1.0})
    attempt.checkpoint.mkdir()
    late = (
        lambda: attempt.finish({"status": "finished"}, gone),
        lambda: starts.note_stop(attempt, gone),
        lambda: starts.note_start(attempt, threads=1, made_by="x", desk=gone),
        lambda: attempt.start_over(gone),
    )
    for write in late:
        with pytest.raises(NotWritten):
            write()
    assert (attempt.status, len(starts.lines(attempt)), journal.epochs(attempt.journal)) == (None, 1, 1)
    assert attempt.checkpoint.exists()
    desk.mkdir()
    attempt.start_over(desk)
    assert not attempt.journal.exists()
    assert not attempt.checkpoint.exists()


def test_what_killed_writers_left_is_swept_and_what_others_write_now_is_not(folder: RunFolder) -> None:
    attempt = folder.new_attempt()
    attempt.checkpoint.mkdir()
    ours, theirs = [attempt.path / ".a.tmp", attempt.checkpoint / ".b.tmp"], folder.path / ".chosen.json.1.tmp"
    old, users = folder.path / ".run.json.2.tmp", attempt.path / "notes.tmp"
    for path in (*ours, theirs, old, users):
        path.touch()
    os.utime(old, (1e9, 1e9))
    attempt.sweep()
    assert [path for path in (*ours, theirs, old, users) if path.exists()] == [theirs, users]


def test_a_file_that_cannot_be_written_is_as_before_and_the_message_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "before")
    with room_for(3), pytest.raises(NotWritten, match=r"file cannot be written: File too large\n  to do: .* again"):
        write_text(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
