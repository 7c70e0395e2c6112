"""A study's budget while it runs: which runs still fit, and when to stop before it is exceeded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from slws_lab.lab.costing import remaining
from slws_lab.lab.planning import PlannedRun
from slws_lab.lab.project import Project
from slws_lab.tracking import spent

HOUR_S = 3600.0
RESERVE_S = 3.0  # of each run in hand: what a stop with a checkpoint takes, and what is not seen between two looks


def device_hours(project: Project) -> float:
    """Return the device-hours that all attempts at a study's runs have taken, whoever made them."""
    return sum(
        project.design.arm(arm_id).recipe.ranks * spent.seconds(attempt)
        for (arm_id, _), run_id in project.design.run_ids.items()
        for attempt in project.workspace.run(run_id).attempts()
    ) / HOUR_S  # fmt: skip


@dataclass
class Purse:
    """What is left of a budget while runs are at work.

    Attributes:
        limit_s: Device-seconds that may be spent in all.
        spent_s: Device-seconds spent so far.
    """

    limit_s: float
    spent_s: float
    _looked: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, project: Project) -> Purse | None:
        """Return the purse of a study with a budget, as its runs have left it; None without one."""
        budget = project.study.spec.budget
        return None if budget is None else cls(budget.device_hours * HOUR_S, device_hours(project) * HOUR_S)

    def count(self, project: Project) -> None:
        """Take what has been spent from the runs themselves: other processes may have worked on them too."""
        self.spent_s = device_hours(project) * HOUR_S

    def look(self, working: int) -> bool:
        """Count the time since the last look for so many devices at work, and return whether it is time to stop."""
        now = time.monotonic()
        self.spent_s += working * (now - self._looked)
        self._looked = now
        return self.spent_s + working * RESERVE_S >= self.limit_s

    def affordable(self, runs: Sequence[PlannedRun], seconds: dict[str, float], slots: int) -> list[PlannedRun]:
        """Return the first of these runs, as far as what they are likely to cost fits into what is left.

        Args:
            runs: Runs in the order in which they are wanted.
            seconds: Arm id -> the device-seconds that a run of it is likely to take; an arm that is absent is not known yet.
            slots: How many runs are at work at a time. As many of unknown cost are taken, so that it becomes known.
        """
        left, taken, unknown = self.limit_s - self.spent_s, list[PlannedRun](), 0
        for run in runs:
            cost = seconds.get(run.arm.id)
            if cost is None:
                unknown += 1
            else:
                left -= cost * remaining(run)
            if left <= RESERVE_S or unknown > slots:
                break
            taken.append(run)
        return taken
