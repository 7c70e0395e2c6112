"""Drawing cost against accuracy, with the arms that no other one beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from slws_lab.analysis import ResultTable
from slws_lab.reports import wording
from slws_lab.reports.figures.data import FEW
from slws_lab.reports.figures.data_costs import SCALES, Scale
from slws_lab.reports.figures.style import (
    LINE_HEIGHT,
    NARROW,
    SOFT,
    Drawn,
    Look,
    better,
    csv,
    drawn,
    name_heights,
    panels,
    plain,
)

FAR = 20.0  # largest cost over smallest, from which on costs are drawn by ratios
OTHER = Look("", SOFT)  # an arm that has no look of its own


def cost_accuracy(table: ResultTable, style: dict[str, Look], data: pd.DataFrame) -> Drawn:
    """Draw the metric against each cost that is known.

    Args:
        table: The results.
        style: The looks of the arms; one without is grey.
        data: Of `data_costs.cost_accuracy`, with a row at least.
    """
    shown = [cost for cost in SCALES if (data["cost"] == cost.name).any()]
    figure, axes = panels(len(shown), 3 if len(shown) < 4 else 2, 2.3)
    for cost, panel in zip(shown, axes, strict=True):
        _panel(panel, cost, data[data["cost"] == cost.name], style)
    metric = table.study.metric
    name_heights(axes, f"{plain(wording.metric_title(metric))}\n{better(metric.goal == 'maximize')}")
    named = _named(table, data, style)
    front = Line2D([], [], color=SOFT, lw=0.8, drawstyle="steps-post", label="front: nothing is better in both")
    points = (
        Line2D([], [], ls="", marker=one.marker, color=one.color, ms=5, mec="white", label=one.label) for one in named
    )
    handles = [front, *points]
    columns = 1 if len(shown) == 1 else 3 if all(len(look.name) <= NARROW for look in named) else 2
    lines = -(-len(handles) // columns) * max(str(handle.get_label()).count("\n") + 1 for handle in handles)
    figure.set_figheight(figure.get_figheight() + LINE_HEIGHT * lines)
    figure.legend(handles=handles, loc="outside lower center", ncol=columns)
    title = f"{wording.metric_title(metric)} against cost"
    alt = f"{title}: a point an arm; ringed and joined, the arms that no other one beats in both. {_said(shown, data)}"
    return drawn(figure, axes, "cost", title, alt, data=csv(data))


def _panel(axes: Axes, cost: Scale, data: pd.DataFrame, style: dict[str, Look]) -> None:
    ringed: dict[str, Any] = {"mec": "#1a1a1a", "mew": 0.9, "ms": 5.5, "zorder": 4}
    usual: dict[str, Any] = {"mec": "white", "mew": 0.5, "ms": 4.5, "alpha": 0.75}
    for arm_id, value, mean, on_front in data[["arm_id", "value", "mean", "front"]].to_numpy().tolist():
        look = style.get(arm_id, OTHER)
        axes.plot(value, mean, look.marker, color=look.color, **(ringed if on_front else usual))
    front = data[data["front"]].sort_values("value", kind="stable")
    axes.plot(
        front["value"],
        front["mean"],
        color=SOFT,
        lw=0.8,
        drawstyle="steps-post" if cost.less else "steps-pre",
        zorder=2,
    )
    low, high = data["value"].min(), data["value"].max()
    if low > 0 and high / low > FAR:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel(f"{cost.title}\n{better(not cost.less)}")


def _named(table: ResultTable, data: pd.DataFrame, style: dict[str, Look]) -> list[Look]:
    """Return the looks that the legend names: of few arms all, of many the baseline and those on a front."""
    fronts = set(data[data["front"]]["arm_id"])
    known = {arm_id: look for arm_id, look in style.items() if arm_id in set(data["arm_id"])}
    return [look for arm_id, look in known.items() if len(known) <= FEW or look.is_baseline or arm_id in fronts]


def _said(shown: Sequence[Scale], data: pd.DataFrame) -> str:
    """Name the arms of each front."""
    parts = []
    for cost in shown:
        own = data[data["cost"] == cost.name]
        front = own[own["front"]].sort_values("value", kind="stable")["arm"].tolist()
        parts.append(f"By {cost.title}, {len(front)} of {len(own)}: {'; '.join(front)}.")
    return " ".join(parts)
