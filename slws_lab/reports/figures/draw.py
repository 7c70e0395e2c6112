"""Drawing the figures: thin, over `figure_data`. The only importer of matplotlib; no pyplot."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import as_file, files
from itertools import accumulate
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from slws_lab.analysis import ResultTable
from slws_lab.reports import wording
from slws_lab.reports.figures import data as figure_data
from slws_lab.reports.formats import one_line
from slws_lab.spec import Design

COLUMN, PAGE = 3.5, 7.0  # inches: the width of a column and of a page in print
BASELINE = "#1a1a1a"
# Okabe and Ito's colours, safe for the colour-blind, without the yellow that white paper swallows.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
MOST = len(COLORS) * len(DASHES)  # arms that can be told apart
LINE = 40  # characters of a label that a column in print has room for; a longer one is broken
EXTRA = 0.37  # of the height of a row in the figure of accuracy: a further line of its label
NARROW = 30  # characters of a label of which a page has room for three side by side


@dataclass(frozen=True)
class Look:
    """How an arm looks in every figure."""

    name: str
    color: str
    dash: Any

    @property
    def is_baseline(self) -> bool:
        return self.color == BASELINE

    @property
    def label(self) -> str:
        """The name for matplotlib, broken into lines that fit."""
        return broken(self.name).replace("$", r"\$")  # no formula to matplotlib

    @property
    def lines(self) -> int:
        return self.label.count("\n") + 1


@dataclass(frozen=True)
class Drawn:
    """A figure as files.

    Attributes:
        name: Stem of its files.
        title: What it shows.
        alt: The same for those who cannot see it.
        png: 200 dots an inch.
        svg: The same as vectors.
        empty: Whether there was nothing to draw.
    """

    name: str
    title: str
    alt: str
    png: bytes
    svg: bytes
    empty: bool


def draw(table: ResultTable) -> list[Drawn]:
    """Draw the three figures of a study; the same results give the same bytes."""
    with as_file(files("slws_lab.reports") / "slws.mplstyle") as style, mpl.rc_context(fname=style):
        return [_accuracy(table), _training(table), _shuffle(table)]


def looks(design: Design, wanted: Collection[str] | None = None) -> dict[str, Look]:
    """Give each arm its name, colour and dash: the baseline is black, the others cycle colours, then dashes.

    Args:
        design: The study's.
        wanted: Ids of the arms that are drawn beside the baseline; None for all.
    """
    names = {arm_id: one_line(name) for arm_id, name in wording.arm_names(design).items()}
    others = [arm.id for arm in design.arms if not arm.is_baseline and (wanted is None or arm.id in wanted)]
    found = {arm.id: Look(names[arm.id], BASELINE, "-") for arm in design.arms if arm.is_baseline}
    for i, arm_id in enumerate(others):
        dash = DASHES[i // len(COLORS) % len(DASHES)]
        found[arm_id] = Look(names[arm_id], COLORS[i % len(COLORS)], dash)
    return {arm.id: found[arm.id] for arm in design.arms if arm.id in found}


def broken(name: str) -> str:
    """Return a name in lines of at most `LINE` characters, broken behind its commas where it has some."""
    if len(name) <= LINE:
        return name
    whole = ", ".join(part.replace(" ", "\xa0") for part in name.split(", "))
    return "\n".join(textwrap.wrap(whole, LINE, break_on_hyphens=False)).replace("\xa0", " ")


def _accuracy(table: ResultTable) -> Drawn:
    style = _shown(table)
    data = [points for points in figure_data.accuracy(table) if points.arm_id in style]
    rows = list(accumulate(1 + EXTRA * (style[points.arm_id].lines - 1) for points in data))
    figure = Figure(figsize=(COLUMN, 0.75 + 0.36 * max([*rows[-1:], 2])))
    axes = figure.subplots()
    for row, points in zip((row - 1 for row in rows), data, strict=True):
        look = style[points.arm_id]
        axes.plot(points.values, [row + 0.2] * len(points.values), "o", color=look.color, alpha=0.55, mew=0, ms=3.2)
        if points.low is not None and points.high is not None:
            axes.plot([points.low, points.high], [row, row], color=look.color, lw=1.6, solid_capstyle="butt")
        axes.plot(points.mean, row, "D", color=look.color, ms=4.5, mec="white", mew=0.8, zorder=5)
        name = axes.annotate(
            look.label, (0, row), (2, 5), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="baseline" if look.lines == 1 else "bottom",
        )  # fmt: skip
        name.set_path_effects([withStroke(linewidth=2, foreground="white")])
        if look.is_baseline:
            axes.axvline(points.mean, color="#999999", lw=0.7, ls=DASHES[1], zorder=0)
    axes.set(ylim=(max([*rows[-1:], 1]) - 0.4, -0.8), yticks=[], xlabel=wording.metric_title(table.study.metric))
    axes.spines["left"].set_visible(False)
    title = f"{wording.metric_title(table.study.metric)} by arm{_of_all(table, style)}"
    looked = "" if table.design.first_seeds is None else " (not corrected for looks)"
    interval = f"{wording.level(table.study)} interval{looked}"
    alt = f"{title}: mean with {interval}, each seed as a dot, the baseline's mean dashed."
    return drawn(figure, [axes], "accuracy", title, alt, empty=not data)


def _training(table: ResultTable) -> Drawn:
    data, style = figure_data.training_curves(table), _shown(table)
    columns = 3 if all(len(look.name) <= NARROW for look in style.values()) else 2
    rows = -(-len(style) // columns) * max(look.lines for look in style.values())
    figure = Figure(figsize=(PAGE, 2.6 + 0.16 * rows))
    panels = dict(zip(("train/loss", table.study.metric.key), figure.subplots(1, 2), strict=True))
    for name, axes in panels.items():
        for arm_id, look in style.items():
            arm = data[(data["name"] == name) & (data["arm_id"] == arm_id)]
            axes.fill_between(arm["step"], arm["low"], arm["high"], color=look.color, alpha=0.1, lw=0)
            mark = "o" if len(arm) == 1 else None  # a line of one point would be invisible
            axes.plot(arm["step"], arm["mean"], color=look.color, ls=look.dash, label=look.label, marker=mark, ms=3)
        axes.set(xlabel="epoch", title=name if name.startswith("train") else wording.curve_title(table.study.metric))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not data.empty:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncol=columns)
    alt = f"Training loss and {table.study.metric.key} by epoch: each arm's mean over its seeds, min to max shaded."
    title = f"Training curves{_of_all(table, style)}"
    return drawn(figure, list(panels.values()), "training", title, alt, empty=data.empty)


def _shuffle(table: ResultTable) -> Drawn:
    style = _shown(table)
    data = {arm_id: rates for arm_id, rates in figure_data.shuffle_rates(table).items() if arm_id in style}
    figure = Figure(figsize=(COLUMN, 2.3 + 0.16 * sum(style[arm_id].lines for arm_id in data)))
    axes = figure.subplots()
    curves = list(data.values())
    for i, (arm_id, rates) in enumerate(data.items()):
        look, later = style[arm_id], curves[i + 1 :].count(rates)  # equal lines lie in each other, the first the widest
        axes.plot(range(len(rates)), rates, color=look.color, lw=1.3 + 1.6 * later, ls=look.dash, label=look.label)
    axes.set(xlabel="layer", ylabel="shuffle probability", ylim=(-0.02, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if data:
        figure.legend(loc="outside lower center", ncol=1)
    title = f"Shuffle probability over depth{_of_all(table, style)}"
    return drawn(figure, [axes], "shuffle", title, f"{title}: a line an arm that shuffles.", empty=not data)


def _shown(table: ResultTable) -> dict[str, Look]:
    """Return the looks of the arms that figures show."""
    return looks(table.design, figure_data.shown(table, MOST))


def _of_all(table: ResultTable, style: dict[str, Look]) -> str:
    """Say which arms a figure shows, where it does not show all."""
    arms = len(table.design.arms)
    return f", of the baseline and the best {len(style) - 1} of {arms} arms" if len(style) < arms else ""


def drawn(figure: Figure, panels: list[Axes], name: str, title: str, alt: str, *, empty: bool) -> Drawn:
    for axes in panels if empty else ():
        axes.text(0.5, 0.5, "nothing to show yet", ha="center", va="center", transform=axes.transAxes, color="#666666")
    return Drawn(name, title, alt, _bytes(figure, "png"), _bytes(figure, "svg"), empty)


def _bytes(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()
