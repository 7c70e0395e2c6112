"""A view as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from slws_lab.reports.formats.text import one_line
from slws_lab.reports.view import Cell, TableView


def to_markdown(view: TableView) -> str:
    """Return a table in GitHub's Markdown, with its title above and its notes below."""
    lines = [f"**{markdown(view.title)}**", ""]
    if view.columns:
        lines.append(_line(markdown(column.name) for column in view.columns))
        lines.append(_line("---:" if column.numeric else "---" for column in view.columns))
        lines += [*(_line(_markdown_cell(cell) for cell in row) for row in view.rows), ""]
    lines += [f"- {markdown(note)}" for note in view.notes]
    return "\n".join(lines).rstrip() + "\n"


def markdown(text: str) -> str:
    """Escape text for one line of Markdown: what starts a block, and what marks up within a line."""
    line = re.sub(r"([\\`*\[\]<>|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))", r"\\\1", one_line(text))
    return re.sub(r"^(\d*)([-+#=.)])(?=\s|$)", r"\1\\\2", line)


def _markdown_cell(cell: Cell) -> str:
    text = markdown(cell.text)
    return f"**{text}**" if cell.bold and text else text


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
