"""A workspace that refuses to be written, and an MLflow server that dies: said in one message, and mended by the same command."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Folder, Here, make_project, on_one_core, start_slws
from faults.faults import after, room_of, running, wait_for

from slws_lab.lab import shipping
from slws_lab.lab.project import Project
from slws_lab.tracking import Workspace
from slws_lab.tracking.mirror import ui_command

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = (
    24,
    1,
    2,
)  # as <linux/prctl.h> and <linux/capability.h> have them


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_workspace_that_is_forbidden_then_read_only_then_full_then_large(
    tmp_path: Path, finished: Folder, here: Callable[[Folder], str]
) -> None:
    folder = make_project(tmp_path / "project")
    with room_of(folder.workspace, "size=64m") as change:
        shutil.copytree(finished.workspace / "cache", folder.workspace / "cache")
        folder.workspace.chmod(0o555)
        assert "Permission denied" in refused(folder, preexec_fn=obey_modes)
        folder.workspace.chmod(0o755)
        change("ro")
        assert "Read-only file system" in refused(folder)
        change("rw,size=160k")
        assert "No space left on device" in refused(folder, **on_one_core())
        change("size=64m")
        here(folder)
        after(folder, finished)


@pytest.mark.skipif(os.geteuid() != 0, reason="the modes of folders that their owner forbids himself")
def test_folders_of_attempts_that_are_closed_cost_no_other_run(
    fresh: Folder, finished: Folder, here: Callable[[Folder], str]
) -> None:
    """One may be read and not written: its run is left out, and told. One may not even be read: its run gets another attempt."""
    runs = Project.open(str(fresh.study)).design.runs
    folders = [Workspace(fresh.workspace).run(run) for run in runs[:2]]
    for folder, run, mode in zip(folders, runs, (0o555, 0), strict=False):
        folder.create(run)
        folder.new_attempt().path.chmod(mode)
    one_core = on_one_core().get("preexec_fn", lambda: None)
    process = start_slws(fresh, "run", "tiny", preexec_fn=lambda: (one_core(), obey_modes()))
    said, complained = process.communicate(timeout=240)
    assert process.returncode == 1, said + complained
    assert "Traceback" not in said + complained
    assert "1 failed: its folder cannot be written: Permission denied" in said, complained
    statuses = [[attempt.status for attempt in run.attempts()] for run in Workspace(fresh.workspace).folders()]
    assert sorted(map(str, statuses)) == sorted(["[None]", "[None, 'finished']"] + 4 * ["['finished']"])
    for folder in folders:
        folder.attempts()[0].path.chmod(0o755)
    here(fresh)
    after(fresh, finished)


def obey_modes() -> None:
    """Give up root's right to read and write where the modes of a folder forbid it, from the next program on."""
    for right in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, right, 0, 0, 0)


def refused(folder: Folder, **options: Any) -> str:
    """Give the command, which must end with a message and no traceback; return what it said."""
    process = start_slws(folder, "run", "tiny", **options)
    said = "".join(process.communicate(timeout=240))
    assert process.returncode in (1, 2), said
    assert "Traceback" not in said
    return said


def test_an_mlflow_server_is_killed_and_comes_back(
    tmp_path: Path, fresh: Folder, finished: Folder, here: Callable[[Folder], str], run_here: Here, meanwhile: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    database = tmp_path / "store" / "mlflow.db"
    database.parent.mkdir()
    monkeypatch.setattr(shipping, "EVERY_S", 0.2)
    with served(database) as (address, server):
        port = int(address.rpartition(":")[2])
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)

        def strike() -> None:
            wait_for(lambda: running(database), "run in MLflow")
            kill(server)

        with meanwhile(strike):
            here(fresh)
    assert running(database)  # what the server knew when it died
    with served(database, port):
        run_here(fresh, "sync")
        after(fresh, finished, database)


@contextmanager
def served(database: Path, port: int = 0) -> Iterator[tuple[str, psutil.Process]]:
    """Run MLflow's server on a database; yields its address and process."""
    for _ in range(3):  # a port that was free may be another program's by the time the server has loaded
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))
            chosen = free.getsockname()[1]
        command = ui_command(Workspace(database.parent), f"sqlite:///{database}", chosen)
        with (database.parent / "server.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=database.parent, stdout=log, stderr=log)
        address = f"http://127.0.0.1:{chosen}"
        wait_for(lambda p=process, a=address: answers(a) or p.poll() is not None, "answer of MLflow's server")  # type: ignore[misc]
        if process.poll() is None:
            break
    assert process.poll() is None, (database.parent / "server.log").read_text()
    try:
        yield address, psutil.Process(process.pid)
    finally:
        if process.poll() is None:
            kill(psutil.Process(process.pid))
        process.wait()


def answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/health", timeout=1).close()
    except OSError:
        return False
    return True


def kill(server: psutil.Process) -> None:
    for one in [server, *server.children(recursive=True)]:
        one.kill()
