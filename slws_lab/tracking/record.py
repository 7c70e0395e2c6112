"""Records: what a run left behind, read from its folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from slws_lab.spec import Metric
from slws_lab.tracking import journal
from slws_lab.tracking.claim import is_held
from slws_lab.tracking.compare import differences
from slws_lab.tracking.folder import FINAL, RunFolder, Workspace


@dataclass(frozen=True)
class RunRecord:
    """One run's chosen attempt.

    Attributes:
        run_id: Id of the run.
        status: finished, diverged, failed, running, or pending.
        attempt: Number of the attempt that counts; 0 while there is none.
        attempts: How many attempts there are.
        next_attempt: Number of the attempt that a further execution works on.
        differs: Whether another attempt ended with other numbers.
        cause: Why it failed or diverged; empty otherwise.
        curves: Metric name -> step -> value, from the journal.
        result: All of result.json; empty while the attempt has not ended.
    """

    run_id: str
    status: str
    attempt: int
    attempts: int
    next_attempt: int = 1
    differs: bool = False
    cause: str = ""
    curves: dict[str, dict[int, float]] = field(default_factory=dict, repr=False)
    result: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def done(self) -> bool:
        """Whether the run has a result that counts: finished, or diverged (which is a result too)."""
        return self.status in FINAL

    def value(self, metric: Metric) -> float | None:
        """Return the run's value of a metric: None unless it finished. Failed, diverged and pruned runs are never averaged."""
        curve = self.curves.get(metric.key, {})
        if self.status != "finished" or not curve:
            return None
        if metric.at == "last":
            return curve[max(curve)]
        return max(curve.values()) if metric.goal == "maximize" else min(curve.values())


def record(folder: RunFolder) -> RunRecord:
    """Read the record of a run from its folder."""
    attempt = folder.chosen()
    if attempt is None:
        return RunRecord(folder.run_id, "pending", 0, 0)
    result = attempt.result() or {}
    lacks = attempt.lacks()
    if lacks:
        result = {**result, "status": "failed", "cause": lacks}
    status = result.get("status") or ("running" if is_held(attempt.claim) else "pending")
    points = journal.points(journal.read(attempt.journal))
    curves = {name: {step: value for step, (value, _) in sorted(curve.items())} for name, curve in points.items()}
    attempts = folder.attempts()
    others = [other for other in attempts if other != attempt and other.status in FINAL]
    differs = status in FINAL and any(differences(attempt, other) for other in others)
    return RunRecord(
        folder.run_id,
        status,
        attempt.number,
        len(attempts),
        folder.next_attempt(),
        differs,
        result.get("cause", ""),
        curves,
        result,
    )


def records(workspace: Workspace, run_ids: list[str]) -> list[RunRecord]:
    """Read the records of runs, in the order asked for; a run without a folder is pending."""
    return [record(workspace.run(run_id)) for run_id in run_ids]
