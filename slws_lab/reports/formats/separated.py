"""A view as comma-separated values, for other programs: plain text, every value in its row."""

from __future__ import annotations

import csv
import io

from slws_lab.reports.formats.text import one_line
from slws_lab.reports.view import Cell, Column, TableView


def to_csv(view: TableView) -> str:
    """Return one header row and the rows; title, notes, marks and arrows are left out, repeated values are repeated.

    Where the table has groups, the first column says which; a minus is the one of a keyboard, so that numbers can be read.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    group = ""
    if view.columns:
        writer.writerow([*(["group"] if view.groups else []), *map(_header, view.columns)])
    for i, row in enumerate(view.rows):
        group = next((one_line(found.title) for found in reversed(view.groups) if found.row == i), group)
        texts = (_text(cell, column) for cell, column in zip(row, view.columns, strict=True))
        writer.writerow([*([group] if view.groups else []), *texts])
    return file.getvalue()


def _header(column: Column) -> str:
    return one_line(f"{column.over}: {column.name}" if column.over else column.name)


def _text(cell: Cell, column: Column) -> str:
    text = one_line(cell.text)
    text = text.replace("−", "-") if column.numeric else text
    return " ".join([*(f"{value:g}" for value in cell.line), *([text] if text else [])])
