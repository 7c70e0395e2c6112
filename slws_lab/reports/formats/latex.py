"""A view as LaTeX."""

from __future__ import annotations

import textwrap
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from slws_lab.reports.formats.text import one_line, templates
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


def to_latex(view: TableView, label: str) -> str:
    """Return a `table` for LaTeX that needs the package booktabs only.

    Args:
        view: The table.
        label: What `\\ref` calls it.
    """
    return latex_templates().get_template("table.tex.j2").render(view=view, label=label)


def latex(text: str) -> str:
    """Escape text for LaTeX; a character that a stock pdflatex has no glyph for becomes its code."""
    return "".join(_latex_character(c) for c in one_line(text))


@cache
def latex_templates() -> jinja2.Environment:
    """Return the environment of the LaTeX template: `<< >>` and `<% %>`, since LaTeX needs the braces."""
    found = templates(
        autoescape=False,
        variable_start_string="<<", variable_end_string=">>", block_start_string="<%", block_end_string="%>",
        comment_start_string="<#", comment_end_string="#>",
    )  # fmt: skip
    found.filters |= {"latex": latex, "latex_cell": _latex_cell, "latex_header": _latex_header}
    return found


def _latex_cell(cell: Cell) -> str:
    return rf"\textbf{{{latex(cell.text)}}}" if cell.bold else latex(cell.text)


def _latex_header(column: Column) -> str:
    """Stack a long header, so that it does not widen its column."""
    lines = [latex(line) for line in textwrap.wrap(column.name, 14, break_long_words=False, break_on_hyphens=False)]
    if len(lines) == 1:
        return lines[0]
    side, stack = "r" if column.numeric else "l", r" \\ ".join(lines)
    return rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{stack}\end{{tabular}}"


def _latex_character(character: str) -> str:
    if character in LATEX:
        return LATEX[character]
    if character.isascii():
        return character if character.isprintable() else " "
    letter, *marks = tuple(unicodedata.normalize("NFD", character))
    if letter.isascii() and marks and ord(character) < 256:
        return character  # an accented Latin letter, which LaTeX composes itself
    return letter if letter.isascii() and marks else f"{{[}}U+{ord(character):04X}{{]}}"
