"""report.html of a search: one file that needs no network. What it says is made elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slws_lab.analysis import ResultTable
from slws_lab.analysis.searching import Gap, SearchFindings, Tested
from slws_lab.reports import wording
from slws_lab.reports.formats import html_templates
from slws_lab.reports.page import facts
from slws_lab.reports.page.page import assets, html, image, listed
from slws_lab.reports.page.runs import RunSets, commands
from slws_lab.reports.search import facts as search_facts
from slws_lab.reports.search import words as search_words
from slws_lab.reports.view import TableView

if TYPE_CHECKING:
    from slws_lab.reports.figures.style import Drawn
    from slws_lab.reports.report import Report


@dataclass(frozen=True)
class Shown:
    """What the page of a search shows.

    Attributes:
        best: The best trials.
        trials: Every trial.
        gap: The best again with fresh seeds; None if they were not run.
        figures: The figures.
    """

    best: TableView
    trials: TableView
    gap: TableView | None
    figures: Sequence[Drawn]


@dataclass(frozen=True)
class Confirmed:
    """How the best were run again.

    Attributes:
        report: The report of the confirming study; None if there is none.
        gaps: Each setting in the search and with fresh seeds.
        tested: The best and the baseline on the test split; None if that was not read.
    """

    report: Report | None = None
    gaps: Sequence[Gap] = ()
    tested: Tested | None = None


def search_page(found: SearchFindings, table: ResultTable, shown: Shown, confirmed: Confirmed, out: Path) -> str:
    """Return report.html.

    Args:
        found: What the search found.
        table: The results of all trials.
        shown: Tables and figures.
        confirmed: How the best were run again.
        out: The folder in which the page will stand, from which it links to the confirming report.
    """
    report = confirmed.report
    search = search_words.search_of(table.study)
    every = facts.runs_view(table)
    sets = RunSets(every)
    return html_templates().get_template("search.html.j2").render(
        **assets("report.css"),
        study=table.study,
        answer=search_words.answer(found, table.study, confirmed.gaps),
        summary=_summary(found, table),
        best=html(shown.best, sets),
        trials=html(shown.trials, sets),
        gap=html(shown.gap, sets) if shown.gap is not None else "",
        confirmed=report.answer if report is not None else "",
        tested=search_words.tested_text(confirmed.tested, table.study) if confirmed.tested is not None else "",
        link=_link(report, out),
        can_confirm=len(search.objectives) == 1,
        declared=search.confirm is not None,
        differs=bool(found.best) and found.best[0] != found.baseline,
        images=[image(figure) for figure in shown.figures],
        unsaid=_unsaid(found),
        pruned=search_facts.pruned_text(found, table.study),
        causes=search_facts.causes(found),
        design=search_facts.search_facts(found, table.study),
        cost=search_facts.cost_facts(found, table),
        provenance=facts.provenance_facts(table),
        example=next(iter(table.records), ""),
        runs=listed(every),
        data={**sets.data(), **commands(table, table.study.name)},
    )  # fmt: skip


def _summary(found: SearchFindings, table: ResultTable) -> list[str]:
    return [
        search_words.by_state(found),
        f"{wording.plural(len(table.design.seeds), 'seed')} a trial",
        *search_words.titles(table.study),
    ]


def _link(report: Report | None, out: Path) -> str:
    if report is None:
        return ""
    return Path(os.path.relpath(report.folder / "report.html", out)).as_posix()


def _unsaid(found: SearchFindings) -> list[str]:
    """Say which importance is missing from the figures, and why."""
    missing: dict[str, dict[str, None]] = {}
    for one in (one for aspect in found.aspects for one in aspect.importances if found.trials and not one.shares):
        missing.setdefault(one.reason, {})[one.method] = None
    return [f"No importance by {' and '.join(methods)}: {reason}." for reason, methods in missing.items()]
