"""The report of a study, from its run folders alone."""

from __future__ import annotations

from slws_lab.analysis import ResultTable
from slws_lab.lab.project import Project
from slws_lab.reports import Report, write_report


def report(project: Project) -> Report:
    """Write `reports/<study>/` anew and return what was written.

    Raises:
        UserError: A published result that the study names does not exist.
    """
    table = ResultTable.of(project.study, project.design, project.workspace)
    if project.study.spec.search is not None:
        from slws_lab.lab.search_reporting import (
            search_report,  # it reads of a confirmation, which is reported here too
        )

        return search_report(project, table)
    return write_report(table, project.study, project.report_folder)
