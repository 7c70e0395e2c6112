"""The report of a search, and of its confirmation if that was begun."""

from __future__ import annotations

from slws_lab.analysis import ResultTable
from slws_lab.lab.project import Project
from slws_lab.lab.standing import Standing
from slws_lab.lab.testing import read_before
from slws_lab.reports import Report
from slws_lab.reports.report import write_report
from slws_lab.reports.search.page import Confirmed
from slws_lab.reports.search.report import write_search_report
from slws_lab.search.findings import findings
from slws_lab.spec import total_epochs


def search_report(project: Project, table: ResultTable) -> Report:
    """Write `reports/<search>/` anew, and before it `reports/<search>-confirm/` where the best trials run again.

    Args:
        project: A search, with the trials that it has by now.
        table: The results of their runs.
    """
    baseline = project.design.arms[0]
    found = findings(
        project.trials, project.study.spec, baseline=baseline.settings, epochs=total_epochs(baseline.recipe)
    )
    again, confirmed = Standing.of(project).confirming, Confirmed()
    if again is not None and any(record.status != "pending" for record in again.table.records.values()):
        written = write_report(again.table, again.project.study, again.project.report_folder)
        confirmed = Confirmed(written, again.gaps(), read_before(again.project, again.test_file))
    return write_search_report(found, table, project.study, project.report_folder, confirmed)
