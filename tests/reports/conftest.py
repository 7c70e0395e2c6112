"""Projects with planted results, written as a worker writes them and read back through tracking."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slws_lab.analysis import ResultTable
from slws_lab.spec import Arm, Study, expand, load_study
from slws_lab.tracking import Attempt, RunRecord, Workspace, journal

HERE = Path(__file__).parents[2]
EPOCHS = 3
GRID = """
factors:
  shuffle.schedule: [none, linear, constant]
  shuffle.max_rate: {levels: [0.5, 0.1], when: {shuffle.schedule: [linear, constant]}}
designs: [{grid: [shuffle.schedule, shuffle.max_rate]}]
seeds: 4
"""
CAUSE = "RuntimeError: out of memory <script>alert(1)</script> & 100% of $x_1 {}"


@dataclass(frozen=True)
class Project:
    study: Study
    table: ResultTable


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Project]:
    """Return a function that makes a project: `plan(i, seed)` says how the run of arm i ends; None begins none."""

    def make(
        plan: Callable[[int, int], str | None] = lambda i, seed: "finished", body: str = GRID, **head: str
    ) -> Project:
        root = Path(shutil.copytree(HERE / "experiments", tmp_path / "experiments", dirs_exist_ok=True)).parent
        (root / "pyproject.toml").touch()
        (root / "studies").mkdir(exist_ok=True)
        first = {"name": "planted", "question": "Which rate is best?", **head}
        path = root / "studies" / "planted.yaml"
        lines = [f"{key}: {value!r}" for key, value in first.items()]
        path.write_text("\n".join([*lines, "recipe: ../experiments/shufflemamba_micro_digits.yaml", body]))
        study = load_study(path)
        design, workspace = expand(study), Workspace(root / ".slws")
        for i, arm in enumerate(design.arms):
            for seed in design.seeds:
                status = plan(i, seed)
                if status:
                    _write(workspace, arm, (i, seed), status)
        return Project(study, ResultTable.of(study, design, workspace))

    return make


@pytest.fixture
def plant(tmp_path: Path) -> Callable[..., ResultTable]:
    """Return a function that plants `value(settings, seed)` in every run of a study: a number, a status, or None for none."""

    def make(body: str, value: Callable[[dict[str, Any], int], float | str | None]) -> ResultTable:
        (tmp_path / "pyproject.toml").touch()
        shutil.copy(HERE / "experiments" / "shufflemamba_micro_digits.yaml", tmp_path / "recipe.yaml")
        path = tmp_path / "study.yaml"
        path.write_text(f"name: planted\nquestion: Which?\nrecipe: recipe.yaml\n{body}\n")
        study = load_study(path)
        design = expand(study)
        found = {
            run_id: _planted(run_id, value(design.arm(arm_id).settings, seed), study.spec.metric.key)
            for (arm_id, seed), run_id in design.run_ids.items()
        }
        return ResultTable(study.spec, design, found)

    return make


def _planted(run_id: str, value: float | str | None, key: str) -> RunRecord:
    if value is None:
        return RunRecord(run_id, "pending", 0, 0)
    if isinstance(value, str):
        return RunRecord(run_id, value, 1, 1, cause="planted")
    return RunRecord(run_id, "finished", 1, 1, curves={key: {1: 0.5, 2: value}}, result={"epochs": 2})


def _write(workspace: Workspace, arm: Arm, place: tuple[int, int], status: str) -> None:
    i, seed = place
    folder = workspace.run(arm.run(seed))
    folder.create(arm.run(seed))
    attempt = folder.new_attempt()
    _journal(attempt, i, seed, math.nan if status == "diverged" else 1.0)
    result: dict[str, Any] = {
        "status": status, "cause": "" if status == "finished" else CAUSE, "host": "box", "device": "cpu",
        "started": 1e9, "finished": 1e9 + 9,
        "provenance": {"commit": "c" * 40, "dirty": i == 1, "diff": None, "code": "abcdef012345", "modules": {},
                       "packages": {"torch": "2"}, "machine": {"processor": "CPU", "cores": 2}},
    }  # fmt: skip
    if status != "failed":
        rate = arm.recipe.shuffle.max_rate
        rates = {"none": [], "linear": [0.0, rate / 2, rate]}.get(arm.recipe.shuffle.schedule, [rate] * 3)
        result |= {
            "metrics": {}, "epochs": EPOCHS, "params": 1000 + i, "shuffle_rates": rates, "data_fingerprint": "fedcba",
            "scan_backend": "chunked", "threads": 1, "seconds": 9.0, "resumes": 0,
        }  # fmt: skip
    attempt.finish(result)


def _journal(attempt: Attempt, i: int, seed: int, factor: float) -> None:
    shared, own = random.Random(seed).gauss(0, 1), random.Random(f"{i}-{seed}").gauss(0, 0.05)
    for epoch in range(1, EPOCHS + 1):
        top1 = 80 + 2 * epoch + i + shared + own
        metrics = {"train/loss": factor / epoch, "train/images_per_s": 900.0, "train/peak_memory_mb": 1.0,
                   "val/loss": factor * (2 - top1 / 100), "val/top1": top1, "val/top1_ema": top1 - 1}  # fmt: skip
        journal.append(attempt.journal, epoch, 1e9 + epoch, metrics)
