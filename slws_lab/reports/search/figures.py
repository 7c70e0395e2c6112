"""Drawing what a search found: thin, over the data of `analysis.searching`, in the style of the other figures.

Dark is better wherever colour tells a value, so that a print without colours reads the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from slws_lab.analysis.searching import Aspect, Axis, Contour, Curve, Front, HistoryPoint, SearchFindings, SlicePoint
from slws_lab.reports.figures.style import BASELINE, COLORS, COLUMN, DASHES, PAGE, SOFT, Drawn, drawn, plain, styled
from slws_lab.reports.search import words as search_words
from slws_lab.reports.search.data import numbered
from slws_lab.reports.search.parallel import parallel
from slws_lab.spec import Metric, StudySpec

BLUE, ORANGE = COLORS[:2]
SHADES = LinearSegmentedColormap.from_list("slws", ["#cfd9e0", "#7fb0cf", "#0b5c8f", "#08263d"])
ABREAST = 4  # panels in a row
EDGE = 0.04  # share of a range that is left free beyond each end
# Percent of the values, the worst ones, that share the palest shade: one failure must not flatten the rest.
WORST = 25.0


def draw_search(found: SearchFindings, study: StudySpec) -> list[Drawn]:
    """Draw the figures of a search, those for which there is anything to draw; the same findings give the same bytes."""
    with styled():
        drawn = [_fronts(found, study)] if any(front.points for front in found.fronts) else []
        drawn += [figure for i in range(len(found.aspects)) for figure in _of_objective(found, study, i)]
        drawn += [_curves(found, study)] if found.curves else []
        return drawn


def _of_objective(found: SearchFindings, study: StudySpec, i: int) -> list[Drawn]:
    aspect = found.aspects[i]
    value = plain(search_words.title(aspect.objective, study.metric))
    baseline = None if found.baseline is None else found.trial(found.baseline)
    usual = baseline.values[i] if baseline is not None and baseline.values else None
    return [
        *([_history(aspect, value, usual, i)] if any(p.value is not None for p in aspect.history) else []),
        *([_importance(found, aspect, value, i)] if any(one.shares for one in aspect.importances) else []),
        *([_slices(found, aspect, value, i)] if aspect.slices else []),
        *([_contours(aspect, value, i)] if aspect.contours else []),
        *([_parallel(found, aspect, value, i)] if len(aspect.paths) > 1 else []),
    ]


def _history(aspect: Aspect, value: str, usual: float | None, i: int) -> Drawn:
    figure = Figure(figsize=(COLUMN, 2.9))
    axes = figure.subplots()
    kept = [(p.number, p.value) for p in aspect.history if p.value is not None and p.feasible]
    over = [(p.number, p.value) for p in aspect.history if p.value is not None and not p.feasible]
    best = [(p.number, p.best) for p in aspect.history if p.best is not None]
    if usual is not None:
        axes.axhline(usual, color=SOFT, lw=0.8, ls=DASHES[1], label="baseline")
    for points, label, look in (
        (best, "best so far", {"color": BASELINE, "ls": "-", "drawstyle": "steps-post"}),
        (kept, "trial", {"color": BLUE, "marker": "o", "ms": 3.2, "mew": 0}),
        (over, "over a budget", {"color": SOFT, "marker": "x", "ms": 3.5}),
    ):
        _line(axes, points, label, look)
    _rug(axes, aspect.history, ("pruned",), ORANGE, "|", "pruned")
    _rug(axes, aspect.history, ("failed", "infeasible"), SOFT, "x", "without a value")
    axes.set(xlabel="trial", ylabel=value, xlim=(-0.8, max(p.number for p in aspect.history) + 0.8))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncol=3)
    title = f"{value} of each trial, and the best so far"
    alt = f"{title}; pruned trials and those without a value as marks at the bottom."
    return drawn(figure, [axes], numbered("history", i), title, alt)


def _line(axes: Axes, points: Sequence[tuple[float, float]], label: str, look: dict[str, Any]) -> None:
    if points:
        axes.plot([x for x, _ in points], [y for _, y in points], label=label, **{"ls": ""} | look)


def _rug(
    axes: Axes, points: Sequence[HistoryPoint], states: tuple[str, ...], color: str, mark: str, label: str
) -> None:
    """Mark trials without a value at the bottom."""
    numbers = [p.number for p in points if p.state in states]
    if numbers:
        axes.plot(
            numbers, [0.02] * len(numbers), mark, color=color, ms=4, transform=axes.get_xaxis_transform(), label=label
        )


def _importance(found: SearchFindings, aspect: Aspect, value: str, i: int) -> Drawn:
    shown = [one for one in aspect.importances if one.shares]
    ranked = list(dict.fromkeys(name for one in shown for name in one.shares))
    labels = {axis.name: plain(axis.label) for axis in found.axes}
    figure = Figure(figsize=(COLUMN, 0.9 + 0.42 * len(ranked)))
    axes = figure.subplots()
    for k, one in enumerate(shown):
        rows = [row + 0.2 * (2 * k + 1 - len(shown)) for row in range(len(ranked))]
        shares = [one.shares.get(name, 0.0) for name in ranked]
        axes.barh(rows, shares, height=0.36, color=(BLUE, "#b9d3e4")[k], label=one.method)
        for row, name in zip(rows, ranked, strict=True):
            if name not in one.shares:
                axes.text(0.005, row, f"not by {one.method}", va="center", color=SOFT, fontsize=6)
    axes.set(yticks=range(len(ranked)), yticklabels=[labels[name] for name in ranked], xlim=(0, 1), xlabel="share")
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(loc="outside lower center", ncol=2)
    said = " ".join(search_words.importance_text(one, {a.name: a.label for a in found.axes}) for one in shown)
    title = f"Which dimension matters for {value}"
    return drawn(figure, [axes], numbered("importance", i), title, f"{title}. {said}")


def _slices(found: SearchFindings, aspect: Aspect, value: str, i: int) -> Drawn:
    shown = [axis for axis in found.axes if any(p.dimension == axis.name for p in aspect.slices)]
    figure, panels = _panels(len(shown), share_y=True)
    leading = set(found.best[:1] if len(found.aspects) == 1 else found.best)
    for axis, axes in zip(shown, panels, strict=True):
        points = [p for p in aspect.slices if p.dimension == axis.name]
        _dots(axes, axis, [p for p in points if not p.feasible], marker="x", color=SOFT)
        _dots(axes, axis, [p for p in points if p.feasible and p.number not in leading], mew=0, alpha=0.7)
        _dots(axes, axis, [p for p in points if p.number in leading], marker="D", color=ORANGE, ms=4.5, mec="white")
        scaled(axes, axis, "x")
    for axes in panels[::ABREAST]:
        axes.set_ylabel(value)
    title = f"{value} along each dimension"
    alt = f"{title}: a dot a completed trial, {'the best' if len(found.aspects) == 1 else 'the Pareto front'} as diamonds."
    return drawn(figure, panels, numbered("slices", i), title, alt)


def _dots(axes: Axes, axis: Axis, points: Sequence[SlicePoint], **look: Any) -> None:
    places = [_at(axis, point.level, point.number) for point in points]
    usual: dict[str, Any] = {"marker": "o", "ls": "", "color": BLUE, "ms": 3.2}
    axes.plot(places, [p.value for p in points], **usual | look)


def _contours(aspect: Aspect, value: str, i: int) -> Drawn:
    shown = aspect.contours
    figure = Figure(figsize=(PAGE, 2.3))
    panels = list(figure.subplots(1, len(shown), squeeze=False)[0])
    shade = _shade([p.value for contour in shown for p in contour.points], aspect.goal == "minimize")
    for contour, axes in zip(shown, panels, strict=True):
        _contour(axes, contour, shade)
    figure.colorbar(shade, ax=panels, label=value, extend="min" if aspect.goal == "maximize" else "max", aspect=30)
    pairs = "; ".join(f"{c.x.label} and {c.y.label}" for c in shown)
    title = plain(f"{value} over pairs of dimensions: {pairs}")
    reasons = dict.fromkeys(c.reason for c in shown if c.reason)
    beyond = f" No surface where {'; '.join(reasons)}." if reasons else ""
    alt = f"{title}. Dots are completed trials, shades between them interpolated, dark is better.{beyond}"
    return drawn(figure, panels, numbered("contour", i), title, alt)


def _contour(axes: Axes, contour: Contour, shade: ScalarMappable) -> None:
    x, y = contour.x, contour.y
    if contour.surface is not None:
        grid = np.array(contour.surface.values)
        ends = np.linspace(*shade.get_clim(), 13)
        axes.contourf(
            contour.surface.x, contour.surface.y, grid, levels=ends, cmap=shade.cmap, extend="both", zorder=0.5
        )
    at = ([_at(x, p.x, p.number) for p in contour.points], [_at(y, p.y, p.number + 1) for p in contour.points])
    color = shade.to_rgba(np.array([p.value for p in contour.points]))
    axes.scatter(*at, s=14, c=color, edgecolors="white", linewidths=0.5, zorder=3)
    scaled(axes, x, "x")
    scaled(axes, y, "y")
    axes.grid(visible=False)


def _parallel(found: SearchFindings, aspect: Aspect, value: str, i: int) -> Drawn:
    figure = Figure(figsize=(PAGE, 2.6))
    axes = figure.subplots()
    shade = _shade([path.value for path in aspect.paths], aspect.goal == "minimize")
    parallel(axes, found.axes, aspect, value, shade)
    title = f"All completed trials across the dimensions, by {value}"
    alt = f"{title}: a line a trial, dark is better; a dimension that is off in a trial is met at the mark “off”."
    return drawn(figure, [axes], numbered("parallel", i), title, alt)


def _fronts(found: SearchFindings, study: StudySpec) -> Drawn:
    figure, panels = _panels(len(found.fronts), share_y=False)
    for front, axes in zip(found.fronts, panels, strict=True):
        _front(axes, front, found, study.metric)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncol=3)
    title = "Objectives against each other"
    alt = f"{title}: trials that no other one dominates, those that are dominated, and those over a budget."
    return drawn(figure, panels, "front", title, alt)


def _front(axes: Axes, front: Front, found: SearchFindings, metric: Metric) -> None:
    looks = {"dominated": ("o", SOFT, 3.0), "infeasible": ("x", SOFT, 3.5), "front": ("D", BLUE, 4.0)}
    names = {"dominated": "dominated", "infeasible": "over a budget", "front": "Pareto front"}
    for standing, (mark, color, size) in looks.items():
        shown = [p for p in front.points if p.standing == standing]
        if shown:
            axes.plot([p.x for p in shown], [p.y for p in shown], mark, color=color, ms=size, label=names[standing])
    for i, name in ((front.first, "xlabel"), (front.second, "ylabel")):
        aspect = found.aspects[i]
        better = "larger" if aspect.goal == "maximize" else "smaller"
        axes.set(**{name: f"{plain(search_words.title(aspect.objective, metric))}\n{better} is better"})


def _curves(found: SearchFindings, study: StudySpec) -> Drawn:
    figure = Figure(figsize=(PAGE, 2.8))
    axes = figure.subplots()
    leading = found.best[0] if found.best else None
    others = [curve for curve in found.curves if curve.number != leading]
    groups: list[tuple[list[Curve], str, float, str]] = [
        ([c for c in others if c.state != "pruned"], BLUE, 0.9, "not pruned"),
        ([c for c in others if c.state == "pruned"], ORANGE, 0.7, "pruned"),
        ([c for c in found.curves if c.number == leading], BASELINE, 1.6, "the best"),
    ]
    for curves, color, width, label in groups:
        lines = [list(zip(curve.steps, curve.values, strict=True)) for curve in curves]
        axes.add_collection(LineCollection(lines, colors=color, linewidths=width, label=label if curves else None))
        ends = [
            line[-1] for line, curve in zip(lines, curves, strict=True) if curve.state == "pruned" or len(line) == 1
        ]
        axes.plot([x for x, _ in ends], [y for _, y in ends], "o", color=color, ms=2.8, mew=0)
    axes.autoscale_view()
    axes.set(
        xlabel=search_words.step_word(study),
        ylabel=plain(search_words.title(found.aspects[0].objective, study.metric)),
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncol=3)
    title = "What the pruner saw of each trial"
    alt = f"{title}: a line a trial, a dot where it was pruned."
    return drawn(figure, [axes], "curves", title, alt)


def _panels(count: int, *, share_y: bool) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many panels over the width of a page."""
    across = min(count, ABREAST if share_y else 3)
    rows = -(-count // across)
    figure = Figure(figsize=(PAGE, 2.2 * rows + 0.4))
    made = figure.subplots(rows, across, squeeze=False, sharey=share_y).ravel()
    for empty in made[count:]:
        empty.remove()
    return figure, list(made[:count])


def _shade(values: Sequence[float], smaller_is_better: bool) -> ScalarMappable:
    """Return the shades of values: dark is better."""
    worst = np.percentile(values, 100 - WORST if smaller_is_better else WORST)
    low, high = (min(values), worst) if smaller_is_better else (worst, max(values))
    if low == high:
        low, high = low - 0.5, high + 0.5
    return ScalarMappable(Normalize(low, high, clip=False), SHADES.reversed() if smaller_is_better else SHADES)


def _at(axis: Axis, level: object, number: int) -> float:
    """Return where a trial is drawn along an axis; those on one level beside each other."""
    place = axis.number(level)  # type: ignore[arg-type]
    return place + 0.3 * ((number * 0.618034) % 1.0 - 0.5) if axis.levels else place


def scaled(axes: Axes, axis: Axis, side: str) -> None:
    """Give one side of a panel a dimension's scale, ticks and name."""
    if axis.levels:
        texts = [plain(axis.text(level)) for level in axis.levels]
        long = side == "x" and sum(map(len, texts)) > 20
        axes.set(**{f"{side}lim": (-0.5, len(texts) - 0.5)})
        getattr(axes, f"set_{side}ticks")(
            range(len(texts)), texts, **({"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if long else {})
        )
    elif axis.log:
        beyond = (axis.high / axis.low) ** EDGE
        axes.set(**{f"{side}scale": "log", f"{side}lim": (axis.low / beyond, axis.high * beyond)})
    else:
        beyond = (axis.high - axis.low) * EDGE
        axes.set(**{f"{side}lim": (axis.low - beyond, axis.high + beyond)})
        getattr(axes, f"{side}axis").set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=axis.whole))
    axes.set(**{f"{side}label": plain(axis.label)})
