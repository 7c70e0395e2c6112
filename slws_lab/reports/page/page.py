"""report.html: the whole report as one file that needs no network. What it says is made elsewhere."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup

from slws_lab.analysis import ResultTable
from slws_lab.reports import looks, wording
from slws_lab.reports.answer import answer
from slws_lab.reports.formats import html_templates, to_html
from slws_lab.reports.page import facts
from slws_lab.reports.view import TableView

if TYPE_CHECKING:
    from slws_lab.reports.figures.draw import Drawn


@dataclass(frozen=True)
class Image:
    """A figure within the page."""

    name: str
    title: str
    alt: str
    uri: str


def page(table: ResultTable, views: list[TableView], details: TableView, drawn: list[Drawn], known_as: str = "") -> str:
    """Return report.html.

    Args:
        table: The results.
        views: The result table first, then what is shown beside it.
        details: Every contrast in full.
        drawn: The figures; an empty one is left out.
        known_as: What commands call the study; empty for its name.
    """
    main = replace(views[0], title="Results by arm")
    shown = {
        "main": html(main), "beside": [html(view) for view in views[1:]],
        "contrasts": html(details) if details.rows else "",
        "arms": html(facts.arms_view(table)), "runs": html(facts.runs_view(table)),
    }  # fmt: skip
    return html_templates().get_template("report.html.j2").render(
        **styled("report.css"),
        study=table.study,
        known_as=known_as or table.study.name,
        answer=answer(table),
        summary=_summary(table),
        shown=shown,
        images=[image(figure) for figure in drawn if not figure.empty],
        failures=facts.failures(table),
        design=facts.design_facts(table),
        provenance=facts.provenance_facts(table),
        example=next(iter(table.records)),
    )  # fmt: skip


def styled(*sheets: str) -> dict[str, str]:
    """Return a page's style, of sheets among the templates, and the digest by which the page allows it and no other."""
    folder = files("slws_lab.reports") / "templates"
    style = "".join((folder / sheet).read_text(encoding="utf-8") for sheet in sheets)
    return {
        "style": Markup(style),
        "style_hash": base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    }


def _summary(table: ResultTable) -> list[str]:
    design, statuses = table.design, [record.status for record in looks.all_due(table)]
    first, last = design.first_seeds, len(design.seeds)
    return [
        wording.plural(len(design.arms), "arm"),
        wording.plural(last, "seed") if first is None else f"{len(first)} to {last} seeds, as needed",
        f"{statuses.count('finished')} of {wording.plural(len(statuses), 'run')} finished",
        wording.metric_title(table.study.metric),
    ]


def html(view: TableView) -> Markup:
    """Return a table as the page holds it."""
    return Markup(to_html(view))  # the template has escaped it


def image(figure: Drawn) -> Image:
    """Return a figure as the page holds it."""
    uri = "data:image/svg+xml;base64," + base64.b64encode(figure.svg).decode()
    return Image(figure.name, figure.title, figure.alt, uri)
