"""A study whose blocks ask for different numbers of seeds, from the plan to the report: every count is of what an arm is asked for."""

from __future__ import annotations

import json
import shutil

import pytest
from command.trainer import make_command_project
from conftest import Folder, Here, numbers, on_one_core, run_slws

DESIGNS = "designs:\n  - {name: central, list: [{lr: 0.3}]}\n  - {name: rates, grid: [lr], seeds: 3}\n"
BODY = "factors: {lr: [0.1, 0.3, 0.5]}\nseeds: 4\nmetric: {name: val/top1, weights: raw}\nresources: {gpus: 0}\n"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A project whose study has been run to its end. Do not change it."""
    folder = make_command_project(tmp_path_factory.mktemp("seeds") / "project")
    folder.study.write_text(f"name: tiny\nquestion: q\nrecipe: ../experiments/tiny.yaml\n{BODY}{DESIGNS}")
    run_slws(folder, "run", "tiny", **on_one_core())
    return folder


def test_only_the_runs_that_are_asked_for_are_made(done: Folder) -> None:
    found = [(row["lr"], row["seed"], row["status"]) for row in numbers(done.path / "reports/tiny/records.csv")]
    assert found == [
        (lr, seed, "finished") for lr, seeds in (("0.1", "0123"), ("0.3", "0123"), ("0.5", "012")) for seed in seeds
    ]
    assert len([*(done.workspace / "runs").iterdir()]) == 11


def test_plan_and_status_count_by_arm(done: Folder, run_here: Here) -> None:
    planned = run_here(done, "plan", "tiny")
    assert "3 arms x 3 to 4 seeds: 11 runs, 0 to run" in planned
    assert "2 contrasts; 4 seeds find" in planned and "elsewhere 3 seeds find" in planned
    assert json.loads(run_here(done, "plan", "tiny", "--json"))["most_runs"] == 11
    assert "complete" in run_here(done, "status", "tiny")
    only = run_here(done, "plan", "tiny", "--only", "seed=3")
    assert "2 arms x 4 seeds (0, 1, 2, 3): 2 runs" in only and "lr=0.5" not in only
    assert "seeds  0, 1, 2\n" in run_here(done, "study", "show", "tiny")


def test_it_verifies_and_is_up_to_date(done: Folder, run_here: Here) -> None:
    assert "11 runs, 11 results, 1 reports" in run_here(done, "verify", "tiny")
    assert "up to date: tiny, 11 runs" in run_here(done, "report", "tiny", "--check")


def test_its_records_alone_tell_that_it_is_up_to_date(done: Folder, tmp_path, run_here: Here) -> None:
    shutil.copytree(done.path, tmp_path / "p", ignore=shutil.ignore_patterns(".slws"))
    assert "up to date: tiny, 11 runs" in run_here(Folder(tmp_path / "p"), "report", "tiny", "--check")
