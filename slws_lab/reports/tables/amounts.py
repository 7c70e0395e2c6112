"""How recorded amounts are printed that nobody has settled a format for: their digits, units, names, and which direction is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from slws_lab.reports import wording
from slws_lab.spec import Metric, ShownMetric

UP = ("top1", "top5", "acc", "accuracy", "f1", "auc", "iou", "map", "images_per_s")
DOWN = ("loss", "error", "nll", "ece", "perplexity", "mse", "mae", "rmse", "seconds", "peak_memory_mb")
UNITS = {"train/images_per_s": "images/s", "train/seconds": "s", "train/peak_memory_mb": "MB"}
IN_PERCENT = ("val/top1", "val/top5", "train/top1", "train/top5")
DIGITS = 4  # of a metric's largest figure


def figure(value: float) -> str:
    """Print a size or cost to three digits, never by a power of ten."""
    if value == 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}" if abs(value) >= 1000 else f"{value:.{places}f}"


def scaled(value: float | None, unit: float = 1.0) -> str:
    """Print a cost in a unit; blank where nobody knows it."""
    return "" if value is None else figure(value / unit)


def spread(values: Sequence[float], places: int) -> str:
    """Print a mean with its standard deviation over the runs; an en dash without any."""
    if not values:
        return wording.NOTHING
    sd = f" ± {wording.number(stdev(values), places)}" if len(values) > 1 else ""
    return wording.number(fmean(values), places) + sd


def decimals(name: str, values: Sequence[float]) -> int:
    """Return the decimals of a metric: two of a percentage, else as many as give the largest figure four digits; at most four."""
    if name.removesuffix("_ema") in IN_PERCENT:
        return 2
    top = max(map(abs, values), default=0.0)
    return DIGITS if top <= 0 else min(DIGITS, max(0, DIGITS - 1 - math.floor(math.log10(top))))


def header(metric: ShownMetric, recorded: Metric, *, own: bool) -> str:
    """Name a column of a metric: its title or its name, and its unit.

    Args:
        metric: As the study asks for it.
        recorded: The metric as it is recorded.
        own: Whether it is the study's.
    """
    name = recorded.name.removesuffix("_ema")
    known = "%" if name in IN_PERCENT else UNITS.get(name, "")
    usual = (
        wording.metric_title(recorded).removesuffix(" (%)") if own else name + ", EMA" * recorded.name.endswith("_ema")
    )
    unit = metric.unit or known
    return (metric.title or usual) + (f" ({unit})" if unit else "")


def better(metric: ShownMetric, study: Metric | None = None) -> str:
    """Return which direction is better, `up`, `down` or empty: as declared, as the study's goal, or as the name says.

    Args:
        metric: The metric.
        study: The study's, if it is that one.
    """
    if metric.better is not None:
        return "" if metric.better == "none" else metric.better
    if study is not None:
        return "up" if study.goal == "maximize" else "down"
    leaf = metric.name.rsplit("/", 1)[-1].lower().removesuffix("_ema")
    words = [leaf, *leaf.replace("-", "_").replace(".", "_").split("_")]
    if any(word in UP for word in words):
        return "up"
    return "down" if any(word in DOWN for word in words) else ""
