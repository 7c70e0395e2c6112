"""A trial of a search: one setting that was tried, and how it went. What Optuna's storage holds, without Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from slws_lab.spec.levels import Settings
from slws_lab.spec.objectives import Goal

# infeasible: over a budget, so not trained.
State = Literal["running", "complete", "pruned", "infeasible", "failed"]


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: Its number in the search, from 0.
        settings: Dimension to value; one that is off is absent. Empty while it is being drawn.
        state: How it stands.
        values: One a objective, in their order; empty unless it is complete.
        curve: Step (epochs, or seeds for a Wilcoxon pruner) to what the pruner saw; its last step is where it was pruned.
        figures: What it costs, as far as it is known: name of the figure to value (latency_ms, params, ...).
        feasible: Whether it keeps to all constraints.
        begun: When it was drawn, in seconds since the epoch.
        ended: When it ended; None while it has not.
        cause: Why it failed, or what it exceeded; empty otherwise.
        again: Number of the trial that this one, which failed, was tried again as; None if it was not.
    """

    number: int
    settings: Settings
    state: State
    values: tuple[float, ...] = ()
    curve: Mapping[int, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    feasible: bool = True
    begun: float | None = None
    ended: float | None = None
    cause: str = ""
    again: int | None = None

    @property
    def eligible(self) -> bool:
        """Whether it has values that may be the best."""
        return self.state == "complete" and self.feasible


def counts(trial: Trial) -> bool:
    """Say whether a trial is one of the number that a study asks for: what is tried again is not."""
    return trial.again is None


def best(trials: Sequence[Trial], goal: Goal, top: int = 1) -> list[Trial]:
    """Return the best trials by the first objective, each setting once, the best first; ties go to the earlier one."""
    sign = -1 if goal == "maximize" else 1
    ranked = sorted((t for t in trials if t.eligible), key=lambda t: (sign * t.values[0], t.number))
    found: dict[str, Trial] = {}
    for trial in ranked:
        found.setdefault(repr(sorted(trial.settings.items())), trial)
    return list(found.values())[:top]


def front(trials: Sequence[Trial], goals: Sequence[Goal]) -> list[Trial]:
    """Return the trials that no other one dominates, by number: none is better in one objective and at least as good in all."""
    points = [
        (t, [v if goal == "minimize" else -v for v, goal in zip(t.values, goals, strict=True)])
        for t in trials
        if t.eligible
    ]

    def dominated(point: list[float]) -> bool:
        return any(other != point and all(a <= b for a, b in zip(other, point, strict=True)) for _, other in points)

    return [trial for trial, point in points if not dominated(point)]
