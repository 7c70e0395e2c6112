"""Studies with planted results whose tables are known beforehand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slws_lab.analysis import ResultTable
from slws_lab.reports.tables.paper import paper_views
from slws_lab.reports.view import TableView
from slws_lab.spec import Design, Study, expand, load_study
from slws_lab.spec.reporting_checks import check
from slws_lab.tracking import RunRecord

HERE = Path(__file__).parents[3]


@dataclass(frozen=True)
class Planted:
    study: Study
    table: ResultTable

    def views(self) -> dict[str, TableView]:
        found = paper_views(self.table, self.study)
        assert len({view.name for view in found}) == len(found)
        return {view.name: view for view in found}

    def view(self, name: str) -> TableView:
        return self.views()[name]


@pytest.fixture
def planted(tmp_path: Path) -> Callable[..., Planted]:
    """Return a function that plants `value(settings, seed)` in every run: a number, a status, None, or (number, result)."""

    def make(
        body: str, value: Callable[[dict[str, Any], int], Any], recipe: str = "shufflemamba_micro_digits"
    ) -> Planted:
        (tmp_path / "pyproject.toml").touch()
        shutil.copy(HERE / "experiments" / f"{recipe}.yaml", tmp_path / "recipe.yaml")
        path = tmp_path / "study.yaml"
        path.write_text(f"name: planted\nquestion: Which?\nrecipe: recipe.yaml\n{body}\n")
        study = load_study(path)
        design = expand(study)
        check(study, design)
        return Planted(study, ResultTable(study.spec, design, _records(study, design, value)))

    return make


def _records(study: Study, design: Design, value: Callable[[dict[str, Any], int], Any]) -> dict[str, RunRecord]:
    found = {}
    for (arm_id, seed), run_id in design.run_ids.items():
        given = value(design.arm(arm_id).settings, seed)
        given, more = given if isinstance(given, tuple) else (given, {})
        if given is None:
            found[run_id] = RunRecord(run_id, "pending", 0, 0)
        elif isinstance(given, str):
            found[run_id] = RunRecord(
                run_id, given, 1, 1, cause="planted", result={"started": 100.0, "finished": 136.0, **more}
            )
        else:
            curves = {
                "train/images_per_s": {1: 1.0, 2: 100.0 + 10 * seed},
                "train/peak_memory_mb": {1: 1.0, 2: 50.0 + seed}, "val/loss": {1: 9.0, 2: 1 - given / 100}, study.spec.metric.key: {1: 0.5, 2: given},
            }  # fmt: skip
            result = {"status": "finished", "epochs": 2, "params": 2_000_000, "flops": 3e9, "seconds": 36.0, **more}
            found[run_id] = RunRecord(run_id, "finished", 1, 1, curves=curves, result=result)
    return found


@pytest.fixture
def rows() -> Callable[[TableView], list[list[str]]]:
    """Return a function that gives a table's texts, a list a row."""
    return lambda view: [[cell.text for cell in row] for row in view.rows]
