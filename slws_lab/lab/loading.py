"""Results for notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slws_lab.analysis import ResultTable
from slws_lab.lab.project import Project

if TYPE_CHECKING:
    import pandas as pd


def load_results(study: str, workspace: Path | None = None) -> pd.DataFrame:
    """Return a study's results, one row an arm and seed, as in records.csv.

    Args:
        study: Path of a study file, or its name under studies/.
        workspace: Folder of run folders; None takes the default one.

    Raises:
        UserError: Any mistake in the study.
    """
    return load_table(study, workspace).frame()


def load_table(study: str, workspace: Path | None = None) -> ResultTable:
    """Return a study's results as the functions of `slws_lab.analysis` take them: `contrasts(table)`, `effects(table)`, ...

    Args:
        study: Path of a study file, or its name under studies/.
        workspace: Folder of run folders; None takes the default one.

    Raises:
        UserError: Any mistake in the study.
    """
    project = Project.open(study, workspace)
    return ResultTable.of(project.study, project.design, project.workspace)
