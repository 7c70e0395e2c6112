"""A view as HTML."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from slws_lab.reports.formats.text import templates
from slws_lab.reports.view import TableView

if TYPE_CHECKING:
    import jinja2


LISTED = 64  # runs that a cell of a page lists


def to_html(view: TableView) -> str:
    """Return a `figure` element that holds the table; each cell of no more than `LISTED` runs carries them in `data-runs`.

    Those of every cell stand in manifest.json.
    """
    return html_templates().get_template("table.html.j2").render(view=view, listed=LISTED)


@cache
def html_templates() -> jinja2.Environment:
    """Return the environment of the HTML templates, which escape by themselves."""
    return templates(autoescape=True, finalize=_harmless)


def _harmless(value: Any) -> Any:
    """Take characters that are not to be seen out of text from files; markup of ours stays as it is, line breaks too."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(c for c in value if c.isprintable() or c.isspace())
