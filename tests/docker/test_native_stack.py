"""A team's server as compose.yaml has it, without containers: two people, a server that dies, a rebuild, a backup."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from conftest import Folder, Here
from native_stack import Stack, wait_for

from slws_lab.lab import shipping
from slws_lab.launch import inventory
from slws_lab.tracking import Workspace, record

ACTIVE = "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'"
OF_A_WORKSPACE = f"{ACTIVE} AND run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'slws.workspace' AND value = %s)"


def runs_of(stack: Stack, folder: Folder) -> set[str]:
    """Return what PostgreSQL holds of a workspace: its runs and their parent."""
    own = (folder.workspace / "mirror" / "id").read_text()
    return {row[0] for row in stack.ask(OF_A_WORKSPACE, own)}


def points(stack: Stack, folder: Folder) -> list[tuple[Any, ...]]:
    """Return a workspace's values over epochs in PostgreSQL: run id, name, step, value."""
    query = f"""SELECT t.value, m.key, m.step, m.value FROM metrics m JOIN tags t USING (run_uuid)
        WHERE t.key = 'slws.run_id' AND m.step > 0 AND run_uuid IN ({OF_A_WORKSPACE})"""
    return sorted(stack.ask(query, (folder.workspace / "mirror" / "id").read_text()))


def journals(folder: Folder) -> list[tuple[Any, ...]]:
    """Return the same of the run folders."""
    return sorted(
        (run.run_id, name, step, value)
        for run in Workspace(folder.workspace).folders()
        for name, curve in record(run).curves.items()
        for step, value in curve.items()
    )


def contents(folder: Path) -> set[tuple[str, bytes]]:
    return {(path.name, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.postgres
def test_a_team_shares_one_server_which_dies_is_rebuilt_and_restored(
    stack: Stack, fresh: Folder, finished_copy: Folder, run_here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stack.address)
    monkeypatch.setattr(shipping, "EVERY_S", 0.2)
    monkeypatch.setattr(inventory, "cores", lambda: 1)
    ours, theirs = fresh, finished_copy

    # The server dies while a study runs and comes back later.
    def strike() -> None:
        wait_for(lambda: stack.ask("SELECT 1 FROM metrics"), "point in PostgreSQL")
        stack.kill("mlflow")

    striking = threading.Thread(target=strike)
    striking.start()
    run_here(ours, "run", "tiny")
    striking.join()
    assert len(points(stack, ours)) < len(journals(ours))
    stack.start_mlflow()
    run_here(ours, "sync")

    # It holds what the folders hold: points, params, files.
    assert points(stack, ours) == journals(ours)
    assert len(journals(ours)) > 6 * 2 * 3
    assert len(runs_of(stack, ours)) == 6 + 1
    rates = stack.ask("SELECT value FROM params WHERE key = 'shuffle.schedule' ORDER BY value")
    assert [row[0] for row in rates] == ["linear"] * 3 + ["none"] * 3
    assert contents(stack.objects) >= contents(ours.path / "reports" / "tiny")
    run_here(ours, "verify", "tiny")

    # A colleague sends the same study.
    run_here(theirs, "sync")
    run_here(theirs, "verify", "tiny")
    run_here(ours, "verify", "tiny")
    assert len(runs_of(stack, theirs)) == 6 + 1
    assert len(stack.ask(ACTIVE)) == 2 * (6 + 1)

    # A rebuild replaces one's own runs and no other.
    before = runs_of(stack, ours), runs_of(stack, theirs)
    run_here(theirs, "sync", "--rebuild")
    assert runs_of(stack, ours) == before[0]
    assert not runs_of(stack, theirs) & before[1]
    assert len(runs_of(stack, theirs)) == 6 + 1
    run_here(theirs, "verify", "tiny")

    # A backup brings all of it back.
    there = points(stack, ours), points(stack, theirs)
    stack.back_up(tmp_path / "backup")
    stack.restore(tmp_path / "backup")
    assert (points(stack, ours), points(stack, theirs)) == there
    run_here(ours, "verify", "tiny")

    # It is called by its own names only, and not by other people's pages.
    search = f"{stack.address}/api/2.0/mlflow/runs/search"
    for name, status in (("mlflow:5000", 200), ("localhost:1234", 200), ("elsewhere.example.org", 403)):
        assert status_of(search, {"Host": name}) == status
    assert status_of(search, {"Origin": "https://elsewhere.example.org"}) == 403


def status_of(address: str, headers: dict[str, str]) -> int:
    """Return the status of the answer to a search."""
    asked = urllib.request.Request(address, b'{"experiment_ids": []}', {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(asked) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
