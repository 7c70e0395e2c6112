"""What a search found, as data: `search` fills it, `reports` draws it. No Optuna and no drawing here."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from slws_lab.analysis.statistics import Paired
from slws_lab.spec import level_text
from slws_lab.spec.levels import Level, Settings
from slws_lab.spec.objectives import AnyObjective, Goal

Standing = Literal["front", "dominated", "infeasible"]


@dataclass(frozen=True)
class Axis:
    """A dimension of the space, as figures place its values.

    Attributes:
        name: The field, or the search's own word for sub-trees.
        label: The last part of the name where that is clear.
        levels: Its levels in order; empty for a range.
        low: Lower end of a range.
        high: Upper end of a range.
        log: Whether ratios count rather than differences.
        whole: Whether it takes whole numbers only.
        conditional: Whether it is off in some settings.
    """

    name: str
    label: str
    levels: tuple[Level, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    whole: bool = False
    conditional: bool = False

    def number(self, value: Level) -> float:
        """Return where a value lies: itself in a range, of levels its place in their order.

        Raises:
            ValueError: It is no level of the dimension.
        """
        if not self.levels:
            return float(value)  # type: ignore[arg-type]
        for i, level in enumerate(self.levels):
            if level == value and isinstance(level, bool) == isinstance(value, bool):
                return float(i)
        raise ValueError(f"{value!r} is no level of {self.name}")

    def share(self, value: Level) -> float:
        """Return where a value lies between both ends, from 0 to 1."""
        number = self.number(value)
        if self.levels:
            return number / max(len(self.levels) - 1, 1)
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        return ((math.log(number) if self.log else number) - low) / (high - low)

    def text(self, value: Level) -> str:
        """Print a value; a float with 4 significant digits."""
        return f"{value:.4g}" if isinstance(value, float) else level_text(value)


@dataclass(frozen=True)
class TrialRow:
    """A trial as tables show it.

    Attributes:
        number: Its number in the search.
        state: running, complete, pruned, infeasible or failed.
        settings: Dimension to value; one that is off is absent.
        values: One an objective; empty unless it is complete.
        feasible: Whether it keeps to all constraints.
        step: The last step that the pruner saw; None if it saw none.
        seconds: From drawing it to its end; None while it has not ended.
        begun: When it was drawn, in seconds since the epoch.
        figures: What it costs: name of the figure to value.
        cause: Why it failed, or what it exceeded.
    """

    number: int
    state: str
    settings: Settings
    values: tuple[float, ...] = ()
    feasible: bool = True
    step: int | None = None
    seconds: float | None = None
    begun: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    cause: str = ""


@dataclass(frozen=True)
class HistoryPoint:
    """A trial's value (None unless it is complete), and the best feasible one up to it (None while there is none)."""

    number: int
    state: str
    value: float | None
    feasible: bool
    best: float | None


@dataclass(frozen=True)
class Importance:
    """How much of what an objective does each dimension is responsible for.

    Attributes:
        method: PED-ANOVA or fANOVA.
        shares: Dimension to its share, the largest first; they sum to 1. Empty where there is nothing to say.
        left_out: Dimension to the reason why it has no share.
        trials: Completed trials that it rests on.
        reason: Why there are no shares; empty otherwise.
        best: How many of the trials were set against all of them (PED-ANOVA); None where all count alike.
    """

    method: str
    shares: Mapping[str, float]
    left_out: Mapping[str, str]
    trials: int
    reason: str = ""
    best: int | None = None


@dataclass(frozen=True)
class SlicePoint:
    """A completed trial's value at its level of one dimension."""

    dimension: str
    level: Level
    value: float
    number: int
    feasible: bool


@dataclass(frozen=True)
class ContourPoint:
    """A completed trial's value at its levels of two dimensions."""

    x: Level
    y: Level
    value: float
    number: int


