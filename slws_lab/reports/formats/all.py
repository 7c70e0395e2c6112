"""A view as Markdown, LaTeX and HTML. Every text is escaped here and nowhere else."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from slws_lab.reports.view import Cell, Column, TableView

if TYPE_CHECKING:
    import jinja2

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$",
    "[": "{[}", "]": "{]}", '"': "''", "“": "``", "”": "''", "‘": "`", "’": "'", "–": "--", "—": "---",
    "…": r"\ldots{}", "−": r"$-$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "≤": r"$\leq$", "≥": r"$\geq$",
    "→": r"$\to$", "Δ": r"$\Delta$", "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "λ": r"$\lambda$",
    "µ": r"$\mu$", "μ": r"$\mu$", "σ": r"$\sigma$",
}  # fmt: skip

LISTED = 64  # runs that a cell of a page lists


def to_markdown(view: TableView) -> str:
    """Return a table in GitHub's Markdown, with its title above and its notes below."""
    lines = [f"**{markdown(view.title)}**", ""]
    if view.columns:
        lines.append(_line(markdown(column.name) for column in view.columns))
        lines.append(_line("---:" if column.numeric else "---" for column in view.columns))
        lines += [*(_line(_markdown_cell(cell) for cell in row) for row in view.rows), ""]
    lines += [f"- {markdown(note)}" for note in view.notes]
    return "\n".join(lines).rstrip() + "\n"


def to_latex(view: TableView, label: str) -> str:
    """Return a `table` for LaTeX that needs the package booktabs only.

    Args:
        view: The table.
        label: What `\\ref` calls it.
    """
    return latex_templates().get_template("table.tex.j2").render(view=view, label=label)


def to_html(view: TableView) -> str:
    """Return a `figure` element that holds the table; each cell of no more than `LISTED` runs carries them in `data-runs`.

    Those of every cell stand in manifest.json.
    """
    return html_templates().get_template("table.html.j2").render(view=view, listed=LISTED)


def markdown(text: str) -> str:
    """Escape text for one line of Markdown: what starts a block, and what marks up within a line."""
    line = re.sub(r"([\\`*\[\]<>|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))", r"\\\1", one_line(text))
    return re.sub(r"^(\d*)([-+#=.)])(?=\s|$)", r"\1\\\2", line)


def latex(text: str) -> str:
    """Escape text for LaTeX; a character that a stock pdflatex has no glyph for becomes its code."""
    return "".join(_latex_character(c) for c in one_line(text))


@cache
def html_templates() -> jinja2.Environment:
    """Return the environment of the HTML templates, which escape by themselves."""
    return _templates(autoescape=True, finalize=_harmless)


@cache
def latex_templates() -> jinja2.Environment:
    """Return the environment of the LaTeX template: `<< >>` and `<% %>`, since LaTeX needs the braces."""
    found = _templates(
        autoescape=False,
        variable_start_string="<<", variable_end_string=">>", block_start_string="<%", block_end_string="%>",
        comment_start_string="<#", comment_end_string="#>",
    )  # fmt: skip
    found.filters |= {"latex": latex, "latex_cell": _latex_cell, "latex_header": _latex_header}
    return found


def _templates(**options: Any) -> jinja2.Environment:
    import jinja2  # no command but `report` needs it

    return jinja2.Environment(loader=jinja2.PackageLoader("slws_lab.reports"), undefined=jinja2.StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True, **options)  # fmt: skip


def _harmless(value: Any) -> Any:
    """Take characters that are not to be seen out of text from files; markup of ours stays as it is, line breaks too."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(c for c in value if c.isprintable() or c.isspace())


def _markdown_cell(cell: Cell) -> str:
    text = markdown(cell.text)
    return f"**{text}**" if cell.bold and text else text


def _latex_cell(cell: Cell) -> str:
    return rf"\textbf{{{latex(cell.text)}}}" if cell.bold else latex(cell.text)


def _latex_header(column: Column) -> str:
    """Stack a long header, so that it does not widen its column."""
    lines = [latex(line) for line in textwrap.wrap(column.name, 14, break_long_words=False, break_on_hyphens=False)]
    if len(lines) == 1:
        return lines[0]
    side, stack = "r" if column.numeric else "l", r" \\ ".join(lines)
    return rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{stack}\end{{tabular}}"


def one_line(text: str) -> str:
    """Return text in one line without what is not to be seen: control characters, which a terminal may obey, and their like."""
    return " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _latex_character(character: str) -> str:
    if character in LATEX:
        return LATEX[character]
    if character.isascii():
        return character if character.isprintable() else " "
    letter, *marks = tuple(unicodedata.normalize("NFD", character))
    if letter.isascii() and marks and ord(character) < 256:
        return character  # an accented Latin letter, which LaTeX composes itself
    return letter if letter.isascii() and marks else f"{{[}}U+{ord(character):04X}{{]}}"
