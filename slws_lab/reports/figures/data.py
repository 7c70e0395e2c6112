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


def shown(table: ResultTable, most: int) -> list[str]:
    """Return the ids of the arms that figures show, in the order of the design: all, or of very many the baseline and the best.

    Args:
        table: The results.
        most: How many arms can be told apart.
    """
    ids = [arm.id for arm in table.design.arms]
    if len(ids) <= most:
        return ids
    known = [e for e in estimates(table) if e.mean is not None]
    ordered = sorted(known, key=lambda e: e.mean or 0.0, reverse=table.study.metric.goal == "maximize")
    baselines = [arm.id for arm in table.design.arms if arm.is_baseline]
    kept = set([*baselines, *(e.arm_id for e in ordered if e.arm_id not in baselines), *ids][:most])
    return [arm_id for arm_id in ids if arm_id in kept]


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
