"""Planted results: a study over one factor, its records made from given values. No files are read but the study."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

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
def plant(tmp_path: Path) -> Callable[..., ResultTable]:
    """Return a function that plants one list of values an arm, the baseline first.

    A number is a finished run's last value, a word a status, None a run that never began. `more` is put into the study.
    """

    def make(*arms: list[Planted], designs: str = "[{one_at_a_time: [train.lr]}]", more: str = "") -> ResultTable:
        (tmp_path / "pyproject.toml").touch()
        (tmp_path / "recipe.yaml").write_text(RECIPE.read_text())
        levels = [round(0.001 * (i + 1), 3) for i in range(len(arms))]
        path = tmp_path / "study.yaml"
        path.write_text(
            f"name: planted\nquestion: Which?\nrecipe: recipe.yaml\nfactors: {{train.lr: {levels}}}\n"
            f"designs: {designs}\nseeds: {len(arms[0])}\n{more}\n"
        )
        study = load_study(path)
        design = expand(study)
        key = study.spec.metric.key
        records = {
            design.run_ids[arm.id, seed]: _record(design.run_ids[arm.id, seed], value, key)
            for arm, values in zip(design.arms, arms, strict=True)
            for seed, value in zip(design.seeds, values, strict=True)
        }
        return ResultTable(study.spec, design, records)

    return make
