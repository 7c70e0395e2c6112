"""The data of the figures of arms, contrasts and curves, computed and tested apart from the drawing. No matplotlib here."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pandas as pd

from slws_lab.analysis import Contrast, ResultTable, contrasts, estimates
from slws_lab.reports import wording
from slws_lab.spec import Recipe

RATE = "train/shuffle_rate"  # the largest layer's rate in an epoch, as a training writes it
FEW = 7  # arms that colour alone tells apart: black for the baseline, and six
LOSSES = ["train/loss", "val/loss"]  # of the same weights
CURVES = ["name", "arm_id", "step", "mean", "low", "high"]


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
    usual = wording.baseline(table.design).id
    kept = set(list(dict.fromkeys([usual, *(e.arm_id for e in ordered), *ids]))[:most])
    return [arm_id for arm_id in ids if arm_id in kept]


def accuracy(table: ResultTable) -> pd.DataFrame:
    """Return each finished run's value with its arm's mean and interval.

    Returns:
        Columns arm, arm_id, seed, value, mean, low, high (empty under two runs), in the order of the design.
    """
    names = wording.arm_names(table.design)
    rows = [
        (names[e.arm_id], e.arm_id, seed, value, e.mean, e.low, e.high)
        for e in estimates(table)
        for seed, value in table.values[e.arm_id].dropna().items()
    ]
    return _frame(rows, ["arm", "arm_id", "seed", "value", "mean", "low", "high"], floats=4).astype({"seed": int})


def effects(table: ResultTable) -> pd.DataFrame:
    """Return each contrast's difference, interval and verdict, with the single differences of its pairs.

    Returns:
        A row a pair: block (from 1; the first one of the contrast), arm, arm_id, reference, reference_id, seed, difference, delta,
        low, high (empty where there is no test), verdict, below_margin. Contrasts without a pair are left out.
    """
    rows = [row for contrast in contrasts(table) for row in _pairs(table, contrast)]
    columns = ["block", "arm", "arm_id", "reference", "reference_id", "verdict", "below_margin", "seed"]
    return _frame(rows, [*columns, "difference", "delta", "low", "high"], floats=4)


def training_curves(table: ResultTable, most: int = FEW) -> pd.DataFrame:
    """Return the mean, low and high over an arm's finished runs of its losses, of the study's metric and of the shuffle's rate.

    Args:
        table: The results.
        most: Of how many arms, see `shown`; the shuffle's rate is of all arms in which it changes.

    Returns:
        Columns name, arm_id, step (epochs done), mean, low (the smallest of the runs), high. Runs that failed, diverged or still
        go are left out: they would bend the mean where they end.
    """
    kept, names = set(shown(table, most)), {*LOSSES, *_of_metric(table)}
    points = [
        (name, arm.id, step, value)
        for arm in table.design.arms
        for seed in table.values.index[table.values[arm.id].notna()]
        for name, curve in sorted(table.record(arm.id, int(seed)).curves.items())
        if (name in names and arm.id in kept) or (name == RATE and len(set(curve.values())) > 1)
        for step, value in curve.items()
    ]
    grouped = pd.DataFrame(points, columns=["name", "arm_id", "step", "value"]).groupby(CURVES[:3], sort=False)["value"]
    found = grouped.agg(mean="mean", low="min", high="max").reset_index()
    return found.astype({"step": int, "mean": float, "low": float, "high": float})


def read_curves(text: str) -> pd.DataFrame:
    """Return what `training_curves` gave, from the CSV that was saved beside the figure."""
    found = pd.read_csv(io.StringIO(text), dtype=str)[CURVES]  # Python's own floats are read exactly
    return found.astype({"step": int, "mean": float, "low": float, "high": float})


def panels(table: ResultTable, curves: pd.DataFrame) -> list[list[str]]:
    """Return the names of the curves of each panel, of the train split before those of the validation: the losses, and the metric.

    Args:
        table: The results.
        curves: Of `training_curves`.
    """
    known = set(curves["name"])
    found = [[name for name in names if name in known] for names in (LOSSES, _of_metric(table))]
    return [names for i, names in enumerate(found) if names and names not in found[:i]]


def shuffle_rates(table: ResultTable, curves: pd.DataFrame) -> pd.DataFrame:
    """Return the shuffle's rates of the arms that shuffle and have a result.

    Args:
        table: The results.
        curves: Of `training_curves`.

    Returns:
        Columns arm, arm_id, over, at, rate: over `depth` the rate of each layer (from 0), over `time` the largest layer's rate in
        each epoch (from 1), for the arms in which it changes.
    """
    names, rows = wording.arm_names(table.design), list[tuple[Any, ...]]()
    for arm in table.design.arms:
        course = curves[(curves["name"] == RATE) & (curves["arm_id"] == arm.id)]
        over = {"depth": enumerate(_rates(table, arm.id)), "time": zip(course["step"], course["mean"], strict=True)}
        rows += [(names[arm.id], arm.id, side, at, rate) for side, points in over.items() for at, rate in points]
    return _frame(rows, ["arm", "arm_id", "over", "at", "rate"], floats=1)


def shuffles(table: ResultTable) -> bool:
    """Say whether any arm of the design shuffles."""
    recipes = (arm.recipe for arm in table.design.arms)
    return any(isinstance(recipe, Recipe) and recipe.shuffle.schedule != "none" for recipe in recipes)


def _of_metric(table: ResultTable) -> list[str]:
    key = table.study.metric.key
    return list(dict.fromkeys((key.replace("val/", "train/"), key)))


def _pairs(table: ResultTable, contrast: Contrast) -> Iterator[tuple[Any, ...]]:
    names = wording.arm_names(table.design)
    own, other = (table.values[arm_id] for arm_id in (contrast.arm_id, contrast.reference))
    for seed in contrast.seeds:
        yield (
            contrast.blocks[0] + 1, names[contrast.arm_id], contrast.arm_id, names[contrast.reference], contrast.reference,
            contrast.verdict, contrast.below_margin, seed, own[seed] - other[seed], contrast.delta, contrast.low, contrast.high,
        )  # fmt: skip


def _rates(table: ResultTable, arm_id: str) -> list[float]:
    given = (record.result.get("shuffle_rates") for record in table.arm_records(arm_id))
    return list(next((rates for rates in given if rates), []))


def _frame(rows: list[tuple[Any, ...]], columns: list[str], floats: int) -> pd.DataFrame:
    """Return rows as a frame, whose last columns, so many, are floats."""
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[-floats:], float))
