"""How a plan looks on the terminal: the arms, what would run, what it costs, and what so many seeds can find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from slws_lab.analysis import Prospects
from slws_lab.analysis.power import MAX_SEEDS, POWER, Reach
from slws_lab.cli.terminal import as_json, line, out, table, whole_words
from slws_lab.lab.planning import Plan
from slws_lab.reports import wording
from slws_lab.spec import Arm, Recipe, StudySpec, study_argument

NAMED = 3  # arms in one sentence

if TYPE_CHECKING:  # what foresees and executes takes time to import
    from slws_lab.lab.foreseeing import Outlook
    from slws_lab.lab.history import Range


def plan(state: Plan, ahead: Outlook, json: bool) -> None:
    """Show a study's arms with their roles, what would run at which cost, and what that many seeds can find."""
    if json:
        as_json({**plan_json(state), **_outlook_json(ahead)})
        return
    design, spec = state.project.design, state.project.study.spec
    out.print(f"[bold]{spec.name}[/bold]  {escape(spec.question)}", soft_wrap=True)
    out.print(_arms(state, ahead))
    if ahead.obstacle:
        line(f"it cannot run here: {ahead.obstacle}")
    line(_size(state))
    for text in (*_cost(state, ahead), *_prospects(spec, ahead.prospects)):
        line(text)
    for factors in ahead.confounded:
        line(f"{' and '.join(factors)} change together: no number of seeds tells their effects apart")
    if design.excluded:
        line(f"{design.excluded} combinations are left out by `exclude`")
    for duplicate in design.duplicates:
        line(f"{duplicate.settings} gives the same training as '{design.arm(duplicate.arm).label}': run once")
    stale(state)
    line(f"run it: slws run {study_argument(state.project.study.source.path)}" if state.todo else "nothing to run")


def stale(state: Plan) -> None:
    """Say how many runs are stale, and why the first of them is."""
    if state.stale:
        run_id, reasons = next(iter(state.stale.items()))
        line(
            f"{len(state.stale)} runs are stale (`slws run STUDY --refresh` reruns them), e.g. {run_id}: {'; '.join(reasons)}"
        )


def plan_json(state: Plan) -> dict[str, Any]:
    """Return a plan as a machine reads it."""
    design, metric = state.project.design, state.project.study.spec.metric
    arms = [
        {"id": arm.id, "label": arm.label, "settings": arm.settings, "roles": [asdict(role) for role in arm.roles],
         "seeds": design.seeds_of(arm.id)}
        for arm in design.arms
    ]  # fmt: skip
    runs = [
        {"run_id": run.run_id, "arm": run.arm.id, "seed": run.seed, "status": run.record.status, "cause": run.record.cause,
         "attempt": run.record.attempt, "attempts": run.record.attempts, "differs": run.record.differs,
         "stale": state.stale.get(run.run_id, []),
         "value": run.record.value(metric)}
        for run in state.runs
    ]  # fmt: skip
    return {"study": state.project.study.spec.name, "seeds": design.seeds, "first_seeds": design.first_seeds, "arms": arms,
            "runs": runs, "todo": len(state.todo), "most_runs": len(design.run_ids),
            "excluded": design.excluded, "duplicates": [asdict(d) for d in design.duplicates]}  # fmt: skip


def device_hours(hours: float) -> str:
    """Print hours of devices: `0.5 device-hours`."""
    return f"{hours:g} device-hour{'' if hours == 1 else 's'}"


def _outlook_json(ahead: Outlook) -> dict[str, Any]:
    found = asdict(ahead)
    found["prospects"] |= {"smallest_in_unit": ahead.prospects.smallest_in_unit, "power": POWER}
    return found


def _arms(state: Plan, ahead: Outlook) -> Any:
    design, known = state.project.design, ahead.cost.per_arm
    drawn = table("arm", "role", "compared to", "params", "done", "to run", *(["a run takes"] if known else []))
    names, rows = wording.arm_names(design), wording.row_names(design)
    selected = {run.arm.id for run in state.runs}
    for arm in design.arms:
        if arm.id not in selected:
            continue
        references = dict.fromkeys(names[role.reference] for role in arm.roles if role.reference)
        counts = state.counts(arm.id)
        done = counts["finished"] + counts["diverged"]
        takes = _duration(known[arm.id].seconds.likely) if arm.id in known else wording.NOTHING
        drawn.add_row(escape(rows[arm.id]), _role(arm), escape("; ".join(references)), _params(state.facts[arm.id]),
                      str(done), str(sum(counts.values()) - done), *([takes] if known else []))  # fmt: skip
    return whole_words(drawn, out.width)


def _params(facts: dict[str, Any]) -> str:
    """Print a model's parameters; of a command nobody knows them."""
    return wording.NOTHING if facts["params"] is None else f"{facts['params']:,}"


def _size(state: Plan) -> str:
    """Say how many runs there are; of seeds as needed, how many at most."""
    design, selected = state.project.design, {run.arm.id: run.arm for run in state.runs}
    arms = wording.plural(len(selected), "arm")
    runs = f"{wording.plural(len(state.runs), 'run')}, {len(state.todo)} to run"
    if design.first_seeds is not None:
        most = len(design.arms) * len(design.seeds)
        return (
            f"{arms} x {len(design.first_seeds)} to {len(design.seeds)} seeds, as needed: {runs}; {most} runs at most"
        )
    own = {design.seeds_of(arm_id) for arm_id in selected}
    named = f" ({', '.join(map(str, *own))})" if len(own) == 1 and len(*own) <= 10 else ""
    return f"{arms} x {wording.seeds(design, selected.values())}{named}: {runs}"


