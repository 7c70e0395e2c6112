"""Planted results: studies whose records are made from given values. No files are read but the study."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slws_lab.analysis import ResultTable
from slws_lab.spec import expand, load_study
from slws_lab.tracking import RunRecord

Planted = float | str | None
RECIPE = Path(__file__).parents[2] / "experiments" / "shufflemamba_micro_digits.yaml"


def _record(run_id: str, planted: Planted, key: str) -> RunRecord:
    if planted is None:
        return RunRecord(run_id, "pending", 0, 0)
    if isinstance(planted, str):
        return RunRecord(run_id, planted, 1, 1, cause="planted", curves={key: {1: 0.5, 2: math.nan}})
    return RunRecord(run_id, "finished", 1, 1, curves={key: {1: 0.5, 2: planted}}, result={"epochs": 2})


@pytest.fixture
def plant_by(tmp_path: Path) -> Callable[..., ResultTable]:
    """Return a function that plants `value(settings, seed)` in every run of a study given by its last lines."""

    def make(body: str, value: Callable[[dict[str, Any], int], Planted]) -> ResultTable:
        (tmp_path / "pyproject.toml").touch()
        (tmp_path / "recipe.yaml").write_text(RECIPE.read_text())
        path = tmp_path / "study.yaml"
        path.write_text(f"name: planted\nquestion: Which?\nrecipe: recipe.yaml\n{body}\n")
        study = load_study(path)
        design = expand(study)
        records = {
            run_id: _record(run_id, value(design.arm(arm_id).settings, seed), study.spec.metric.key)
            for (arm_id, seed), run_id in design.run_ids.items()
        }
        return ResultTable(study.spec, design, records)

    return make


@pytest.fixture
def plant(plant_by: Callable[..., ResultTable]) -> Callable[..., ResultTable]:
    """Return a function that plants one list of values an arm, the baseline first.

    A number is a finished run's last value, a word a status, None a run that never began. `more` is put into the study.
    """

    def make(
        *arms: list[Planted], designs: str = "[{one_at_a_time: [train.lr]}]", seeds: str = "", more: str = ""
    ) -> ResultTable:
        levels = [round(0.001 * (i + 1), 3) for i in range(len(arms))]
        body = f"factors: {{train.lr: {levels}}}\ndesigns: {designs}\nseeds: {seeds or len(arms[0])}\n{more}"
        return plant_by(body, lambda settings, seed: arms[levels.index(settings["train.lr"])][seed])

    return make
