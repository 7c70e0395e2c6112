"""Killed in the middle: the same command finishes the study, and its records equal an undisturbed study's bit by bit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from conftest import Folder, numbers, on_one_core, run_slws, start_slws

from slws_lab.tracking import Workspace
from slws_lab.tracking.claim import owner_of

WAIT_S = 120


def wait_for(found: Callable[[], object], what: str) -> None:
    until = time.monotonic() + WAIT_S
    while not found():
        assert time.monotonic() < until, f"no {what} within {WAIT_S} s"
        time.sleep(0.01)


def in_the_middle(folder: Folder) -> list[int]:
    """Return the processes that execute a run which has done its first epoch and not its last."""
    pids = []
    for run in Workspace(folder.workspace).folders():
        for attempt in run.attempts():
            owner = owner_of(attempt.claim)
            if owner and attempt.journal.exists() and attempt.status is None:
                pids.append(owner.pid)
    return pids


def same_numbers(folder: Folder, undisturbed: Folder) -> bool:
    return numbers(folder.path / "reports/tiny/records.csv") == numbers(undisturbed.path / "reports/tiny/records.csv")


def claims(folder: Folder) -> list[Path]:
    return list(folder.workspace.rglob("claim*"))


def test_kill_of_a_worker(fresh: Folder, finished: Folder) -> None:
    process = start_slws(fresh, "run", "tiny")
    wait_for(lambda: in_the_middle(fresh), "run in the middle")
    os.kill(in_the_middle(fresh)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, out + err
    assert same_numbers(fresh, finished)
    assert claims(fresh) == []


def test_kill_of_the_whole_tree(fresh: Folder, finished: Folder) -> None:
    process = start_slws(fresh, "run", "tiny", **on_one_core())
    wait_for(lambda: in_the_middle(fresh), "run in the middle")
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(tree) >= 2
    for one in tree:
        one.kill()
    process.communicate()
    run_slws(fresh, "run", "tiny", **on_one_core())
    assert same_numbers(fresh, finished)
    assert claims(fresh) == []


def test_kill_of_the_command_alone_leaves_no_worker_behind(fresh: Folder) -> None:
    process = start_slws(fresh, "run", "tiny")
    wait_for(lambda: in_the_middle(fresh), "run in the middle")
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=WAIT_S)
    assert alive == []
    assert claims(fresh) == []


def test_an_interrupt_stops_cleanly_and_the_same_command_goes_on(fresh: Folder, finished: Folder) -> None:
    process = start_slws(fresh, "run", "tiny")
    wait_for(lambda: in_the_middle(fresh), "run in the middle")
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, out + err
    assert "goes on" in out
    assert "Traceback" not in out + err
    assert not any(worker.is_running() for worker in workers)
    assert claims(fresh) == []
    run_slws(fresh, "run", "tiny", **on_one_core())
    assert same_numbers(fresh, finished)
