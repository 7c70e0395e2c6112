"""What a study will cost and what it can find, before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass, replace

from slws_lab.analysis import Prospects, confounded, prospects
from slws_lab.lab.costing import Cost, cost
from slws_lab.lab.executing import make_launcher
from slws_lab.lab.planning import Plan
from slws_lab.lab.spending import device_hours


@dataclass(frozen=True)
class Outlook:
    """What lies ahead of a study.

    Attributes:
        cost: What the runs that are left cost.
        prospects: What the seeds can find.
        confounded: Factors whose effects the arms cannot tell apart.
        slots: How many runs are at work at a time.
        budget: Device-hours that the study may take; None for no limit.
        spent: Device-hours that it has taken; None without a budget.
    """

    cost: Cost
    prospects: Prospects
    confounded: tuple[tuple[str, ...], ...]
    slots: int
    budget: float | None = None
    spent: float | None = None


def foresee(state: Plan, launcher: str = "local", *, probe: bool = False) -> Outlook:
    """Return what lies ahead of a planned study.

    Args:
        state: The plan.
        launcher: Name of the launcher that would run it.
        probe: Whether to measure a few steps of each shape of which no finished run tells.

    Raises:
        UserError: The launcher does not exist or has not what a run asks for, or a probe finds what does not fit.
        ScienceError: A probe fails, for want of memory for example.
    """
    project, spec = state.project, state.project.study.spec
    slots = make_launcher(launcher).slots(spec.resources, project.design.ranks)
    ahead = cost(project, state.todo, state.facts, slots, probe=probe)
    found = Outlook(ahead, prospects(state.table), confounded(project.design), slots)
    if spec.budget is None:
        return found
    return replace(found, budget=spec.budget.device_hours, spent=device_hours(project))
