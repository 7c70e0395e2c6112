"""The report of a study, from its run folders; where there are none, from the records.csv of an earlier report."""

from __future__ import annotations

import csv
import io
import itertools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slws_lab.analysis import ResultTable
from slws_lab.errors import UserError
from slws_lab.lab.project import Project
from slws_lab.reports import Report, write_report
from slws_lab.reports.manifest import Manifest, changed, read
from slws_lab.reports.report import report_files
from slws_lab.tracking import FINAL
from slws_lab.tracking.files import writing

if TYPE_CHECKING:
    import pandas as pd

FOLDERS, RECORDS = "run folders", "records.csv"
CURVES = "figures/training.csv"
BEFORE = "-before"  # what the name of a report ends in that had results which are not here any more


@dataclass(frozen=True)
class Results:
    """What a report is made from.

    Attributes:
        table: The results.
        source: `run folders`, or `records.csv` where there are none.
        curves: The training curves of an earlier report, where the table has no journals to read them from.
        lost: What of an earlier report cannot be made again, as a sentence; empty for nothing.
    """

    table: ResultTable
    source: str = FOLDERS
    curves: pd.DataFrame | None = None
    lost: str = ""


def report(project: Project, found: Results | None = None, *, forget: bool = True) -> Report:
    """Write `reports/<study>/` anew and return what was written.

    Nothing is lost by it: where the report there has results that are not here any more, it is kept as `reports/<study>-before`.

    Args:
        project: The study.
        found: What it is made from; None reads it.
        forget: Whether to write also where the report there has results that are not here any more.

    Raises:
        UserError: There are such results and they are not to be forgotten, a published result that the study names does not exist, or
            see `results`.
    """
    found = found or results(project)
    if gone := forgotten(project, found):
        if not forget:
            raise _would_forget(project, gone)
        _keep(project.report_folder)
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
    curves = _curves(project.report_folder / CURVES)
    lost = f"{CURVES} is not here: the training curves are left out" if curves is None and not own else ""
    return Results(from_records(project, path), RECORDS, curves, lost)


def forgotten(project: Project, found: Results) -> list[str]:
    """Return the runs that have numbers in the report that there is, and no result in what it would be made from now."""
    folder, now = project.report_folder, found.table.records
    made = read(folder)
    if isinstance(made, Manifest):
        ended = [run_id for run_id, run in made.runs.items() if run.get("status") in FINAL]
    else:
        path = folder / RECORDS
        rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8", errors="replace"))) if path.is_file() else ()
        ended = [str(row.get("run_id")) for row in rows if row.get("status") in FINAL]
    return [run_id for run_id in ended if run_id in now and found.table.result_sha256(run_id) is None]


def _would_forget(project: Project, gone: list[str]) -> UserError:
    from slws_lab.spec.handoff import known_as

    runs = f"{len(gone)} runs of the report have" if len(gone) > 1 else "1 run of the report has"
    return UserError(f"{runs} no result here, so that a new report would be without: {gone[0]}{', ...' * (len(gone) > 1)}",
                     where=str(project.report_folder), allowed="a report where all its runs are, or none (it is then made of itself)",
                     todo=f"bring the run folders here, `slws run {known_as(project.study)}` makes them again, "
                     "or write without them: --forget (the report that is there is kept beside it)")  # fmt: skip


def _keep(folder: Path) -> None:
    """Copy a report beside itself, under a name that is free."""
    names = (f"{folder.name}{BEFORE}{f'-{number}' if number > 1 else ''}" for number in itertools.count(1))
    kept = next(path for name in names if not (path := folder.with_name(name)).exists())
    with writing(kept):
        stage = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{kept.name}.", suffix=".tmp"))
        try:
            shutil.copytree(folder, stage / "report").rename(kept)
        finally:
            shutil.rmtree(stage)


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

    try:
        return read_curves(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{CURVES} cannot be read: {str(error).splitlines()[0]}", where=str(path),
                        todo="restore the file; without it the figures of training are left out") from error  # fmt: skip
