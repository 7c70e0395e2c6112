"""Writing the report of a search: all files of reports/<study>/, each whole, the same bytes for the same trials."""

from __future__ import annotations

from pathlib import Path

from slws_lab.analysis import ResultTable
from slws_lab.analysis.searching import SearchFindings
from slws_lab.reports.manifest import manifest
from slws_lab.reports.report import Report, figure_files, replace_report, table_files
from slws_lab.reports.search import words as search_words
from slws_lab.reports.search.page import Confirmed, Shown, search_page
from slws_lab.reports.search.tables import best_view, gap_view, runs_of, trials_view
from slws_lab.reports.view import TableView
from slws_lab.spec import Study


def write_search_report(
    found: SearchFindings,
    table: ResultTable,
    study: Study,
    out: Path,
    confirmed: Confirmed | None = None,
) -> Report:
    """Write records.csv, trials.csv, the tables, the figures with their data, report.html and manifest.json.

    Args:
        found: What the search found, as far as there is anything.
        table: The results of all its trials.
        study: The study as loaded.
        out: The folder, made if absent; what else stands in it is left alone.
        confirmed: How the best were run again; None if they were not.
    """
    confirmed = confirmed or Confirmed()
    written = search_report_files(found, table, study, out, confirmed)
    replace_report(out, written)
    answer = search_words.answer(found, table.study, confirmed.gaps)
    return Report(out, tuple(out / name for name in written), answer, tuple(_views(found, table, confirmed)))


def search_report_files(
    found: SearchFindings, table: ResultTable, study: Study, out: Path, confirmed: Confirmed
) -> dict[str, bytes]:
    """Return the files of a search's report: path within its folder -> content. Arguments as of `write_search_report`."""
    from slws_lab.reports.search.data import figures_csv, trials_csv  # pandas and matplotlib take long to import
    from slws_lab.reports.search.figures import draw_search

    views = _views(found, table, confirmed)
    trials, drawn = trials_view(found, table), draw_search(found, table.study)
    written = {
        "records.csv": table.to_csv().encode(),
        "trials.csv": trials_csv(found, table.study, runs_of(found, table)),
        **table_files(views, [trials], study.spec.name),
        **{f"search/{name}.csv": content for name, content in figures_csv(found).items()},
        **figure_files(drawn),
    }
    shown = Shown(views[0], trials, views[1] if confirmed.gaps else None, drawn)
    written["report.html"] = search_page(found, table, shown, confirmed, out).encode()
    written["manifest.json"] = manifest(table, study, [*views, trials], written).encode()
    return written


def _views(found: SearchFindings, table: ResultTable, confirmed: Confirmed) -> list[TableView]:
    return [best_view(found, table), *([gap_view(confirmed.gaps, table)] if confirmed.gaps else [])]
