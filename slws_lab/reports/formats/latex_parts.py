"""A table in parts that each fit on a page, for one that is too wide to be read when shrunk, or too long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from slws_lab.reports.formats.latex_layout import LAYOUTS, layout, table_points
from slws_lab.reports.formats.latex_widths import PAGE
from slws_lab.reports.formats.text import lines
from slws_lab.reports.view import Group, TableView

LINES, SPARE = 36, 8  # of rows on one page, and of notes below as many
LETTERS = {False: 48, True: 95}  # in a line of notes, of one column and of a page
READABLE = 1.5  # times the page's width from which on a table is not shrunk but parted
REPEATED = 0.4  # of the page's width at most for the columns that are repeated


def parts(view: TableView) -> list[TableView]:
    """Return a table in parts, side by side and then from the top; notes that do not fit below the last are parts without a table."""
    found = [replace(part, notes=()) for beside in _beside(view) for part in _below(beside)]
    letters = LETTERS[layout(found[-1]).wide]
    room = LINES + SPARE - sum(_heights(found[-1]))
    for note in view.notes:
        lines_of_note = len(note) // letters + 1
        if lines_of_note > room:
            found.append(replace(view, columns=(), rows=(), groups=(), notes=()))
            room, letters = LINES + SPARE, LETTERS[False]
        room -= lines_of_note
        found[-1] = replace(found[-1], notes=(*found[-1].notes, note))
    return found


def _beside(view: TableView) -> list[TableView]:
    """Part a table between columns; the first ones, which say what a row is about, are repeated in each part."""
    narrowest = LAYOUTS[-1]
    if table_points(view, narrowest) <= READABLE * PAGE:
        return [view]
    numeric = [column.numeric for column in view.columns]
    first = list(range(max(numeric.index(True), 1) if True in numeric else 1))
    while len(first) > 1 and table_points(_only(view, first), narrowest) > REPEATED * PAGE:
        first.pop()
    chosen = _filled(view, first, PAGE)
    for width in (
        0.9 * PAGE,
        0.8 * PAGE,
        0.7 * PAGE,
        0.6 * PAGE,
    ):  # parts of about one width, if that takes no more of them
        narrower = _filled(view, first, width)
        chosen = narrower if len(narrower) == len(chosen) else chosen
    return [_only(view, [*first, *rest]) for rest in chosen]


def _filled(view: TableView, first: list[int], width: float) -> list[list[int]]:
    """Return the further columns of each part, as many as fit beside the first ones in a width, and at least one."""
    found: list[list[int]] = [[]]
    for index in range(len(first), len(view.columns)):
        if found[-1] and table_points(_only(view, [*first, *found[-1], index]), LAYOUTS[-1]) > width:
            found.append([])
        found[-1].append(index)
    return found


def _only(view: TableView, chosen: Sequence[int]) -> TableView:
    rows = tuple(tuple(row[index] for index in chosen) for row in view.rows)
    return replace(view, columns=tuple(view.columns[index] for index in chosen), rows=rows)


def _below(view: TableView) -> Iterator[TableView]:
    """Part a table between rows; a group that goes on is named again."""
    start, taken = 0, 0
    for row, height in enumerate(_heights(view)):
        taken += height
        if taken > LINES and row > start:
            yield _rows(view, start, row)
            start, taken = row, height
    yield _rows(view, start, len(view.rows))


def _heights(view: TableView) -> list[int]:
    """Return the lines that each row takes, with the header of a group before it."""
    chosen, titles = layout(view), Counter(group.row for group in view.groups if group.title)
    texts = [index for index, column in enumerate(view.columns) if not column.numeric]
    return [
        titles[i] + max((len(lines(row[index].text, chosen.text)) for index in texts), default=1)
        for i, row in enumerate(view.rows)
    ]


def _rows(view: TableView, start: int, end: int) -> TableView:
    groups = [group for group in view.groups if start <= group.row < end]
    before = [group for group in view.groups if group.row < start]
    if before and before[-1].title and start not in {group.row for group in groups}:
        groups.insert(0, replace(before[-1], row=start))
    moved = tuple(Group(group.row - start, group.title) for group in groups)
    return replace(view, rows=view.rows[start:end], groups=moved)
