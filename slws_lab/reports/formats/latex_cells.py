"""Cells of a table as LaTeX: numbers aligned at their decimals whatever is bold, underlined or marked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from slws_lab.reports.formats.latex_text import latex
from slws_lab.reports.formats.latex_widths import ems
from slws_lab.reports.formats.text import lines, one_line
from slws_lab.reports.view import Cell, Column

NUMBER = re.compile(r"(\D*\d+(?:,\d{3})*)((?:\.\d+)?(?:e[+−-]?\d+)?)(.*)")
COURSE_PT, STEP_PT, HEIGHT_PT = (
    36,
    3.0,
    6.0,
)  # of a course of values drawn in a cell: its width at most, that of a bar, its height


@dataclass(frozen=True)
class _Number:
    """A cell of numbers in parts: up to the decimal point, the decimals, and what follows the number."""

    cell: Cell
    whole: str
    decimals: str
    rest: str

    @classmethod
    def of(cls, cell: Cell) -> _Number:
        text = one_line(cell.text)
        found = NUMBER.fullmatch(text)
        return cls(cell, *found.groups()) if found else cls(cell, text, "", "")

    @property
    def shape(self) -> tuple[str, str, bool]:
        """What stands right of the decimal point, with zeros for digits: what has one shape has one width."""
        decimals, rest = (re.sub(r"\d", "0", text.replace("−", "+")) for text in (self.decimals, self.rest))
        return decimals, rest, self.cell.bold and bool(decimals)

    @property
    def tail_ems(self) -> float:
        return ems(self.decimals, bold=self.cell.bold) + ems(self.rest)


def text_cells(cells: Sequence[Cell], most: int) -> list[str]:
    """Return a column of texts, each stacked in lines of at most so many characters."""
    return [_grey(cell, _course(cell.line) + _stacked([_styled(cell, part) for part in lines(cell.text, most)], "l", "t")
                  + _raised(cell.mark)) for cell in cells]  # fmt: skip


def number_cells(cells: Sequence[Cell]) -> list[str]:
    """Return a column of numbers for a right-aligned column: all that follows the decimal point is made equally wide.

    What is narrower than the widest is set without a width of its own, and the widest invisibly behind it.
    """
    numbers = [_Number.of(cell) for cell in cells]
    widest = max(numbers, key=lambda number: number.tail_ems, default=None)
    return [_grey(number.cell, _course(number.cell.line) + _number(number, widest)) for number in numbers if widest]


def header_cell(column: Column, most: int) -> str:
    """Return a header, stacked so that it does not widen its column, with the arrow of its better direction."""
    arrow = {"up": r" $\uparrow$", "down": r" $\downarrow$", "": ""}[column.better]
    *above, last = [latex(part) for part in lines(column.name, most)]
    return _stacked([*above, last + arrow], "r" if column.numeric else "l", "b")


def cell_ems(cell: Cell, column: Column, most: int) -> tuple[float, float]:
    """Return how many em a cell is wide, before its decimal point and from there on, and without what is drawn in it."""
    if column.numeric:
        number = _Number.of(cell)
        return ems(number.whole, bold=cell.bold), number.tail_ems
    return max(ems(part, bold=cell.bold) for part in lines(cell.text, most)) + ems(cell.mark), 0.0


def course_points(cell: Cell) -> float:
    """Return the width of what is drawn in a cell, with the space behind it."""
    return min(len(cell.line) * STEP_PT, COURSE_PT) + 5 if cell.line else 0.0


def _number(number: _Number, widest: _Number) -> str:
    if not number.cell.text:
        return _raised(number.cell.mark)
    mark = rf"\rlap{{{_raised(number.cell.mark)}}}" if number.cell.mark else ""
    if number.shape == widest.shape or not (widest.decimals or widest.rest):
        return _styled(number.cell, number.whole + number.decimals) + _rest(number.rest) + mark
    decimals, rest, bold = widest.shape
    room = (rf"\textbf{{{latex(decimals)}}}" if bold else latex(decimals)) + _rest(rest)
    tail = _styled(number.cell, number.decimals) + _rest(number.rest) + _raised(number.cell.mark)
    return _styled(number.cell, number.whole) + (rf"\rlap{{{tail}}}" if tail else "") + rf"\phantom{{{room}}}"


def _styled(cell: Cell, text: str) -> str:
    styled = latex(text)
    if not styled:
        return ""
    styled = rf"\underline{{{styled}}}" if cell.second else styled
    weight = r"\boldmath " if re.search(r"(?<!\\)\$", styled) else ""  # mathematics has a weight of its own
    return rf"\textbf{{{weight}{styled}}}" if cell.bold else styled


def _rest(text: str) -> str:
    """Escape what follows a number, with the space before it, if any."""
    return (" " if text.startswith(" ") else "") + latex(text)


def _grey(cell: Cell, content: str) -> str:
    return rf"\textcolor{{gray}}{{{content}}}" if cell.faint and content else content


def _raised(mark: str) -> str:
    return rf"\textsuperscript{{{latex(mark)}}}" if mark else ""


def _course(line: tuple[float, ...]) -> str:
    """Draw a course of values as bars; a bar of nothing is still to be seen."""
    if not line:
        return ""
    step = min(COURSE_PT / len(line), STEP_PT)
    bars = (rf"\rule{{{0.75 * step:.2f}pt}}{{{max(value * HEIGHT_PT, 0.3):.2f}pt}}" for value in line)
    return rf"\kern{0.25 * step:.2f}pt".join(bars) + r"\enspace "


def _stacked(parts: list[str], side: str, place: str) -> str:
    if len(parts) == 1:
        return parts[0]
    joined = r" \\ ".join(parts)
    return rf"\begin{{tabular}}[{place}]{{@{{}}{side}@{{}}}}{joined}\end{{tabular}}"
