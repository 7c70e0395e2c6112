"""The plan: what a study consists of, what is done, and what would run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from slws_lab.analysis import ResultTable, allotment
from slws_lab.errors import UserError, nearest
from slws_lab.lab import science
from slws_lab.lab.freshness import Present
from slws_lab.lab.naming import begins
from slws_lab.lab.project import Project
from slws_lab.reports import wording
from slws_lab.spec import Arm, level_text, short_names
from slws_lab.tracking import FINAL, RunRecord


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study and how it stands."""

    arm: Arm
    seed: int
    run_id: str
    record: RunRecord

    @property
    def todo(self) -> bool:
        return self.record.status not in FINAL


@dataclass(frozen=True)
class Plan:
    """The runs that a study wants, breadth first, and what the science tower says of each arm.

    Attributes:
        project: The study.
        runs: Its runs; where seeds are spent as needed, those that are needed as far as is known by now.
        facts: Arm id -> what the science tower says.
        table: The records of all its runs, of those that are not wanted too.
    """

    project: Project
    runs: tuple[PlannedRun, ...]
    facts: dict[str, dict[str, Any]]
    table: ResultTable

    @cached_property
    def stale(self) -> dict[str, list[str]]:
        """Run id -> why it is stale, for runs made by other code, data or packages than there are now."""
        present = Present(self.project.study.root)
        data = {arm_id: facts["data_fingerprint"] for arm_id, facts in self.facts.items()}
        done = (run for run in self.runs if not run.todo)
        return {run.run_id: why for run in done if (why := present.staleness(run.record, data[run.arm.id]))}

    @property
    def possible(self) -> tuple[PlannedRun, ...]:
        """Runs that the study may still want later, as its results will have it: of seeds as needed."""
        wanted = {run.run_id for run in self.runs}
        design = self.project.design
        every = _of(self.project, self.table, {arm.id: len(design.seeds_of(arm.id)) for arm in design.arms})
        return tuple(run for run in every if run.run_id not in wanted and run.todo)

    @cached_property
    def todo(self) -> tuple[PlannedRun, ...]:
        return tuple(run for run in self.runs if run.todo)

    @cached_property
    def by_arm(self) -> dict[str, tuple[PlannedRun, ...]]:
        """Arm id -> its runs among these, by the order of the seeds."""
        found: dict[str, list[PlannedRun]] = {arm.id: [] for arm in self.project.design.arms}
        for run in self.runs:
            found[run.arm.id].append(run)
        return {arm_id: tuple(runs) for arm_id, runs in found.items()}

    def counts(self, arm_id: str) -> Counter[str]:
        """Count an arm's runs by status."""
        return Counter(run.record.status for run in self.by_arm[arm_id])


def plan(project: Project, only: Mapping[str, str] | None = None, asked: science.Asked | None = None) -> Plan:
    """Plan a study, or the part that `only` selects; nothing is started.

    Args:
        project: The study.
        only: Factor (or `seed`) to level; None for all.
        asked: See `science.check`.

    Raises:
        UserError: A name that does not exist, or a selection that selects nothing.
    """
    table = ResultTable.of(project.study, project.design, project.workspace)
    runs = tuple(_select(_runs(project, table), project, only or {}))
    return Plan(project, runs, science.check(project, asked), table)


def _runs(project: Project, table: ResultTable) -> list[PlannedRun]:
    return _of(project, table, allotment(table))


def _of(project: Project, table: ResultTable, allotted: Mapping[str, int]) -> list[PlannedRun]:
    ids = project.design.run_ids
    return [
        PlannedRun(arm, seed, ids[arm.id, seed], table.record(arm.id, seed))
        for i, seed in enumerate(project.design.seeds)
        for arm in project.design.arms
        if i < allotted[arm.id]
    ]


def _select(runs: list[PlannedRun], project: Project, only: Mapping[str, str]) -> list[PlannedRun]:
    names = ["seed", *dict.fromkeys(name for arm in project.design.arms for name in arm.settings)]
    full = {short: name for name, short in short_names(names).items()}
    for given, wanted in only.items():
        name = full.get(given, given)
        if name not in names:
            raise UserError(f"--only {name}={wanted}: nothing is varied under that name", allowed=", ".join(names),
                            todo=nearest(name, names))  # fmt: skip
        levels = list(dict.fromkeys(_level(run, name) for run in runs))
        if wanted not in levels:
            raise UserError(f"--only {name}={wanted}: no such level among the runs left",
                            allowed=", ".join(level for level in levels if level), todo=nearest(wanted, levels))  # fmt: skip
        runs = [run for run in runs if _level(run, name) == wanted]
    return runs


def _level(run: PlannedRun, name: str) -> str:
    """Return a level as labels write it; empty where the factor is off."""
    if name == "seed":
        return str(run.seed)
    return level_text(run.arm.settings[name]) if name in run.arm.settings else ""


def find_runs(project: Project, name: str) -> tuple[list[PlannedRun], bool]:
    """Return the runs that RUN or ARM on the command line means, and whether it named an arm.

    A run is named by its id or the start of it, an arm by its label, by what it changes of the baseline (as tables and figures name it),
    by its id, or by the start of that.

    Raises:
        UserError: Nothing, or more than one thing, has that name.
    """
    runs = _runs(project, ResultTable.of(project.study, project.design, project.workspace))
    by_run = [run for run in runs if run.run_id == name] or [run for run in runs if begins(run.run_id, name)]
    arms = {run.arm.id: run.arm for run in runs}
    names = wording.arm_names(project.design)
    by_arm = (
        [a for a in arms.values() if name in (a.label, a.id)]
        or [a for a in arms.values() if name == names[a.id]]
        or [a for a in arms.values() if a.id.startswith(name)]
    )
    if name and len(by_arm) == 1:
        return [run for run in runs if run.arm.id == by_arm[0].id], True
    if name and len(by_run) == 1:
        return by_run, False
    known = [arm.label for arm in arms.values()] + list(names.values()) + [run.run_id for run in runs]
    what = "more than one run or arm begins so" if by_run or by_arm else "no run or arm of this study"
    raise UserError(f"'{name}': {what}", allowed="a run id, an arm's label or id, or the start of an id",
                    todo=nearest(name, known) or "`slws plan STUDY` lists the arms, `slws status STUDY --json` the run ids")  # fmt: skip
