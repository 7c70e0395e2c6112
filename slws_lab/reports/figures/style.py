"""How all figures look, and how they become files. With its siblings the only importer of matplotlib; no pyplot."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from slws_lab.reports import wording
from slws_lab.reports.formats import one_line
from slws_lab.spec import Design

COLUMN, PAGE = 3.5, 7.0  # inches: the width of a column and of a page in print
BASELINE, SOFT = "#1a1a1a", "#8a8f96"
# Okabe and Ito's colours, safe for the colour-blind, without the yellow that white paper swallows.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
MOST = len(COLORS) * len(DASHES)  # arms that can be told apart, and rows that a page has room for
LINE = 40  # characters of a label that a column in print has room for; a longer one is broken
NARROW = 30  # characters of a label of which a page has room for three side by side
SMALL = 6.5  # points: the smallest type
LINE_HEIGHT = 0.155  # inches of a line of a legend
CANVASES = {"png": FigureCanvasAgg, "svg": FigureCanvasSVG, "pdf": FigureCanvasPdf}
UNDATED: dict[str, dict[str, None]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}  # kind of file -> no date


@dataclass(frozen=True)
class Look:
    """How an arm looks in every figure."""

    name: str
    color: str
    dash: Any = "-"
    marker: str = MARKERS[0]

    @property
    def is_baseline(self) -> bool:
        return self.color == BASELINE

    @property
    def label(self) -> str:
        """The name for matplotlib, broken into lines that fit."""
        return fitting(self.name)


@dataclass(frozen=True)
class Drawn:
    """A figure as files.

    Attributes:
        name: Stem of its files.
        title: What it shows.
        alt: The same with its main numbers, for those who cannot see it.
        png: 200 dots an inch.
        svg: The same as vectors.
        pdf: The same for LaTeX.
        csv: The data behind it; empty where they stand in another file.
        empty: Whether there was nothing to draw.
    """

    name: str
    title: str
    alt: str
    png: bytes
    svg: bytes
    pdf: bytes
    csv: bytes = b""
    empty: bool = False


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of all figures."""
    with as_file(files("slws_lab.reports") / "slws.mplstyle") as style, mpl.rc_context(fname=style):
        yield


def looks(design: Design, wanted: Collection[str] | None = None, first: Collection[str] = ()) -> dict[str, Look]:
    """Give each arm its name, colour, dash and marker: the baseline is black, the others cycle colours, then dashes and markers.

    Args:
        design: The study's.
        wanted: Ids of the arms that are drawn beside the baseline; None for all.
        first: Ids of arms that are served first, so that they are told apart by colour alone.
    """
    names = {arm_id: one_line(name) for arm_id, name in wording.arm_names(design).items()}
    usual = wording.baseline(design).id
    others = [arm.id for arm in design.arms if arm.id != usual and (wanted is None or arm.id in wanted)]
    found = {usual: Look(names[usual], BASELINE)}
    for i, arm_id in enumerate(sorted(others, key=lambda arm_id: arm_id not in first)):
        turn = i // len(COLORS) % len(DASHES)
        found[arm_id] = Look(names[arm_id], COLORS[i % len(COLORS)], DASHES[turn], MARKERS[turn])
    return {arm.id: found[arm.id] for arm in design.arms if arm.id in found}


def broken(name: str, width: int = LINE) -> str:
    """Return a name in lines of at most so many characters, broken behind its commas where it has some."""
    if len(name) <= width:
        return name
    whole = ", ".join(part.replace(" ", "\xa0") for part in name.split(", "))
    return "\n".join(textwrap.wrap(whole, width, break_on_hyphens=False)).replace("\xa0", " ")


def plain(text: str) -> str:
    """Return text in one line that matplotlib takes for no formula."""
    return one_line(text).replace("$", r"\$")


def fitting(text: str, width: int = LINE) -> str:
    """Return text for matplotlib, broken into lines of at most so many characters."""
    return broken(one_line(text), width).replace("$", r"\$")


def better(larger: bool) -> str:
    """Say which direction is better; in letters that every part of a font holds, since arrows double the time that a PDF takes."""
    return "higher is better" if larger else "lower is better"


def panels(count: int, across: int, height: float, *, share_y: bool = True) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many panels: one has the width of a column, several that of a page.

    Args:
        count: How many.
        across: How many stand side by side at most.
        height: Of one panel, in inches.
        share_y: Whether all have one scale of heights.
    """
    across = min(count, across)
    rows = -(-count // across)
    figure = Figure(figsize=(COLUMN if count == 1 else PAGE, height * rows))
    made = figure.subplots(rows, across, squeeze=False, sharey=share_y).ravel()
    for spare in made[count:]:
        spare.remove()
    return figure, list(made[:count])


def name_heights(shown: Sequence[Axes], title: str) -> None:
    """Give those panels that stand at the left of a figure the title of the heights."""
    for axes in shown:
        place = axes.get_subplotspec()
        if place is not None and place.is_first_col():
            axes.set_ylabel(title)


def csv(frame: pd.DataFrame) -> bytes:
    """Return the data behind a figure; floats are written so that they read back as the same numbers."""
    return str(frame.to_csv(index=False, lineterminator="\n")).encode()


def drawn(
    figure: Figure, shown: Sequence[Axes], name: str, title: str, alt: str, *, data: bytes = b"", empty: bool = False
) -> Drawn:
    """Return a figure as files, all of one layout and without a date.

    Args:
        figure: The figure.
        shown: Its panels.
        name: Stem of its files.
        title: What it shows.
        alt: The same in words with numbers.
        data: Its CSV.
        empty: Whether there was nothing to draw, which each panel then says.
    """
    for axes in shown if empty else ():
        axes.text(0.5, 0.5, "nothing to show yet", ha="center", va="center", transform=axes.transAxes, color="#666666")
    engine = figure.get_layout_engine()
    assert engine is not None, "the style sets one"
    engine.execute(figure)  # once for all kinds of files
    figure.set_layout_engine("none")
    kinds = {kind: _bytes(figure, kind) for kind in UNDATED}
    return Drawn(name, title, alt, **kinds, csv=data, empty=empty)


def _bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as a file; not by `savefig`, which would draw it twice."""
    buffer, canvas = io.BytesIO(), CANVASES[kind](figure)
    getattr(canvas, f"print_{kind}")(buffer, metadata=UNDATED[kind])
    return buffer.getvalue()
