"""The worker: what it records when a run ends, fails, is stopped, keeps dying, or was begun by another maker."""

from __future__ import annotations

import errno
import itertools
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from training_runs import spec

from slws_lab import scan, worker
from slws_lab.data import LastLoaded, Request, keep, load
from slws_lab.launch.launcher import HUNG
from slws_lab.spec import Resources
from slws_lab.tracking import Attempt, Claim, Workspace, claim, differences, journal, starts, write_json
from slws_lab.tracking.files import NotWritten, checked_line, writing
from slws_lab.training import build
from slws_lab.worker import logs
from slws_lab.worker import training as worker_training

RUN = spec(train={"epochs": 2})


def attempt_in(folder: Path, number: int = 1) -> Attempt:
    run = Workspace(folder).run(RUN)
    run.create(RUN)
    return run.attempt(number)


def place(folder: Path, stop_after: int = 10**9) -> worker.Place:
    steps = itertools.count()
    return worker.Place(folder, Resources(gpus=0), lambda: next(steps) >= stop_after)


def test_an_attempt_is_executed_once_and_its_record_is_whole(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path)
    assert worker.execute(attempt, place(tmp_path)) == "finished"
    result = attempt.result() or {}
    assert (result["device"], result["threads"], result["scan_backend"], result["resumes"]) == (
        "cpu",
        1,
        scan.resolve("auto", "cpu").name,
        0,
    )
    assert result["provenance"]["modules"]["slws_lab.training.train"]
    assert result["provenance"]["packages"]["torch"]
    assert [entry.step for entry in journal.read(attempt.journal)] == [1, 2]
    assert worker.execute(attempt, place(tmp_path)) == "taken"


def test_a_warm_worker_loads_its_data_once_and_its_results_are_those_of_a_fresh_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Request] = []
    monkeypatch.setattr(keep, "load", lambda request: (loaded.append(request), load(request))[1])
    monkeypatch.setattr(build, "_DATA", LastLoaded())
    attempts = [attempt_in(tmp_path, number) for number in (1, 2)]
    for attempt in attempts:
        assert worker.execute(attempt, place(tmp_path)) == "finished"
    assert len(loaded) == 1
    assert differences(*attempts) == []


def test_an_attempt_that_another_holds_is_left_alone(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path)
    other = Claim.take(attempt.claim)
    assert other is not None
    with other:
        assert worker.execute(attempt, place(tmp_path)) == "taken"
    assert not attempt.log.exists()


def test_stops_within_an_epoch_are_no_deaths_and_the_run_ends_as_undisturbed(tmp_path: Path) -> None:
    undisturbed, stopped = attempt_in(tmp_path / "a"), attempt_in(tmp_path / "b")
    worker.execute(undisturbed, place(tmp_path))
    for _ in range(4):
        assert worker.execute(stopped, place(tmp_path, stop_after=2)) == "interrupted"
    assert worker.execute(stopped, place(tmp_path)) == "finished"
    assert differences(undisturbed, stopped) == []
    assert (stopped.result() or {})["resumes"] == 4


def test_an_attempt_that_kills_its_process_again_and_again_has_failed(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path)
    for _ in range(starts.MAX_WITHOUT_PROGRESS):
        starts.note_start(attempt, threads=1, made_by="x")
    assert worker.execute(attempt, place(tmp_path)) == "failed"
    assert "died 3 times before the next epoch" in (attempt.result() or {})["cause"]


def test_what_another_code_has_begun_is_begun_again(tmp_path: Path) -> None:
    undisturbed, mixed = attempt_in(tmp_path / "a"), attempt_in(tmp_path / "b")
    worker.execute(undisturbed, place(tmp_path))
    assert worker.execute(mixed, place(tmp_path, stop_after=12)) == "interrupted"
    others = [{**line, "made_by": "other/code/cpu"} for line in starts.lines(mixed)]
    mixed.starts.write_bytes(b"".join(checked_line(line) for line in others))
    mixed.journal.write_text(mixed.journal.read_text().replace('"val/top1": ', '"val/top1": 1'))
    assert worker.execute(mixed, place(tmp_path)) == "finished"
    assert differences(undisturbed, mixed) == []
    assert "starting over" in mixed.log.read_text()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError("boom\nmore"), "RuntimeError: boom"),
        (MemoryError(), "MemoryError"),
        (OSError("bad image"), "OSError: bad image"),
    ],
)
def test_a_failure_is_recorded_with_its_cause_and_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, cause: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(worker_training, "train", fail)
    attempt = attempt_in(tmp_path)
    assert worker.execute(attempt, place(tmp_path)) == "failed"
    assert (attempt.result() or {})["cause"] == cause
    assert "Traceback" in attempt.log.read_text()


def contents(attempt: Attempt) -> dict[str, bytes]:
    """Return all files of an attempt; its claim is its owner's, and the log may say that it was taken over."""
    files = [path for path in attempt.path.rglob("*") if path.is_file() and attempt.claim not in path.parents]
    return {str(path.relative_to(attempt.path)): path.read_bytes() for path in files if path != attempt.log}


