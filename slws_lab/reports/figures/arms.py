"""Drawing arms and contrasts: accuracy by arm, and the forest plot of the effects."""

from __future__ import annotations

from itertools import accumulate
from math import isnan
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from slws_lab.analysis import VERDICTS, ResultTable
from slws_lab.reports import wording
from slws_lab.reports.answer import SAYS
from slws_lab.reports.figures import data as figure_data
from slws_lab.reports.figures.style import (
    COLORS,
    COLUMN,
    DASHES,
    SOFT,
    Drawn,
    Look,
    better,
    csv,
    drawn,
    fitting,
)  # fmt: skip

ROW, FURTHER, HEAD = 0.36, 0.37, 0.75  # inches of a row; of it, a further line of its label, and a heading over rows
ROOM = 23.0  # rows of one line that a page has room for
WIDE = 54  # characters of a title of an axis that a column in print has room for
HEADING = 48  # the same of a heading
SHORT = 16  # characters of a name that a title of an axis has room for
SPOKEN = ("step", "removed")  # roles that say by themselves what is compared with what
SHADE = "#e3eaee"
HALO = [withStroke(linewidth=2.5, foreground="white")]  # keeps the data's lines and shades off texts over them
MARKS = {  # verdict -> marker, colour: told apart without colours too
    "helps": ("^", COLORS[0]), "hurts": ("v", COLORS[1]), "equivalent": ("s", COLORS[2]), "inconclusive": ("o", SOFT),
    "withheld": ("x", SOFT),
}  # fmt: skip


def accuracy(table: ResultTable, style: dict[str, Look]) -> Drawn:
    """Draw each arm's mean with its interval, and its single seeds."""
    data = figure_data.accuracy(table)
    style = _as_fit(table, style)
    arms = data[data["arm_id"].isin(list(style))].groupby("arm_id", sort=False)
    labels = {arm_id: style[str(arm_id)].label for arm_id, _ in arms}
    figure, axes, places = _rows(list(labels.values()), [])
    for row, (arm_id, points) in zip(places, arms, strict=True):
        look, one = style[str(arm_id)], points.iloc[0]
        _row(axes, row, labels[arm_id], points["value"], (one["mean"], one["low"], one["high"]), ("D", look.color))
        if look.is_baseline:
            axes.axvline(one["mean"], color="#999999", lw=0.7, ls=DASHES[1], zorder=0)
    metric = table.study.metric
    axes.set(xlabel=fitting(f"{wording.metric_title(metric)}, {better(metric.goal == 'maximize')}", WIDE))
    title = f"{wording.metric_title(metric)} by arm{_of_all(table, style)}"
    looked = "" if table.design.first_seeds is None else " (not corrected for looks)"
    alt = f"{title}: mean with {wording.level(table.study)} interval{looked}, each seed as a dot, the baseline's mean dashed."
    return drawn(figure, [axes], "accuracy", title, alt + _extremes(table, data), data=csv(data), empty=data.empty)


def effects(table: ResultTable) -> Drawn:
    """Draw each contrast's difference with its interval and verdict, and its single pairs."""
    data = figure_data.effects(table)
    every = [points for _, points in data.groupby(["block", "arm_id", "reference_id"], sort=False)]
    several = data["reference_id"].nunique() > 1
    kept = _largest(every, [_size(_label(table, points, against=several)) for points in every])
    labels = [_label(table, points, against=several) for points in kept]
    blocks = [int(points["block"].iloc[0]) for points in kept]
    heads = [_block(table, block) if block not in blocks[:i] else "" for i, block in enumerate(blocks)]
    figure, axes, places = _rows(labels, heads if len(set(blocks)) > 1 else [])
    axes.axvline(0, color="#777777", lw=0.8, zorder=1)
    for row, label, points in zip(places, labels, kept, strict=True):
        one = points.iloc[0]
        ends = (one["delta"], one["low"], one["high"])
        _row(axes, row, label, points["difference"], ends, MARKS[one["verdict"]], hollow=bool(one["below_margin"]))
    _margin(table, axes)
    _legend(table, figure, pd.DataFrame([points.iloc[0] for points in kept], columns=data.columns))
    metric = table.study.metric
    references = data["reference"].unique()
    against = references[0] if len(references) == 1 and len(references[0]) <= SHORT else "its reference"
    unit = f" ({wording.delta_unit(metric)})" if wording.delta_unit(metric) else ""
    name = wording.metric_title(metric).removesuffix(" (%)")
    arrow = "better →" if metric.goal == "maximize" else "← better"
    axes.set(xlabel=f"{fitting(f'Δ {name} to {against}{unit}', WIDE)}\n{arrow}")
    return drawn(figure, [axes], "effects", *_words(table, kept, len(every)), data=csv(data), empty=not kept)


