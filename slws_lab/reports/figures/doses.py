"""Drawing dose and response: seeds, means and the fitted parabola along each numeric factor."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator, ScalarFormatter
from matplotlib.transforms import offset_copy

from slws_lab.analysis import ResultTable
from slws_lab.reports import wording
from slws_lab.reports.figures.data_doses import DoseCurve, doses_frame
from slws_lab.reports.figures.style import (
    COLORS,
    LINE_HEIGHT,
    MARKERS,
    SOFT,
    Drawn,
    csv,
    drawn,
    fitting,
    name_heights,
    panels,
    plain,
)

MAX_PANELS, MAX_LINES = 9, len(COLORS)
FOOT, STEP = 0.05, 0.06  # heights within the panel at which the best doses stand


def dose_response(table: ResultTable, found: list[DoseCurve]) -> Drawn:
    """Draw a panel for each factor, in it a curve for each combination of the others.

    Args:
        table: The results.
        found: At least one curve.
    """
    by_factor: dict[str, list[DoseCurve]] = {}
    for curve in found:
        by_factor.setdefault(curve.factor, []).append(curve)
    kept = {factor: curves[:MAX_LINES] for factor, curves in list(by_factor.items())[:MAX_PANELS]}
    drawn_curves = sum(map(len, kept.values()))
    lines = max(len(curves) for curves in kept.values())
    height = (2.4 if len(kept) > 1 else 3.3) + (LINE_HEIGHT * lines if lines > 1 else 0)
    figure, axes = panels(len(kept), 3 if len(kept) != 4 else 2, height)
    for (factor, curves), panel in zip(kept.items(), axes, strict=True):
        _panel(panel, factor, curves)
    name_heights(axes, plain(wording.metric_title(table.study.metric)))
    _foot(axes, lines)
    fitted = any(curve.fit for curves in kept.values() for curve in curves)
    level = wording.level(table.study)
    figure.legend(handles=_handles(level, fitted), loc="outside lower center", ncol=1 if len(kept) == 1 else 4)
    some = f", {drawn_curves} of {len(found)} curves" if drawn_curves < len(found) else ""
    title = f"{wording.metric_title(table.study.metric)} by dose{some}"
    best = "; ".join(said for curves in kept.values() for curve in curves if (said := _said(curve)))
    alt = f"{title}: each seed as a dot, means with {level} interval"
    alt += f", the parabola fitted to the seeds that all doses finished. {best}." if fitted else "."
    return drawn(figure, axes, "doses", title, alt, data=csv(doses_frame(found)))


def _panel(axes: Axes, factor: str, curves: list[DoseCurve]) -> None:
    for i, curve in enumerate(curves):
        color, points = COLORS[i], curve.points
        aside = offset_copy(
            axes.transData, axes.get_figure(root=True), x=(1 - 2 * (i % 2)) * (3 + 2 * (i // 2)), units="points"
        )
        axes.plot(points["dose"], points["value"], "o", color=color, alpha=0.5, mew=0, ms=2.6, transform=aside)
        means = points.drop_duplicates("dose")
        known = means[means["low"].notna()]
        axes.vlines(known["dose"], known["low"], known["high"], color=color, lw=0.9)
        axes.plot(means["dose"], means["mean"], MARKERS[i], color=color, ms=4.5, mec="white", mew=0.6, zorder=4)
        if curve.fit:
            axes.plot(*curve.parabola(), color=color, lw=1.2, zorder=3)
            _best(axes, curve, color, FOOT + STEP * i)
        if len(curves) > 1:
            axes.plot(
                [],
                [],
                MARKERS[i],
                ls="-",
                color=color,
                ms=4.5,
                mec="white",
                mew=0.6,
                label=fitting(curve.others or "baseline", 34),
            )
    _scale(axes, curves)
    axes.set_xlabel(plain(factor))
    if len(curves) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, handlelength=1.6)


def _foot(axes: list[Axes], curves: int) -> None:
    """Make room for the best doses at the foot of all panels, which share their scale."""
    share = FOOT + STEP * curves
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low - (high - low) * share / (1 - share), high)


def _best(axes: Axes, curve: DoseCurve, color: str, height: float) -> None:
    """Mark the best dose at the foot of the panel, with its interval; hollow where it is at the border of the doses."""
    best, place = curve.best, axes.get_xaxis_transform()
    assert best is not None, "there is a fit"
    if best.low is not None and best.high is not None:
        axes.plot(
            [best.low, best.high],
            [height, height],
            color=color,
            lw=2.2,
            alpha=0.45,
            transform=place,
            solid_capstyle="butt",
        )
    face = "white" if best.at_border else color
    axes.plot(
        [best.dose], [height], "D", color=color, mfc=face, mew=0.9, ms=4, transform=place, zorder=5, clip_on=False
    )


def _scale(axes: Axes, curves: list[DoseCurve]) -> None:
    """Put the ticks at the doses, where these are few."""
    doses = sorted({float(dose) for curve in curves for dose in curve.points["dose"]})
    if all(curve.log for curve in curves):
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    if len(doses) <= 6:
        axes.xaxis.set_major_locator(FixedLocator(doses))
        axes.set_xticks(doses, [f"{dose:.3g}" for dose in doses])
    elif not all(curve.log for curve in curves):
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(ScalarFormatter())


def _handles(level: str, fitted: bool) -> list[Line2D]:
    handles = [
        Line2D([], [], ls="", marker="o", color=SOFT, ms=2.6, mew=0, alpha=0.6, label="a seed"),
        Line2D([], [], marker="o", color=SOFT, ls="", mec="white", ms=4.5, label=f"mean, {level} interval"),
    ]
    more = [
        Line2D([], [], color=SOFT, lw=1.2, label="fitted parabola"),
        Line2D(
            [],
            [],
            color=SOFT,
            lw=2.2,
            alpha=0.7,
            marker="D",
            ms=4,
            label=f"best dose, {level} interval (hollow: at a border)",
        ),
    ]
    return handles + (more if fitted else [])


def _said(curve: DoseCurve) -> str:
    """Say which dose is best: `max_rate (schedule=linear): best at 0.3 [0.2, 0.4]`."""
    if curve.best is None:
        return ""
    best = curve.best
    ends = f" [{best.low:.3g}, {best.high:.3g}]" if best.low is not None else ""
    border = ", the border of the doses tried" if best.at_border else ""
    return f"{curve.factor}{f' ({curve.others})' if curve.others else ''}: best at {best.dose:.3g}{ends}{border}"