@dataclass(frozen=True)
class Surface:
    """Values between trials: `values[j][i]` at `x[i]`, `y[j]`; NaN outside of what was tried."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Contour:
    """An objective over two dimensions: the trials in which both are on, and a surface where it can be had, else why not."""

    x: Axis
    y: Axis
    points: tuple[ContourPoint, ...]
    surface: Surface | None
    reason: str = ""


@dataclass(frozen=True)
class Path:
    """A completed trial across all dimensions: its share of each axis (None where it is off), and its value."""

    number: int
    places: tuple[float | None, ...]
    value: float


@dataclass(frozen=True)
class FrontPoint:
    """A completed trial's values of two objectives, and how it stands by all of them."""

    number: int
    x: float
    y: float
    standing: Standing


@dataclass(frozen=True)
class Front:
    """Two objectives, by number, against each other."""

    first: int
    second: int
    points: tuple[FrontPoint, ...]


@dataclass(frozen=True)
class Curve:
    """What the pruner saw of a trial; a pruned one ends where it was pruned."""

    number: int
    state: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Aspect:
    """What was found about one objective.

    Attributes:
        objective: Which, as the study names it.
        goal: Whether it is made large or small.
        history: Every trial, by number.
        importances: By PED-ANOVA, then by fANOVA.
        slices: Each completed trial at each dimension that is on in it.
        contours: Of pairs of the most important dimensions.
        paths: Each completed trial.
    """

    objective: AnyObjective
    goal: Goal
    history: tuple[HistoryPoint, ...]
    importances: tuple[Importance, ...]
    slices: tuple[SlicePoint, ...]
    contours: tuple[Contour, ...]
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Saving:
    """What pruning saved.

    Attributes:
        unit: What a step is: epoch or seed.
        trained: Steps that were seen of all trials.
        saved: Steps that the pruned trials would have had left.
        at_least: Whether further seeds were saved too, which are not counted.
    """

    unit: str
    trained: int
    saved: int
    at_least: bool


@dataclass(frozen=True)
class SearchFindings:
    """All that a search has found so far.

    Attributes:
        axes: The dimensions, in the order of the space.
        trials: Every trial, by number.
        aspects: One an objective, in their order.
        fronts: Every pair of objectives; empty for one objective.
        curves: Of each trial that a pruner saw; empty without a pruner.
        best: Numbers of the best trials, each setting once: by the first objective, of several the Pareto front.
        baseline: Number of the first trial that is the baseline; None if it was not tried.
        saving: What pruning saved; None if nothing was pruned, or a whole trial's length is not known.
    """

    axes: tuple[Axis, ...]
    trials: tuple[TrialRow, ...]
    aspects: tuple[Aspect, ...]
    fronts: tuple[Front, ...]
    curves: tuple[Curve, ...]
    best: tuple[int, ...]
    baseline: int | None
    saving: Saving | None

    def trial(self, number: int) -> TrialRow:
        """Return a trial by its number."""
        return next(trial for trial in self.trials if trial.number == number)


@dataclass(frozen=True)
class Gap:
    """A setting's value in the search, and with seeds that the search never saw.

    Attributes:
        label: What the setting is called.
        trial: Number of its trial; None for the baseline.
        searched: Its value in the search; NaN for a baseline that was no trial.
        confirmed: Its mean over the fresh seeds.
        low: Lower end of the mean's t interval, at the study's level; None under two seeds.
        high: Its upper end.
        n: How many fresh seeds finished.
        run_ids: Their runs.
    """

    label: str
    trial: int | None
    searched: float
    confirmed: float
    low: float | None
    high: float | None
    n: int
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Tested:
    """What the test split said of a search's best setting and of its baseline.

    Attributes:
        best: Label of the best setting by its mean over fresh seeds.
        figure: What was read: top1, top5 or loss.
        weights: Of which weights: `last` or `ema`.
        values: Seed to the best setting's value.
        baseline: Seed to the baseline's.
        difference: The best setting against the baseline, paired by seed.
        file: Where it is kept.
    """

    best: str
    figure: str
    weights: str
    values: Mapping[int, float]
    baseline: Mapping[int, float]
    difference: Paired
    file: pathlib.Path
