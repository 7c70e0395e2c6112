"""Workers that are killed, hang, run out of memory or see the clock jump, and runs that fail by themselves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import RECIPE, STUDY, Folder, make_project, numbers
from faults.faults import after, wait_for, wait_for_the_middle

from slws_lab.lab.project import Project
from slws_lab.launch import Local, Work, process
from slws_lab.spec import Resources
from slws_lab.tracking import RunFolder, Workspace, claim

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

RAISES = """\
import torch
from timm.models import register_model

class Raises(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.head, self.calls = torch.nn.Linear(64, classes), 0
    def forward(self, images):
        self.calls += 1
        if self.calls == 2:
            raise RuntimeError("the second forward fails")
        return self.head(images.flatten(1))

@register_model
def raises(num_classes=10, **_):
    return Raises(num_classes)
"""


def test_a_worker_runs_out_of_memory_and_is_killed_by_the_kernel(
    fresh: Folder, finished: Folder, here: Callable[[Folder], str], meanwhile: Any
) -> None:
    """It may take no more memory, so a run fails, and is tried once more when all else is done, or hangs; then the kernel ends the worker."""

    def strike() -> None:
        worker = psutil.Process(wait_for_the_middle(fresh))
        worker.rlimit(psutil.RLIMIT_AS, (2**20, 2**20))
        with contextlib.suppress(AssertionError):  # or a thread cannot start, and the worker hangs
            wait_for(lambda: "failed" in statuses(fresh) or not worker.is_running(), "failed run", limit_s=5)
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.send_signal(signal.SIGKILL)

    with meanwhile(strike):
        here(fresh)
    after(fresh, finished)


def statuses(folder: Folder) -> list[str | None]:
    """Return how all attempts have ended."""
    return [attempt.status for run in Workspace(folder.workspace).folders() for attempt in run.attempts()]


@pytest.mark.skipif(FAKETIME is None, reason="needs Debian's faketime (SLWS_TEST_SERVERS=1 installs it)")
def test_a_workers_clock_jumps_hours_ahead_and_back(
    fresh: Folder, finished: Folder, here: Callable[[Folder], str], meanwhile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = fresh.path / "clock"
    settings = {"TIMESTAMP_FILE": str(clock), "NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1"}

    def set_clock(offset: str) -> None:
        clock.with_name("clock.new").write_text(offset)
        clock.with_name("clock.new").rename(clock)

    def strike() -> None:
        for offset in ("+3h", "-5h"):
            before = set(ended(fresh))
            wait_for(lambda before=before: set(ended(fresh)) - before, "end of another run")
            wait_for_the_middle(fresh)
            set_clock(offset)

    set_clock("+0")
    monkeypatch.setenv("LD_PRELOAD", str(FAKETIME))
    monkeypatch.setenv("NO_FAKE_STAT", "1")
    for name, value in settings.items():
        monkeypatch.setenv(f"FAKETIME_{name}", value)
    with meanwhile(strike):
        here(fresh)
    times = [result["started"] - time.time() for result in ended(fresh).values()]
    assert max(times) > 3600
    assert min(times) < -3600
    after(fresh, finished)


def ended(folder: Folder) -> dict[str, dict[str, Any]]:
    """Return the results there are, by run."""
    runs = list(Workspace(folder.workspace).folders())
    return {run.run_id: result for run in runs for attempt in run.attempts() if (result := attempt.result())}


def test_a_worker_whose_heartbeat_has_stopped_is_killed_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(sleeper))
    monkeypatch.setattr(process, "LOOK_S", 0.0)
    attempt = tmp_path / "runs/r/attempt-1"
    (job,) = Local().start(Work(tmp_path, (attempt,), Resources(gpus=0), tmp_path / "jobs"))
    pid = job._process.pid  # type: ignore[attr-defined]
    sheet = attempt / "claim/token/owner.json"
    sheet.parent.mkdir(parents=True)
    sheet.write_text(json.dumps(asdict(claim._owner(pid))))
    assert job.poll()
    assert psutil.pid_exists(pid)
    os.utime(sheet, (time.time() - 3600,) * 2)
    monkeypatch.setattr(claim, "_LAST", {})  # it was stopped before anybody looked
    wait_for(lambda: job.poll() and job._process.pid != pid, "other worker")  # type: ignore[attr-defined]
    job.kill()
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_diverged_run_and_a_users_exception_are_recorded_and_the_others_go_on_in_the_same_worker(
    tmp_path: Path, finished: Folder, here: Callable[..., str]
) -> None:
    study = STUDY.replace(
        "  shuffle.schedule: [none, linear]\n", "  train.lr: [8e-3, 1e30]\n  model.name: [shufflemamba_micro, raises]\n"
    ).replace("grid: [shuffle.schedule]", "one_at_a_time: [train.lr, model.name]")
    recipe = RECIPE.replace("schedule: linear, max_rate: 0.5", "schedule: none") + "models: [raises.py]\n"
    folder = make_project(tmp_path / "project", study.replace("seeds: 3", "seeds: 2"), recipe)
    (folder.path / "raises.py").write_text(RAISES)
    printed = here(folder, code=1)
    assert re.search("2 failed: .*the second forward fails", printed)
    design = Project.open(str(folder.study)).design
    runs = {(arm, seed): Workspace(folder.workspace).run(run_id) for (arm, seed), run_id in design.run_ids.items()}
    by_arm = {arm.label: [runs[arm.id, seed] for seed in design.seeds] for arm in design.arms}
    statuses = {label: {last(run)["status"] for run in found} for label, found in by_arm.items()}
    assert sorted(map(tuple, statuses.values())) == [("diverged",), ("failed",), ("finished",)]
    failed = [run.attempts()[-1] for run in runs.values() if last(run)["status"] == "failed"]
    assert {(attempt.result() or {})["cause"] for attempt in failed} == {
        "RuntimeError in raises.forward: the second forward fails"
    }
    assert all("Traceback" in attempt.log.read_text() for attempt in failed)
    pids = {json.loads(line)["pid"] for run in runs.values() for line in last_starts(run)}
    assert len(pids) == 1
    rows = numbers(folder.path / "reports/tiny/records.csv")
    undisturbed = {
        row["seed"]: row
        for row in numbers(finished.path / "reports/tiny/records.csv")
        if row["shuffle.schedule"] == "none"
    }
    healthy = [row for row in rows if row["status"] == "finished"]
    assert [row["val/loss"] for row in healthy] == [undisturbed[row["seed"]]["val/loss"] for row in healthy]
    assert len(healthy) == 2


def last(run: RunFolder) -> dict[str, Any]:
    return run.attempts()[-1].result() or {}


def last_starts(run: RunFolder) -> list[str]:
    return run.attempts()[-1].starts.read_text().splitlines()
