"""What `slws report` does: writes a study's report, or checks the one that there is."""

from __future__ import annotations

from pathlib import Path

import typer

from slws_lab.cli import show, show_report
from slws_lab.errors import UserError
from slws_lab.lab.project import Project

UP_TO_DATE, STALE = 0, 1


def report(project: Project, strict: bool, forget: bool, json: bool) -> None:
    """Write a report, unless `strict` and the arms differ in what the study does not declare.

    Args:
        project: The study.
        strict: Whether to refuse then.
        forget: Whether to write also where results of the report that there is would not be in it any more.
        json: Whether for machines.
    """
    from slws_lab.analysis import undeclared
    from slws_lab.lab.reporting import report as write_report
    from slws_lab.lab.reporting import results

    found = results(project)
    if strict and (differences := undeclared(found.table)):
        show.refused(project, differences, json)
        raise typer.Exit(STALE)
    show_report.source(project, found, json)
    show.report(project, write_report(project, found, forget=forget), json)


def check(project: Project, files: list[Path], json: bool) -> None:
    """Say whether a report, and copies of its tables, are what would be made now; exit 1 if not."""
    from slws_lab.lab.checking import check as compare

    found = compare(project, files)
    show_report.checked(project, found, json)
    raise typer.Exit(UP_TO_DATE if found.up_to_date else STALE)


def only_with_check(files: list[Path]) -> None:
    """Refuse files where there is nothing to compare them with.

    Raises:
        UserError: There are some.
    """
    if files:
        raise UserError(f"unexpected: {' '.join(map(str, files))}", allowed="files and folders only with --check",
                        todo="add --check to compare them with the report")  # fmt: skip
