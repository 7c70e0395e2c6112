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
        faint: Whether it says that there is nothing to say.
    """

    text: str
    run_ids: tuple[str, ...] = ()
    bold: bool = False
    faint: bool = False


@dataclass(frozen=True)
class Column:
    """A column's header, and whether its cells are numbers (aligned right)."""

    name: str
    numeric: bool = False


@dataclass(frozen=True)
class TableView:
    """A table as printed; one without columns and rows is only its notes, which say why there is no table.

    Attributes:
        name: Short name, for labels and anchors.
        title: Caption.
        columns: One a column.
        rows: Each as long as `columns`.
        notes: Sentences below the table, in plain text.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
