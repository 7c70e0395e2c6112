"""The data of the figures, computed and tested apart from the drawing. No matplotlib here."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from slws_lab.analysis import ResultTable, estimates


@dataclass(frozen=True)
class ArmPoints:
    """An arm's mean, the ends of its interval (None under two runs) and its single values, in the metric's unit."""

    arm_id: str
    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]


def accuracy(table: ResultTable) -> list[ArmPoints]:
    """Return the points of each arm with a finished run, in the order of the design."""
    return [
        ArmPoints(e.arm_id, e.mean, e.low, e.high, tuple(table.values[e.arm_id].dropna()))
        for e in estimates(table)
        if e.mean is not None
    ]


def training_curves(table: ResultTable) -> pd.DataFrame:
    """Return the mean, low and high over an arm's finished runs of train/loss and of the study's metric.

    Returns:
        Columns name, arm_id, step (epochs done), mean, low, high. Runs that failed, diverged or still go are left out:
        they would bend the mean where they end.
    """
    seeds = table.values.stack().dropna().index
    finished = pd.DataFrame([(arm_id, seed) for seed, arm_id in seeds], columns=["arm_id", "seed"])
    curves = table.curves()
    wanted = curves[curves["name"].isin(["train/loss", table.study.metric.key])].merge(finished, on=["arm_id", "seed"])
    grouped = wanted.groupby(["name", "arm_id", "step"], sort=False)["value"]
    return grouped.agg(mean="mean", low="min", high="max").reset_index()


def shuffle_rates(table: ResultTable) -> dict[str, list[float]]:
    """Return the shuffle's rate of each layer by arm id, of the arms that shuffle and have a result."""
    found = {arm.id: _rates(table, arm.id) for arm in table.design.arms}
    return {arm_id: rates for arm_id, rates in found.items() if rates}


def _rates(table: ResultTable, arm_id: str) -> list[float]:
    given = (record.result.get("shuffle_rates") for record in table.arm_records(arm_id))
    return list(next((rates for rates in given if rates), []))
