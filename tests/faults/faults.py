"""Faults that strike a running study, and what must hold when the same command has gone on to its end."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from conftest import Folder, numbers

from slws_lab.lab.project import Project
from slws_lab.lab.verifying import run_folders, verify
from slws_lab.tracking import Attempt, Workspace
from slws_lab.tracking.claim import owner_of

WAIT_S = 120
SIGNS = (".tmp", "-journal", "-wal", "-shm")


def after(folder: Folder, undisturbed: Folder, database: Path | None = None) -> None:
    """Assert that the study ended as an undisturbed one: nothing lost, wrong, twice, damaged or left behind.

    Args:
        folder: The project whose study `tiny` was disturbed.
        undisturbed: One whose study ran in peace.
        database: Where MLflow's points are, if not in the workspace's own file.
    """
    assert lost(folder, undisturbed) == []
    assert wrong(folder, undisturbed) == []
    assert twice(database or folder.workspace / "mlflow.db") == []
    assert running(database or folder.workspace / "mlflow.db") == 0
    assert left(folder) == []
    verdict = verify([Project.open(str(folder.study))], run_folders(Workspace(folder.workspace)))
    assert (verdict.faults, verdict.notes) == ([], [])


def lost(folder: Folder, undisturbed: Folder) -> list[str]:
    """Return the runs that ended in the undisturbed study, and did not here."""
    here = _rows(folder)
    return [run for run, row in _rows(undisturbed).items() if run not in here or here[run]["status"] != row["status"]]


def wrong(folder: Folder, undisturbed: Folder) -> list[str]:
    """Return the runs whose record differs in anything but measurements, by a bit or more."""
    there = _rows(undisturbed)
    return [run for run, row in _rows(folder).items() if row != there.get(run) and row["status"] == "finished"]


def twice(database: Path) -> list[str]:
    """Return what MLflow holds more than once: points of a run that is not deleted, and runs."""
    points = "SELECT m.run_uuid || ' ' || key || ' ' || step FROM metrics m JOIN runs USING (run_uuid) WHERE lifecycle_stage = 'active'"
    runs = "SELECT value FROM tags JOIN runs USING (run_uuid) WHERE key = 'slws.run_id' AND lifecycle_stage = 'active'"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        found = Counter(row[0] for query in (points, runs) for row in connection.execute(query))
    return [name for name, count in found.items() if count > 1]


def running(database: Path) -> int:
    """Return how many runs stand as running in MLflow."""
    query = "SELECT count(*) FROM runs WHERE status IN ('RUNNING', 'SCHEDULED') AND lifecycle_stage = 'active'"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return int(connection.execute(query).fetchone()[0])


def left(folder: Folder) -> list[str]:
    """Return what nobody needs any more: processes, claims, graves, locks, temporary files, files of jobs, checkpoints of ended runs.

    What a worker said before it died is kept until `slws clean`.
    """
    files = [path for top in (folder.workspace, folder.path / "reports") for path in top.rglob("*")]
    return [str(process.info) for process in processes(folder)] + [
        str(path)
        for path in files
        if (path.name.startswith(".") and path.name != ".gitignore")
        or path.name.endswith(SIGNS)
        or path.name in ("claim", "lock")
        or (path.parent.name == "jobs" and not (path.suffix == ".log" and path.stat().st_size))
        or (path.parent.name == "checkpoint" and path.name.startswith("resume") and _ended(path.parents[1]))
    ]


def processes(folder: Folder) -> list[psutil.Process]:
    """Return the living processes, other than this one, that work in a project."""
    place, found = str(folder.path), []
    for process in psutil.process_iter(["pid", "status", "cmdline", "cwd"]):
        if process.pid == os.getpid() or process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        if (process.info["cwd"] or "").startswith(place) or any(
            place in part for part in process.info["cmdline"] or ()
        ):
            found.append(process)
    return found


def workers(folder: Folder) -> list[psutil.Process]:
    """Return the living worker processes of a project."""
    return [process for process in processes(folder) if "slws_lab.worker" in (process.info["cmdline"] or ())]


def unfinished(folder: Folder) -> list[Attempt]:
    """Return the attempts that were begun and have not ended."""
    runs = Workspace(folder.workspace).folders()
    return [attempt for run in runs for attempt in run.attempts() if attempt.starts.exists() and attempt.status is None]


def in_the_middle(folder: Folder) -> list[int]:
    """Return the living processes that execute a run which has done an epoch and has not ended."""
    owners = [owner_of(attempt.claim) for attempt in unfinished(folder) if _has_done_an_epoch(attempt)]
    return [owner.pid for owner in owners if owner and not owner.dead]


def wait_for(found: Callable[[], object], what: str, limit_s: float = WAIT_S) -> None:
    until = time.monotonic() + limit_s
    while not found():
        assert time.monotonic() < until, f"no {what} within {limit_s} s"
        time.sleep(0.01)


def wait_for_the_middle(folder: Folder) -> int:
    """Wait until a run is in the middle, and return its process."""
    wait_for(lambda: in_the_middle(folder), "run in the middle")
    return next(iter(in_the_middle(folder)), 0) or wait_for_the_middle(folder)


def kill_tree(process: subprocess.Popen[str]) -> None:
    """Kill a command and all that it has started, at once and without a word."""
    top, tree = psutil.Process(process.pid), list[psutil.Process]()
    # Looked for again, since one that was not suspended yet may have started another.
    while fresh := [one for one in (top, *top.children(recursive=True)) if one not in tree]:
        for one in fresh:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.suspend()  # so that none sees another die
        tree += fresh
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.communicate()
    psutil.wait_procs(tree, timeout=WAIT_S)


@contextlib.contextmanager
def room_of(place: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Mount a file system in memory; yields what changes its options, such as `size=20m` or `ro`."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)], check=True)
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True) and None
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _rows(folder: Folder) -> dict[str, dict[str, str]]:
    path = folder.path / "reports/tiny/records.csv"
    return {row["run_id"]: row for row in numbers(path)} if path.exists() else {}


def _ended(attempt: Path) -> bool:
    return (attempt / "result.json").exists()


def _has_done_an_epoch(attempt: Attempt) -> bool:
    return attempt.journal.exists() and attempt.journal.stat().st_size > 0
