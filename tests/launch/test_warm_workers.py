"""Workers that wait for their job: one answers the check, the launcher takes them, and none is left behind."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from slws_lab.errors import UserError
from slws_lab.launch import Local, Work
from slws_lab.launch.process import environment
from slws_lab.launch.warm import Waiting, Warm
from slws_lab.spec import Resources

WORKER = """\
import json, sys, time
from pathlib import Path
seen = Path({seen!r})
for line in sys.stdin:
    message = json.loads(line)
    if "check" in message:
        if {dies}:
            sys.exit(3)
        question = json.loads(Path(message["check"]).read_text())
        Path(message["answer"] + ".new").write_text(json.dumps({{"asked": question}}))
        Path(message["answer"] + ".new").rename(message["answer"])
    elif "job" in message:
        seen.write_text(json.dumps([message["job"], json.loads(Path(message["job"]).read_text())["attempts"]]))
        break
"""


class Machine:
    """A machine of two cores without a GPU."""

    def gpus(self) -> tuple[()]:
        return ()

    def cores(self) -> int:
        return 2


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Work for workers of which nothing is real but that they read lines; they write down their job."""
    stand_in(tmp_path, monkeypatch, dies=False)
    return Work(tmp_path, (), Resources(gpus=0), tmp_path / ".slws" / "jobs", most=5)


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, *, dies: bool) -> None:
    real = str(Path(sys.prefix) / "bin" / "python")
    (folder / "worker.py").write_text(WORKER.format(seen=str(folder / "seen"), dies=dies))
    (folder / "python").write_text(f"#!/bin/sh\nexec {real} {folder / 'worker.py'}\n")
    (folder / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))


def workers(folder: Path) -> list[int]:
    found = psutil.Process().children(recursive=True)
    return [one.pid for one in found if any(str(folder) in part for part in one.cmdline())]


def test_nothing_is_started_before_a_question_and_nothing_is_left_after(work: Work) -> None:
    with Local(Machine()).warm(work) as warm:
        assert workers(work.root) == []
        assert warm.ask({"x": [1, 2]}) == {"asked": {"x": [1, 2]}}
        assert len(workers(work.root)) == 2
        assert warm.ask("again") == {"asked": "again"}
    assert workers(work.root) == []
    assert not work.jobs.parent.exists()


def test_no_more_workers_wait_than_there_will_be_runs(work: Work) -> None:
    with Local(Machine()).warm(replace(work, most=1)) as warm:
        warm.ask("x")
        assert len(workers(work.root)) == 1


def test_the_launcher_gives_its_job_to_a_worker_that_waits_and_the_others_are_ended(work: Work) -> None:
    launcher = Local(Machine())
    with launcher.warm(work) as warm:
        warm.ask("x")
        attempt = work.root / "runs" / "r" / "attempt-1"
        (job,) = launcher.start(replace(work, attempts=(attempt,)))
        assert len(workers(work.root)) <= 1, "the others would take memory for nothing"
        until = time.monotonic() + 30
        while job.poll():
            assert time.monotonic() < until
            time.sleep(0.02)
        told, attempts = json.loads((work.root / "seen").read_text())
        assert (Path(told).parent, attempts) == (work.jobs, [str(attempt)])
        assert workers(work.root) == []
    assert workers(work.root) == []
    assert list(work.jobs.iterdir()) == []


def test_a_worker_of_another_environment_is_not_taken(work: Work) -> None:
    own = environment(1, None)
    log = work.jobs / "a.log"
    with Warm(lambda: [Waiting.start(work.root, log, own)]) as warm:
        warm.ask("x")
        assert warm.take(log, environment(2, None)) is None
        assert warm.take(work.jobs / "b.log", own) is None
        taken = warm.take(log, dict(own))
        assert taken is not None
        taken.end()


def test_a_worker_that_dies_gives_no_answer(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(work.root, monkeypatch, dies=True)
    with Local(Machine()).warm(work) as warm:
        assert warm.ask("x") is None
    assert not work.jobs.exists()


def test_a_mistake_in_the_study_ends_those_that_wait(work: Work) -> None:
    with pytest.raises(UserError), Local(Machine()).warm(work) as warm:
        warm.ask("x")
        raise UserError("planted")
    assert workers(work.root) == []


def test_those_that_wait_end_with_the_command_that_started_them(work: Work) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        warm = Local(Machine()).warm(work)
        warm.ask("x")
        os.write(writing, json.dumps(workers(work.root)).encode())
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    pids = json.loads(os.read(reading, 1000))
    until = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert len(pids) == 2
