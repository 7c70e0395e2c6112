"""What tests share: a small project in a temporary folder, and the command run in this process."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from slws_lab.analysis.recorded import ORIGIN
from slws_lab.tracking import MEASUREMENTS

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
for name in ("MLFLOW_TRACKING_URI", "SLWS_WORKSPACE"):
    os.environ.pop(name, None)

REPOSITORY = Path(__file__).parents[1]

STUDY = """\
name: tiny
question: Does the shuffle change a training of two epochs?
recipe: ../experiments/tiny.yaml
factors:
  shuffle.schedule: [none, linear]
designs:
  - grid: [shuffle.schedule]
seeds: 3
metric: {name: val/top1, weights: raw}
comparisons: {margin: 1.0}
resources: {gpus: 0}
"""

RECIPE = """\
kind: train
model: {name: shufflemamba_micro, drop_path: 0.1, args: {embed_dim: 16, depth: 2}}
data: {name: digits, val_fraction: 0.2, augment: {crop: 1, erase: 0.2}}
shuffle: {schedule: linear, max_rate: 0.5}
train: {epochs: 2, batch_size: 64, lr: 8e-3, clip_grad: 3.0, smoothing: 0.1, ema_decay: 0.9}
"""


@dataclass(frozen=True)
class Folder:
    """A project folder on disk with one study, `tiny`."""

    path: Path

    @property
    def study(self) -> Path:
        return self.path / "studies" / "tiny.yaml"

    @property
    def recipe(self) -> Path:
        return self.path / "experiments" / "tiny.yaml"

    @property
    def workspace(self) -> Path:
        return self.path / ".slws"

    def listing(self) -> list[str]:
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*"))


@pytest.fixture
def project(tmp_path: Path) -> Folder:
    """A project with the study `tiny`: 2 arms x 3 seeds of two epochs, on the digits."""
    return make_project(tmp_path / "project")


def make_project(path: Path, study: str = STUDY, recipe: str = RECIPE) -> Folder:
    folder = Folder(path)
    for file, text in ((folder.study, study), (folder.recipe, recipe), (path / "pyproject.toml", "")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@pytest.fixture
def section_6(tmp_path: Path) -> Path:
    """The design's own study file as printed, in a project that holds the recipe it names."""
    for name in ("studies", "experiments"):
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").touch()
    shutil.copy(REPOSITORY / "experiments/shufflemamba_micro_digits.yaml", tmp_path / "experiments")
    return Path(shutil.copy(REPOSITORY / "tests/golden/design_section_6.yaml", tmp_path / "studies/section_6.yaml"))


def start_slws(folder: Folder, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start the command in a process and a process group of its own, in the project's folder."""
    command = [sys.executable, "-m", "slws_lab.cli", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder.path, text=True, start_new_session=True, **{**pipes, **options})


def run_slws(folder: Folder, *arguments: object, code: int = 0, **options: Any) -> str:
    """Run the command to its end, which must be with this exit code, and return what it printed."""
    process = start_slws(folder, *arguments, **options)
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, out + err
    return out


def on_one_core() -> dict[str, Any]:
    """Return options of `run_slws` and `start_slws` for one worker process instead of one a core: each loads torch for seconds."""
    if not hasattr(os, "sched_setaffinity"):
        return {}
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    cores = sorted(os.sched_getaffinity(0))
    return {"preexec_fn": lambda: os.sched_setaffinity(0, {cores[number % len(cores)]})}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Folder:
    """A project whose study `tiny` has been run to its end by the local launcher. Do not change it: copy it.

    All of pytest's workers share it: the first that asks makes it.
    """
    own = tmp_path_factory.getbasetemp()
    place = own if worker_id == "master" else own.parent
    with FileLock(place / "finished.lock"):
        if not (done := place / "finished.done").exists():
            run_slws(make_project(place / "finished"), "run", "tiny", **on_one_core())
            done.touch()
    return Folder(place / "finished")


@pytest.fixture
def fresh(finished: Folder, project: Folder) -> Folder:
    """A project that has run nothing yet; only the science tower's answers are there, which take long to ask for."""
    shutil.copytree(finished.workspace / "cache", project.workspace / "cache")
    return project


@pytest.fixture
def finished_copy(finished: Folder, tmp_path: Path) -> Folder:
    """A copy of the finished project, to be changed at will (its MLflow store still names the original's artifacts)."""
    shutil.copytree(finished.path, tmp_path / "copy")
    return Folder(tmp_path / "copy")


def numbers(records_csv: Path) -> list[dict[str, str]]:
    """Read records.csv without the columns that measure time, memory, place and attempt."""
    with records_csv.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in (*MEASUREMENTS, *ORIGIN)} for row in csv.DictReader(file)]


Slws = Callable[..., int]


@pytest.fixture
def slws(monkeypatch: pytest.MonkeyPatch) -> Slws:
    """Run the command in this process; returns its exit code."""
    from slws_lab.cli import main

    def call(*arguments: object, cwd: Path | None = None) -> int:
        monkeypatch.setattr(sys, "argv", ["slws", *map(str, arguments)])
        monkeypatch.setattr("signal.signal", lambda *_: None)  # handlers are for a process of its own
        if cwd is not None:
            monkeypatch.chdir(cwd)
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return call


Here = Callable[..., str]


@pytest.fixture
def run_here(slws: Slws, capsys: pytest.CaptureFixture[str]) -> Here:
    """Run the command like `run_slws`, but in this process, which has loaded torch and MLflow already."""

    def call(folder: Folder, *arguments: object, code: int = 0) -> str:
        capsys.readouterr()
        ended = slws(*arguments, cwd=folder.path)
        printed = capsys.readouterr()
        assert ended == code, printed.out + printed.err
        return printed.out

    return call
