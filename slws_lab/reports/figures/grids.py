"""Drawing whole grids: interaction plots and heat maps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from slws_lab.analysis import ResultTable
from slws_lab.reports import wording
from slws_lab.reports.figures.data_grids import Crossing, Map, interactions_frame, maps_frame
from slws_lab.reports.figures.style import (
    COLORS,
    COLUMN,
    DASHES,
    LINE_HEIGHT,
    MARKERS,
    PAGE,
    SMALL,
    Drawn,
    csv,
    drawn,
    fitting,
    name_heights,
    panels,
    plain,
)  # fmt: skip

# From worse over no difference to better: orange and blue, which the colour-blind tell apart, as dark at both ends.
SCALE = ("#b35806", "#f1a340", "#fbe6c9", "#f7f7f7", "#d0e2f1", "#6fa8d6", "#1f5d9e")
LEANING: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
DIVERGING = LinearSegmentedColormap.from_list("slws_diverging", SCALE)
NARROW = 10  # characters of a level of which two stand side by side in a panel
PRINTED = 14  # columns of a map in which a value still has room


def interaction(table: ResultTable, found: list[Crossing]) -> Drawn:
    """Draw the means over two factors as lines; parallel lines mean that the two add up.

    Args:
        table: The results.
        found: At least one crossing.
    """
    figure, axes = panels(len(found), 3, 2.1 + LINE_HEIGHT * max(1 + -(-_count(one) // _abreast(one)) for one in found))
    for crossing, panel in zip(found, axes, strict=True):
        _lines(table, crossing, panel)
    name_heights(axes, plain(wording.metric_title(table.study.metric)))
    said = "; ".join(_said(table, crossing) for crossing in found)
    title = f"{wording.metric_title(table.study.metric)} where two factors meet"
    seeds = " or ".join(dict.fromkeys(str(crossing.n) for crossing in found))
    alt = f"{title}: mean over {seeds} seeds with {wording.level(table.study)} interval, a line a level. {said}."
    return drawn(figure, axes, "interaction", title, alt, data=csv(interactions_frame(found)))


def heat_map(table: ResultTable, found: list[Map]) -> Drawn:
    """Draw each grid as a map of means, coloured by the difference to the baseline.

    Args:
        table: The results.
        found: At least one map.
    """
    deltas = [d for one in found for d in one.cells["delta"].dropna()]
    reach = max([abs(d) for d in deltas] or [1.0]) or 1.0
    tall, wide = (max(one.shape[side] for one in found) for side in (0, 1))
    figure, axes = panels(len(found), 2 if wide <= 6 else 1, max(1.7, 0.95 + 0.36 * tall), share_y=False)
    figure.set_figwidth(COLUMN if len(found) == 1 and wide <= 6 else PAGE)
    metric = table.study.metric
    shade = DIVERGING if metric.goal == "maximize" else DIVERGING.reversed()
    for one, panel in zip(found, axes, strict=True):
        image = _map(table, one, panel, Normalize(-reach, reach), shade)
    _frame_best(table, found, axes)
    unit = f" ({wording.delta_unit(metric)})" if wording.delta_unit(metric) else ""
    bar = figure.colorbar(image, ax=axes, label=f"Δ to the baseline\n{unit.strip()}".rstrip(), aspect=18)
    bar.outline.set_visible(False)
    title = f"{wording.metric_title(metric)} over two factors"
    alt = f"{title}: the mean of each combination, blue where it is better than the baseline and orange where it is worse."
    return drawn(
        figure, axes, "heat_map", title, alt + _said_best(table, found), data=csv(maps_frame(found)), empty=not deltas
    )


def _lines(table: ResultTable, crossing: Crossing, axes: Axes) -> None:
    levels = list(dict.fromkeys(crossing.points["line"]))
    for i, level in enumerate(levels):
        own = crossing.points[crossing.points["line"] == level]
        places = np.arange(len(own)) + 0.06 * (i - (len(levels) - 1) / 2)
        reach = (own["mean"] - own["low"], own["high"] - own["mean"])
        axes.errorbar(places, own["mean"], yerr=reach, color=COLORS[i % len(COLORS)], marker=MARKERS[i % len(MARKERS)],
                      ls=DASHES[i // len(COLORS) % len(DASHES)], ms=4, mew=0, elinewidth=0.8, label=fitting(level, 24))  # fmt: skip
    ticks = [fitting(level, 14) for level in dict.fromkeys(crossing.points["x"])]
    leaning = sum(map(len, ticks)) > 24 and len(ticks) > 2
    axes.set_xticks(range(len(ticks)), ticks, **(LEANING if leaning else {}))
    axes.set(xlim=(-0.35, len(ticks) - 0.65), xlabel=plain(crossing.x))
    axes.legend(title=plain(crossing.line), loc="lower left", bbox_to_anchor=(0, 1), ncol=_abreast(crossing), borderaxespad=0.2,
                title_fontsize=7, alignment="left", handletextpad=0.4, columnspacing=1)  # fmt: skip


def _count(crossing: Crossing) -> int:
    return int(crossing.points["line"].nunique())


def _abreast(crossing: Crossing) -> int:
    """Return how many levels stand side by side in the legend of a panel."""
    return 2 if crossing.points["line"].str.len().max() <= NARROW else 1


def _said(table: ResultTable, crossing: Crossing) -> str:
    """Name two factors, with their interaction where it is one number."""
    name = f"{crossing.line} and {crossing.x}"
    one = crossing.interaction
    if one is None:
        return name
    places = wording.decimals(table.study.metric)
    ends = f" [{wording.signed(one.low, places)}, {wording.signed(one.high, places)}]" if one.low is not None else ""
    return f"{name}, interaction {wording.signed(one.delta, places)}{ends} {wording.delta_unit(table.study.metric)}".rstrip()


def _map(table: ResultTable, one: Map, axes: Axes, norm: Normalize, shade: LinearSegmentedColormap) -> AxesImage:
    tall, wide = one.shape
    deltas, means = np.array(one.of("delta"), float), np.array(one.of("mean"), float)
    axes.set_facecolor("#eeeeee")
    image = axes.imshow(deltas, cmap=shade, norm=norm, aspect="auto")
    places = wording.decimals(table.study.metric)
    for i, j in np.ndindex(tall, wide) if wide <= PRINTED else ():
        dark = abs(deltas[i, j]) > 0.62 * norm.vmax  # type: ignore[operator]
        text = wording.NOTHING if math.isnan(means[i, j]) else wording.number(float(means[i, j]), places)
        axes.text(
            j,
            i,
            text,
            ha="center",
            va="center",
            fontsize=SMALL if wide > 8 else 7,
            color="white" if dark else "#222222",
        )
    for side, count, name in (("x", wide, "column"), ("y", tall, "row")):
        texts = [fitting(text, 18) for text in dict.fromkeys(one.cells[name])]
        leaning = side == "x" and max(map(len, texts)) > 40 // count
        more = LEANING if leaning else {}
        getattr(axes, f"set_{side}ticks")(range(count), texts, **more)
    axes.set(xlabel=plain(one.column), ylabel=plain(one.row), title=fitting(one.panel))
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def _best(table: ResultTable, found: list[Map]) -> tuple[int, int] | None:
    """Return which map holds the best mean, and in which of its cells; None without one."""
    sign = 1 if table.study.metric.goal == "maximize" else -1
    known = [
        (sign * mean, i, k)
        for i, one in enumerate(found)
        for k, mean in enumerate(one.cells["mean"])
        if not math.isnan(mean)
    ]
    return max(known, key=lambda cell: cell[0])[1:] if known else None


def _frame_best(table: ResultTable, found: list[Map], axes: list[Axes]) -> None:
    best = _best(table, found)
    if best is not None:
        i, j = divmod(best[1], found[best[0]].shape[1])
        axes[best[0]].add_patch(Rectangle((j - 0.46, i - 0.43), 0.92, 0.86, fill=False, ec="#1a1a1a", lw=1.1))


def _said_best(table: ResultTable, found: list[Map]) -> str:
    """Name the best cell."""
    best = _best(table, found)
    if best is None:
        return ""
    one, cell = found[best[0]], found[best[0]].cells.iloc[best[1]]
    given = f", {one.panel}" if one.panel else ""
    value = wording.number(cell["mean"], wording.decimals(table.study.metric))
    return f" The best cell, framed, is {one.row}={cell['row']}, {one.column}={cell['column']}{given}: {value}."
