"""Drawing what has a course: training curves over epochs, and the shuffle's rates over depth and time."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from slws_lab.analysis import ResultTable
from slws_lab.reports import wording
from slws_lab.reports.figures import data as figure_data
from slws_lab.reports.figures.style import (
    COLUMN,
    DASHES,
    LINE_HEIGHT,
    NARROW,
    SOFT,
    Drawn,
    Look,
    csv,
    drawn,
    fitting,
    panels,
    plain,
)  # fmt: skip
from slws_lab.spec import CommandRecipe

LEFT, RIGHT = "train/", "val/"


def training(table: ResultTable, style: dict[str, Look], curves: pd.DataFrame) -> Drawn:
    """Draw the losses and the metric over epochs, training dashed and validation solid, so that a gap between them shows.

    Args:
        table: The results.
        style: The looks of the arms to draw.
        curves: Of `figure_data.training_curves`.
    """
    groups = figure_data.panels(table, curves) or [[table.study.metric.key]]
    data = curves[
        curves["name"].isin([name for names in groups for name in names]) & curves["arm_id"].isin(list(style))
    ]
    figure, axes = panels(len(groups), 2, 2.7, share_y=False)
    known = {str(arm_id): style[str(arm_id)] for arm_id in data["arm_id"].unique()}
    for panel, names in zip(axes, groups, strict=True):
        for name in names:
            own = data[data["name"] == name]
            for arm_id, look in known.items():
                _curve(panel, own[own["arm_id"] == arm_id], look.color, dashed=name.startswith(LEFT))
        panel.set(xlabel="epoch", title=_panel_title(table, names))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    kinds = _kinds([name for names in groups for name in names]) if known else []
    _legend(figure, [*kinds, *(Line2D([], [], color=look.color, label=look.label) for look in known.values())])
    arms = len(table.design.arms)
    some = f", of the baseline and the best {len(style) - 1} of {arms} arms" if len(style) < arms else ""
    title = f"Training curves{some}"
    said = f"{title}: each arm's mean over its seeds by epoch, from the smallest to the largest seed shaded."
    alt = said + _gap(table, data, known) + _taken(table, groups)
    return drawn(figure, axes, "training", title, alt, data=csv(_named(table, curves)), empty=data.empty)


def shuffle(table: ResultTable, style: dict[str, Look], curves: pd.DataFrame) -> Drawn:
    """Draw the shuffle's rate of each layer and, where some change, of each epoch; arms of one schedule share a line.

    Args:
        table: The results.
        style: The looks of the arms to draw.
        curves: Of `figure_data.training_curves`.
    """
    data = figure_data.shuffle_rates(table, curves)
    kept = data[data["arm_id"].isin(list(style))]
    over = ["depth", *(["time"] if (kept["over"] == "time").any() else [])]
    groups = _alike(kept)
    figure, axes = panels(len(over), 2, 2.3)
    handles = [
        Line2D([], [], color=style[ids[0]].color, ls=style[ids[0]].dash, label=_shared(style, ids)) for ids in groups
    ]
    lines = sum(str(handle.get_label()).count("\n") + 1 for handle in handles)
    figure.set_size_inches(figure.get_figwidth(), 2.1 + LINE_HEIGHT * lines / (1 if len(over) == 1 else 2))
    for side, panel in zip(over, axes, strict=True):
        for ids in groups:
            own, look = kept[(kept["arm_id"] == ids[0]) & (kept["over"] == side)], style[ids[0]]
            mark = "o" if len(own) == 1 else None
            panel.plot(own["at"], own["rate"], color=look.color, ls=look.dash, marker=mark, ms=3)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set(xlabel={"depth": "layer", "time": "epoch"}[side], ylim=(-0.02, None))
    axes[0].set_ylabel("shuffle probability")
    if len(over) > 1:
        axes[0].set_title("over depth: at its largest")
        axes[1].set_title("over time, where it changes: the largest")
    figure.legend(handles=handles, loc="outside lower center", ncol=len(over))
    title = f"Shuffle probability over depth{' and over time' if len(over) > 1 else ''}"
    counts = wording.plural(len(groups), "schedule"), wording.plural(kept["arm_id"].nunique(), "arm")
    alt = f"{title}: {counts[0]} in {counts[1]}" + (
        f"; the largest rate is {kept['rate'].max():g}." if len(kept) else "."
    )
    return drawn(figure, axes, "shuffle", title, alt, data=csv(data), empty=kept.empty)


def _curve(axes: Axes, points: pd.DataFrame, color: str, *, dashed: bool) -> None:
    axes.fill_between(points["step"], points["low"], points["high"], color=color, alpha=0.07 if dashed else 0.14, lw=0)
    mark = "o" if len(points) == 1 else None  # a line of one point would be invisible
    width, dash = (0.9, DASHES[1]) if dashed else (1.3, "-")
    axes.plot(points["step"], points["mean"], color=color, lw=width, ls=dash, marker=mark, ms=3)


def _panel_title(table: ResultTable, names: Sequence[str]) -> str:
    metric = table.study.metric
    if metric.key in names and not (metric.key == names[-1] and metric.name.endswith("loss") and len(names) > 1):
        title = wording.curve_title(metric)
        return plain(title.removeprefix(RIGHT) if any(name.startswith(LEFT) for name in names) else title)
    return "loss" if set(names) <= set(figure_data.LOSSES) else plain(names[-1])


def _kinds(names: Sequence[str]) -> list[Line2D | Patch]:
    """Return what the legend says of dashes and shades."""
    said = [
        Line2D([], [], color=SOFT, lw=0.9, ls=DASHES[1], label="on the training split"),
        Line2D([], [], color=SOFT, label="on the validation split"),
    ]
    shown = [
        line for line, side in zip(said, (LEFT, RIGHT), strict=True) if any(name.startswith(side) for name in names)
    ]
    return [
        *(shown if len(shown) > 1 else []),
        Patch(color=SOFT, alpha=0.25, lw=0, label="from lowest to highest seed"),
    ]


def _legend(figure: Figure, handles: list[Line2D | Patch]) -> None:
    """Put a legend under the panels, and make room for it."""
    labels = [str(handle.get_label()) for handle in handles]
    wide = figure.get_figwidth() > COLUMN
    columns = (3 if all(len(label) <= NARROW for label in labels) else 2) if wide else 1
    rows = -(-len(labels) // columns) * max([label.count("\n") + 1 for label in labels] or [0])
    figure.set_size_inches(figure.get_figwidth(), 2.5 + LINE_HEIGHT * rows)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncol=columns)


def _gap(table: ResultTable, data: pd.DataFrame, known: dict[str, Look]) -> str:
    """Say where the loss on the validation split ends furthest above that of the training."""
    ends = data.sort_values("step", kind="stable").groupby(["name", "arm_id"])["mean"].last()
    both = [arm_id for arm_id in known if all((name, arm_id) in ends.index for name in figure_data.LOSSES)]
    if not both:
        return ""
    train, val = figure_data.LOSSES
    gaps = {arm_id: float(ends[val, arm_id] - ends[train, arm_id]) for arm_id in both}
    arm_id = max(gaps, key=lambda one: gaps[one])
    if gaps[arm_id] <= 0:
        return " At the end no arm's validation loss is above its training loss."
    sides = f"{wording.number(float(ends[val, arm_id]), 4)} against {wording.number(float(ends[train, arm_id]), 4)}"
    return f" At the end the validation loss is furthest above the training loss for {known[arm_id].name}: {sides}."


def _taken(table: ResultTable, groups: list[list[str]]) -> str:
    """Say what the training's loss is of, where both losses are drawn."""
    ours = not isinstance(table.design.arms[0].recipe, CommandRecipe)
    said = " The training loss is that of the augmented, shuffled batches with label smoothing, where the recipe has these."
    return said if ours and figure_data.LOSSES in groups else ""


def _named(table: ResultTable, curves: pd.DataFrame) -> pd.DataFrame:
    names = wording.arm_names(table.design)
    return curves.assign(arm=[names[arm_id] for arm_id in curves["arm_id"]])


def _alike(rates: pd.DataFrame) -> list[list[str]]:
    """Return the ids of the arms that have the same rates in every layer and epoch, group by group."""
    found: dict[tuple[tuple[str, int, float], ...], list[str]] = {}
    for arm_id, own in rates.groupby("arm_id", sort=False):
        found.setdefault(tuple(own[["over", "at", "rate"]].itertuples(index=False, name=None)), []).append(str(arm_id))
    return list(found.values())


def _shared(style: dict[str, Look], ids: list[str]) -> str:
    """Name the arms of a line: the first, and how many more."""
    first = style[ids[0]].name
    return fitting(f"{first}, and {wording.plural(len(ids) - 1, 'arm')} more" if len(ids) > 1 else first)