def _as_fit(table: ResultTable, style: dict[str, Look]) -> dict[str, Look]:
    """Return the looks of as many arms, the baseline and the best, as a page has room for."""
    for most in range(len(style), 1, -1):
        kept = {arm_id: style[arm_id] for arm_id in figure_data.shown(table, most)}
        if sum(_size(look.label) for look in kept.values()) <= ROOM:
            return kept
    return style


def _largest(every: list[pd.DataFrame], sizes: list[float]) -> list[pd.DataFrame]:
    """Return the contrasts of the largest differences, as many as a page has room for, block by block.

    Args:
        every: The pairs of each contrast.
        sizes: The height of each one's row.
    """
    order = sorted(range(len(every)), key=lambda i: -abs(every[i]["delta"].iloc[0]))
    heads = HEAD * len({points["block"].iloc[0] for points in every})
    ends = accumulate((sizes[i] for i in order), initial=heads)
    kept = sorted(i for i, end in zip(order, list(ends)[1:], strict=True) if end <= ROOM)
    return sorted((every[i] for i in kept), key=lambda points: int(points["block"].iloc[0]))


def _size(label: str) -> float:
    """Return the height of a row with a label, one of a single line being 1."""
    return 1 + FURTHER * label.count("\n")


def _rows(labels: list[str], heads: list[str]) -> tuple[Figure, Axes, list[float]]:
    """Return a figure with room for labelled rows, and the height at which each stands.

    Args:
        labels: What stands above each row, in one line or more.
        heads: What stands over each row as a heading, mostly nothing; empty for no headings at all.
    """
    sizes = list(map(_size, labels))
    above = [HEAD * bool(head) for head in heads] or [0.0] * len(labels)
    ends = list(accumulate(size + head for size, head in zip(sizes, above, strict=True)))
    height = max([*ends[-1:], 2.0])
    figure = Figure(figsize=(COLUMN, 0.9 + ROW * height))
    axes = figure.subplots()
    for end, size, head in zip(ends, sizes, heads or [""] * len(labels), strict=True):
        if head:
            axes.annotate(fitting(head, HEADING), (0, end - size - 0.85), (0, 0), xycoords=("axes fraction", "data"), va="center",
                          textcoords="offset points", fontweight="bold", fontsize=7, path_effects=HALO)  # fmt: skip
    axes.set(ylim=(max([*ends[-1:], 1.0]) - 0.4, -0.8), yticks=[])
    axes.spines["left"].set_visible(False)
    return figure, axes, [end - 1 for end in ends]


def _row(
    axes: Axes, row: float, label: str, values: pd.Series, found: tuple[float, float, float], mark: tuple[str, str],
    *, hollow: bool = False,
) -> None:  # fmt: skip
    """Draw a mean with its interval, the single values under it, and what they are of above it."""
    (mean, low, high), (marker, color) = found, mark
    axes.plot(values, [row + 0.22] * len(values), "o", color=color, alpha=0.5, mew=0, ms=3)
    if not isnan(low):
        axes.plot([low, high], [row, row], color=color, lw=1.6, solid_capstyle="butt")
    edge: dict[str, Any] = (
        {"mfc": "white", "mec": color, "mew": 1.1} if hollow or marker == "x" else {"mec": "white", "mew": 0.8}
    )
    axes.plot(mean, row, marker, color=color, ms=6.5 if marker in "^v" else 5, zorder=5, **edge)
    axes.annotate(
        label, (0, row), (2, 7), xycoords=("axes fraction", "data"), textcoords="offset points", linespacing=1.05,
        va="bottom" if "\n" in label else "baseline", fontsize=7.5, path_effects=HALO,
    )  # fmt: skip


