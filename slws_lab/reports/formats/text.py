"""What all formats share: text that is safe to print in one line, repeated cells, small courses, and the templates' environment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from slws_lab.reports.view import Cell, Column, TableView

if TYPE_CHECKING:
    import jinja2

ARROWS = {"up": "↑", "down": "↓"}
BLOCKS = "▁▂▃▄▅▆▇█"
KEPT = 2**16  # texts of large tables repeat, and are looked at more than once


@lru_cache(KEPT)
def one_line(text: str) -> str:
    """Return text in one line without what is not to be seen: control characters, which a terminal may obey, and their like."""
    return " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())


def lines(text: str, most: int) -> list[str]:
    """Break a text into lines of at most so many characters; a word that is longer only behind the signs that invite it."""
    found = [""]
    for word in one_line(text).split():
        pieces = re.findall(r".+?[=,;/](?=.)|.+", word) if len(word) > most else [word]
        for i, piece in enumerate(pieces):
            joint = " " if found[-1] and i == 0 else ""
            if found[-1] and len(found[-1] + joint + piece) > most:
                found.append(piece)
            else:
                found[-1] += joint + piece
    return found


def spans(view: TableView) -> list[list[int]]:
    """Return over how many rows each cell stands: 1 for most, 0 for one that is not printed, since the one above says the same.

    A cell is repeated only within a group, and where the repeated columns to its left are repeated too.
    """
    found = [[1] * len(view.columns) for _ in view.rows]
    starts = {group.row for group in view.groups}
    heads = [0] * len(view.columns)  # the row of the cell that stands for this one
    for i, row in enumerate(view.rows):
        same = i > 0 and i not in starts
        for j, column in enumerate(view.columns):
            same = same and not (column.merges and _said(row[j]) != _said(view.rows[i - 1][j]))
            if same and column.merges:
                found[i][j] = 0
                found[heads[j]][j] += 1
            else:
                heads[j] = i
    return found


def groups_at(view: TableView, row: int) -> list[str]:
    """Return the titles of the groups that begin at a row."""
    return [group.title for group in view.groups if group.row == row]


def header(column: Column) -> str:
    """Return a column's header in one line, with the arrow of its better direction."""
    return f"{one_line(column.name)} {ARROWS[column.better]}" if column.better else one_line(column.name)


def marked(view: TableView, notes: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Return each note in one line, parted into the mark of a cell that it belongs to, or nothing, and its text.

    Args:
        view: The table.
        notes: Some of its notes; None takes all.
    """
    shown = view.notes if notes is None else notes
    marks = {one_line(cell.mark) for row in view.rows for cell in row if cell.mark}
    parts = [(mark, rest) for mark, _, rest in (one_line(note).partition(" ") for note in shown)]
    return [(mark, rest) if mark in marks else ("", f"{mark} {rest}".rstrip()) for mark, rest in parts]


def blocks(line: tuple[float, ...]) -> str:
    """Draw a course of values from 0 to 1 in block characters."""
    return "".join(BLOCKS[min(max(int(value * len(BLOCKS)), 0), len(BLOCKS) - 1)] for value in line)


def templates(**options: Any) -> jinja2.Environment:
    """Return an environment of the package's templates."""
    import jinja2  # no command but `report` needs it

    return jinja2.Environment(loader=jinja2.PackageLoader("slws_lab.reports"), undefined=jinja2.StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True, **options)  # fmt: skip


def _said(cell: Cell) -> Cell:
    return replace(cell, run_ids=())
