"""Comparing what a search was told with what its runs say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from slws_lab.analysis import ResultTable
from slws_lab.lab.project import Project
from slws_lab.search import objectives
from slws_lab.search.book import Book
from slws_lab.search.trial import Trial
from slws_lab.tracking.audit import Fault


@dataclass
class TrialAudit:
    """What was found of a search.

    Attributes:
        compared: Trials whose values were computed again.
        elsewhere: Trials whose runs are not here: another driver's, in a workspace of its own.
        faults: Trials whose runs say other values.
    """

    compared: int = 0
    elsewhere: int = 0
    faults: list[Fault] = field(default_factory=list)


def audit_trials(project: Project, mend: str) -> TrialAudit:
    """Compute the values of a search's complete trials again from their runs.

    Args:
        project: A search, with its trials.
        mend: The command that searches.
    """
    found, address = TrialAudit(), Book.of(project.study, project.workspace).address
    table = ResultTable.of(project.study, project.design, project.workspace, kept=False)
    arms = _arms(project)
    for trial in (trial for trial in project.trials if trial.state == "complete"):
        again = _values(project, table, trial, arms[trial.number])
        if again is None:
            found.elsewhere += 1
            continue
        found.compared += 1
        if again != list(trial.values):
            begin = f"rm {address.file} && {mend}" if address.file else "begin the search under another name"
            said = f"trial {trial.number} was told {_text(trial.values)}, and its runs say {_text(again)}"
            found.faults.append(Fault(address.file or address.shown, said, f"{begin}: finished runs are used again"))
    return found


def _arms(project: Project) -> dict[int, str]:
    return {
        int(number): arm.id for arm in project.design.arms for number in arm.tags.get("trial", "").split(", ") if number
    }


def _values(project: Project, table: ResultTable, trial: Trial, arm_id: str) -> list[float] | None:
    """Return what a trial's runs say; None where they are not here."""
    records = table.arm_records(arm_id)
    if any(record.attempt == 0 for record in records):
        return None
    search = project.study.spec.search
    assert search is not None
    ended = [record for record in records if record.done]
    try:
        costs = {**trial.figures, **objectives.figures(ended)}
        return objectives.values(search, project.study.spec.metric, ended, costs) if len(ended) == len(records) else []
    except objectives.NoValue:
        return []


def _text(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.10g}" for value in values) or "nothing"
