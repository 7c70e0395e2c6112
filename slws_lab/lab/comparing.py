"""Comparing two studies: what they share, where they disagree, and the tables that show it."""

from __future__ import annotations

from pathlib import Path

from slws_lab.errors import UserError
from slws_lab.lab.project import Project
from slws_lab.lab.reporting import results
from slws_lab.reports.comparison import Comparison, Side
from slws_lab.tracking.files import write_all


def compare(first: Project, second: Project) -> Comparison:
    """Return two studies side by side, each from its run folders, or from its report's records.csv where there are none.

    Args:
        first: A study.
        second: Another one, of this project or another.

    Raises:
        UserError: The records of one cannot be read.
    """
    names = [project.study.spec.name for project in (first, second)]
    if names[0] == names[1]:
        names = [f"{names[0]} ({which})" for which in ("first", "second")]
    one, other = (
        Side(name, results(project).table, project.workspace.path.resolve())
        for name, project in zip(names, (first, second), strict=True)
    )
    return Comparison(one, other)


def write_comparison(found: Comparison, folder: Path) -> list[Path]:
    """Write comparison.md, .tex and .html, and each table as CSV; return the files.

    Args:
        found: The comparison.
        folder: Made if absent; files of these names are replaced, what else stands in it is left alone.

    Raises:
        UserError: The folder is a file.
    """
    from slws_lab.reports.tables.comparison import comparison_files

    if folder.exists() and not folder.is_dir():
        raise UserError("--out is not a folder", where=str(folder), todo="name a folder")
    written = {folder / name: content for name, content in comparison_files(found).items()}
    write_all(written)
    return list(written)
