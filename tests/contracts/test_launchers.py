"""What every launcher promises: jobs that execute each attempt once, stop with a checkpoint, end when killed, and say why they cannot start."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import stand_in
from slurm_cluster import lives, wait_for

from slws_lab.launch import InProcess, Job, Launcher, LaunchError, Local, Ray, Slurm, Work, inventory, slurm
from slws_lab.spec import Resources
from slws_lab.tracking import Attempt, is_held, starts

RESOURCES = Resources.model_validate(
    {"gpus": 0, "slurm": {"array_parallelism": 2, "cpus_per_task": 1, "extra": {"comment": "a-test"}}}
)
COMMANDS = ["local", pytest.param("slurm", marks=pytest.mark.slurm), pytest.param("ray", marks=pytest.mark.ray)]


@dataclass
class Place:
    """A launcher that executes a stand-in of the worker, and a project for it."""

    make: Callable[[], Launcher]
    root: Path

    def work(self, attempts: int = 3, resources: Resources = RESOURCES, most: int | None = None) -> Work:
        folders = tuple(self.root / "runs" / f"r{i}" / "attempt-1" for i in range(attempts))
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        return Work(self.root, folders, resources, self.root / "jobs", most=most)

    @property
    def hold(self) -> Path:
        """While this file is there no run ends."""
        return self.root / "hold"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    name = request.param
    monkeypatch.setattr(inventory, "gpus", tuple)
    monkeypatch.setattr(inventory, "cores", lambda: 2)
    if name == "slurm":
        request.getfixturevalue("slurm")
        monkeypatch.setattr(slurm, "LOOK_S", 0.3)
    if name == "ray":
        if find_spec("ray") is None:
            pytest.skip("needs the package ray")
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        assert Ray().start(Work(tmp_path, (), RESOURCES, tmp_path)) == []  # starts a cluster once, by the real Python
    executable(tmp_path / "python", f'exec {sys.executable} -P {stand_in.__file__} "$4"', monkeypatch)
    makers: dict[str, Callable[[], Launcher]] = {
        "in_process": lambda: InProcess(_here), "local": Local, "slurm": Slurm, "ray": lambda: Ray(sys.executable),
    }  # fmt: skip
    return Place(makers[name], tmp_path)


every_launcher = pytest.mark.parametrize("place", ["in_process", *COMMANDS], indirect=True)
every_command = pytest.mark.parametrize("place", COMMANDS, indirect=True)


@every_launcher
def test_a_job_executes_all_attempts_once_with_its_resources_and_leaves_no_file(place: Place) -> None:
    work = place.work(3, RESOURCES.model_copy(update={"threads": 2}), most=1)
    jobs = place.make().start(work)
    assert len(jobs) == 1
    poll_to_the_end(jobs)
    found = attempts(work)
    assert [(attempt.status, starts.starts(attempt)) for attempt in found] == [("finished", 1)] * 3
    assert {(attempt.result() or {})["threads"] for attempt in found} == {2}
    assert left(work) == []


@every_command
def test_the_thread_pools_of_a_job_are_as_large_as_a_runs_threads(place: Place) -> None:
    work = place.work(1, RESOURCES.model_copy(update={"threads": 3}))
    poll_to_the_end(place.make().start(work))
    assert (attempts(work)[0].result() or {})["pool"] == "3"


@every_launcher
def test_there_are_no_more_jobs_than_slots_attempts_or_asked_for(place: Place) -> None:
    launcher = place.make()
    slots = launcher.slots(RESOURCES)
    assert slots >= 1
    for count, most, expected in ((slots + 1, None, slots), (1, None, 1), (slots + 1, 1, 1)):
        jobs = launcher.start(place.work(count, most=most))
        assert len(jobs) == expected
        poll_to_the_end(jobs)
    assert {attempt.status for attempt in attempts(place.work(slots + 1))} == {"finished"}


@every_launcher
def test_a_cancelled_job_leaves_a_checkpoint_a_free_claim_and_no_process(place: Place) -> None:
    work = place.work(2, most=1)
    place.hold.touch()
    end_in_the_middle(place.make().start(work), work, lambda job: job.cancel())
    first, second = attempts(work)
    assert (first.status, first.checkpoint.exists(), starts.lines(first)[-1].get("stopped")) == (None, True, True)
    assert starts.starts(second) == 0
    assert not is_held(first.claim)
    assert processes(work) == []
    assert left(work) == []


@every_launcher
def test_a_killed_job_leaves_no_process_and_its_attempt_is_free(place: Place) -> None:
    work = place.work(2, most=1)
    place.hold.touch()
    end_in_the_middle(place.make().start(work), work, lambda job: job.kill())
    assert [attempt.status for attempt in attempts(work)] == [None, None]
    assert not any(is_held(attempt.claim) for attempt in attempts(work))
    assert processes(work) == []


@every_launcher
def test_what_was_stopped_goes_on_with_the_next_start(place: Place) -> None:
    work = place.work(2)
    place.hold.touch()
    end_in_the_middle(place.make().start(work), work, lambda job: job.cancel())
    place.hold.unlink()
    poll_to_the_end(place.make().start(work))
    assert [attempt.status for attempt in attempts(work)] == ["finished"] * 2


@every_command
def test_jobs_that_die_before_they_start_a_run_are_given_up_with_the_end_of_their_log(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(place.root / "broken", "echo the library is broken >&2; exit 3", monkeypatch)
    with pytest.raises(LaunchError, match=r"(?s)before they start a run.*the library is broken"):
        poll_to_the_end(place.make().start(place.work()))


@every_launcher
def test_the_jobs_of_two_launchers_execute_each_attempt_once(place: Place) -> None:
    work = place.work(6, most=1)
    other = replace(work, resources=RESOURCES.model_copy(update={"minutes": 1.0}), jobs=place.root / "jobs-2")
    poll_to_the_end([*place.make().start(work), *place.make().start(other)])
    assert [(attempt.status, starts.starts(attempt)) for attempt in attempts(work)] == [("finished", 1)] * 6


@pytest.mark.slurm
@pytest.mark.parametrize("place", ["slurm"], indirect=True)
def test_jobs_on_slurm_outlive_a_killed_command_and_the_next_takes_them_over_and_can_stop_them(place: Place) -> None:
    work = place.work(2, most=1)
    place.hold.touch()
    names = f"{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}"
    start = f"import os, sys; sys.path += {names}; from test_launchers import *; sys.executable = {sys.executable!r}\n"
    start += f"Slurm().start(Place(Slurm, Path({str(place.root)!r})).work(2, most=1)); os._exit(0)"
    real = str(Path(sys.prefix) / "bin" / "python")
    subprocess.run([real, "-c", start], check=True)
    wait_for(lambda: starts.starts(attempts(work)[0]), "run")
    (job,) = place.make().start(work)
    end_in_the_middle([job], work, lambda job: job.cancel())
    assert [starts.starts(attempt) for attempt in attempts(work)] == [1, 0]
    assert starts.lines(attempts(work)[0])[-1].get("stopped")
    assert left(work) == []


def _here(path: Path, work: Work, should_stop: Callable[[], bool]) -> None:
    stand_in.execute(Attempt(path), work.root, work.resources.threads, should_stop)


def executable(path: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a command what jobs take for Python."""
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def attempts(work: Work) -> list[Attempt]:
    return [Attempt(folder) for folder in work.attempts]


def left(work: Work) -> list[Path]:
    return list(work.jobs.iterdir()) if work.jobs.exists() else []


def processes(work: Work) -> list[int]:
    """Return the processes that have started one of these attempts and still live, but for this one."""
    texts = [attempt.starts.read_text() for attempt in attempts(work) if attempt.starts.exists()]
    pids = {json.loads(line).get("pid") for text in texts for line in text.splitlines()} - {None, psutil.Process().pid}
    return [pid for pid in pids if lives(pid)]


def poll_to_the_end(jobs: list[Job]) -> None:
    until = time.monotonic() + 60
    while jobs := [job for job in jobs if job.poll()]:
        assert time.monotonic() < until
        time.sleep(0.02)


def end_in_the_middle(jobs: list[Job], work: Work, end: Callable[[Job], None]) -> None:
    """End jobs as soon as the first attempt is executed; from another thread, since one launcher works while it is polled."""

    def wait_and_end() -> None:
        wait_for(lambda: any(is_held(attempt.claim) and starts.starts(attempt) for attempt in attempts(work)), "run")
        for job in jobs:
            end(job)

    thread = threading.Thread(target=wait_and_end)
    thread.start()
    poll_to_the_end(jobs)
    thread.join()
    for job in jobs:
        job.kill()
