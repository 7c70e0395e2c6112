"""A view as LaTeX: tables of booktabs that compile with a stock TeX Live and fit the page of a paper."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from slws_lab.reports.formats.latex_cells import header_cell, number_cells, text_cells
from slws_lab.reports.formats.latex_layout import Layout, has_marks, layout, over_runs
from slws_lab.reports.formats.latex_parts import parts
from slws_lab.reports.formats.latex_text import breakable, latex
from slws_lab.reports.formats.latex_widths import GAPS
from slws_lab.reports.formats.text import groups_at, marked, spans, templates
from slws_lab.reports.view import TableView

if TYPE_CHECKING:
    import jinja2

PACKAGES = {
    r"\textcolor": "xcolor", r"\checkmark": "amssymb", r"\resizebox": "graphicx", r"\multirow": "multirow (if there)",
}  # fmt: skip


def to_latex(view: TableView, label: str) -> str:
    """Return a `table`, or a `table*` where it needs both columns of a page, which fits the width of the page.

    A comment above it names the packages that it needs; all are of a stock TeX Live. Numbers are aligned at their decimals by invisible
    copies of the widest. With the package multirow a repeated value stands in the middle of its rows, without it in the first. What
    does not fit on one page, or could not be read, follows in tables of the same number.

    Args:
        view: The table.
        label: What `\\ref` calls it.
    """
    return "\n".join(f"{_table(part, label if i == 0 else '', view)}\n" for i, part in enumerate(parts(view)))


@cache
def latex_templates() -> jinja2.Environment:
    """Return the environment of the LaTeX template: `<< >>` and `<% %>`, since LaTeX needs the braces."""
    found = templates(
        autoescape=False,
        variable_start_string="<<", variable_end_string=">>", block_start_string="<%", block_end_string="%>",
        comment_start_string="<#", comment_end_string="#>",
    )  # fmt: skip
    found.filters |= {"latex": latex, "breakable": breakable}
    return found


def _table(part: TableView, label: str, view: TableView) -> str:
    chosen = layout(part)
    header, body = (_header_lines(part, chosen), _body_lines(part, chosen)) if part.columns else ([], [])
    gap, multirow = GAPS[chosen.size], any(r"\multirow" in line for line in body)
    table = latex_templates().get_template("table.tex.j2").render(
        view=part, label=label, layout=chosen, gap=gap, columns=_columns(part, gap), header=header, body=body, multirow=multirow,
        notes=marked(view, part.notes),
    )  # fmt: skip
    needed = ["booktabs", *(package for command, package in PACKAGES.items() if command in table)]
    return f"% packages: {', '.join(needed)}\n{table}"


def _columns(view: TableView, gap: float) -> str:
    """Return what `tabular` is told of its columns: marks behind numbers take no width of their own, so they get room."""
    sides = ("r" if column.numeric else "l" for column in view.columns)
    return "".join(side + rf"@{{\hspace{{{3 * gap}pt}}}}" * has_marks(view, i) for i, side in enumerate(sides))


def _header_lines(view: TableView, chosen: Layout) -> list[str]:
    runs = over_runs(view.columns)
    names = " & ".join(header_cell(column, chosen.header) for column in view.columns) + r" \\"
    if not any(over for over, *_ in runs):
        return [names]
    above = (rf"\multicolumn{{{last - first + 1}}}{{c}}{{{latex(over)}}}" for over, first, last in runs)
    rules = " ".join(rf"\cmidrule(lr){{{first + 1}-{last + 1}}}" for over, first, last in runs if over)
    return [" & ".join(above) + r" \\", rules, names]


def _body_lines(view: TableView, chosen: Layout) -> list[str]:
    cells = [list(row) for row in zip(*view.rows, strict=True)] or [[] for _ in view.columns]
    drawn = [number_cells(own) if column.numeric else text_cells(own, chosen.text)
             for column, own in zip(view.columns, cells, strict=True)]  # fmt: skip
    over, found = spans(view), list[str]()
    for i in range(len(view.rows)):
        for title in groups_at(view, i):
            found += [r"\midrule"] if i else []
            found += [rf"\multicolumn{{{len(view.columns)}}}{{l}}{{\textit{{{latex(title)}}}}} \\"] if title else []
        texts = (_spanning(text[i], span) for text, span in zip(drawn, over[i], strict=True))
        found.append(" & ".join(texts) + r" \\")
    return found


def _spanning(text: str, span: int) -> str:
    return "" if span == 0 or not text else rf"\multirow{{{span}}}{{*}}{{{text}}}" if span > 1 else text
