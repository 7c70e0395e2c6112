"""Confirming what a search found: its best settings and its baseline again, with seeds that it never saw. The test split: `testing`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from slws_lab.analysis import ResultTable
from slws_lab.analysis.searching import Gap, Tested
from slws_lab.analysis.statistics import t_interval
from slws_lab.lab.executing import Outcome, Watch
from slws_lab.lab.inference import known
from slws_lab.lab.project import Project
from slws_lab.lab.reporting import report
from slws_lab.lab.running import Options, run
from slws_lab.lab.shipping import PATIENCE_S, attempt
from slws_lab.lab.testing import test_once
from slws_lab.reports import Report
from slws_lab.reports.search import words as search_words
from slws_lab.search import objectives
from slws_lab.search.reading import name_of
from slws_lab.search.trial import Trial, best
from slws_lab.spec import Arm, Confirm, Recipe, SearchSpec
from slws_lab.spec.handoff import arm_ids, confirmation
from slws_lab.spec.objectives import goal_of
from slws_lab.tracking import FINAL, RunRecord


@dataclass(frozen=True)
class Confirming:
    """A search's best settings, as a study of their own.

    Attributes:
        project: The study that runs them again: `<search>-confirm`.
        search: What is confirmed.
        name: The search's name in its storage, which another space, recipe or objective changes.
        trials: Arm id to its trial in the search; of the baseline None if it was none that counts.
    """

    project: Project
    search: SearchSpec
    name: str
    trials: Mapping[str, Trial | None]

    @cached_property
    def table(self) -> ResultTable:
        """The records of its runs, as they were when first asked for."""
        return ResultTable.of(self.project.study, self.project.design, self.project.workspace)

    @property
    def test_file(self) -> Path:
        """Where what is read of the test split is kept."""
        return self.project.workspace.path / "searches" / f"{self.name}-test.json"

    def best(self) -> Arm | None:
        """Return the best setting by its mean of the search's first objective over all fresh seeds.

        None while runs are missing, where the baseline has not finished with every seed, or where no setting has a value of each.
        """
        baseline, *others = self.project.design.arms
        ended = all(record.status in FINAL for record in self.table.records.values())
        if not ended or any(record.status != "finished" for record in self.table.arm_records(baseline.id)):
            return None
        gaps = [(self._gap(arm), arm) for arm in others]
        means = [(gap.confirmed, arm) for gap, arm in gaps if gap.n == len(self.project.design.seeds)]
        sign = 1 if goal_of(self.search.objectives[0], self.project.study.spec.metric) == "maximize" else -1
        return max(means, key=lambda one: sign * one[0])[1] if means else None

    def gaps(self) -> tuple[Gap, ...]:
        """Return each setting's value in the search beside its mean over fresh seeds, the baseline last.

        The search's value of what it chose is biased by the choice; what the search's own seeds do, they do to the baseline too. Both
        are of the search's first objective, and the interval is Student's t over the fresh seeds.
        """
        arms = self.project.design.arms
        return tuple(self._gap(arm) for arm in (*arms[1:], arms[0]))

    def _gap(self, arm: Arm) -> Gap:
        trial = self.trials[arm.id]
        found = {record.run_id: self._value(arm, record) for record in self.table.arm_records(arm.id)}
        ended = {run_id: value for run_id, value in found.items() if value is not None}
        values = np.array(list(ended.values()))
        low, high = t_interval(values, self.project.study.spec.comparisons.alpha) if len(values) > 1 else (None, None)
        return Gap(
            arm.label,
            None if arm is self.project.design.arms[0] or trial is None else trial.number,
            math.nan if trial is None else trial.values[0],
            float(values.mean()) if len(values) else math.nan,
            low, high, len(values), tuple(ended),
        )  # fmt: skip

    def _value(self, arm: Arm, record: RunRecord) -> float | None:
        """Return a run's value of the objective; None where it has none."""
        if record.status != "finished":
            return None
        costs = self._costs(arm) | objectives.figures([record])
        try:
            value = objectives.values(self.search, self.project.study.spec.metric, [record], costs)[0]
        except objectives.NoValue:  # the gap says of how many seeds it is
            return None
        return value if math.isfinite(value) else None

    def _costs(self, arm: Arm) -> dict[str, float]:
        trial, needed = self.trials[arm.id], objectives.needed(self.search)
        if trial is not None or not needed or not isinstance(arm.recipe, Recipe):
            return dict(trial.figures) if trial is not None else {}
        measured = known(self.project, arm.recipe)
        return {} if measured is None else {name: getattr(measured, name) for name in needed}


@dataclass(frozen=True)
class Confirmed:
    """How confirming ended.

    Attributes:
        confirming: What was confirmed.
        outcome: How executing its runs ended.
        gaps: See `Confirming.gaps`.
        report: Its report; None where it was interrupted.
        tested: The test split, read once; None while runs are missing, or where there is none.
        notes: What a reader must know, a sentence each.
    """

    confirming: Confirming
    outcome: Outcome
    gaps: tuple[Gap, ...]
    report: Report | None = None
    tested: Tested | None = None
    notes: tuple[str, ...] = ()


def confirming(project: Project, trials: Sequence[Trial]) -> Confirming | None:
    """Return what of a search is to be confirmed; None where no trial but the baseline counts.

    Args:
        project: A search.
        trials: Its trials.

    Raises:
        UserError: No fresh seeds are left, or see `confirmation`.
    """
    study, search = project.study, project.study.spec.search
    if search is None:
        raise ValueError("confirming needs a study with `search:`")
    ranked = best(trials, goal_of(search.objectives[0], study.spec.metric), top=len(trials))
    baseline, *ids = arm_ids(study, [{}, *(trial.settings for trial in ranked)])
    first = dict(reversed(list(zip(ids, ranked, strict=True))))  # of trials that are the same training the better one
    top = [i for i in dict.fromkeys(ids) if i != baseline][: (search.confirm or Confirm()).top]
    if not top:
        return None
    again = confirmation(study, [first[i].settings for i in top])
    opened = Project.of(again, project.workspace.path, project.reports)
    return Confirming(opened, search, name_of(study), {arm.id: first.get(arm.id) for arm in opened.design.arms})


def confirm(project: Project, trials: Sequence[Trial], options: Options, watch: Watch) -> Confirmed | None:
    """Run a search's best settings and its baseline with fresh seeds, report them, and read the test split once.

    The same call after an interruption goes on where it stopped. The test split is read when all runs have ended, of the best setting
    by its fresh mean and of the baseline; what was read is kept, and is never read again.

    Args:
        project: A search.
        trials: Its trials.
        options: How to run; `only`, `refresh` and `retry` are of the confirmation's runs.
        watch: Called with the progress.

    Raises:
        UserError: A mistake in the study or the options; nothing has been started then.
        LaunchError: No job can be started here.
    """
    chosen = confirming(project, trials)
    if chosen is None:
        return None
    outcome = run(chosen.project, options, watch)
    if outcome.interrupted:
        return Confirmed(chosen, outcome, chosen.gaps())
    written = report(chosen.project)
    away = outcome.mirror or attempt(chosen.project, PATIENCE_S, report_only=True)
    tested, notes = test_once(chosen.project, chosen.best(), chosen.test_file)
    gaps = chosen.gaps()
    said = tuple(note for note in (search_words.looked_text(gaps, project.study.spec), *notes, away) if note)
    return Confirmed(chosen, outcome, gaps, written, tested, said)
