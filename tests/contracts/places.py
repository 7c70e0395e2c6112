"""What tests of launchers share: a project for each, in which they execute a stand-in of the worker."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import stand_in
from slurm_cluster import lives, wait_for

from slws_lab.launch import InProcess, Job, Launcher, Local, Ray, Slurm, Work, inventory, slurm
from slws_lab.spec import Resources, RunSpec
from slws_lab.spec.resources import RaySpec
from slws_lab.tracking import Attempt, is_held, starts, write_json

RESOURCES = Resources.model_validate(
    {"gpus": 0, "slurm": {"array_parallelism": 2, "cpus_per_task": 1, "extra": {"comment": "a-test"}}}
)
COMMANDS = ["local", pytest.param("slurm", marks=pytest.mark.slurm), pytest.param("ray", marks=pytest.mark.ray)]
RUN = RunSpec.model_validate(
    {
        "kind": "train",
        "model": {"name": "m"},
        "data": {"name": "d"},
        "train": {"epochs": 1, "batch_size": 1, "lr": 1.0},
        "seed": 0,
    }
)


@dataclass
class Place:
    """A launcher that executes a stand-in of the worker, and a project for it."""

    make: Callable[[], Launcher]
    root: Path
    resources: Resources = RESOURCES

    def work(self, attempts: int = 3, resources: Resources | None = None, most: int | None = None) -> Work:
        folders = tuple(self.root / "runs" / f"r{i}" / "attempt-1" for i in range(attempts))
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder.parent / "run.json", {"spec": RUN.model_dump(mode="json")})
        return Work(self.root, folders, resources or self.resources, self.root / "jobs", most=most)

    @property
    def apart(self) -> bool:
        """Whether runs are carried to a copy and back, each to a worker of its own."""
        return self.resources.ray.shared is False

    @property
    def hold(self) -> Path:
        """While this file is there no run ends."""
        return self.root / "hold"

    def hold_of(self, attempt: Path) -> Path:
        """While this file is there this run does not end."""
        return self.root / f"hold-{attempt.parent.name}"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    name = request.param
    monkeypatch.setattr(inventory, "gpus", tuple)
    monkeypatch.setattr(inventory, "cores", lambda: 2)
    if name == "slurm":
        request.getfixturevalue("slurm")
        monkeypatch.setattr(slurm, "LOOK_S", 0.3)
    if name.startswith("ray"):
        if find_spec("ray") is None:
            pytest.skip("needs the package ray")
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        assert Ray().start(Work(tmp_path, (), RESOURCES, tmp_path)) == []  # starts a cluster once, by the real Python
    executable(tmp_path / "python", f'HOLDS={tmp_path} exec {sys.executable} -P {stand_in.__file__} "$4"', monkeypatch)
    monkeypatch.setenv("HOLDS", str(tmp_path))
    makers: dict[str, Callable[[], Launcher]] = {
        "in_process": lambda: InProcess(_here), "local": Local, "slurm": Slurm, "ray": lambda: Ray(sys.executable),
    }  # fmt: skip
    if name == "ray_apart":  # its node is here, and treated as one that does not see the workspace
        from slws_lab.launch import ray_courier

        monkeypatch.setattr(ray_courier, "LOOK_S", 0.1)
        return Place(makers["ray"], tmp_path, RESOURCES.model_copy(update={"ray": RaySpec(shared=False)}))
    return Place(makers[name], tmp_path)


def _here(path: Path, work: Work, should_stop: Callable[[], bool]) -> str:
    return stand_in.execute(Attempt(path), work.resources.threads, should_stop)


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


def poll_to_the_end(jobs: list[Job], look: Callable[[], object] = lambda: None) -> None:
    """Poll jobs until all have ended, and call a function each time."""
    until = time.monotonic() + 60
    while jobs := [job for job in jobs if job.poll()]:
        assert time.monotonic() < until
        look()
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
