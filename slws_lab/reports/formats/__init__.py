"""Views as Markdown, LaTeX, HTML and CSV. Every text is escaped here and nowhere else."""

from __future__ import annotations

from slws_lab.reports.formats.html import html_templates, to_html
from slws_lab.reports.formats.latex import to_latex
from slws_lab.reports.formats.markdown import to_markdown
from slws_lab.reports.formats.separated import to_csv
from slws_lab.reports.formats.text import one_line, spans

__all__ = ["html_templates", "one_line", "spans", "to_csv", "to_html", "to_latex", "to_markdown"]
