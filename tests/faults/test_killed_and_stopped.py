"""Killed, interrupted, stopped, torn: the same command finishes the study as if nothing had been."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from signal import signal as set_signal  # `here` takes it from this process by its other name
from typing import Any

import psutil
from conftest import Folder, Here, on_one_core, start_slws
from faults.faults import (
    WAIT_S,
    after,
    kill_tree,
    processes,
    unfinished,
    wait_for,
    wait_for_the_middle,
    workers,
)

from slws_lab.tracking import Attempt, Workspace
from slws_lab.tracking.claim import Owner


def begun(folder: Folder, by: Callable[[], object] = lambda: None, **streams: Any) -> subprocess.Popen[str]:
    """Give the command on one core, and wait until a run is in the middle; `by` is called in its process first."""
    one_core = on_one_core().get("preexec_fn", lambda: None)
    process = start_slws(folder, "run", "tiny", preexec_fn=lambda: (one_core(), by()), **streams)
    wait_for_the_middle(folder)
    return process


def in_hand(folder: Folder) -> Attempt:
    """Return the attempt that was begun and has not ended, of a folder in which nothing works."""
    (attempt,) = unfinished(folder)
    return attempt


def test_kills_of_the_whole_tree_and_of_the_command_alone(
    fresh: Folder, finished: Folder, here: Callable[[Folder], str]
) -> None:
    command = begun(fresh, by=lambda: set_signal(signal.SIGHUP, signal.SIG_IGN))
    command.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert workers(fresh)  # as nohup asked: none has been told to stop
    assert command.poll() is None
    kill_tree(command)

    command = begun(fresh)
    command.kill()
    command.communicate()
    wait_for(lambda: not processes(fresh), "end of the workers of a killed command")
    here(fresh)
    killed_when_all_was_done(next(Workspace(fresh.workspace).folders()).attempts()[0])
    here(fresh)
    after(fresh, finished)


def killed_when_all_was_done(attempt: Attempt) -> None:
    """Leave what a worker leaves that was killed between its result and its tidying up."""
    sheet = attempt.claim / "token/owner.json"
    sheet.parent.mkdir(parents=True)
    sheet.write_text(json.dumps({**asdict(Owner.me()), "started": "1"}))  # a former process of this number
    (sheet.parent / ".result.json.1.tmp").touch()
    (attempt.checkpoint / "resume.pt").touch()
    old = attempt.path.parent / ".run.json.1.tmp"
    old.touch()
    os.utime(old, (time.time() - 3600,) * 2)
    jobs = attempt.path.parents[2] / "jobs"
    (jobs / f"local-{2**22 + 1}-0-{socket.gethostname()}.json").touch()


def test_signals_stop_cleanly_and_what_is_torn_meanwhile_is_made_again(
    fresh: Folder, finished: Folder, here: Callable[[Folder], str], run_here: Here
) -> None:
    """After each of four ways to stop a study, another of its files is torn; the next command gets over it."""
    said = stopped(begun(fresh), signal.SIGINT)
    assert "goes on" in said
    first = in_hand(fresh)
    resume = first.checkpoint / "resume.pt"
    resume.write_bytes(resume.read_bytes()[:-500])

    assert "Traceback" not in stopped(begun(fresh), signal.SIGTERM)
    assert f"checkpoint {resume} cannot be used" in first.log.read_text()
    second = in_hand(fresh)
    second.journal.write_bytes(second.journal.read_bytes()[:-9])

    command = begun(fresh)
    command.send_signal(signal.SIGINT)
    time.sleep(0.05)
    assert "Traceback" not in stopped(command, signal.SIGINT)
    with in_hand(fresh).journal.open("ab") as journal:
        journal.write(b"\0\xff rubbish {")

    lose_its_terminal(fresh)
    (fresh.workspace / "mlflow.db").write_bytes(b"no database at all " * 1000)
    here(fresh)
    assert (fresh.workspace / "mlflow.db").read_bytes().startswith(b"no database")
    run_here(fresh, "sync", "--rebuild")
    after(fresh, finished)


def stopped(command: subprocess.Popen[str], name: signal.Signals) -> str:
    """Send a signal and return what the command said until its end."""
    tree = psutil.Process(command.pid).children(recursive=True)
    command.send_signal(name)
    said = "".join(command.communicate(timeout=WAIT_S))
    assert command.returncode == 130, said
    assert not any(one.is_running() for one in tree)
    return said


def lose_its_terminal(folder: Folder) -> None:
    """Give the command in a terminal and close that."""
    ours, terminal = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
    command = begun(folder, by=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), **streams)
    os.close(terminal)
    os.close(ours)
    assert command.wait(WAIT_S) == 130
    assert processes(folder) == []


def test_a_command_that_slept_wakes_beside_another_that_took_its_runs_and_writes_nothing_more(
    fresh: Folder, finished: Folder, here: Callable[[Folder], str]
) -> None:
    """Two commands of one study at once, the first stopped for what looks like an hour."""
    first = begun(fresh)
    tree = [psutil.Process(first.pid), *workers(fresh)]
    for one in tree:
        one.suspend()
    for sheet in fresh.workspace.rglob("owner.json"):
        os.utime(sheet, (time.time() - 3600,) * 2)
    here(fresh)
    before = contents(fresh.workspace / "runs")
    for one in tree:
        one.resume()
    said = "".join(first.communicate(timeout=WAIT_S))
    assert first.returncode == 0, said
    assert contents(fresh.workspace / "runs") == before
    after(fresh, finished)


def contents(folder: Path) -> dict[Path, bytes]:
    """Return all files; a log may say that its attempt was taken over."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "log.txt"}
