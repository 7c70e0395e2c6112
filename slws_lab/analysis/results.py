"""The result table: a study's design with the records of its runs. The content of records.csv; no statistics here."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from slws_lab.spec import Arm, Design, Study, StudySpec
from slws_lab.tracking import MEASUREMENTS, RunRecord, Workspace, records

if TYPE_CHECKING:
    import pandas as pd

# The columns of records.csv beside factors, metrics and measurements, in their order.
IDENTITY = ("arm", "arm_id", "role")
RUN = ("seed", "run_id", "status", "cause", "value")
RESULT = ("epochs", "params", "data_fingerprint", "scan_backend", "threads")
PROVENANCE = ("commit", "code")
INTEGERS = ("seed", "epochs", "params", "threads", "attempt", "attempts", "resumes")


def varied(design: Design) -> list[str]:
    """Return the dotted fields in which the arms of a design differ, in the order in which they first appear."""
    names = dict.fromkeys(name for arm in design.arms for name in arm.settings)
    return [name for name in names if len({_level(arm, name) for arm in design.arms}) > 1]


@dataclass(frozen=True, eq=False)
class ResultTable:
    """All that is known of a study's results. Equal only to itself, so that what is computed from it can be kept.

    Attributes:
        study: The question.
        design: Its arms and seeds.
        records: One record a run, by run id; a run that never began is pending.
    """

    study: StudySpec
    design: Design
    records: dict[str, RunRecord] = field(repr=False)

    @classmethod
    def of(cls, study: Study, design: Design, workspace: Workspace, *, kept: bool = True) -> ResultTable:
        """Read the records of a study's runs from a workspace.

        Args:
            study: The study as loaded.
            design: Its arms and seeds.
            workspace: Where the runs are.
            kept: Whether those that have ended may come from what was kept of them; see `tracking.records`.
        """
        run_ids = list(design.run_ids.values())
        found = records(workspace, run_ids, study.spec.name if kept else "")
        return cls(study.spec, design, dict(zip(run_ids, found, strict=True)))

    def record(self, arm_id: str, seed: int) -> RunRecord:
        """Return the record of an arm's run with a seed."""
        return self.records[self.design.run_ids[arm_id, seed]]

    def arm_records(self, arm_id: str) -> list[RunRecord]:
        """Return the records of an arm, in the order of the seeds."""
        return [self.record(arm_id, seed) for seed in self.design.seeds]

    @cached_property
    def values(self) -> pd.DataFrame:
        """The study's metric, a row a seed and a column an arm id; NaN unless the run finished with a finite value."""
        import pandas as pd

        found = {
            arm.id: [_finite(record.value(self.study.metric)) for record in self.arm_records(arm.id)]
            for arm in self.design.arms
        }
        return pd.DataFrame(found, index=pd.Index(self.design.seeds, name="seed"), dtype=float)

    def frame(self) -> pd.DataFrame:
        """Return one row a run, arm by arm and seed by seed; the columns of records.csv, the measuring ones last."""
        import pandas as pd

        factors = varied(self.design)
        rows = [self._row(arm, seed, factors) for arm in self.design.arms for seed in self.design.seeds]
        names = sorted({name for record in self.records.values() for name in record.digest.ends} - set(MEASUREMENTS))
        columns = [*IDENTITY, *factors, *RUN, *names, *RESULT, *PROVENANCE, *MEASUREMENTS]
        frame = pd.DataFrame({name: [row.get(name) for row in rows] for name in columns})
        return frame.astype(dict.fromkeys(INTEGERS, "Int64"))

    def to_csv(self) -> str:
        """Return records.csv; floats are written so that they read back as the same numbers."""
        return str(self.frame().to_csv(index=False, lineterminator="\n"))

    def curves(self) -> pd.DataFrame:
        """Return every journal point: arm_id, seed, step (epochs done), name, value."""
        import pandas as pd

        points = [
            (arm.id, seed, step, name, value)
            for arm in self.design.arms
            for seed in self.design.seeds
            for name, curve in sorted(self.record(arm.id, seed).curves.items())
            for step, value in curve.items()
        ]
        frame = pd.DataFrame(points, columns=["arm_id", "seed", "step", "name", "value"])
        return frame.astype({"seed": int, "step": int, "value": float})

    @cached_property
    def _allotted(self) -> dict[str, int]:
        from slws_lab.analysis.sequential import allotment  # it reads tables

        return allotment(self)

    def _row(self, arm: Arm, seed: int, factors: list[str]) -> dict[str, Any]:
        record = self.record(arm.id, seed)
        idle = record.status == "pending" and self.design.seeds.index(seed) >= self._allotted[arm.id]
        return _last(record) | _outcome(record) | {
            "arm": arm.label,
            "arm_id": arm.id,
            "role": "+".join(dict.fromkeys(role.kind for role in arm.roles)),
            **{name: _level(arm, name) for name in factors},
            "seed": seed,
            "run_id": record.run_id,
            "status": "not needed" if idle else record.status,
            "cause": record.cause,
            "value": _finite(record.value(self.study.metric)),
        }  # fmt: skip


def _last(record: RunRecord) -> dict[str, float]:
    return {name: ends.last for name, ends in record.digest.ends.items()}


def _outcome(record: RunRecord) -> dict[str, Any]:
    provenance = record.result.get("provenance") or {}
    result = {name: record.result[name] for name in (*RESULT, *MEASUREMENTS) if name in record.result}
    measured = {"attempt": record.attempt, "attempts": record.attempts}
    return result | measured | {name: provenance.get(name) for name in PROVENANCE}


def _level(arm: Arm, name: str) -> str | None:
    """Return a level as text that tells it from any other; None if the factor is off in this arm."""
    if name not in arm.settings:
        return None
    level = arm.settings[name]
    return level if isinstance(level, str) else json.dumps(level)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
