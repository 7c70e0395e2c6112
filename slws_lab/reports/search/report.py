"""Writing the report of a search: all files of reports/<study>/, each whole, the same bytes for the same trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slws_lab.analysis import ResultTable
from slws_lab.analysis.searching import SearchFindings
from slws_lab.reports.formats import to_html, to_latex, to_markdown
from slws_lab.reports.manifest import manifest
from slws_lab.reports.report import Report
from slws_lab.reports.search import words as search_words
from slws_lab.reports.search.page import Confirmed, Shown, search_page
from slws_lab.reports.search.tables import best_view, gap_view, runs_of, trials_view
from slws_lab.reports.view import TableView
from slws_lab.spec import Study
from slws_lab.tracking.files import write_all


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
    from slws_lab.reports.search.data import figures_csv, trials_csv  # pandas and matplotlib take long to import
    from slws_lab.reports.search.figures import draw_search

    confirmed = confirmed or Confirmed()
    gaps = confirmed.gaps
    views = [best_view(found, table), *([gap_view(gaps, table)] if gaps else [])]
    trials, drawn = trials_view(found, table), draw_search(found, table.study)
    written = {
        "records.csv": table.to_csv().encode(),
        "trials.csv": trials_csv(found, table.study, runs_of(found, table)),
        **_tables(views, study.spec.name),
        **{f"search/{name}.csv": content for name, content in figures_csv(found).items()},
        **{f"figures/{one.name}.{kind}": getattr(one, kind) for one in drawn for kind in ("png", "svg")},
    }
    shown = Shown(views[0], trials, views[1] if gaps else None, drawn)
    written["report.html"] = search_page(found, table, shown, confirmed, out).encode()
    written["manifest.json"] = manifest(table, study, [*views, trials], written).encode()
    write_all({out / name: content for name, content in written.items()})
    answer = search_words.answer(found, table.study, gaps)
    return Report(out, tuple(out / name for name in written), answer, tuple(views))


def _tables(views: Sequence[TableView], name: str) -> dict[str, bytes]:
    labels = [f"slws:{name}", *(f"slws:{name}-{view.name}" for view in views[1:])]
    latex = [to_latex(view, label) for view, label in zip(views, labels, strict=True) if view.rows]
    joined = {"md": map(to_markdown, views), "tex": latex, "html": map(to_html, views)}
    return {f"table.{kind}": "\n".join(texts).encode() for kind, texts in joined.items()}