def _cost(state: Plan, ahead: Outlook) -> list[str]:
    """Say what the runs that are left take, of time and disk, and how that stands to the budget."""
    said, cost = [], ahead.cost
    if cost.device_hours is not None and cost.wall_hours is not None and state.todo:
        sources = ", ".join(
            dict.fromkeys(cost.per_arm[run.arm.id].source for run in state.todo if run.arm.id in cost.per_arm)
        )
        wait = (
            f", {_hours(cost.wall_hours)} of waiting with {wording.plural(ahead.slots, 'run')} at a time"
            if ahead.slots
            else ""
        )
        most = f"; {_duration(3600 * ahead.most.likely)} of devices at most" if ahead.most and state.possible else ""
        said.append(
            f"cost: {_hours(cost.device_hours)} of devices{wait}{most} (from {sources}; starting workers not counted)"
        )
    said += ahead.packed
    if cost.unknown:
        probe = "; `slws plan STUDY --probe` measures a few steps" if _can_be_probed(state) else ""
        said.append(f"cost of {_unknown(state, cost.unknown)} has finished{probe}")
    if state.todo:
        more = ", the files of the command not counted" if cost.more_files else ""
        said.append(f"disk: {cost.disk_gb:.2g} GB to come{more}, {cost.free_gb:.4g} GB free")
    if ahead.budget is not None and ahead.spent is not None:
        left, wanted = ahead.budget - ahead.spent, ahead.most
        sure = cost.device_hours
        short = " and will not suffice" if sure is not None and sure.low > left else ""
        short = short or (" and may not suffice" if wanted is not None and wanted.high > left else "")
        said.append(
            f"budget: {device_hours(ahead.budget)}, {ahead.spent:.3g} spent; running stops before it is exceeded{short}"
        )
    return said


def _unknown(state: Plan, labels: Sequence[str]) -> str:
    """Say of which arms nobody knows the cost; of many it names the first few."""
    if len(labels) == len({run.arm.id for run in state.todo}):
        return "any arm: not known before a run of it"
    short = wording.arm_names(state.project.design)
    names = [short[arm.id] for arm in state.project.design.arms if arm.label in labels]
    if len(names) == 1:
        return f"{names[0]}: not known before a run of it"
    return f"{len(names)} arms ({'; '.join([*names[:NAMED], *['...'] * (len(names) > NAMED)])}): not known before a run of each"


def _can_be_probed(state: Plan) -> bool:
    """Only a training of this package has steps that can be measured."""
    return all(isinstance(arm.recipe, Recipe) for arm in state.project.design.arms)


def _prospects(spec: StudySpec, ahead: Prospects) -> list[str]:
    """Say what the seeds can find, and how many the margin needs, as far as it can be known."""
    rules, chance = spec.comparisons, f"{POWER:.0%} power"
    if not ahead.contrasts:
        return []
    contrasts = wording.plural(ahead.contrasts, "contrast") + (
        " in the largest block" if rules.family == "block" else ""
    )
    others = [f"elsewhere {_found(spec, other, ahead.spread)}" for other in ahead.others]
    said = [f"{contrasts}; {_found(spec, ahead, ahead.spread)}", *others]
    if rules.margin is None or all(reach.smallest is None for reach in (ahead, *ahead.others)):
        return said
    margin = f"the margin of {wording.sized(rules.margin, spec.metric)}"
    if ahead.spread is None:
        return [*said, f"how many seeds {margin} needs is known once two runs a contrast have finished"]
    if ahead.margin_seeds is None:
        return [*said, f"{margin} needs more than {MAX_SEEDS} seeds to show arms equivalent that are ({chance})"]
    needs = wording.plural(ahead.margin_seeds, "seed")
    return [*said, f"{margin} needs {needs} to show arms equivalent that are ({chance})"]


def _found(spec: StudySpec, reach: Reach, spread: float | None) -> str:
    """Say what contrasts of so many seeds find, in the metric's unit too where the spread of their pairs is known."""
    seeds, rules = wording.plural(reach.seeds, "seed"), spec.comparisons
    if reach.smallest is None:
        return f"{seeds}: no verdict is given under 3"
    unit = "" if spread is None else f", now {wording.sized(float(f'{reach.smallest * spread:.3g}'), spec.metric)}"
    how = (
        "at the last look, corrected for all"
        if spec.adaptive
        else f"at Holm's first step, alpha {rules.alpha:g}/{reach.contrasts}"
    )
    return (
        f"{seeds} find a mean difference of {reach.smallest:.3g} standard deviations of the paired differences{unit} "
        f"({POWER:.0%} power {how})"
    )


def _role(arm: Arm) -> str:
    return " + ".join(dict.fromkeys(role.text for role in arm.roles))


def _hours(hours: Range) -> str:
    """Print a range of hours: `12 min (10 min to 15 min)`."""
    low, likely, high = (_duration(3600 * part) for part in (hours.low, hours.likely, hours.high))
    return likely if low == high else f"{likely} ({low} to {high})"


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} s"
