"""Two drivers share one search on a real PostgreSQL: nothing twice, nothing lost, and one ends what the other leaves when it is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command.trainer import make_command_project
from conftest import Folder
from faults.faults import kill_tree, left, processes, wait_for
from native_stack import program

from slws_lab.lab.project import Project
from slws_lab.search.trial import Trial, counts
from slws_lab.tracking import journal

pytestmark = pytest.mark.postgres
RECIPE = """\
kind: command
name: line
command: "{python} main.py --lr {lr} --epochs {train.epochs} --seed {seed} --pause {pause} --output_dir {run.dir}"
resume: "--resume {run.dir}/checkpoint.pth"
fields:
  lr: {type: float, value: 0.5, min: 0, max: 10}
  train.epochs: {type: int, value: 3, min: 1}
  pause: {type: float, value: 0.1, shape: false}
metrics: {file: log.txt, step: epoch, counts_from: 0, names: {val/top1: test_acc1, train/loss: train_loss}}
epochs: train.epochs
"""
STUDY = """\
name: tiny
question: Which rate is best?
recipe: ../experiments/tiny.yaml
metric: {name: val/top1}
resources: {gpus: 0}
seeds: 1
search:
  space: {lr: {float: [0.1, 0.9]}}
  sampler: {name: tpe, n_startup_trials: 4}
  pruner: {name: median, n_startup_trials: 6}
  storage: $SHARED_SEARCH
  trials: TRIALS
"""
DRIVER = """\
import sys
sys.path[:0] = {paths!r}
from slws_lab.lab import searching
from slws_lab.lab.project import Project
from slws_lab.lab.running import Options
from slws_lab.launch import inventory
class Quiet:
    def __init__(self, project): self.project = project
    def start(self): pass
    def finish(self): return ""
searching.Shipping, searching.POLL_S, inventory.cores = Quiet, 0.05, lambda: 1
searching.search(Project.open("studies/tiny.yaml"), Options("local"), lambda _: None)
"""


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a PostgreSQL, put the address of an empty database of it into the environment, and stop it at the end."""
    from native_stack import Stack

    missing = [name for name in ("initdb", "pg_ctl", "createdb") if program(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (SLWS_TEST_SERVERS=1 installs PostgreSQL)")
    stack = Stack(tmp_path_factory.mktemp("stack"))
    try:
        address = stack.start_postgres("searches")
        monkeypatch.setenv("SHARED_SEARCH", address)
        yield address
    finally:
        stack.stop()


def make(path: Path, trials: int) -> Folder:
    return make_command_project(path, STUDY.replace("TRIALS", str(trials)), RECIPE)


def start(folder: Folder) -> subprocess.Popen[str]:
    tests = str(Path(__file__).parents[1])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", DRIVER.format(paths=[tests])]
    return subprocess.Popen(command, cwd=folder.path, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload, no-any-return]


def finish(process: subprocess.Popen[str]) -> None:
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, out + err


def trials(folder: Folder) -> tuple[Trial, ...]:
    return Project.open(str(folder.study)).trials


def steps(folder: Folder, trial: Trial) -> list[int]:
    """Return the epochs that a workspace holds of a trial's run."""
    project = Project.open(str(folder.study))
    arm = next(arm for arm in project.design.arms if arm.settings == trial.settings)
    attempts = project.workspace.run(project.design.run_ids[arm.id, 0]).attempts()
    return [entry.step for attempt in attempts for entry in journal.read(attempt.journal)]
