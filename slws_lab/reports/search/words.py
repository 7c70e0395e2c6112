"""A search in words: what its objectives and trials are called, what it found, and what its own values cannot say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from slws_lab.analysis.searching import Gap, Importance, SearchFindings, Tested, TrialRow
from slws_lab.reports import wording
from slws_lab.spec import Metric, StudySpec
from slws_lab.spec.levels import Settings
from slws_lab.spec.objectives import UNITS, AnyObjective, Goal, Score, TimeTo, goal_of
from slws_lab.spec.search import SearchSpec

TITLES = {
    "params": "parameters", "flops": "FLOPs", "latency_ms": "latency", "inference_memory_mb": "memory of inference",
    "images_per_s": "speed of training", "peak_memory_mb": "peak memory of training",
    "mnasnet": "MnasNet's reward", "proxyless_product": "ProxylessNAS's product", "proxyless_sum": "ProxylessNAS's sum",
    "proxyless_reward": "ProxylessNAS's reward",
}  # fmt: skip
NAMED = 3  # confirmed settings that the answer names
STATES = ("complete", "pruned", "infeasible", "failed", "running")
SAYS = {"complete": "completed", "infeasible": "over a budget and not trained", "running": "still running"}
BIAS = (
    "The best of many trials looks better than it is: it was chosen for its value, luck included. These values rank trials and prove "
    "nothing; only fresh seeds tell."
)


def search_of(study: StudySpec) -> SearchSpec:
    """Return the search of a study that has one."""
    assert study.search is not None
    return study.search


def title(objective: AnyObjective, metric: Metric) -> str:
    """Name an objective as headers and axes do: `val/top1, EMA (%)`, `latency (ms)`."""
    if isinstance(objective, Score):
        return wording.metric_title(objective.of or metric)
    if isinstance(objective, TimeTo):
        return f"time to {metric.name} of {objective.value:g} (s)"
    return figure_title(objective.name)


def figure_title(name: str) -> str:
    """Name a figure of an architecture or a training, or a reward: `latency (ms)`."""
    unit = UNITS.get(name)
    return TITLES.get(name, name) + (f" ({unit})" if unit else "")


def goal(study: StudySpec) -> Goal:
    """Say whether the first objective is made large or small."""
    return goal_of(search_of(study).objectives[0], study.metric)


def titles(study: StudySpec) -> list[str]:
    """Name all objectives of a search."""
    return [title(objective, study.metric) for objective in search_of(study).objectives]


def key(objective: AnyObjective, metric: Metric) -> str:
    """Name an objective as files do: `val/top1_ema`, `latency_ms`."""
    return (objective.of or metric).key if isinstance(objective, Score) else objective.name


def number(value: float, objective: AnyObjective, metric: Metric) -> str:
    """Print a value of an objective."""
    if math.isnan(value):
        return wording.NOTHING
    if isinstance(objective, Score):
        return wording.number(value, wording.decimals(objective.of or metric))
    return f"{value:,.0f}" if abs(value) >= 1000 else short(value)


def unit(study: StudySpec) -> str:
    """Return the unit of a difference of the first objective: points, ms; empty for none."""
    objective = search_of(study).objectives[0]
    if isinstance(objective, Score):
        return wording.delta_unit(objective.of or study.metric)
    return UNITS.get(objective.name, "")


def difference(value: float, study: StudySpec) -> str:
    """Print a difference of the first objective with its sign; an en dash for NaN."""
    objective = search_of(study).objectives[0]
    places = wording.decimals(objective.of or study.metric) if isinstance(objective, Score) else 4
    return wording.signed(None if math.isnan(value) else value, places)


def looked_better(gap: Gap, study: StudySpec) -> float:
    """Return by how much a setting looked better in the search than with fresh seeds; NaN where one of the values is missing."""
    return (gap.searched - gap.confirmed) * (1 if goal(study) == "maximize" else -1)


def beyond_baseline(gap: Gap, baseline: Gap, study: StudySpec) -> float:
    """Return what remains of that without the baseline's own: the search's seeds do something to every setting, chosen or not."""
    return looked_better(gap, study) - looked_better(baseline, study)


def looked_text(gaps: Sequence[Gap], study: StudySpec) -> str:
    """Say by how much the best setting looked better in the search; nothing where one of its values is missing.

    Args:
        gaps: The best setting first, the baseline last.
        study: The search.
    """
    first, baseline = gaps[0], gaps[-1]
    looked, beyond = looked_better(first, study), beyond_baseline(first, baseline, study)
    if math.isnan(looked):
        return ""
    of = f" {unit(study)}".rstrip()
    less = "unknown" if math.isnan(beyond) else difference(beyond, study) + of
    return (
        f"trial {first.trial} looked better in the search than with fresh seeds by {difference(looked, study)}{of}, "
        f"beyond the baseline by {less}"
    )


def tested_text(tested: Tested, study: StudySpec) -> str:
    """Say what the best setting and the baseline have on the test split, and how they differ.

    Args:
        tested: What was read.
        study: The search, or what confirms it.
    """
    metric = Metric.of(f"val/{tested.figure}").model_copy(
        update={"weights": "ema" if tested.weights == "ema" else "raw"}
    )
    places, found, of = wording.decimals(metric), tested.difference, wording.delta_unit(metric)
    best, baseline = (
        wording.number(fmean(values.values()), places) for values in (tested.values, tested.baseline) if values
    )
    ends = f"{wording.number(found.low, places)}, {wording.number(found.high, places)}"
    interval = f" [{ends}] ({wording.level(study)} interval, paired by seed)" if found.low is not None else ""
    return (
        f"On the test split, read once, {tested.best} has {best} and the baseline {baseline}: mean "
        f"{wording.metric_title(metric).replace('val/', 'test/')} of {wording.plural(found.n, 'seed')}; difference "
        f"{' '.join(filter(None, (wording.signed(found.delta, places), of)))}{interval}."
    )


def short(value: float) -> str:
    """Print a float with 4 significant digits."""
    return f"{value:.4g}".replace("-", "−")


def settings_text(found: SearchFindings, settings: Settings) -> str:
    """Print the settings of a trial in short words."""
    on = [axis for axis in found.axes if axis.name in settings]
    return ", ".join(f"{axis.label}={axis.text(settings[axis.name])}" for axis in on)


def step_word(study: StudySpec) -> str:
    """Return what a step is that the pruner sees: epoch, or seed."""
    pruner = search_of(study).pruner
    return "seed" if pruner is not None and pruner.name == "wilcoxon" else "epoch"


def state_text(trial: TrialRow) -> str:
    """Say how a trial stands: `pruned at 4`, `complete, over a budget`."""
    if trial.state == "pruned" and trial.step is not None:
        return f"pruned at {trial.step}"
    return trial.state if trial.feasible or trial.state != "complete" else "complete, over a budget"


def answer(found: SearchFindings, study: StudySpec, gaps: Sequence[Gap] = ()) -> str:
    """Return in a sentence or two what the search found, and what fresh seeds say of it."""
    return " ".join(text for text in (_found(found, study), _confirmed(study, gaps)) if text)


def summary(found: SearchFindings, study: StudySpec) -> list[str]:
    """Say how many trials came to what end, what pruning saved, and what the baseline had."""
    return [text for text in (by_state(found), saved_text(found), baseline_text(found, study)) if text]


def by_state(found: SearchFindings) -> str:
    """Count the trials by state: `40 trials: 15 completed, 24 pruned, 1 failed`."""
    if not found.trials:
        return "No trial yet"
    counts = Counter(trial.state for trial in found.trials)
    parts = [f"{counts[state]} {SAYS.get(state, state)}" for state in STATES if counts[state]]
    over = sum(trial.state == "complete" and not trial.feasible for trial in found.trials)
    beyond = f" ({over} of the completed over a budget)" if over else ""
    return f"{wording.plural(len(found.trials), 'trial')}: {', '.join(parts)}{beyond}"


def baseline_text(found: SearchFindings, study: StudySpec) -> str:
    """Say what the baseline had."""
    if found.baseline is None:
        return "The baseline was no trial"
    trial = found.trial(found.baseline)
    had = _values(trial, study) if trial.values else f"no value ({state_text(trial)})"
    return f"The baseline (trial {trial.number}) had {had}"


def importance_text(one: Importance, labels: dict[str, str]) -> str:
    """Say what shares rest on; nothing where there are none."""
    left = "; ".join(f"{labels[name]} left out ({reason})" for name, reason in one.left_out.items())
    if not one.shares:
        return ""
    if one.best is None:
        basis = f"what the spread of {one.trials} completed trials goes back to"
    else:
        basis = f"what sets the best {one.best} of {one.trials} completed trials apart from all of them"
    return f"{one.method}: {basis}{'; ' + left if left else ''}."


def _found(found: SearchFindings, study: StudySpec) -> str:
    tried = wording.plural(len(found.trials), "trial")
    if not found.trials:
        return "No trial has been made, so there is no answer yet."
    if not found.best:
        return f"None of {tried} has a value that counts ({by_state(found).partition(': ')[2]}), so there is no answer."
    if len(found.aspects) > 1:
        leading = f"{len(found.best)} {'is' if len(found.best) == 1 else 'are'} on the Pareto front"
        return f"Of {tried}, {leading}: no other trial is better in one objective and at least as good in all."
    first = found.trial(found.best[0])
    what = title(search_of(study).objectives[0], study.metric)
    if first.number == found.baseline:
        return (
            f"Of {tried}, none has a better {what} than the baseline (trial {first.number}): {_values(first, study)}."
        )
    return (
        f"Of {tried}, trial {first.number} has the best {what}, {_values(first, study)}, "
        f"with {settings_text(found, first.settings)}. {baseline_text(found, study)}."
    )


def _confirmed(study: StudySpec, gaps: Sequence[Gap]) -> str:
    chosen = [gap for gap in gaps if gap.trial is not None]
    if not chosen:
        return ""
    shown = [*chosen[:NAMED], *(gap for gap in gaps if gap.trial is None)]
    return f"With seeds that the search never saw, {', '.join(_fresh(gap, study) for gap in shown)}."


def _fresh(gap: Gap, study: StudySpec) -> str:
    name = "the baseline" if gap.trial is None else f"trial {gap.trial}"
    return f"{name} has {number(gap.confirmed, search_of(study).objectives[0], study.metric)} (n = {gap.n})"


def _values(trial: TrialRow, study: StudySpec) -> str:
    named = zip(trial.values, search_of(study).objectives, strict=True)
    return ", ".join(number(value, one, study.metric) for value, one in named)


def saved_text(found: SearchFindings) -> str:
    """Say what pruning saved; nothing where it is not known."""
    if found.saving is None:
        return ""
    saving, pruned = found.saving, sum(trial.state == "pruned" for trial in found.trials)
    whole = saving.saved + saving.trained
    least = ", and the further seeds of those trials" if saving.at_least else ""
    share = f"{100 * saving.saved / max(whole, 1):.0f} %"
    return (
        f"Pruning ended {wording.plural(pruned, 'trial')} early: {saving.saved} of {wording.plural(whole, saving.unit)} "
        f"not run ({share}){least}"
    )
