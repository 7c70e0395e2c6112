"""How a report's table looks on the terminal: as wide as this is, and what does not fit is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest

from rich.text import Text

from slws_lab.cli.terminal import out
from slws_lab.reports import Cell, Column, TableView
from slws_lab.reports.formats.text import ARROWS, blocks, groups_at, lines, one_line, spans

VERDICTS = {"helps": "green", "hurts": "red", "equivalent": "cyan"}
GAP = 2  # between columns, where there is room
TEXT = 40  # characters beyond which a text is broken in any case
WORD = 12  # characters beyond which a word is broken where there is little room, and a header anyway
NEEDED = 3
UNLIMITED = 10_000  # columns of what is no terminal


@dataclass(frozen=True)
class Fit:
    """How a table fits.

    Attributes:
        widths: Of the columns that are shown, by their index.
        same: Columns that say the same in every row, said in a line.
        left: Columns that are left out.
        gap: Between two columns.
    """

    widths: dict[int, int]
    same: tuple[int, ...]
    left: tuple[int, ...]
    gap: int


def draw(view: TableView, elsewhere: str) -> None:
    """Print a table with its notes.

    Where the terminal is too narrow, a column that says the same in every row becomes a line below, then the least needed columns are left
    out and named, then courses of values; where not even what is needed fits, each row becomes a block.

    Args:
        view: The table.
        elsewhere: Where all columns are, for the line that names those that are left out.
    """
    out.print(Text(one_line(view.title), "italic"))
    if view.columns:
        width = out.width if out.is_terminal or "COLUMNS" in os.environ else UNLIMITED
        for tried, gap in ((view, GAP), (_without_courses(view), GAP), (_without_courses(view), 1)):
            found = fit(tried, width, gap)
            if whole := all(_need(tried, index) < NEEDED for index in found.left):
                break
        for text in _rows(tried, found) if whole else _blocks(view):
            out.print(text, soft_wrap=whole)
        if whole:
            _said(view, found, elsewhere)
    for note in view.notes:
        out.print(Text(one_line(note), "dim"))
    out.print()


def fit(view: TableView, width: int, gap: int = GAP) -> Fit:
    """Return how a table fits in a width.

    The first column stays. Of the others the least needed go first, and of these the ones on the right.
    """
    least = {index: _width(view, index, WORD) for index in range(len(view.columns))}
    same, left = list[int](), list[int]()
    for index in [index for index in list(least)[1:] if _alike(view, index)]:
        if _total(least, gap) > width:
            same.append(index)
            del least[index]
    for index in sorted(list(least)[1:], key=lambda index: (_need(view, index), -index)):
        if _total(least, gap) > width:
            left.append(index)
            del least[index]
    return Fit(_widened(least, view, width - _total(least, gap)), tuple(same), tuple(sorted(left)), gap)


def _widened(least: dict[int, int], view: TableView, room: int) -> dict[int, int]:
    """Share out what is left of the width to the columns that are narrower than what they hold."""
    whole, widths = {index: _width(view, index, TEXT) for index in least}, dict(least)
    for _ in range(min(room, sum(whole.values()))):
        lacking = max(widths, key=lambda index: whole[index] - widths[index])
        widths[lacking] += whole[lacking] > widths[lacking]
    return widths


def _said(view: TableView, found: Fit, elsewhere: str) -> None:
    """Say what the columns hold that are not shown, or where that is."""
    for index in found.same:
        said = one_line(view.rows[0][index].text) or "nothing"
        out.print(Text(f"{_title(view.columns[index])}: {said} in every row", "dim"))
    if found.left:
        names = ", ".join(_title(view.columns[index]) for index in found.left)
        count = f"({len(found.left)} of {len(view.columns)} columns)"
        out.print(Text(f"Not shown at this width: {names} {count}. {elsewhere}", "dim"))


def _without_courses(view: TableView) -> TableView:
    return replace(
        view, rows=tuple(tuple(replace(cell, line=() if cell.text else cell.line) for cell in row) for row in view.rows)
    )


def _blocks(view: TableView) -> Iterator[Text]:
    """Yield each row as lines of a header and its value, those without a value left out."""
    for i, row in enumerate(view.rows):
        yield from (Text(one_line(title), "bold") for title in groups_at(view, i))
        for cell, column in zip(row, view.columns, strict=True):
            if cell.text or cell.line:
                (value,) = _cell(cell, UNLIMITED, 0, numeric=False)
                yield Text.assemble((f"{_title(column)}: ", "dim"), value)
        yield Text()


def _rows(view: TableView, found: Fit) -> Iterator[Text]:
    """Yield the lines of a table: headers, titles of groups, and rows, each of as many lines as its longest cell."""
    over, widths = spans(view), found.widths
    marks = {index: _mark(view, index) for index in widths}
    heads = [_broken(_title(view.columns[index]), width, "bold") for index, width in widths.items()]
    tall = max(map(len, heads))
    yield from _side_by_side([[Text()] * (tall - len(head)) + head for head in heads], view, found)
    for i, row in enumerate(view.rows):
        yield from (Text(one_line(title), "bold") for title in groups_at(view, i))
        cells = [
            _cell(row[j], width, marks[j], view.columns[j].numeric) if over[i][j] else [] for j, width in widths.items()
        ]
        yield from _side_by_side(cells, view, found)


def _side_by_side(cells: list[list[Text]], view: TableView, found: Fit) -> Iterator[Text]:
    for parts in zip_longest(*cells, fillvalue=Text()):
        whole = Text()
        for part, (index, width) in zip(parts, found.widths.items(), strict=True):
            room = " " * max(width - part.cell_len, 0)
            whole.append(room if view.columns[index].numeric else "").append_text(part)
            whole.append(" " * found.gap if view.columns[index].numeric else room + " " * found.gap)
        whole.rstrip()
        yield whole


def _cell(cell: Cell, width: int, mark: int, numeric: bool) -> list[Text]:
    """Return the lines of a cell; numbers stand above each other whether a mark follows them or not."""
    text, course = one_line(cell.text), f"{blocks(cell.line)} " if cell.line else ""
    colour = next((colour for word, colour in VERDICTS.items() if text.startswith(word)), "")
    style = " ".join(filter(None, (colour, "dim" * cell.faint, "bold" * cell.bold, "underline" * cell.second)))
    room = width - len(course) - mark
    below = numeric and len(text) > room  # an interval stands below its number
    pieces = text.replace(" [", "\n[").split("\n") if below else lines(text, max(room, 1))
    drawn = [part for piece in pieces for part in _broken(piece, room, style)]
    drawn = [Text.assemble(course, drawn[0]), *drawn[1:]]
    filled = [Text.assemble(line, " " * mark) for line in drawn[:-1]] if numeric else drawn[:-1]
    return [*filled, Text.assemble(drawn[-1], one_line(cell.mark).ljust(mark if numeric else 0))]


def _broken(text: str, width: int, style: str) -> list[Text]:
    return list(Text(text, style).wrap(out, max(width, 1), overflow="fold")) or [Text()]


def _title(column: Column) -> str:
    name = one_line(f"{column.over}: {column.name}" if column.over else column.name)
    return f"{name} {ARROWS[column.better]}" if column.better else name


def _alike(view: TableView, index: int) -> bool:
    return len(view.rows) > 1 and len({(row[index].text, row[index].mark, row[index].line) for row in view.rows}) == 1


def _need(view: TableView, index: int) -> int:
    """Return how much a column is needed: most what says which row it is, how good, and the verdict; then differences and costs."""
    column, cells = view.columns[index], [row[index] for row in view.rows]
    names = next((i for i, found in enumerate(view.columns) if found.numeric and i), len(view.columns))
    metric = next((i for i, found in enumerate(view.columns) if found.better), 0)
    if index < names or index == metric or column.name == "verdict":
        return NEEDED
    if any(cell.bold or cell.second for cell in cells):
        return 2
    return 1 if column.better or any(" [" in cell.text for cell in cells) else 0


def _total(widths: dict[int, int], gap: int) -> int:
    return sum(widths.values()) + gap * max(len(widths) - 1, 0)


def _width(view: TableView, index: int, most: int) -> int:
    """Return the width that a column needs if its texts are broken at so many characters.

    Where that is `WORD` there is little room: texts are broken at every word, and a number's interval stands below it.
    """
    column, tight, found = view.columns[index], most == WORD, [0]
    for row in view.rows:
        text = one_line(row[index].text)
        pieces = text.replace(" [", "\n[").split("\n") if column.numeric else [word[:WORD] for word in text.split()]
        found.append(max(map(len, pieces), default=0) if tight else min(len(text), most))
    drawn = max((len(row[index].line) + bool(row[index].line) for row in view.rows), default=0)
    return max(1, max(found) + drawn + _mark(view, index), *(len(word[:WORD]) for word in _title(column).split()))


def _mark(view: TableView, index: int) -> int:
    """Return the width of a column's longest mark."""
    return max((len(one_line(row[index].mark)) for row in view.rows), default=0)
