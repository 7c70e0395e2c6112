"""Writing a report: all files of reports/<study>/, each whole, the same bytes for the same results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from slws_lab.analysis import ResultTable
from slws_lab.reports import manifest as manifests
from slws_lab.reports.answer import answer
from slws_lab.reports.formats import to_csv, to_html, to_latex, to_markdown
from slws_lab.reports.manifest import manifest
from slws_lab.reports.page.page import page
from slws_lab.reports.tables.attribution import shapley_views
from slws_lab.reports.tables.doses import dose_views
from slws_lab.reports.tables.effects import effects_views
from slws_lab.reports.tables.main import contrasts_view, main_view
from slws_lab.reports.tables.methods import method_views
from slws_lab.reports.tables.paper import paper_views
from slws_lab.reports.view import TableView
from slws_lab.spec import Study
from slws_lab.spec.handoff import known_as
from slws_lab.tracking.files import write_all

if TYPE_CHECKING:
    import pandas as pd

    from slws_lab.reports.figures.style import Drawn


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


def write_report(table: ResultTable, study: Study, out: Path, curves: pd.DataFrame | None = None) -> Report:
    """Write records.csv, the tables, the figures, report.html and manifest.json.

    Beside the results stand the tables that the design allows: effects, attribution, dose and response.

    Args:
        table: The results, as far as there are any.
        study: The study as loaded.
        out: The folder, made if absent; what else stands in it is left alone.
        curves: See `report_files`.

    Raises:
        UserError: The study names published figures that there are not.
    """
    written = report_files(table, study, curves)
    replace_report(out, written)
    beside = method_views(table, study)
    return Report(out, tuple(out / name for name in written), answer(table), (main_view(table), *beside))


def replace_report(out: Path, written: dict[str, bytes]) -> None:
    """Write a report's files; what the report before had beside them, and nobody has changed since, goes.

    Args:
        out: The folder.
        written: Path within it -> content.
    """
    before = manifests.read(out)
    write_all({out / name: content for name, content in written.items()})
    if isinstance(before, manifests.Manifest):
        for name, digest in before.files.items():
            path = out / name
            ours = name not in written and path.is_file() and out.resolve() in path.resolve().parents
            if ours and manifests.sha256(path.read_bytes()) == digest:
                path.unlink()


def report_files(table: ResultTable, study: Study, curves: pd.DataFrame | None = None) -> dict[str, bytes]:
    """Return the files of a report: path within its folder -> content. Arguments and errors as of `write_report`.

    Args:
        table: The results.
        study: The study as loaded.
        curves: The training curves where the table has no journals to read them from.
    """
    from slws_lab.reports.figures.draw import draw  # only here: importing matplotlib takes long

    views, details = report_views(table, study), contrasts_view(table)
    drawn = draw(table, curves)
    written = {"records.csv": table.to_csv().encode(), **table_files(views, [details], table.study.name)}
    written |= figure_files(drawn)
    written["report.html"] = page(table, views, details, drawn, known_as(study)).encode()
    written["manifest.json"] = manifest(table, study, [*views, details], written).encode()
    return written


def report_views(table: ResultTable, study: Study) -> list[TableView]:
    """Return all tables of a report, the results first."""
    further = [*effects_views(table), *shapley_views(table), *dose_views(table)]
    return [main_view(table), *paper_views(table, study), *further]


def table_files(views: Sequence[TableView], apart: Sequence[TableView], study: str) -> dict[str, bytes]:
    """Return tables as files: each of its own under tables/, and in table.md, table.tex and table.html those that belong together.

    Args:
        views: Tables that are also joined, the main one first.
        apart: Further tables.
        study: Name of the study, for LaTeX's labels.
    """
    printed = {view.name if i else "results": _printed(view, study, "" if not i else f"-{view.name}")
               for i, view in enumerate((*views, *apart))}  # fmt: skip
    shown = list(printed.values())[: len(views)]
    joined = {kind: "\n".join(texts[kind] for texts in shown if kind in texts) for kind in ("md", "tex", "html")}
    own = {f"tables/{name}.{kind}": text for (name, texts), view in zip(printed.items(), (*views, *apart), strict=True)
           for kind, text in texts.items() if view.rows}  # fmt: skip
    return {
        name: text.encode() for name, text in ({f"table.{kind}": text for kind, text in joined.items()} | own).items()
    }


def _printed(view: TableView, study: str, part: str) -> dict[str, str]:
    """Return a table in each format; one without rows says only why, and not in LaTeX and CSV. LaTeX captions name the study."""
    label = f"slws:{study}{part}"
    texts = {"md": to_markdown(view), "html": to_html(view, label=f"{study}{part}")}
    title = view.title if view.title.startswith(study) else f"{study}: {view.title}"
    latex = to_latex(replace(view, title=title), label)
    return texts | ({"tex": latex, "csv": to_csv(view)} if view.rows else {})


def figure_files(drawn: Sequence[Drawn]) -> dict[str, bytes]:
    """Return figures as files, each with the data behind it."""
    kinds = ("pdf", "svg", "png", "csv")
    found = {f"figures/{one.name}.{kind}": getattr(one, kind) for one in drawn for kind in kinds}
    return {name: content for name, content in found.items() if content}
