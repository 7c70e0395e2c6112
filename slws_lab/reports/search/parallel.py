"""Drawing trials across all dimensions at once: parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.patheffects import withStroke

from slws_lab.analysis.searching import Aspect, Axis
from slws_lab.reports.search import words as search_words

OFF = -0.16  # where a line meets a dimension that is off, below its lower end
HALO = [withStroke(linewidth=2.2, foreground="white")]


def parallel(axes: Axes, dimensions: Sequence[Axis], aspect: Aspect, value: str, shade: ScalarMappable) -> None:
    """Draw each completed trial as a line across the dimensions to its value.

    Args:
        axes: The panel.
        dimensions: The dimensions, in order.
        aspect: What was found about the objective.
        value: What the objective is called.
        shade: The colours of its values.
    """
    values = [path.value for path in aspect.paths]
    low, high = min(values), max(values)
    better = sorted(aspect.paths, key=lambda path: path.value, reverse=aspect.goal == "minimize")
    colors = shade.to_rgba(np.array([path.value for path in better]))
    lines = []
    for path in better:  # the best on top
        last = 0.5 if low == high else (path.value - low) / (high - low)
        places = [OFF if place is None else place for place in path.places]
        lines.append(list(enumerate([*places, last])))
    axes.add_collection(LineCollection(lines, colors=list(colors), linewidths=0.9))
    ticks = [_ticks(axis) for axis in dimensions]
    middle = (low + high) / 2
    ends = [(0.0, low), (0.5, middle), (1.0, high)] if low < high else [(0.5, low)]
    ticks.append([(place, search_words.short(end)) for place, end in ends])
    for x, marks in enumerate(ticks):
        axes.plot([x, x], [0, 1], color="#555555", lw=0.8, zorder=3)
        for place, text in marks:
            axes.plot(x, place, "_", color="#555555", ms=5, zorder=3)
            axes.annotate(
                text,
                (x, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=6.5,
                path_effects=HALO,
                zorder=4,
            )
    axes.set(xticks=range(len(ticks)), xticklabels=[*(axis.label.replace("$", r"\$") for axis in dimensions), value])
    axes.set(yticks=[], xlim=(-0.15, len(ticks) - 0.6), ylim=(OFF - 0.1, 1.08))
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _ticks(axis: Axis) -> list[tuple[float, str]]:
    """Return where an axis is marked, and how: its levels, or ends and middle."""
    off = [(OFF, "off")] if axis.conditional else []
    if axis.levels:
        return [*off, *((axis.share(level), axis.text(level).replace("$", r"\$")) for level in axis.levels)]
    middle = (axis.low * axis.high) ** 0.5 if axis.log else (axis.low + axis.high) / 2
    marks = [axis.low, axis.high] if axis.whole else [axis.low, middle, axis.high]
    return [*off, *((axis.share(mark), search_words.short(mark)) for mark in marks)]
