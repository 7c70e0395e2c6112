"""How a search looks on the terminal: its space and cost before, its trials and what is confirmed after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from slws_lab.cli.show import ui_command, views
from slws_lab.cli.terminal import as_json, err, line, out, table
from slws_lab.lab.standing import Standing
from slws_lab.reports import wording
from slws_lab.reports.search import words as search_words
from slws_lab.search.trial import front
from slws_lab.spec import level_text, study_argument
from slws_lab.spec.dimension import Dimension
from slws_lab.spec.levels import Level, NamedLevel

if TYPE_CHECKING:  # what executes takes time to import
    from slws_lab.lab.confirming import Confirmed
    from slws_lab.lab.executing import Outcome
    from slws_lab.lab.foreseeing import Outlook
    from slws_lab.lab.planning import PlannedRun
    from slws_lab.lab.triage import Lost

COLOURS = {
    "complete": "green",
    "pruned": "cyan",
    "failed": "red",
    "running": "yellow",
    "infeasible": "magenta",
}
SHOWN = 10


def plan(state: Standing, ahead: Outlook, json: bool) -> None:
    """Show the space, how it is searched, and what that takes."""
    study, search = state.project.study, state.search
    seconds = [expected.seconds.likely for expected in ahead.cost.per_arm.values()]
    likely = max(seconds, default=None)
    if json:
        as_json({
            "name": study.spec.name, "question": study.spec.question, "search": search.model_dump(mode="json"),
            "baseline": study.spec.baseline, "trials": dict(state.counts), "ended": state.ended, "complete": state.complete,
            "seconds_a_run": likely, "slots": ahead.slots,
        })  # fmt: skip
        return
    out.print(f"[bold]{study.spec.name}[/]  {escape(study.spec.question)}", soft_wrap=True)
    drawn = table("dimension", "where it looks", "only where", "baseline")
    for name, dimension in search.space.items():
        when = "; ".join(
            f"{other} is {' or '.join(map(level_text, levels))}" for other, levels in dimension.when.items()
        )
        drawn.add_row(escape(name), escape(_range(dimension)), escape(when), escape(_text(study.spec.baseline[name])))
    out.print(drawn)
    line(_how(state))
    line(_size(state, likely, ahead.slots))
    if ahead.obstacle:
        line(f"it cannot run here: {ahead.obstacle}")
    line(
        f"{tried(state)}; run it: slws run {study_argument(study.source.path)}"
        if state.trials
        else f"run it: slws run {study_argument(study.source.path)}"
    )


def status(state: Standing, json: bool) -> None:
    """Show the trials by state, the best ones, what failed, and how far the confirmation is."""
    if json:
        as_json({
            "name": state.project.study.spec.name, "ended": state.ended, "complete": state.complete, "states": dict(state.counts),
            "best": [trial.number for trial in state.best[:SHOWN]], "trials": [asdict(trial) for trial in state.trials],
            "confirmation": None if state.confirmation is None else {
                "study": state.confirmation.project.study.spec.name, "missing": len(state.confirmation.todo),
                "runs": len(state.confirmation.runs),
                "failed": [{"run_id": run.run_id, "status": run.record.status, "cause": run.record.cause}
                           for run in _unfinished(state.confirmation.runs)]},
        })  # fmt: skip
        return
    _table(state)
    for trial in state.trials:
        if trial.state in ("failed", "infeasible"):
            line(f"trial {trial.number} {trial.state}: {_short_cause(trial.cause)}")
    line(tried(state) + (f"; the search has ended: {state.ended}" if state.ended else ""))
    if state.confirmation is not None:
        again = state.confirmation
        missing = f"{len(again.todo)} of {len(again.runs)} runs are missing" if again.todo else "complete"
        line(f"confirmation {again.project.study.spec.name}: {missing}")
        for run in _unfinished(again.runs):
            line(f"    {run.arm.label} · seed {run.seed} {run.record.status}: {_short_cause(run.record.cause)}")
    line("complete" if state.complete else f"go on: slws run {study_argument(state.project.study.source.path)}")


def outcome(
    state: Standing, ended: Outcome, confirmed: Confirmed | None, written: Any, mirror: str, json: bool
) -> None:
    """Show how a search ended: its best trials, what fresh seeds say of them, where the reports are."""
    study = state.project.study
    if json:
        as_json({
            "name": study.spec.name, "drawn": ended.started, "interrupted": ended.interrupted, "seconds": ended.seconds,
            "ended": state.ended, "complete": state.complete, "states": dict(state.counts),
            "best": [asdict(trial) for trial in state.best[:SHOWN]], "gaps": [asdict(gap) for gap in confirmed.gaps] if confirmed else None,
            "confirmation": _as_data(confirmed) if confirmed else None,
            "report": str(state.project.report_folder), "mirror": mirror,
        })  # fmt: skip
        return
    if ended.interrupted or (confirmed is not None and confirmed.outcome.interrupted):
        return
    if written is not None:
        views(written)
    if confirmed is not None:
        _confirmed(confirmed, state)
    line(f"{wording.plural(ended.started, 'trial')} drawn in {ended.seconds:.0f} s; {tried(state)}.")
    _failed(ended.failed)
    _failed(confirmed.outcome.failed if confirmed is not None else (), "confirmation: ")
    if written is not None:
        line(f"Report: {state.project.report_folder / 'report.html'}")
        if confirmed is not None and confirmed.report is not None:
            line(f"Confirmation: {confirmed.report.folder / 'report.html'}")
        if state.best:
            line(f"The ablation between the baseline and the best: slws study from-search {study.source.path}")
    if mirror:
        err.print(f"[yellow]{escape(mirror)}[/]", soft_wrap=True)
        return
    line("Browse the runs in MLflow:  " + ui_command(state.project))
    line(f"Optuna's dashboard:  slws ui {study.source.path} --optuna")


def _failed(failed: Sequence[Lost], of: str = "") -> None:
    for lost in failed:
        err.print(
            f"[red]{of}{escape(lost.label)} · seed {lost.seed} {lost.status}:[/] {escape(lost.cause)}", soft_wrap=True
        )
        err.print(f"    log: {lost.log}", markup=False, soft_wrap=True)


def _unfinished(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Return the runs that ended without a value."""
    return [run for run in runs if run.record.status in ("failed", "diverged")]


