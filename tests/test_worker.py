"""The worker: what it records when a run ends, fails, is stopped, keeps dying, or was begun by another maker."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import psutil
import pytest
from training_runs import spec

from slws_lab import scan, worker
from slws_lab.data import LastLoaded, Request, keep, load
from slws_lab.spec import Resources
from slws_lab.tracking import Attempt, Claim, Workspace, differences, journal, starts
from slws_lab.training import build

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
    claim = Claim.take(attempt.claim)
    assert claim is not None
    with claim:
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
    other = mixed.starts.read_text().replace(starts.made_by(mixed) or "", "other/code/cpu")
    mixed.starts.write_text(other)
    mixed.journal.write_text(mixed.journal.read_text().replace('"val/top1": ', '"val/top1": 1'))
    assert worker.execute(mixed, place(tmp_path)) == "finished"
    assert differences(undisturbed, mixed) == []
    assert "starting over" in mixed.log.read_text()


def test_a_failure_is_recorded_with_its_cause_and_log(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path)
    attempt.checkpoint.write_text("in the way")
    assert worker.execute(attempt, place(tmp_path)) == "failed"
    assert "Error" in (attempt.result() or {})["cause"]
    assert "Traceback" in attempt.log.read_text()


def test_a_run_that_lost_its_claim_writes_nothing_more(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path)

    def steal() -> bool:
        attempt.claim.write_text('{"host": "elsewhere", "pid": 1, "started": 0.0}')
        return False

    assert worker.execute(attempt, worker.Place(tmp_path, Resources(gpus=0), steal)) == "taken"
    assert attempt.result() is None
    assert not attempt.journal.exists()


def test_a_killed_rank_fails_its_run_with_the_true_first_cause_in_the_record(tmp_path: Path) -> None:
    run = spec(train={"epochs": 500, "ranks": 2})
    folder = Workspace(tmp_path).run(run)
    folder.create(run)
    attempt = folder.attempt(1)
    killed: list[psutil.Process] = []

    def kill_one() -> bool:
        if not killed and len(list(journal.read(attempt.journal))) > 1:
            killed.append(ranks()[-1])
            killed[0].kill()
        return False

    assert worker.execute(attempt, worker.Place(tmp_path, Resources(gpus=0), kill_one)) == "failed"
    cause = (attempt.result() or {})["cause"]
    assert re.fullmatch(r"rank \d was killed by SIGKILL", cause)
    assert killed and not ranks()
    assert not list(attempt.path.rglob("rendezvous*"))


def ranks() -> list[psutil.Process]:
    """Return this process's children that train."""
    children = psutil.Process().children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
