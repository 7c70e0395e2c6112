"""The local launcher: slots, environment, replaced workers, and giving up on workers that cannot start."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from slws_lab.errors import UserError
from slws_lab.launch import InProcess, LaunchError, Local, Work, inventory, local
from slws_lab.spec import Resources

TWO_GPUS = (inventory.Gpu("0", "A", 80.0), inventory.Gpu("3", "B", 80.0))


def work(tmp_path: Path, attempts: int = 1) -> Work:
    folders = tuple(tmp_path / "runs" / f"r{i}" / "attempt-1" for i in range(attempts))
    return Work(tmp_path, folders, Resources(gpus=0), tmp_path / "jobs")


def test_slots_on_a_cpu_are_cores_by_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "gpus", tuple)
    monkeypatch.setattr(inventory, "cores", lambda: 8)
    assert [Local().slots(Resources(threads=threads)) for threads in (1, 3, 8, 16)] == [8, 2, 1, 1]


def test_slots_on_gpus_are_gpus_and_each_worker_sees_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "gpus", lambda: TWO_GPUS)
    assert Local().slots(Resources()) == 2
    assert [
        local._environment(Resources(), device)["CUDA_VISIBLE_DEVICES"] for device in local._devices(Resources(), 1)
    ] == ["0", "3"]
    assert set(local._devices(Resources(gpus=0), 1)) == {None}


def test_a_run_of_several_ranks_takes_a_gpu_or_so_many_threads_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "gpus", lambda: TWO_GPUS)
    assert local._devices(Resources(), 2) == ["0,3"]
    with pytest.raises(UserError, match="3 ranks needs as many GPUs, and this machine has 2"):
        Local().slots(Resources(), 3)
    monkeypatch.setattr(inventory, "cores", lambda: 8)
    assert [Local().slots(Resources(gpus=0, threads=2), ranks) for ranks in (1, 2, 8)] == [4, 2, 1]


def test_a_gpu_that_is_not_there_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "gpus", tuple)
    with pytest.raises(UserError, match="this machine has none"):
        Local().slots(Resources(gpus=1))


def test_threads_reach_every_pool() -> None:
    environment = local._environment(Resources(threads=3), None)
    assert {environment[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL", "OPENBLAS")} == {"3"}


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
