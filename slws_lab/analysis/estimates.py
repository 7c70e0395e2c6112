"""Estimates: what each arm reached, as mean and interval over its finished runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from slws_lab.analysis.results import ResultTable
from slws_lab.analysis.statistics import t_interval


@dataclass(frozen=True)
class Estimate:
    """An arm's mean over its finished runs.

    Attributes:
        arm_id: Id of the arm.
        label: Its label.
        n: Number of finished runs.
        mean: Mean, in the metric's unit; None without a finished run.
        sd: Standard deviation over seeds (n - 1); None under two runs.
        low: Lower end of the t interval of the mean; None under two runs.
        high: Upper end.
        failed: Runs that failed.
        diverged: Runs that diverged.
    """

    arm_id: str
    label: str
    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    failed: int
    diverged: int


@lru_cache(maxsize=4)  # a report asks for them in many places
def estimates(table: ResultTable) -> tuple[Estimate, ...]:
    """Return one estimate an arm, in the order of the design."""
    return tuple(_estimate(table, arm.id, arm.label) for arm in table.design.arms)


def _estimate(table: ResultTable, arm_id: str, label: str) -> Estimate:
    values = table.values[arm_id].dropna().to_numpy()
    statuses = [record.status for record in table.arm_records(arm_id)]
    counts = {"failed": statuses.count("failed"), "diverged": statuses.count("diverged")}
    mean = float(values.mean()) if len(values) else None
    if len(values) < 2:
        return Estimate(arm_id, label, len(values), mean, None, None, None, **counts)
    low, high = t_interval(values, table.study.comparisons.alpha)
    return Estimate(arm_id, label, len(values), mean, float(values.std(ddof=1)), low, high, **counts)
