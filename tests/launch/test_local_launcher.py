"""The local launcher: slots, environment, replaced workers, and giving up on workers that cannot start."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slws_lab.errors import UserError
from slws_lab.launch import Feed, InProcess, LaunchError, Local, Work, inventory, process
from slws_lab.launch.process import environment
from slws_lab.spec import Resources

TWO_GPUS = (inventory.Gpu("0", "A", 80.0, "GPU-a"), inventory.Gpu("3", "B", 80.0))


@dataclass(frozen=True)
class Fixed:
    """A machine that has what it is given."""

    found: tuple[inventory.Gpu, ...] = ()
    number_of_cores: int = 8
    used_gb: tuple[float, ...] = (0.0, 0.0)

    def gpus(self) -> tuple[inventory.Gpu, ...]:
        return self.found

    def cores(self) -> int:
        return self.number_of_cores

    def usage(self, gpu: inventory.Gpu) -> inventory.Usage:
        return inventory.Usage(self.used_gb[self.found.index(gpu)], {})


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Start jobs whose worker writes down which GPUs it sees, and return what they wrote."""
    worker = tmp_path / "python"
    worker.write_text(f'#!/bin/sh\necho "$CUDA_VISIBLE_DEVICES" > {tmp_path}/seen-$$\n')
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))

    def started(launcher: Local, asked: Work) -> list[str]:
        for job in launcher.start(asked):
            poll_to_the_end(job)
        return sorted(path.read_text().strip() for path in tmp_path.glob("seen-*"))

    return started


def work(tmp_path: Path, attempts: int = 1, **more: Any) -> Work:
    folders = tuple(tmp_path / "runs" / f"r{i}" / "attempt-1" for i in range(attempts))
    return Work(tmp_path, folders, more.pop("resources", Resources(gpus=0)), tmp_path / "jobs", **more)


def test_slots_on_a_cpu_are_cores_by_threads() -> None:
    assert [Local(Fixed()).slots(Resources(threads=threads)) for threads in (1, 3, 8, 16)] == [8, 2, 1, 1]
    assert [Local(Fixed()).slots(Resources(threads=2), ranks) for ranks in (1, 2, 8)] == [4, 2, 1]


def test_without_needs_each_worker_has_a_gpu_of_its_own_by_its_uuid(
    tmp_path: Path, devices: Callable[..., list[str]]
) -> None:
    launcher = Local(Fixed(TWO_GPUS))
    assert launcher.slots(Resources()) == 2
    assert devices(launcher, work(tmp_path, attempts=3, resources=Resources())) == ["3", "GPU-a"]


def test_a_study_for_the_cpu_sees_no_gpu(tmp_path: Path, devices: Callable[..., list[str]]) -> None:
    launcher = Local(Fixed(TWO_GPUS, 2))
    assert devices(launcher, work(tmp_path, attempts=3)) == ["", ""]


def test_a_run_of_several_ranks_takes_a_gpu_for_each(tmp_path: Path, devices: Callable[..., list[str]]) -> None:
    launcher = Local(Fixed(TWO_GPUS))
    assert devices(launcher, work(tmp_path, attempts=2, resources=Resources(), ranks=2)) == ["GPU-a,3"]
    with pytest.raises(UserError, match="3 ranks needs as many GPUs, and this machine has 2"):
        launcher.slots(Resources(), 3)


def test_a_run_alone_goes_where_most_memory_is_free(tmp_path: Path, devices: Callable[..., list[str]]) -> None:
    launcher = Local(Fixed(TWO_GPUS, used_gb=(3.0, 1.0)))
    assert devices(launcher, work(tmp_path, attempts=2, resources=Resources(), most=1)) == ["3"]


def test_a_gpu_that_is_not_there_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="this machine has none"):
        Local(Fixed()).slots(Resources(gpus=1))


def test_threads_reach_every_pool() -> None:
    variables = environment(3, None)
    assert {variables[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL", "OPENBLAS")} == {"3"}


def test_workers_that_die_before_they_start_a_run_are_given_up_with_their_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho the library is broken >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    (job,) = Local().start(work(tmp_path))
    with pytest.raises(LaunchError, match=r"(?s)exit code 3.*the library is broken"):
        poll_to_the_end(job)


def test_workers_that_die_while_there_is_nothing_to_start_are_replaced_and_given_up_once_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text(f"#!/bin/sh\necho died >> {tmp_path}/deaths; exit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    monkeypatch.setattr(process, "REST_S", 0.0)
    feed = Feed.create(Feed.name(tmp_path / "jobs"))
    (job,) = Local(Fixed(number_of_cores=1)).start(work(tmp_path, 0, feed=feed.path))
    limit = time.monotonic() + 20
    while not (tmp_path / "deaths").exists() or len((tmp_path / "deaths").read_text()) < 5 * len("died\n"):
        assert job.poll()
        assert time.monotonic() < limit
    feed.add(work(tmp_path).attempts)
    with pytest.raises(LaunchError, match="exit code 3"):
        poll_to_the_end(job)


def test_a_cancelled_job_is_not_replaced_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(sleeper))
    (job,) = Local().start(work(tmp_path))
    assert job.poll()
    job.cancel()
    poll_to_the_end(job)
    assert list((tmp_path / "jobs").iterdir()) == []


def test_in_process_executes_in_order_and_stops_when_cancelled(tmp_path: Path) -> None:
    done: list[str] = []
    (job,) = InProcess(lambda path, work, stop: done.append(path.parent.name)).start(work(tmp_path, attempts=3))
    assert job.poll()
    job.cancel()
    assert not job.poll()
    assert done == ["r0"]


def poll_to_the_end(job) -> None:  # type: ignore[no-untyped-def]
    until = time.monotonic() + 20
    while job.poll():
        assert time.monotonic() < until
        time.sleep(0.02)