def _label(table: ResultTable, points: pd.DataFrame, *, against: bool) -> str:
    """Name a contrast: by what its arm is in the block where that says it, else by arm and, where these differ, reference."""
    one = points.iloc[0]
    roles = table.design.arm(one["arm_id"]).roles
    place = (one["block"], one["reference_id"])
    spoken = (role.text for role in roles if role.kind in SPOKEN and (role.block + 1, role.reference) == place)
    return fitting(next(spoken, f"{one['arm']}, against {one['reference']}" if against else one["arm"]))


def _margin(table: ResultTable, axes: Axes) -> None:
    margin = table.study.comparisons.margin
    if margin is not None:
        low, high = axes.get_xlim()
        axes.axvspan(-margin, margin, color=SHADE, lw=0, zorder=0)
        axes.set_xlim(min(low, -1.2 * margin), max(high, 1.2 * margin))


def _legend(table: ResultTable, figure: Figure, kept: pd.DataFrame) -> None:
    """Say below what markers and shade mean, as far as they are there.

    Args:
        table: The results.
        figure: The figure.
        kept: A row a contrast.
    """
    looks = {v: MARKS[v] for v in VERDICTS if v in set(kept["verdict"])}
    handles: list[Line2D | Patch] = [
        Line2D([], [], ls="", marker=marker, color=color, ms=6, mec=color if marker == "x" else "white", label=verdict)
        for verdict, (marker, color) in looks.items()
    ]
    if kept["below_margin"].any():
        handles.append(Line2D([], [], ls="", marker="^", color=SOFT, mfc="white", ms=5, label="hollow: below margin"))
    if table.study.comparisons.margin is not None:
        label = f"margin, ±{wording.sized(table.study.comparisons.margin, table.study.metric)}"
        handles.append(Patch(color=SHADE, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncol=3, handlelength=1.4)


def _counted(count: int, verdict: str) -> str:
    """Print how many have a verdict: `1 helps`, `2 help`, `3 inconclusive`."""
    return f"{count} {SAYS[verdict][count > 1].removeprefix('is ').removeprefix('are ')}"


def _words(table: ResultTable, kept: list[pd.DataFrame], of: int) -> tuple[str, str]:
    """Return the title of the effects and what there is to see."""
    metric, count = table.study.metric, len(kept)
    some = f", the {count} largest of {of}" if count < of else ""
    title = f"Differences in {wording.metric_title(metric)}{some}"
    verdicts = [points["verdict"].iloc[0] for points in kept]
    said = ", ".join(_counted(verdicts.count(v), v) for v in VERDICTS if v in verdicts)
    alt = (
        f"{title}: each arm minus its reference, with {wording.level(table.study)} interval and each seed's difference as a dot; "
        f"{'right' if metric.goal == 'maximize' else 'left'} of zero is better. Of {wording.plural(count, 'contrast')}: {said or 'none'}."
    )
    if kept:
        largest = max(kept, key=lambda points: abs(points["delta"].iloc[0])).iloc[0]
        size = f"{wording.signed(largest['delta'], wording.decimals(metric))} {wording.delta_unit(metric)}".strip()
        alt += f" The largest is {largest['arm']} against {largest['reference']}, {size}."
    return title, alt


def _extremes(table: ResultTable, data: pd.DataFrame) -> str:
    """Name the arm of the best mean."""
    if data.empty:
        return ""
    ordered = data.sort_values("mean", ascending=table.study.metric.goal == "minimize", kind="stable")
    best, worst = ordered.iloc[0], ordered.iloc[-1]
    places = wording.decimals(table.study.metric)
    ends = [f"{one['arm']} ({wording.number(one['mean'], places)})" for one in (best, worst)]
    return f" The best mean is that of {ends[0]}, the worst that of {ends[1]}." if best["arm"] != worst["arm"] else ""


def _block(table: ResultTable, block: int) -> str:
    """Name a block of the design by its name or number, and its kind."""
    one = table.study.designs[block - 1]
    return f"{one.name or f'block {block}'} ({one.kind.replace('_', ' ')})"


def _of_all(table: ResultTable, style: dict[str, Look]) -> str:
    """Say which arms a figure shows, where it does not show all."""
    arms = len(table.design.arms)
    return f", of the baseline and the best {len(style) - 1} of {arms} arms" if len(style) < arms else ""
