"""Views as Markdown, LaTeX and HTML. Every text is escaped here and nowhere else."""

from __future__ import annotations

from slws_lab.reports.formats.html import html_templates, to_html
from slws_lab.reports.formats.latex import latex, to_latex
from slws_lab.reports.formats.markdown import markdown, to_markdown
from slws_lab.reports.formats.text import one_line

__all__ = ["html_templates", "latex", "markdown", "one_line", "to_html", "to_latex", "to_markdown"]
