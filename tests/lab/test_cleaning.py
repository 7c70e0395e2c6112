"""Cleaning: what goes, what stays, and that nothing goes unasked."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from conftest import Folder, Here

from slws_lab.lab.cleaning import waste
from slws_lab.tracking import Workspace


def test_files_of_jobs_that_may_still_work_stay(tmp_path: Path) -> None:
    jobs = Workspace(tmp_path).jobs
    here, dead = socket.gethostname(), 2**22 + 1
    for name in (f"local-{os.getpid()}-0-{here}.json", f"local-{dead}-0-elsewhere.json", f"local-{dead}-0-{here}.json"):
        jobs.mkdir(exist_ok=True)
        (jobs / name).touch()
    (jobs / "slws-0123456789ab").mkdir()
    found = waste(Workspace(tmp_path), weights=False, superseded=False)
    assert [item.path.name for item in found] == [f"local-{dead}-0-{here}.json"]


def test_cleaning_says_first_and_leaves_results(finished_copy: Folder, run_here: Here) -> None:
    before = finished_copy.listing()
    told = json.loads(run_here(finished_copy, "clean", "--weights", "--json"))
    assert told["removed"] is False
    assert finished_copy.listing() == before
    assert {item["why"] for item in told["files"]} == {
        "checkpoint of an ended run",
        "answer kept from an earlier check",
    }
    run_here(finished_copy, "clean", "--weights", "--yes")
    gone = set(before) - set(finished_copy.listing())
    assert len([name for name in gone if name.endswith(".safetensors")]) == 12
    assert all(run.attempts()[0].status == "finished" for run in Workspace(finished_copy.workspace).folders())
    assert "0 runs executed" in run_here(finished_copy, "run", "tiny")
