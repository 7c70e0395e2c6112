"""The result table: a study's design with the records of its runs. The content of records.csv; no statistics here."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from slws_lab.analysis import recorded
from slws_lab.errors import UserError
from slws_lab.spec import Arm, Design, Study, StudySpec
from slws_lab.tracking import MEASUREMENTS, RunRecord, Workspace, records

if TYPE_CHECKING:
    import pandas as pd


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
        digests: Run id -> digest of its result, of a table that was read from records.csv, which has no results to digest.
    """

    study: StudySpec
    design: Design
    records: dict[str, RunRecord] = field(repr=False)
    digests: dict[str, str | None] = field(default_factory=dict, repr=False)

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

    @classmethod
    def from_csv(cls, study: Study, design: Design, text: str) -> ResultTable:
        """Read the records of a study's runs from its records.csv; only their curves are not in it.

        Args:
            study: The study as loaded.
            design: Its arms and seeds. A run that the file does not name is pending.
            text: The content of records.csv.

        Raises:
            UserError: The file cannot be read, or names runs that the study does not have.
        """
        extremes = study.spec.metric.at == "best"
        read = recorded.read(text, map(_factor, varied(design)), extremes=extremes)
        rows = {row.run_id: row for row in _of(design, study.spec.name, read)}
        run_ids = list(design.run_ids.values())
        found = {i: rows[i].record if i in rows else RunRecord(i, "pending", 0, 0) for i in run_ids}
        return cls(study.spec, design, found, {i: rows[i].result_sha256 if i in rows else None for i in run_ids})

    def result_sha256(self, run_id: str) -> str | None:
        """Return the digest of what a run ended with; None while it has not."""
        return self._digests[run_id]

    @cached_property
    def _digests(self) -> dict[str, str | None]:
        return self.digests or {run_id: recorded.result_sha256(record) for run_id, record in self.records.items()}

    def record(self, arm_id: str, seed: int) -> RunRecord:
        """Return the record of an arm's run with a seed."""
        return self.records[self.design.run_ids[arm_id, seed]]

    def arm_records(self, arm_id: str) -> list[RunRecord]:
        """Return the records of an arm, in the order of its seeds."""
        return [self.record(arm_id, seed) for seed in self.design.seeds_of(arm_id)]

    @cached_property
    def values(self) -> pd.DataFrame:
        """The study's metric, a row a seed and a column an arm id; NaN unless the run is asked for and finished with a finite value."""
        import pandas as pd

        metric, seeds = self.study.metric, self.design.seeds
        own = {
            arm.id: [_finite(record.value(metric)) for record in self.arm_records(arm.id)] for arm in self.design.arms
        }
        found = {arm_id: values + [None] * (len(seeds) - len(values)) for arm_id, values in own.items()}
        return pd.DataFrame(found, index=pd.Index(seeds, name="seed"), dtype=float)

    def frame(self) -> pd.DataFrame:
        """Return one row a run, arm by arm and seed by seed; the columns of records.csv."""
        import pandas as pd

        columns, rows = self._columns, self._rows()
        frame = pd.DataFrame({name: [row.get(name) for row in rows] for name in columns})
        return frame.astype(dict.fromkeys(recorded.INTEGERS, "Int64"))

    def to_csv(self) -> str:
        """Return records.csv; floats are written so that they read back as the same numbers."""
        return recorded.line(self._columns) + "".join(self.lines.values())

    @cached_property
    def lines(self) -> dict[str, str]:
        """The lines of records.csv below its header, by run id."""
        columns = self._columns
        return {row["run_id"]: recorded.line(row.get(name) for name in columns) for row in self._rows()}

    def curves(self) -> pd.DataFrame:
        """Return every journal point: arm_id, seed, step (epochs done), name, value."""
        import pandas as pd

        points = [
            (arm.id, seed, step, name, value)
            for arm in self.design.arms
            for seed in self.design.seeds_of(arm.id)
            for name, curve in sorted(self.record(arm.id, seed).curves.items())
            for step, value in curve.items()
        ]
        frame = pd.DataFrame(points, columns=["arm_id", "seed", "step", "name", "value"])
        return frame.astype({"seed": int, "step": int, "value": float})

    @cached_property
    def _allotted(self) -> dict[str, int]:
        from slws_lab.analysis.sequential import allotment  # it reads tables

        return allotment(self)

    @property
    def _columns(self) -> list[str]:
        """The columns of records.csv, those that tell no numbers last: what measures, and where the runs came from."""
        names = sorted({name for record in self.records.values() for name in record.digest.ends} - set(MEASUREMENTS))
        ends = [name + end for name in names for end in (recorded.LOWEST, recorded.HIGHEST)] if self._extremes else []
        own = (*recorded.RUN, *names, *ends, *recorded.RESULT, *recorded.MADE, *recorded.ORIGIN, *MEASUREMENTS)
        return list(dict.fromkeys([*recorded.IDENTITY, *map(_factor, varied(self.design)), *own]))

    @property
    def _extremes(self) -> bool:
        return self.study.metric.at == "best"

    def _rows(self) -> list[dict[str, Any]]:
        factors = varied(self.design)
        design = self.design
        return recorded.once(self._row(arm, seed, factors) for arm in design.arms for seed in design.seeds_of(arm.id))

    def _row(self, arm: Arm, seed: int, factors: list[str]) -> dict[str, Any]:
        record = self.record(arm.id, seed)
        idle = record.status == "pending" and self.design.seeds.index(seed) >= self._allotted[arm.id]
        return {
            **{_factor(name): _level(arm, name) for name in factors},
            **recorded.cells(record, extremes=self._extremes),
            **({"status": "not needed"} if idle else {}),
            "arm": arm.label,
            "arm_id": arm.id,
            "role": "+".join(dict.fromkeys(role.kind for role in arm.roles)),
            "seed": seed,
            "run_id": record.run_id,
            "value": _finite(record.value(self.study.metric)),
            "result_sha256": self.result_sha256(record.run_id),
        }


def _of(design: Design, study: str, rows: list[recorded.Row]) -> list[recorded.Row]:
    """Return rows that are of runs of a design, each once."""
    known = {run_id: (arm_id, str(seed)) for (arm_id, seed), run_id in design.run_ids.items()}
    if rows and not any(row.run_id in known for row in rows):
        raise UserError(f"records.csv is of another study: none of its {len(rows)} runs is one of study {study}",
                        where="line 2", todo="name the folder of this study's report")  # fmt: skip
    seen: set[str] = set()
    for row in rows:
        if row.run_id not in known:
            raise UserError(f"records.csv holds a run that study {study} does not have: {row.run_id}",
                            where=f"line {row.line}",
                            todo="take the study file and recipe that the report was made of")  # fmt: skip
        if row.run_id in seen or row.place != known[row.run_id]:
            wrong = "stands there twice" if row.run_id in seen else f"is not of arm {row.place[0]}, seed {row.place[1]}"
            raise UserError(f"records.csv was changed: run {row.run_id} {wrong}", where=f"line {row.line}",
                            todo="restore the file, or report anew where the run folders are")  # fmt: skip
        seen.add(row.run_id)
    return rows


def _factor(name: str) -> str:
    """Name a factor's column: as the factor, unless a column of every records.csv is called so."""
    return f"factor {name}" if name in recorded.FIXED else name


def _level(arm: Arm, name: str) -> str | None:
    """Return a level as text that tells it from any other; None if the factor is off in this arm."""
    if name not in arm.settings:
        return None
    level = arm.settings[name]
    return level if isinstance(level, str) else json.dumps(level)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
