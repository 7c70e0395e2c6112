"""The test split of a confirmation: read once, of the best setting and of the baseline, and kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from slws_lab.analysis.searching import Tested
from slws_lab.analysis.statistics import paired
from slws_lab.errors import SlwsError
from slws_lab.lab.evaluating import Options, evaluate_run
from slws_lab.lab.project import Project
from slws_lab.spec import Arm, Design, StudySpec
from slws_lab.tracking import read_json, write_json

KEPT = ("top1", "top5", "loss", "ece", "n")


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

    @property
    def missing(self) -> list[str]:
        return [run_id for arm in self.runs.values() for run_id in arm.values() if run_id not in self.read]

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"best": self.best, "arm_id": self.arm_id, "runs": self.runs, "read": self.read})


def test_once(project: Project, best: Arm | None, path: Path) -> tuple[Tested | None, list[str]]:
    """Evaluate the best setting and the baseline of a confirmation on the test split, unless that was done before.

    Args:
        project: The confirmation.
        best: The best setting, whose runs and those of the baseline have all finished; None while there is none.
        path: Where what was read is kept: of this search alone.

    Returns:
        What was read, None if nothing was; and what a reader must know, a sentence each.
    """
    if project.study.command is not None:
        return None, ["the runs are a command's: of a test split only the command knows, so none was read"]
    kept = _Kept.at(path)
    if kept is None:
        if best is None:
            return None, [
                "the test split was not read: it waits until the baseline and a setting have finished with every seed"
            ]
        kept = _chosen(project.design, best, path)
        kept.save()
    missing = kept.missing
    notes = [] if missing else [f"the test split was read before, and is not read again: {path}"]
    if best is not None and best.id != kept.arm_id:
        notes.append(f"it was read for {kept.best}, the best at that time; now {best.label} is, by its fresh mean")
    try:
        for run_id in missing:
            kept.read[run_id] = _evaluate(project, run_id)
            kept.save()
    except SlwsError as error:
        return None, [*notes, f"the test split could not be read whole ({error}); the same command goes on with it"]
    return _tested(kept, project.study.spec), notes


def read_before(project: Project, path: Path) -> Tested | None:
    """Return what was read of the test split, without reading it; None where it was not, or not whole.

    Args:
        project: The confirmation.
        path: See `test_once`.
    """
    kept = _Kept.at(path)
    return None if kept is None or kept.missing else _tested(kept, project.study.spec)


def _chosen(design: Design, best: Arm, path: Path) -> _Kept:
    """Return what is to be read: every run of the best setting and of the baseline."""
    runs = {
        role: {str(seed): design.run_ids[arm.id, seed] for seed in design.seeds}
        for role, arm in (("best", best), ("baseline", design.arms[0]))
    }
    return _Kept(path, best.label, best.id, runs)


def _evaluate(project: Project, run_id: str) -> dict[str, Any]:
    """Return the figures of a run's weights on the test split, by kind of weights."""
    found = evaluate_run(run_id, Options(split="test"), project.workspace.path, project.study.root)
    return {kind: {name: one[name] for name in KEPT} for kind, one in found["weights"].items()}


def _tested(kept: _Kept, study: StudySpec) -> Tested:
    metric, alpha = study.metric, study.comparisons.alpha
    figure, weights = metric.name.removeprefix("val/"), "ema" if metric.weights == "ema" else "last"
    values, baseline = (
        {int(seed): float(kept.read[run_id][weights][figure]) for seed, run_id in kept.runs[role].items()}
        for role in ("best", "baseline")
    )
    pairs = [(values[seed], baseline[seed]) for seed in values if seed in baseline]
    columns = np.array(pairs).T
    return Tested(kept.best, figure, weights, values, baseline, paired(columns[0], columns[1], alpha), kept.path)
