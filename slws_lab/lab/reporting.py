"""The report of a study, from its run folders; where there are none, from the records.csv of an earlier report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slws_lab.analysis import ResultTable
from slws_lab.errors import UserError
from slws_lab.lab.project import Project
from slws_lab.reports import Report, write_report
from slws_lab.reports.manifest import Manifest, changed, read
from slws_lab.reports.report import report_files

if TYPE_CHECKING:
    import pandas as pd

FOLDERS, RECORDS = "run folders", "records.csv"
CURVES = "figures/training.csv"


@dataclass(frozen=True)
class Results:
    """What a report is made from.

    Attributes:
        table: The results.
        source: `run folders`, or `records.csv` where there are none.
        curves: The training curves of an earlier report, where the table has no journals to read them from.
    """

    table: ResultTable
    source: str = FOLDERS
    curves: pd.DataFrame | None = None


def report(project: Project, found: Results | None = None) -> Report:
    """Write `reports/<study>/` anew and return what was written.

    Args:
        project: The study.
        found: What it is made from; None reads it.

    Raises:
        UserError: A published result that the study names does not exist, or see `results`.
    """
    found = found or results(project)
    if project.study.spec.search is not None:
        from slws_lab.lab.search_reporting import (
            search_report,
        )  # it reads of a confirmation, which is reported here too

        return search_report(project, found.table)
    return write_report(found.table, project.study, project.report_folder, found.curves)


def files(project: Project, found: Results) -> dict[str, bytes]:
    """Return what `report` would write: path within the report's folder -> content."""
    if project.study.spec.search is not None:
        from slws_lab.lab.search_reporting import search_files

        return search_files(project, found.table)
    return report_files(found.table, project.study, found.curves)


def results(project: Project, *, kept: bool = True) -> Results:
    """Return what a study's report is to be made from: its run folders if there is any, else the records.csv of its report.

    Args:
        project: The study.
        kept: See `ResultTable.of`.

    Raises:
        UserError: There are no run folders, and records.csv was changed, cannot be read, or is of a search, whose trials are not in it.
    """
    path = project.report_folder / RECORDS
    if not path.is_file() or has_folders(project):
        return Results(ResultTable.of(project.study, project.design, project.workspace, kept=kept))
    if project.study.spec.search is not None:
        raise UserError(f"no run folders are here, and of a search not all is in {RECORDS}", where=str(path),
                        todo="report it where its storage and its run folders are; the report here is left as it is")  # fmt: skip
    made = read(project.report_folder)
    own = (
        {name: digest for name, digest in made.files.items() if name in (RECORDS, CURVES)}
        if isinstance(made, Manifest)
        else {}
    )
    if faults := changed(project.report_folder, own):
        raise UserError("no run folders are here, and what the report would be made from is not as it was written: "
                        f"{faults[0].what}", where=str(faults[0].file), todo="restore the file")  # fmt: skip
    return Results(from_records(project, path), RECORDS, _curves(project.report_folder / CURVES))


def has_folders(project: Project) -> bool:
    """Say whether any run of a study has a folder in the workspace."""
    return any(project.workspace.run(run_id).path.is_dir() for run_id in project.design.run_ids.values())


def from_records(project: Project, path: Path) -> ResultTable:
    """Read a study's results from a records.csv.

    Raises:
        UserError: It cannot be read, or is of another study.
    """
    try:
        return ResultTable.from_csv(project.study, project.design, path.read_bytes().decode())
    except UnicodeDecodeError as error:
        raise UserError(f"{RECORDS} is no text", where=str(path), todo="restore the file") from error
    except UserError as error:
        raise error.at(f"{path}, {error.where}") from None


def _curves(path: Path) -> pd.DataFrame | None:
    from slws_lab.reports.figures.data import read_curves  # pandas takes long to import

    return read_curves(path.read_text(encoding="utf-8")) if path.is_file() else None
