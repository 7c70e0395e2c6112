"""What a study will cost and what it can find, before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass, replace

from slws_lab.analysis import Prospects, confounded, prospects
from slws_lab.errors import UserError
from slws_lab.lab.costing import Cost, cost
from slws_lab.lab.executing import make_launcher
from slws_lab.lab.history import Range
from slws_lab.lab.needs import packed
from slws_lab.lab.planning import Plan
from slws_lab.lab.spending import device_hours
from slws_lab.launch import inventory
from slws_lab.spec import Recipe


@dataclass(frozen=True)
class Outlook:
    """What lies ahead of a study.

    Attributes:
        cost: What the runs that are left cost, of those that are known to be needed.
        most: Device-hours if seeds as needed all are; the same as the cost's elsewhere. None where nobody knows.
        prospects: What the seeds can find.
        confounded: Factors whose effects the arms cannot tell apart.
        slots: How many runs are at work at a time; 0 where none can run.
        obstacle: Why none can run here; empty where they can.
        budget: Device-hours that the study may take; None for no limit.
        spent: Device-hours that it has taken; None without a budget.
        packed: How runs will share each kind of GPU, in words, as far as that was measured.
    """

    cost: Cost
    most: Range | None
    prospects: Prospects
    confounded: tuple[tuple[str, ...], ...]
    slots: int
    obstacle: str = ""
    budget: float | None = None
    spent: float | None = None
    packed: tuple[str, ...] = ()


def foresee(state: Plan, launcher: str = "local", *, probe: bool = False) -> Outlook:
    """Return what lies ahead of a planned study.

    Args:
        state: The plan.
        launcher: Name of the launcher that would run it.
        probe: Whether to measure a few steps of each shape of which no finished run tells.

    Raises:
        UserError: The launcher does not exist, a command is to be probed, or a probe finds what does not fit.
        ScienceError: A probe fails, for want of memory for example.
    """
    project, spec = state.project, state.project.study.spec
    if probe and not all(isinstance(arm.recipe, Recipe) for arm in project.design.arms):
        raise UserError("a command's steps cannot be measured: only it knows them", where="--probe",
                        todo="leave it out; the cost is known once a run has finished")  # fmt: skip
    launching, slots, obstacle = make_launcher(launcher), 0, ""
    try:
        slots = launching.slots(spec.resources, project.design.ranks)
    except UserError as error:
        obstacle = error.given
    ahead = cost(project, state.todo, state.facts, max(slots, 1), probe=probe and not obstacle)
    later = cost(project, state.possible, state.facts, max(slots, 1)).device_hours
    most = (
        ahead.device_hours if later is None or ahead.device_hours is None else Range.total([ahead.device_hours, later])
    )
    found = Outlook(ahead, most, prospects(state.table), confounded(project.design), slots, obstacle,
                    packed=_packed(state) if launcher == "local" and not obstacle else ())  # fmt: skip
    if spec.budget is None:
        return found
    return replace(found, budget=spec.budget.device_hours, spent=device_hours(project))


def _packed(state: Plan) -> tuple[str, ...]:
    """Say how the runs that are left will share GPUs."""
    project = state.project
    if project.study.spec.resources.gpus == 0 or project.design.ranks > 1:
        return ()
    recipes = {run.arm.id: run.arm.recipe for run in state.todo}.values()
    return tuple(dict.fromkeys(map(str, packed(project, recipes, inventory.gpus()))))