def _short_cause(cause: str) -> str:
    return cause.splitlines()[0] if cause else "no cause recorded"


def _as_data(confirmed: Confirmed) -> dict[str, Any]:
    return {
        "study": confirmed.confirming.project.study.spec.name,
        "failed": [asdict(lost) for lost in confirmed.outcome.failed],
        "notes": list(confirmed.notes),
        "tested": asdict(confirmed.tested) if confirmed.tested else None,
        "report": str(confirmed.report.folder) if confirmed.report else None,
    }


def _confirmed(confirmed: Confirmed, state: Standing) -> None:
    if confirmed.tested is not None:
        line(f"{search_words.tested_text(confirmed.tested, state.project.study.spec)} Kept in {confirmed.tested.file}")
    for note in confirmed.notes:
        line(note)
    if confirmed.report is not None:
        out.print(
            f"[bold]{escape(confirmed.report.answer)}[/] ({confirmed.confirming.project.study.spec.metric.key})\n"
        )


def _table(state: Standing) -> None:
    names = [
        objective.name if objective.name != "metric" else state.project.study.spec.metric.key
        for objective in state.search.objectives
    ]
    dimensions = list(state.search.space)
    drawn = table("trial", "state", *names, *map(_short, dimensions))
    several = len(state.goals) > 1
    chosen = front(state.trials, state.goals) if several else state.best
    running = [trial for trial in state.trials if trial.state == "running"]
    for trial in [*chosen[:SHOWN], *running]:
        colour = COLOURS[trial.state]
        values = [f"{value:.4g}" for value in trial.values] or [""] * len(names)
        drawn.add_row(
            str(trial.number),
            f"[{colour}]{trial.state}[/]",
            *values,
            *(escape(_text(trial.settings.get(name, ...))) for name in dimensions),
        )
    if chosen or running:
        out.print(drawn)
    if len(chosen) > SHOWN:
        line(
            f"and {len(chosen) - SHOWN} further ones with values; all of them: slws status {state.project.study.source.path} --json"
        )


def tried(state: Standing) -> str:
    most = f" of {state.search.trials}" if state.search.trials is not None else ""
    by_state = ", ".join(f"{count} {name}" for name, count in sorted(state.counts.items()))
    return f"{len(state.trials)}{most} trials" + (f" ({by_state})" if by_state else "")


def _how(state: Standing) -> str:
    search, metric = state.search, state.project.study.spec.metric
    names = [metric.key if objective.name == "metric" else objective.name for objective in search.objectives]
    aims = " and ".join(f"{goal} {name}" for goal, name in zip(state.goals, names, strict=True))
    seeds = wording.plural(len(state.project.study.spec.first_seeds), "seed")
    limits = "".join(f"; {name} at most {most:g}" for name, most in search.constraints.items())
    pruner = f", pruner {search.pruner.name}" if search.pruner else ""
    return f"{aims}{limits}; sampler {search.sampler.name}, seed {search.seed}{pruner}; {seeds} a trial; kept in {search.storage}"


def _size(state: Standing, likely: float | None, slots: int) -> str:
    search, seeds = state.search, len(state.project.study.spec.first_seeds)
    ends = [f"{search.trials} trials" if search.trials else "", f"{search.minutes:g} minutes" if search.minutes else "",
            f"{budget.device_hours:g} device-hours" if (budget := state.project.study.spec.budget) else ""]  # fmt: skip
    said = f"ends after {' or '.join(filter(None, ends)) or 'every combination was tried'}"
    runs = (search.trials or 0) * seeds
    if search.confirm:
        fresh = (search.confirm.top + 1) * search.confirm.seeds
        runs += fresh
        said += f"; then the best {search.confirm.top} and the baseline again with {search.confirm.seeds} fresh seeds ({fresh} runs)"
    if likely is None:
        return said + "; cost: not known before a run has finished; `slws plan STUDY --probe` measures a few steps"
    at_a_time = min(slots, search.parallel or slots)
    wall = f", {likely * runs / at_a_time / 60:.0f} minutes with {at_a_time} at a time" if at_a_time and runs else ""
    what = "in all" if search.trials else "for the confirmation"
    spent = f": at most {likely * runs / 3600:.2g} device-hours {what}{wall}" if runs else ""
    return f"{said}; a run takes up to {likely:.0f} s{spent}"


def _range(dimension: Dimension) -> str:
    if dimension.levels is not None:
        return ", ".join(
            level.name if isinstance(level, NamedLevel) else level_text(level) for level in dimension.levels
        )
    low, high = dimension.ends
    step = f", steps of {dimension.step:g}" if dimension.step else ""
    kind = {"float": "", "log": ", log", "int": ", whole", "log_int": ", whole, log"}[dimension.kind]
    return f"{low:g} to {high:g}{kind}{step}"


def _text(value: Any) -> str:
    if value is ...:
        return wording.NOTHING
    level: Level = value
    return f"{level:.4g}" if isinstance(level, float) else level_text(level)


def _short(name: str) -> str:
    *parents, leaf = name.split(".")
    return parents[-1] if leaf == "name" and parents else leaf
