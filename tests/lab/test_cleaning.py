"""Cleaning: what goes, what stays, and that nothing goes unasked."""

from __future__ import annotations

import json

from conftest import Folder, Here

from slws_lab.tracking import Workspace


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
