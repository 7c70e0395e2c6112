"""The report of a search, and of its confirmation if that was begun."""

from __future__ import annotations

from slws_lab.analysis import ResultTable
from slws_lab.analysis.searching import SearchFindings
from slws_lab.lab.confirming import Confirming
from slws_lab.lab.project import Project
from slws_lab.lab.standing import Standing
from slws_lab.lab.testing import read_before
from slws_lab.reports import Report, answer
from slws_lab.reports.report import write_report
from slws_lab.reports.search.page import Confirmed
from slws_lab.reports.search.report import search_report_files, write_search_report
from slws_lab.search.findings import findings
from slws_lab.spec import total_epochs


def search_report(project: Project, table: ResultTable) -> Report:
    """Write `reports/<search>/` anew, and before it `reports/<search>-confirm/` where the best trials run again.

    Args:
        project: A search, with the trials that it has by now.
        table: The results of their runs.
    """
    again = begun_confirmation(project)
    if again is not None:
        write_report(again.table, again.project.study, again.project.report_folder)
    return write_search_report(_found(project), table, project.study, project.report_folder, _confirmed(again))


def search_files(project: Project, table: ResultTable) -> dict[str, bytes]:
    """Return what `search_report` would write into `reports/<search>/`: path within it -> content."""
    confirmed = _confirmed(begun_confirmation(project))
    return search_report_files(_found(project), table, project.study, project.report_folder, confirmed)


def begun_confirmation(project: Project) -> Confirming | None:
    """Return the study that runs a search's best trials again; None where none of its runs has begun."""
    again = Standing.of(project).confirming
    if again is None or all(record.status == "pending" for record in again.table.records.values()):
        return None
    return again


def _found(project: Project) -> SearchFindings:
    baseline = project.design.arms[0]
    return findings(
        project.trials, project.study.spec, baseline=baseline.settings, epochs=total_epochs(baseline.recipe)
    )


def _confirmed(again: Confirming | None) -> Confirmed:
    if again is None:
        return Confirmed()
    shown = Report(again.project.report_folder, (), answer(again.table), ())
    return Confirmed(shown, again.gaps(), read_before(again.project, again.test_file))
