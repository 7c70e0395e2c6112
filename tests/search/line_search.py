"""What tests of the loop of a search share: a project whose command draws a line, and its search in this process or in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command.trainer import make_command_project
from conftest import Folder
from search.driver import Quiet

from slws_lab.lab import executing, running, searching
from slws_lab.lab.executing import Outcome, Progress
from slws_lab.lab.project import Project
from slws_lab.lab.running import Options
from slws_lab.launch import in_process, inventory
from slws_lab.search.trial import Trial
from slws_lab.tracking import RunRecord

RECIPE = """\
kind: command
name: line
command: "{python} main.py --lr {lr} --epochs {train.epochs} --seed {seed} --pause {pause} {do:--do} --output_dir {run.dir}"
resume: "--resume {run.dir}/checkpoint.pth"
fields:
  lr: {type: float, value: 0.5, min: 0, max: 10}
  train.epochs: {type: int, value: 3, min: 1}
  pause: {type: float, value: 0, shape: false}
  do: {type: str, value: null}
metrics: {file: log.txt, step: epoch, counts_from: 0, names: {val/top1: test_acc1, train/loss: train_loss}}
epochs: train.epochs
"""
HEAD = """\
name: tiny
question: Which rate is best?
recipe: ../experiments/tiny.yaml
metric: {name: val/top1}
resources: {gpus: 0}
"""
SEARCH = """\
seeds: 1
search:
  space: {lr: {float: [0.1, 0.9]}}
  sampler: random
  trials: 4
"""
PRUNED = """\
seeds: 1
set: {train.epochs: 6}
search:
  space: {lr: {float: [0.1, 0.9]}}
  sampler: random
  trials: 3
  enqueue: [{lr: 0.9}, {lr: 0.8}, {lr: 0.1}]
  pruner: {name: median, n_startup_trials: 2}
"""


def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a search in this process look often, take the machine for one of two cores, and leave out the mirror."""
    for place in (searching, executing):
        monkeypatch.setattr(place, "Shipping", Quiet)
    monkeypatch.setattr(searching, "POLL_S", 0.02)
    monkeypatch.setattr(in_process, "LOOK_S", 0.05)
    monkeypatch.setattr(inventory, "cores", lambda: 2)


def make(folder: Path, search: str = SEARCH, recipe: str = RECIPE) -> Folder:
    """Make a project whose command also pauses as the environment says, which is in no id."""
    made = make_command_project(folder / "project", HEAD + search, recipe)
    script = made.path / "main.py"
    script.write_text(
        script.read_text().replace("sleep(args.pause)", "sleep(float(os.environ.get('PAUSE', args.pause)))")
    )
    return made


def search(folder: Folder, launcher: str = "in_process", watch: Callable[[Progress], None] = lambda _: None) -> Outcome:
    return searching.search(Project.open(str(folder.study)), Options(launcher), watch)


def trials(folder: Folder) -> tuple[Trial, ...]:
    return Project.open(str(folder.study)).trials


def record_of(folder: Folder, trial: Trial, seed: int = 0) -> RunRecord:
    project = Project.open(str(folder.study))
    arm = next(arm for arm in project.design.arms if arm.settings == trial.settings)
    return project.record(project.design.run_ids[arm.id, seed])


def ordinary(folder: Folder, settings: list[dict[str, Any]], name: str = "other", seeds: str = "seeds: 1\n") -> Path:
    """Write a study without a search, of these settings."""
    path = folder.path / f"studies/{name}.yaml"
    path.write_text(HEAD.replace("name: tiny", f"name: {name}") + seeds + f"designs: [{{list: {settings}}}]\n")
    return path


def run(path: Path) -> Outcome:
    return running.run(Project.open(str(path)), Options("in_process"), lambda _: None)


def start(folder: Folder, parallel: int = 2, poll_s: float = 0.05) -> subprocess.Popen[str]:
    """Search in a process of its own, as `slws run` does."""
    command = [sys.executable, str(Path(__file__).with_name("driver.py")), str(parallel), str(poll_s)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder.path, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload, no-any-return]


def finish(process: subprocess.Popen[str], code: int = 0) -> None:
    out, err = process.communicate(timeout=180)
    assert process.returncode == code, out + err
