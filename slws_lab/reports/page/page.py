"""report.html: the whole report as one file that needs no network. What it says is made elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from slws_lab.analysis import ResultTable
from slws_lab.reports import looks, wording
from slws_lab.reports.answer import answer
from slws_lab.reports.formats import html_templates, to_html
from slws_lab.reports.page import costs, facts
from slws_lab.reports.page.runs import RunSets, commands
from slws_lab.reports.view import TableView

if TYPE_CHECKING:
    from slws_lab.reports.figures.style import Drawn

WIDE = 300  # points: a figure that is wider takes the page's whole width
BODY = "<body>"  # once in a page, since every text is escaped


@dataclass(frozen=True)
class Image:
    """A figure within the page."""

    name: str
    title: str
    alt: str
    uri: str
    wide: bool


def page(table: ResultTable, views: list[TableView], details: TableView, drawn: list[Drawn], known_as: str = "") -> str:
    """Return report.html.

    Args:
        table: The results.
        views: The result table first, then what is shown beside it.
        details: Every contrast in full.
        drawn: The figures; an empty one is left out.
        known_as: What commands call the study; empty for its name.
    """
    known_as = known_as or table.study.name
    every = facts.runs_view(table)
    sets = RunSets(every)
    return html_templates().get_template("report.html.j2").render(
        **assets("report.css"),
        study=table.study,
        answer=answer(table),
        summary=_summary(table),
        main=html(replace(views[0], title="Results by arm"), sets),
        beside=[html(view, sets) for view in views[1:]],
        contrasts=html(details, sets) if details.rows else "",
        images=[image(figure) for figure in drawn if not figure.empty],
        design=facts.design_facts(table),
        arms=html(facts.arms_view(table), sets),
        cost=costs.cost_facts(table),
        costs=html(costs.costs_view(table), sets),
        failures=[(failure, sets.number(failure.run_ids)) for failure in facts.failures(table)],
        provenance=facts.provenance_facts(table),
        repeat=html(facts.repeat_view(table, known_as), sets),
        known_as=known_as,
        runs=listed(every),
        data={**sets.data(), **commands(table, known_as)},
    )  # fmt: skip


def with_banner(html: str, lines: Sequence[str]) -> str:
    """Return a page that says on top that it is stale; the same page where there is nothing to say.

    Args:
        html: A page that `page` made, of a study or a search.
        lines: Why, in plain text.

    Raises:
        ValueError: It is no such page.
    """
    before, found, after = html.partition(BODY)
    if not found or BODY in after:
        raise ValueError("this is no report.html")
    if not lines:
        return html
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    says = "<strong>This report is out of date.</strong> It does not show what there is now:"
    return f'{before}{BODY}<aside class="stale" role="alert"><p>{says}</p><ul>{items}</ul></aside>{after}'


def assets(*sheets: str) -> dict[str, Any]:
    """Return a page's style, of sheets among the templates, its script, and the digests by which the page allows them and no other."""
    folder = files("slws_lab.reports") / "templates"
    style = "".join((folder / sheet).read_text(encoding="utf-8") for sheet in sheets)
    script = (folder / "report.js").read_text(encoding="utf-8")
    return {
        "style": Markup(style), "style_hash": _digest(style), "script": Markup(script), "script_hash": _digest(script),
    }  # fmt: skip


def html(view: TableView, sets: RunSets) -> Markup:
    """Return a table as the page holds it: its cells name their sets of runs by number."""
    return Markup(to_html(view, sets.number))  # the template has escaped it


def listed(every: TableView) -> Markup:
    """Return the list of all runs, which is what the page's script knows of them; each stands behind its own row."""
    return Markup(to_html(every, lambda run_ids: ""))


def image(figure: Drawn) -> Image:
    """Return a figure as the page holds it."""
    uri = "data:image/svg+xml;base64," + base64.b64encode(figure.svg).decode()
    width = re.search(rb'<svg[^>]* width="([\d.]+)pt"', figure.svg)
    return Image(figure.name, figure.title, figure.alt, uri, wide=width is not None and float(width[1]) > WIDE)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _summary(table: ResultTable) -> list[str]:
    design, statuses = table.design, [record.status for record in looks.all_due(table)]
    first, last = design.first_seeds, len(design.seeds)
    return [
        wording.plural(len(design.arms), "arm"),
        wording.seeds(design) if first is None else f"{len(first)} to {last} seeds, as needed",
        f"{statuses.count('finished')} of {wording.plural(len(statuses), 'run')} finished",
        wording.metric_title(table.study.metric),
    ]
