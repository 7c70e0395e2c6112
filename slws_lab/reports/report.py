"""Writing a report: all files of reports/<study>/, each whole, the same bytes for the same results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slws_lab.analysis import ResultTable
from slws_lab.reports.answer import answer
from slws_lab.reports.formats import to_html, to_latex, to_markdown
from slws_lab.reports.manifest import manifest
from slws_lab.reports.page.page import page
from slws_lab.reports.references import published
from slws_lab.reports.tables.attribution import shapley_views
from slws_lab.reports.tables.doses import dose_views
from slws_lab.reports.tables.effects import effects_views
from slws_lab.reports.tables.main import contrasts_view, main_view, published_view
from slws_lab.reports.view import TableView
from slws_lab.spec import Study
from slws_lab.spec.handoff import known_as
from slws_lab.tracking.files import write_all

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes:
        folder: Where it stands.
        files: Its files, in the order written.
        answer: The answer in words.
        views: The tables to look at first: the results, and published figures if the study names some. The files hold more.
    """

    folder: Path
    files: tuple[Path, ...]
    answer: str
    views: tuple[TableView, ...]


def write_report(table: ResultTable, study: Study, out: Path) -> Report:
    """Write records.csv, the tables, the figures, report.html and manifest.json.

    Beside the results stand the tables that the design allows: effects, attribution, dose and response.

    Args:
        table: The results, as far as there are any.
        study: The study as loaded.
        out: The folder, made if absent; what else stands in it is left alone.

    Raises:
        UserError: The study names published figures that there are not.
    """
    written = report_files(table, study)
    write_all({out / name: content for name, content in written.items()})
    first = (main_view(table), *_published(table, study))
    return Report(out, tuple(out / name for name in written), answer(table), first)


def report_files(table: ResultTable, study: Study, curves: pd.DataFrame | None = None) -> dict[str, bytes]:
    """Return the files of a report: path within its folder -> content. Arguments and errors as of `write_report`.

    Args:
        table: The results.
        study: The study as loaded.
        curves: The training curves where the table has no journals to read them from.
    """
    from slws_lab.reports.figures.draw import draw  # only here: importing matplotlib takes long

    views, details = report_views(table, study), contrasts_view(table)
    drawn = draw(table)
    written = {"records.csv": table.to_csv().encode(), **_tables(table, views)}
    written |= {f"figures/{d.name}.{kind}": getattr(d, kind) for d in drawn for kind in ("png", "svg")}
    written["report.html"] = page(table, views, details, drawn, known_as(study)).encode()
    written["manifest.json"] = manifest(table, study, [*views, details], written).encode()
    return written


def report_views(table: ResultTable, study: Study) -> list[TableView]:
    """Return all tables of a report, the results first."""
    further = [*effects_views(table), *shapley_views(table), *dose_views(table)]
    return [main_view(table), *further, *_published(table, study)]


def _published(table: ResultTable, study: Study) -> list[TableView]:
    keys = table.study.report.references
    rows = published(keys, study.source.where(("report", "references")))
    return [published_view(rows)] if rows else []


def _tables(table: ResultTable, views: list[TableView]) -> dict[str, bytes]:
    name = table.study.name
    labels = [f"slws:{name}", *(f"slws:{name}-{view.name}" for view in views[1:])]
    latex = [to_latex(view, label) for view, label in zip(views, labels, strict=True) if view.rows]
    joined = {"md": map(to_markdown, views), "tex": latex, "html": map(to_html, views)}
    return {f"table.{kind}": "\n".join(texts).encode() for kind, texts in joined.items()}
