"""Reports: tables, figures and one page from a result table, every number traceable to its runs.

Importing it is light: pandas, scipy and matplotlib wait until a report is made.
"""

from __future__ import annotations

from slws_lab.reports.answer import answer
from slws_lab.reports.formats import to_html, to_latex, to_markdown
from slws_lab.reports.references import Published, published
from slws_lab.reports.report import Report, write_report
from slws_lab.reports.tables.main import contrasts_view, main_view
from slws_lab.reports.view import Cell, Column, TableView

__all__ = [
    "Cell", "Column", "Published", "Report", "TableView", "answer", "contrasts_view", "main_view", "published",
    "to_html", "to_latex", "to_markdown", "write_report",
]  # fmt: skip
