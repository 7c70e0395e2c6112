"""The process of a command: one argument stays one, and nothing is left of it, however the command or the worker ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from slws_lab.command.prepare import Execution
from slws_lab.command.process import Process
from slws_lab.tracking.claim import BUSY_WAITS, HEARTBEAT_S
from slws_lab.worker.command import POLL_S

PYTHON = (sys.executable, "-c")
# Leaves a grandchild in a session of its own, as torchrun's agent does with its ranks, and ignores SIGTERM if told so.
FAMILY = """
import signal, subprocess, sys, time
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
if sys.argv[1] != "short":
    time.sleep(600)
"""
WORKER = """
import sys, time
from pathlib import Path
from slws_lab.command.prepare import Execution
from slws_lab.command.process import Process
import os
with Process(Execution(sys.argv[1:], dict(os.environ), Path.cwd())) as process:
    while True:
        for line in process.lines():
            print(line, flush=True)
        time.sleep(0.02)
"""


def execution(folder: Path, *arguments: str) -> Execution:
    return Execution(list(arguments), dict(os.environ), folder)


def first_line(process: Process) -> str:
    until = time.monotonic() + 20
    while not (lines := list(process.lines())):
        assert time.monotonic() < until
        time.sleep(0.02)
    return lines[0]


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_until(true: Callable[[], bool], limit_s: float = 10) -> None:
    until = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_lines_come_as_they_are_printed_and_the_exit_code_is_the_commands(tmp_path: Path) -> None:
    code = "import sys; print('a'); print('10%\\r100%'); sys.stderr.write('e'); sys.exit(3)"
    with Process(execution(tmp_path, *PYTHON, code)) as process:
        assert process.wait(20) == 3
        assert sorted(process.lines()) == ["100%", "a", "e"]


def test_a_program_that_cannot_be_started_says_so(tmp_path: Path) -> None:
    with Process(execution(tmp_path, str(tmp_path / "nothing"))) as process:
        assert process.wait(20) == 127
        assert list(process.lines()) == [f"{tmp_path / 'nothing'}: No such file or directory"]


def test_a_command_that_was_killed_ends_with_128_and_the_signal(tmp_path: Path) -> None:
    with Process(execution(tmp_path, *PYTHON, "import os; os.kill(os.getpid(), 9)")) as process:
        assert process.wait(20) == 128 + signal.SIGKILL


def test_variables_for_the_commands_python_do_not_reach_ours(tmp_path: Path) -> None:
    (tmp_path / "psutil.py").write_text("raise SystemExit('the wrong psutil')")
    made = execution(tmp_path, *PYTHON, "import os; print(os.environ['PYTHONPATH'])")
    made.env["PYTHONPATH"] = str(tmp_path)
    with Process(made) as process:
        assert process.wait(20) == 0
        assert list(process.lines()) == [str(tmp_path)]


def test_waiting_for_a_command_looks_like_no_work(tmp_path: Path) -> None:
    with Process(execution(tmp_path, "sleep", "600")) as process:
        waits, before = 10, psutil.Process().num_ctx_switches().voluntary
        assert [process.wait(0.05) for _ in range(waits)] == [None] * waits
        switches = (psutil.Process().num_ctx_switches().voluntary - before) / waits
    assert switches < 3
    assert 3 * HEARTBEAT_S / POLL_S < BUSY_WAITS / 2


@pytest.mark.parametrize("kind", ["gentle", "stubborn"])
def test_a_stop_ends_the_command_and_what_it_has_started(tmp_path: Path, kind: str) -> None:
    with Process(execution(tmp_path, *PYTHON, FAMILY, kind)) as process:
        child = int(first_line(process))
        process.stop(0.3)
        assert is_gone(child)
    assert psutil.Process().children(recursive=True) == []


def test_a_command_that_is_stopped_has_time_to_save(tmp_path: Path) -> None:
    code = """
import signal, sys, time
def save(*_):
    time.sleep(0.3)
    open("saved", "w").close()
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("up", flush=True)
time.sleep(600)
"""
    with Process(execution(tmp_path, *PYTHON, code)) as process:
        assert first_line(process) == "up"
        process.stop(20)
        assert list(process.lines()) == ["saved"]
    assert (tmp_path / "saved").exists()


def test_lines_are_given_in_turns_though_a_command_never_stops_printing(tmp_path: Path) -> None:
    with Process(execution(tmp_path, "yes")) as process:
        first_line(process)
        assert all(len(list(process.lines())) >= 0 for _ in range(5))


def test_what_a_command_leaves_behind_is_ended_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Process(execution(tmp_path, *PYTHON, FAMILY, "short")) as process:
        child = int(first_line(process))
        assert process.wait(20) == 0
    assert is_gone(child)


@pytest.mark.parametrize("who", ["worker", "guard"])
def test_a_kill_leaves_no_orphan(tmp_path: Path, who: str) -> None:
    worker = subprocess.Popen(
        [*PYTHON, WORKER, *PYTHON, FAMILY, "stubborn"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    grandchild = int(worker.stdout.readline())
    (guard,) = psutil.Process(worker.pid).children()
    (command,) = [child for child in guard.children() if child.pid != grandchild]
    (worker if who == "worker" else guard).kill()
    wait_until(lambda: is_gone(command.pid))
    if who == "worker":
        wait_until(lambda: is_gone(grandchild) and is_gone(guard.pid))
    else:  # two are killed: the kernel ends the command, and the worker what is of the guard's group; not what left it
        os.kill(grandchild, signal.SIGKILL)
        worker.kill()
    worker.wait()
    worker.stdout.close()
