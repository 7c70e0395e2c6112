"""A view as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from slws_lab.reports.formats.text import blocks, groups_at, header, marked, one_line, spans
from slws_lab.reports.view import Cell, Column, TableView


def to_markdown(view: TableView) -> str:
    """Return a table in GitHub's Markdown, with its title above and its notes below.

    A header that stands over several is put before each of them, a group is a row in bold, and a rule alone is left out: there are
    neither two header rows nor rules in it. Nor is there grey.
    """
    lines = [f"**{markdown(view.title)}**", ""]
    if view.columns:
        lines.append(_line(map(_header, view.columns)))
        lines.append(_line("---:" if column.numeric else "---" for column in view.columns))
        shown = spans(view)
        for i, row in enumerate(view.rows):
            lines += [
                _line([f"**{markdown(title)}**", *[""] * (len(row) - 1)]) for title in groups_at(view, i) if title
            ]
            lines.append(_line(_cell(cell) if span else "" for cell, span in zip(row, shown[i], strict=True)))
        lines.append("")
    lines += [f"- {_raised(mark)} {markdown(note)}" if mark else f"- {markdown(note)}" for mark, note in marked(view)]
    return "\n".join(lines).rstrip() + "\n"


def markdown(text: str) -> str:
    """Escape text for one line of Markdown: what starts a block, and what marks up within a line."""
    line = re.sub(r"([\\`*\[\]<>|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))", r"\\\1", one_line(text))
    return re.sub(r"^(\d*)([-+#=.)])(?=\s|$)", r"\1\\\2", line)


def _header(column: Column) -> str:
    return markdown(f"{column.over}: {header(column)}" if column.over else header(column))


def _cell(cell: Cell) -> str:
    text = markdown(cell.text)
    text = f"<u>{text}</u>" if cell.second and text else text
    text = f"**{text}**" if cell.bold and text else text
    return " ".join(part for part in (blocks(cell.line), text + _raised(cell.mark)) if part)


def _raised(mark: str) -> str:
    return f"<sup>{markdown(mark)}</sup>" if mark else ""


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
