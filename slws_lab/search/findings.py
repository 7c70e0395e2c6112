"""What a search has found, as the data of its report: pure, from its trials."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

from slws_lab.analysis.searching import (
    Aspect,
    Axis,
    Curve,
    Front,
    FrontPoint,
    HistoryPoint,
    Path,
    Saving,
    SearchFindings,
    SlicePoint,
    TrialRow,
)
from slws_lab.search.contours import contours
from slws_lab.search.dimensions import levels_of
from slws_lab.search.importance import importances
from slws_lab.search.trial import Trial, front
from slws_lab.spec import SearchSpec, StudySpec, short_names
from slws_lab.spec.levels import Settings
from slws_lab.spec.objectives import Goal, goal_of

LENGTH = "train.epochs"  # the field that says how long a trial is, where the space varies it


def findings(
    trials: Sequence[Trial], study: StudySpec, *, baseline: Settings | None = None, epochs: int | None = None
) -> SearchFindings:
    """Return all that a search has found so far.

    Args:
        trials: Its trials, in any order.
        study: The study, with `search:`.
        baseline: The settings of the baseline, one that is off left out; None if it is not known.
        epochs: Length of a whole trial; None for that of the longest one that was completed.

    Raises:
        ValueError: The study has no search.
    """
    search = study.search
    if search is None:
        raise ValueError(f"study {study.name} has no search")
    ordered, axes = sorted(trials, key=lambda t: t.number), axes_of(search)
    goals = [goal_of(objective, study.metric) for objective in search.objectives]
    leading = front(ordered, goals) if len(goals) > 1 else []
    ranked = _ranked(leading if len(goals) > 1 else ordered, goals[0])
    return SearchFindings(
        axes=axes,
        trials=tuple(map(_row, ordered)),
        aspects=tuple(_aspect(ordered, search, axes, i, goal) for i, goal in enumerate(goals)),
        fronts=tuple(_pair(ordered, leading, i, j) for i, j in itertools.combinations(range(len(goals)), 2)),
        curves=_curves(ordered) if search.pruner else (),
        best=tuple(trial.number for trial in ranked),
        baseline=next((t.number for t in ordered if t.settings and t.settings == baseline), None),
        saving=_saving(ordered, study, epochs),
    )


def axes_of(search: SearchSpec) -> tuple[Axis, ...]:
    """Return the dimensions of a space as axes, in its order."""
    short, found = short_names(search.space), []
    for name, dimension in search.space.items():
        conditional = bool(dimension.when)
        if dimension.levels is not None:
            found.append(Axis(name, short[name], levels=levels_of(dimension), conditional=conditional))
            continue
        low, high = map(float, dimension.ends)
        log, whole = dimension.kind in ("log", "log_int"), dimension.kind in ("int", "log_int")
        found.append(Axis(name, short[name], (), low, high, log, whole, conditional))
    return tuple(found)


def _row(trial: Trial) -> TrialRow:
    seconds = trial.ended - trial.begun if trial.ended is not None and trial.begun is not None else None
    return TrialRow(
        trial.number, trial.state, trial.settings, trial.values, trial.feasible,
        max(trial.curve, default=None), seconds, trial.begun, trial.figures, trial.cause,
    )  # fmt: skip


def _ranked(trials: Sequence[Trial], goal: Goal) -> list[Trial]:
    """Return the trials that count by the first objective, the best first, each setting once; ties go to the earlier one."""
    sign, found = -1 if goal == "maximize" else 1, dict[str, Trial]()
    for trial in sorted((t for t in trials if t.eligible), key=lambda t: (sign * t.values[0], t.number)):
        found.setdefault(json.dumps(trial.settings, sort_keys=True), trial)
    return list(found.values())


def _aspect(trials: Sequence[Trial], search: SearchSpec, axes: tuple[Axis, ...], i: int, goal: Goal) -> Aspect:
    weighed = importances(trials, axes, i, goal)
    done = [trial for trial in trials if trial.state == "complete"]
    return Aspect(
        objective=search.objectives[i],
        goal=goal,
        history=_history(trials, i, goal),
        importances=weighed,
        slices=tuple(
            SlicePoint(axis.name, t.settings[axis.name], t.values[i], t.number, t.feasible)
            for axis in axes for t in done if axis.name in t.settings
        ),
        contours=contours(done, axes, i, weighed[0]),
        paths=tuple(Path(t.number, _places(t, axes), t.values[i]) for t in done),
    )  # fmt: skip


def _history(trials: Sequence[Trial], i: int, goal: Goal) -> tuple[HistoryPoint, ...]:
    found: list[HistoryPoint] = []
    better, so_far = max if goal == "maximize" else min, None
    for trial in trials:
        value = trial.values[i] if trial.state == "complete" else None
        if value is not None and trial.feasible:
            so_far = value if so_far is None else better(so_far, value)
        found.append(HistoryPoint(trial.number, trial.state, value, trial.feasible, so_far))
    return tuple(found)


def _places(trial: Trial, axes: Sequence[Axis]) -> tuple[float | None, ...]:
    return tuple(axis.share(trial.settings[axis.name]) if axis.name in trial.settings else None for axis in axes)


def _pair(trials: Sequence[Trial], leading: Sequence[Trial], i: int, j: int) -> Front:
    """Return two objectives against each other; a trial stands by all objectives, not by these two alone."""
    first = {trial.number for trial in leading}
    return Front(i, j, tuple(
        FrontPoint(t.number, t.values[i], t.values[j],
                   "infeasible" if not t.feasible else "front" if t.number in first else "dominated")
        for t in trials if t.state == "complete"
    ))  # fmt: skip


def _curves(trials: Sequence[Trial]) -> tuple[Curve, ...]:
    seen = [(t, sorted(t.curve)) for t in trials if t.curve]
    return tuple(Curve(t.number, t.state, tuple(steps), tuple(t.curve[s] for s in steps)) for t, steps in seen)


def _saving(trials: Sequence[Trial], study: StudySpec, epochs: int | None) -> Saving | None:
    """Count the steps that pruned trials had left, of the runs that the pruner saw."""
    search = study.search
    assert search is not None
    pruned = [t for t in trials if t.state == "pruned" and t.curve]
    by_seed = search.pruner is not None and search.pruner.name == "wilcoxon"
    longest = max((max(t.curve) for t in trials if t.state == "complete" and t.curve), default=None)
    whole = len(study.first_seeds) if by_seed else epochs or longest
    if not pruned or whole is None:
        return None
    left = [max(int(t.settings.get(LENGTH, whole) if not by_seed else whole) - max(t.curve), 0) for t in pruned]  # type: ignore[arg-type]
    trained = sum(max(t.curve) for t in trials if t.curve)
    return Saving("seed" if by_seed else "epoch", trained, sum(left), not by_seed and len(study.first_seeds) > 1)