@pytest.mark.parametrize("stolen_after", [5, 12, 17])
def test_a_run_that_lost_its_claim_writes_nothing_more(tmp_path: Path, stolen_after: int) -> None:
    """Nine steps an epoch: in the first epoch, in the second, and before its last step, after which the weights are due."""
    attempt = attempt_in(tmp_path)
    steps, seen = itertools.count(), [dict[str, bytes]()]

    def steal() -> bool:
        if next(steps) == stolen_after:
            (desk,) = attempt.claim.iterdir()
            claim._bury(attempt.claim, desk)
            other = Claim.take(attempt.claim)
            assert other is not None
            taken.append(other)
            seen[0] = contents(attempt)
        return False

    taken: list[Claim] = []
    assert worker.execute(attempt, worker.Place(tmp_path, Resources(gpus=0), steal)) == "taken"
    assert contents(attempt) == seen[0]
    assert taken[0].held()
    taken[0].__exit__()


STOPS_ITSELF = """
import os, signal, sys
from pathlib import Path
from slws_lab import worker
from slws_lab.tracking import journal

append = journal.Writer.append

def stop_before_the_second_line(writer, step, *more):
    if step == 2:
        os.kill(os.getpid(), signal.SIGSTOP)
    append(writer, step, *more)

journal.Writer.append = stop_before_the_second_line
worker.run_job(Path(sys.argv[1]))
"""


def test_a_process_that_was_stopped_wakes_up_and_writes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at the worst moment: it has seen that its claim is held, and is about to write."""
    undisturbed, attempt = attempt_in(tmp_path / "a"), attempt_in(tmp_path / "b")
    assert worker.execute(undisturbed, place(tmp_path)) == "finished"
    job = tmp_path / "job.json"
    resources = Resources(gpus=0).model_dump(mode="json")
    write_json(job, {"root": str(tmp_path), "resources": resources, "attempts": [str(attempt.path)]})
    process = subprocess.Popen([sys.executable, "-c", STOPS_ITSELF, str(job)], stdin=subprocess.PIPE)
    try:
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        (sheet,) = attempt.claim.glob("*/*.json")
        os.utime(sheet, (1e9, 1e9))
        monkeypatch.setattr(claim, "CONFIRM_S", 0.2)
        assert worker.execute(attempt, place(tmp_path)) == "finished"
        before = contents(attempt)
        process.send_signal(signal.SIGCONT)
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.communicate()
    assert contents(attempt) == before
    assert differences(undisturbed, attempt) == []
    assert not list(attempt.path.glob("*claim*"))


def test_a_journal_that_lost_its_last_line_is_made_whole_again(tmp_path: Path) -> None:
    undisturbed, torn = attempt_in(tmp_path / "a"), attempt_in(tmp_path / "b")
    worker.execute(undisturbed, place(tmp_path))
    assert worker.execute(torn, place(tmp_path, stop_after=12)) == "interrupted"
    torn.journal.write_bytes(torn.journal.read_bytes()[:-5])
    assert worker.execute(torn, place(tmp_path)) == "finished"
    assert differences(undisturbed, torn) == []
    assert "the metrics of 0 are there" in torn.log.read_text()


@pytest.mark.parametrize("refused", ["journal", "result"])
def test_a_disk_that_refuses_what_must_be_kept_leaves_the_attempt_unfinished_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    undisturbed, attempt = attempt_in(tmp_path / "a"), attempt_in(tmp_path / "b")
    worker.execute(undisturbed, place(tmp_path))
    assert worker.execute(attempt, place(tmp_path, stop_after=12)) == "interrupted"

    def full(*_: object) -> None:
        with writing(attempt.path / refused):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(*((journal.Writer, "append") if refused == "journal" else (Attempt, "finish")), full)
        for _ in range(starts.MAX_WITHOUT_PROGRESS + 1):
            with pytest.raises(NotWritten, match="No space left on device"):
                worker.execute(attempt, place(tmp_path))
    assert attempt.status is None
    assert (attempt.checkpoint / "resume.pt").exists()
    assert worker.execute(attempt, place(tmp_path)) == "finished"
    assert differences(undisturbed, attempt) == []
    assert sorted(path.name for path in attempt.checkpoint.iterdir()) == ["ema.safetensors", "last.safetensors"]


@pytest.mark.parametrize(("deaths", "ends"), [(0, "lost"), (2, "failed")])
def test_a_killed_rank_sends_its_run_back_and_the_third_in_a_row_is_a_failure_with_the_true_first_cause(
    tmp_path: Path, deaths: int, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = spec(train={"epochs": 500, "ranks": 2})
    folder = Workspace(tmp_path).run(run)
    folder.create(run)
    attempt = folder.attempt(1)
    monkeypatch.setattr(starts, "MAX_WITHOUT_PROGRESS", 1 if deaths else 3)
    killed: list[psutil.Process] = []

    def kill_one() -> bool:
        if not killed and ranks() and (deaths or len(list(journal.read(attempt.journal))) > 1):
            killed.append(ranks()[-1])
            killed[0].kill()
        return False

    assert worker.execute(attempt, worker.Place(tmp_path, Resources(gpus=0), kill_one)) == ends
    if ends == "lost":
        assert attempt.status is None and "going on from the last checkpoint" in attempt.log.read_text()
    else:
        assert re.fullmatch(r"rank \d was killed by SIGKILL", (attempt.result() or {})["cause"])
    assert killed and not ranks()
    assert not list(attempt.path.rglob("rendezvous*"))


def ranks() -> list[psutil.Process]:
    """Return this process's children that train."""
    children = psutil.Process().children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_a_hung_process_ends_itself_and_its_log_says_where_it_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    attempt = attempt_in(tmp_path)
    logs.end_hung(attempt)
    assert codes == [HUNG]
    assert "this run hangs" in attempt.log.read_text()
    assert "test_a_hung_process_ends_itself" in attempt.log.read_text()
