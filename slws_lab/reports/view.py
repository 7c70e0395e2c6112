"""A table ready to print: plain text in cells, each of which knows its runs. `formats` renders it, the cli draws it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One printed value.

    Attributes:
        text: What is printed, unescaped.
        run_ids: The runs that it comes from; empty if it comes from none of ours.
        bold: Whether it is among the best.
        faint: Whether it says that there is nothing to say, or is not ours: printed grey.
        second: Whether it is the second best: underlined.
        mark: Mark of a note, raised behind the text: `†`, `a`; the note of that mark begins with it.
        line: A course of values to draw in small before the text, each from 0 to 1; empty for none.
    """

    text: str
    run_ids: tuple[str, ...] = ()
    bold: bool = False
    faint: bool = False
    second: bool = False
    mark: str = ""
    line: tuple[float, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: Its header, with the unit.
        numeric: Whether its cells are numbers, aligned at their decimals.
        better: `up` or `down`, an arrow behind the header: which direction is better; empty for neither.
        over: A header that stands over this column and its neighbours of the same one; empty for none.
        merges: Whether a cell that says the same as the one above it, in a group of rows, is printed once.
    """

    name: str
    numeric: bool = False
    better: str = ""
    over: str = ""
    merges: bool = False


@dataclass(frozen=True)
class Group:
    """A header within a table, over the rows from one on.

    Attributes:
        row: Index of the first row under it.
        title: What it says.
    """

    row: int
    title: str


@dataclass(frozen=True)
class TableView:
    """A table as printed; one without columns and rows is only its notes, which say why there is no table.

    Attributes:
        name: Short name, for labels, anchors and files.
        title: Caption.
        columns: One a column.
        rows: Each as long as `columns`.
        notes: Sentences below the table, in plain text.
        groups: Headers between the rows, from the top; a rule alone where a title is empty.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()
