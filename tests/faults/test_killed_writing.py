"""Killed in the middle of a report, or of making MLflow's store anew: no file is torn, and the next command ends as if nothing had been."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Folder
from faults.faults import twice

from slws_lab.lab import shipping
from slws_lab.lab.project import Project
from slws_lab.lab.reporting import report
from slws_lab.lab.verifying import verify
from slws_lab.reports.figures import draw as figures
from slws_lab.tracking import mirror
from slws_lab.tracking.audit import Fault
from slws_lab.tracking.mirror_store import new_database

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "sqlite3.connect")


def killed(call: Callable[[], object], place: Path, touches: int) -> bool:
    """Call in a child that dies without a word as it changes something in a folder for the n-th time; False if it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            _die_at(place, touches)
            call()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _die_at(place: Path, touches: int) -> None:
    left = [touches]

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in CHANGES) and str(place) in str(arguments[0]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder; not what is being written under another name, which the next command removes."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".tmp"}


@pytest.fixture(scope="module")
def copy(finished: Folder, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A copy of the finished project, whose MLflow store is its own."""
    folder = Folder(shutil.copytree(finished.path, tmp_path_factory.mktemp("killed") / "project"))
    (folder.workspace / "mlflow.db").unlink()
    shipping.ship(Project.open(str(folder.study)))
    return folder


def wrong(folder: Folder) -> list[Fault]:
    return verify([Project.open(str(folder.study))], []).faults


def test_a_report_that_is_killed_leaves_whole_files_and_the_next_one_is_whole(
    copy: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = copy.path / "reports/tiny"
    project = Project.open(str(copy.study))
    report(project)
    old = contents(place)
    copy.study.write_text(copy.study.read_text().replace("margin: 1.0", "margin: 9.0"))
    project = Project.open(str(copy.study))
    report(project)
    new = contents(place)
    assert {name for name in new if new[name] != old[name]} >= {"table.md", "report.html", "manifest.json"}
    drawn = figures.draw(_table(project))
    monkeypatch.setattr(figures, "draw", lambda *_: drawn)
    ended = False
    for touches in _ever_later():
        for name, content in old.items():
            next(place.rglob(name)).write_bytes(content)
        ended = not killed(lambda: report(project), place, touches)
        found = contents(place)
        assert all(found[name] in (old[name], new[name]) for name in new)
        if found not in (old, new):
            assert any(fault.mend.startswith("slws report") for fault in wrong(copy))
        report(project)
        assert contents(place) == new
        if ended:
            break
    assert ended


def _table(project: Project) -> Any:
    from slws_lab.analysis import ResultTable

    return ResultTable.of(project.study, project.design, project.workspace)


def _ever_later() -> Iterator[int]:
    return (4**power for power in range(6))


def test_a_rebuild_that_is_killed_is_made_good_by_the_next_pass_or_the_next_rebuild(
    copy: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_database(tmp_path / "empty.db")  # its migrations take seconds, so this one is copied

    def copied(path: Path) -> None:
        temporary = path.with_name(f".{path.name}.0.tmp")
        shutil.copy(tmp_path / "empty.db", temporary)
        temporary.replace(path)

    monkeypatch.setattr(mirror, "new_database", copied)
    report(project := Project.open(str(copy.study)))
    kills = 0
    for touches in _ever_later():
        again = killed(lambda: shipping.sync([project], rebuild=True), copy.workspace, 3 * touches)
        shipping.sync([project], rebuild=bool(kills % 2))
        assert wrong(copy) == []
        assert twice(copy.workspace / "mlflow.db") == []
        kills += again
        if not again:
            break
    assert kills > 2
