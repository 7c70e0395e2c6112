"""The test split of a confirmation: read once, of the best setting and of the baseline, and kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from slws_lab.analysis import ResultTable, estimates
from slws_lab.analysis.statistics import Paired, paired
from slws_lab.errors import SlwsError
from slws_lab.lab.evaluating import Options, evaluate_run
from slws_lab.lab.project import Project
from slws_lab.spec import Metric
from slws_lab.tracking import FINAL, read_json, write_json

KEPT = ("top1", "top5", "loss", "ece", "n")


@dataclass(frozen=True)
class Tested:
    """What the test split said.

    Attributes:
        best: Label of the best setting by its mean over fresh seeds.
        figure: What was read: top1, top5 or loss.
        weights: Of which weights: `last` or `ema`.
        values: Seed to the best setting's value.
        baseline: Seed to the baseline's.
        difference: The best setting against the baseline, paired by seed.
        file: Where it is kept.
    """

    best: str
    figure: str
    weights: str
    values: Mapping[int, float]
    baseline: Mapping[int, float]
    difference: Paired
    file: Path


@dataclass
class _Kept:
    """What was read so far, and of which runs it is to be: decided once, before the first is read."""

    path: Path
    best: str
    arm_id: str
    runs: dict[str, dict[str, str]]
    read: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def at(cls, path: Path) -> _Kept | None:
        found = read_json(path)
        return None if found is None else cls(path, **found)

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"best": self.best, "arm_id": self.arm_id, "runs": self.runs, "read": self.read})


def test_once(project: Project, table: ResultTable) -> tuple[Tested | None, list[str]]:
    """Evaluate the best setting and the baseline of a confirmation on the test split, unless that was done before.

    Args:
        project: The confirmation.
        table: Its results.

    Returns:
        What was read, None if nothing was; and what a reader must know, a sentence each.
    """
    if project.study.command is not None:
        return None, ["the runs are a command's: of a test split only the command knows, so none was read"]
    path = project.workspace.path / "searches" / f"{project.study.spec.name}-test.json"
    kept = _Kept.at(path)
    chosen = _choice(table, path)
    if kept is None:
        if chosen is None:
            return None, [
                "the test split was not read: it waits until the baseline and a setting have finished with every seed"
            ]
        kept = chosen
        kept.save()
    missing = [run_id for arm in kept.runs.values() for run_id in arm.values() if run_id not in kept.read]
    notes = [] if missing else [f"the test split was read before, and is not read again: {path}"]
    if chosen is not None and chosen.arm_id != kept.arm_id:
        notes.append(f"it was read for {kept.best}, the best at that time; now {chosen.best} is, by its fresh mean")
    try:
        for run_id in missing:
            kept.read[run_id] = _evaluate(project, run_id)
            kept.save()
    except SlwsError as error:
        return None, [*notes, f"the test split could not be read whole ({error}); the same command goes on with it"]
    return _tested(kept, project.study.spec.metric, project.study.spec.comparisons.alpha), notes


def _choice(table: ResultTable, path: Path) -> _Kept | None:
    """Return what is to be read: the best setting by its mean over all seeds, and the baseline; None while runs are missing."""
    if any(record.status not in FINAL for record in table.records.values()):
        return None
    whole = [one for one in estimates(table) if one.mean is not None and one.n == len(table.design.seeds)]
    baseline, sign = table.design.arms[0].id, 1 if table.study.metric.goal == "maximize" else -1
    others = [one for one in whole if one.arm_id != baseline]
    if not others or len(others) == len(whole):
        return None
    top = max(others, key=lambda one: sign * (one.mean or math.nan))
    ids = table.design.run_ids
    runs = {
        role: {str(seed): ids[arm_id, seed] for seed in table.design.seeds}
        for role, arm_id in (("best", top.arm_id), ("baseline", baseline))
    }
    return _Kept(path, top.label, top.arm_id, runs)


def _evaluate(project: Project, run_id: str) -> dict[str, Any]:
    """Return the figures of a run's weights on the test split, by kind of weights."""
    found = evaluate_run(run_id, Options(split="test"), project.workspace.path, project.study.root)
    return {kind: {name: one[name] for name in KEPT} for kind, one in found["weights"].items()}


def _tested(kept: _Kept, metric: Metric, alpha: float) -> Tested:
    figure, weights = metric.name.removeprefix("val/"), "ema" if metric.weights == "ema" else "last"
    values, baseline = (
        {int(seed): float(kept.read[run_id][weights][figure]) for seed, run_id in kept.runs[role].items()}
        for role in ("best", "baseline")
    )
    pairs = [(values[seed], baseline[seed]) for seed in values if seed in baseline]
    columns = np.array(pairs).T
    return Tested(kept.best, figure, weights, values, baseline, paired(columns[0], columns[1], alpha), kept.path)
