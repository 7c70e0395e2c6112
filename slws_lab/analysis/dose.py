"""Dose and response: how the metric follows a numeric factor, and at which of its values it is best.

Two views, neither of which looks at an arm twice. Monotone: Page's trend test over the seeds, and the isotonic fit of the means. Quadratic:
a parabola for each seed. The best value is where the mean slope is zero, and its interval holds every value at which the seeds' slopes
do not differ from zero by a paired t test (Fieller's interval). Vertices of single seeds are not averaged: where a seed's curve is nearly
straight its vertex flies off to infinity, so that their mean and t interval mean nothing.

Source: E. C. Fieller, Some problems in interval estimation, J. R. Stat. Soc. B 16 (1954), 175-185; E. B. Page, J. Am. Stat.
Assoc. 58 (1963), 216-230.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from slws_lab.analysis.cells import cells
from slws_lab.analysis.effects import Effect, corrected, effect
from slws_lab.analysis.results import ResultTable
from slws_lab.analysis.statistics import MIN_PAIRS, Array, paired
from slws_lab.errors import UserError
from slws_lab.spec import Arm, short_names
from slws_lab.spec.levels import Level, Settings

MIN_DOSES = 3
ROUNDING = 1e-9  # of half the range of doses


@dataclass(frozen=True)
class BestDose:
    """Where the quadratic fit is best.

    Attributes:
        dose: The best dose within those tried.
        low: Lower end of its interval within those tried; None where the curve says no interval.
        high: Upper end.
        at_border: Whether the fit is best at, or beyond, the smallest or the largest dose.
        reason: Why there is no interval; empty where there is one.
    """

    dose: float
    low: float | None
    high: float | None
    at_border: bool
    reason: str = ""


@dataclass(frozen=True)
class DoseResponse:
    """How the metric follows a dose.

    Attributes:
        factor: The factor.
        doses: Its values, rising.
        seeds: The seeds at which all of them finished.
        means: Mean of the metric at each dose.
        direction: Whether the metric is `rising` or `falling` with the dose, by the isotonic fit that is nearer.
        isotonic: The means of that monotone fit.
        p_trend: Two-sided p of Page's test of a monotone trend.
        quadratic: The means of the quadratic fit.
        curvature: By how much the bend alone sets the ends apart from the middle, with its interval over seeds.
        best: Where the quadratic fit is best for the study's goal.
        log: Whether doses were taken by their logarithm.
    """

    factor: str
    doses: tuple[float, ...]
    seeds: tuple[int, ...]
    means: tuple[float, ...]
    direction: str
    isotonic: tuple[float, ...]
    p_trend: float
    quadratic: tuple[float, ...]
    curvature: Effect
    best: BestDose
    log: bool = False

    def __repr__(self) -> str:
        ends = f" [{self.best.low:.3g}, {self.best.high:.3g}]" if self.best.low is not None else ""
        border = ", at the border" if self.best.at_border else ""
        why = f" ({self.best.reason})" if self.best.reason else ""
        return (
            f"{self.factor}: {self.direction} (p of a trend {self.p_trend:.2g}), best at {self.best.dose:.3g}{ends}{border}{why}; "
            f"{len(self.doses)} values, {len(self.seeds)} seeds"
        )


def dose_response(
    table: ResultTable,
    factor: str,
    doses: Sequence[Level] | None = None,
    *,
    given: Settings | None = None,
    log: bool = False,
    absent: float | None = None,
) -> DoseResponse:
    """Fit the metric against a numeric factor, the other factors being equal.

    Args:
        table: The results.
        factor: A factor with numbers as levels.
        doses: Its levels to fit; None takes all numbers among them.
        given: Levels of other factors; one that is not named is at the baseline's.
        log: Whether to fit against the logarithm of the dose, as learning rates ask for.
        absent: The dose of the arm in which the factor is off by its `when`; None leaves that arm out.

    Raises:
        UserError: No such factor, fewer than 3 doses, a dose without a logarithm, fewer than 3 common seeds, or with `absent`
            no single arm in which the factor is off.
    """
    chosen = _doses(table, factor, doses, log, absent)
    seeds, values = _values(table, factor, chosen, given or {}, absent)
    means = values.mean(axis=0)
    x = np.log10(chosen) if log else np.array(chosen, float)
    middle, half = (x[0] + x[-1]) / 2, (x[-1] - x[0]) / 2
    z = (x - middle) / half  # from -1 to 1, so that the fit is well conditioned
    bend, slope, height = np.polyfit(z, values.T, 2)
    alpha, goal = table.study.comparisons.alpha, table.study.metric.goal
    found = _best(bend, slope, alpha, 1.0 if goal == "maximize" else -1.0, unlike=_unlike(z, values, alpha))
    ends = [None if end is None else _dose(middle + half * end, log) for end in (found.low, found.high)]
    best = replace(found, dose=_dose(middle + half * found.dose, log), low=ends[0], high=ends[1])
    direction, isotonic = _isotonic(means)
    name = short_names([factor])[factor]
    (curvature,) = corrected([effect(f"curvature over {name}", (factor,), bend + height, height, alpha)], "holm")
    quadratic = np.polyval([bend.mean(), slope.mean(), height.mean()], z)
    return DoseResponse(
        factor, tuple(map(float, chosen)), seeds, tuple(map(float, means)), direction, isotonic, _trend_p(values),
        tuple(map(float, quadratic)), curvature, best, log,
    )  # fmt: skip


def off_arms(table: ResultTable, factor: str, given: Settings) -> list[Arm]:
    """Return the arms in which a factor is off by its `when`, all else being equal but for the factors that its `when` names.

    Args:
        table: The results.
        factor: The factor.
        given: Levels of other factors; one that is not named is at the baseline's.
    """
    study = table.study
    switches = study.factors[factor].when if factor in study.factors else {}
    usual = {name: one.values[0] for name, one in study.factors.items()} | study.baseline | given
    off = [arm for arm in table.design.arms if switches and factor not in arm.settings]
    return [arm for arm in off if all(n in switches or level == usual.get(n, ...) for n, level in arm.settings.items())]


def _values(
    table: ResultTable, factor: str, doses: list[float], given: Settings, absent: float | None
) -> tuple[tuple[int, ...], Array]:
    """Return the seeds at which all doses have a value, and the values, shape (seeds, doses)."""
    grid = cells(table, {factor: [dose for dose in doses if dose != absent]}, given, "a dose-response fit")
    if absent is None:
        return grid.seeds, grid.values
    arms = off_arms(table, factor, given)
    if len(arms) != 1:
        named = f": {'; '.join(arm.label for arm in arms)}" if arms else ""
        raise UserError(f"{len(arms)} arms in which '{factor}' is off{named}", where=f"study {table.study.name}",
                        allowed="one, where absent is its dose", todo="leave `absent` out")  # fmt: skip
    off = table.values.loc[list(grid.seeds), arms[0].id].to_numpy()
    kept = np.isfinite(off)
    if kept.sum() < MIN_PAIRS:
        raise UserError(f"a dose-response fit needs {MIN_PAIRS} seeds that '{arms[0].label}' and the other arms finished, not {kept.sum()}",
                        where=f"study {table.study.name}", todo="run more seeds, or leave `absent` out")  # fmt: skip
    seeds = tuple(seed for seed, both in zip(grid.seeds, kept, strict=True) if both)
    return seeds, np.insert(grid.values[kept], doses.index(absent), off[kept], axis=1)


def _doses(
    table: ResultTable, factor: str, doses: Sequence[Level] | None, log: bool, absent: float | None
) -> list[float]:
    known = list(dict.fromkeys(repr(a.settings[factor]) for a in table.design.arms if factor in a.settings))
    if not known:
        raise UserError(f"no arm of study {table.study.name} varies '{factor}'", allowed=", ".join(table.study.factors))
    levels = doses if doses is not None else [a.settings[factor] for a in table.design.arms if factor in a.settings]
    numbers = sorted(
        {float(level) for level in levels if isinstance(level, int | float) and not isinstance(level, bool)}
    )
    if absent is not None:
        if absent in numbers:
            raise UserError(
                f"'{factor}' has the level {absent:g}, so an arm without it is no other dose", todo="leave `absent` out"
            )
        numbers = sorted([*numbers, float(absent)])
    if len(numbers) < MIN_DOSES:
        raise UserError(f"'{factor}' has {len(numbers)} different numbers as levels; a dose-response fit needs {MIN_DOSES}",
                        where=f"study {table.study.name}", todo="add levels, or compare arms by their contrasts")  # fmt: skip
    if log and numbers[0] <= 0:
        raise UserError(
            f"'{factor}' has the level {numbers[0]:g}, which has no logarithm", allowed="levels above 0, or log=False"
        )
    return numbers


def _dose(x: float, log: bool) -> float:
    return float(10**x if log else x)


def _trend_p(values: Array) -> float:
    """Return the two-sided p of Page's test: seeds are the subjects, doses the treatments."""
    from scipy.stats import page_trend_test

    one_sided = [float(page_trend_test(side).pvalue) for side in (values, -values)]
    return min(1.0, 2 * min(one_sided))


def _isotonic(means: Array) -> tuple[str, tuple[float, ...]]:
    """Return which monotone fit is nearer to the means, and the fit."""
    from scipy.optimize import isotonic_regression

    fits = {"rising": isotonic_regression(means).x, "falling": isotonic_regression(means, increasing=False).x}
    direction = min(fits, key=lambda name: float(((fits[name] - means) ** 2).sum()))
    return direction, tuple(map(float, fits[direction]))


def _best(bend: Array, slope: Array, alpha: float, sign: float, *, unlike: bool) -> BestDose:
    """Return where the mean parabola is best, doses counted from -1 to 1.

    Args:
        bend: Each seed's quadratic coefficient.
        slope: Each seed's linear coefficient.
        alpha: The interval covers 1 - alpha.
        sign: 1 if a high value is good, -1 if a low one.
        unlike: Whether the doses are known not to lie on a parabola, whose best then says nothing.
    """
    a, b = float(bend.mean()), float(slope.mean())
    vertex = -b / (2 * a) if sign * a < 0 else np.inf
    at_border = bool(abs(vertex) >= 1 - ROUNDING)
    place = max((-1.0, 1.0), key=lambda z: sign * (a * z * z + b * z)) if at_border else vertex
    ends = fieller(2 * bend, slope, alpha)
    if ends is None:
        return BestDose(place, None, None, at_border, "the curve is not bent enough to tell where it is best")
    if sign * a > 0:
        return BestDose(place, None, None, at_border, "the curve bends the other way: it is worst between its ends")
    if unlike:
        return BestDose(place, None, None, at_border, "a parabola does not fit these doses")
    low, high = max(ends[0], -1.0), min(ends[1], 1.0)
    if low > high:
        return BestDose(place, None, None, at_border, "the interval lies wholly beyond the values tried")
    return BestDose(place, low, high, at_border)


def _unlike(places: Array, values: Array, alpha: float) -> bool:
    """Say whether a cubic part over doses is found by a t test over seeds; with 3 doses there is none to find.

    Args:
        places: Shape (doses,).
        values: Shape (seeds, doses).
        alpha: Level of the test.
    """
    if len(places) < 4:
        return False
    cubic = np.linalg.qr(np.vander(places, 4, increasing=True))[0][:, 3]
    test = paired(values @ cubic, np.zeros(len(values)), alpha)
    return test.p is not None and test.p < alpha


def fieller(factor: Array, offset: Array, alpha: float) -> tuple[float, float] | None:
    """Return the interval of the z at which the mean of `factor * z + offset` is zero; None if it has no two ends.

    Args:
        factor: Shape (n,), normal, paired with `offset`; its mean must differ from zero by the t test at alpha.
        offset: Shape (n,).
        alpha: The interval covers 1 - alpha.
    """
    from scipy.stats import t

    n = len(factor)
    (vff, vfo), (_, voo) = np.cov(factor, offset) * t.ppf(1 - alpha / 2, n - 1) ** 2 / n
    f, o = factor.mean(), offset.mean()
    leading = f * f - vff
    if leading <= 0:
        return None
    low, high = sorted(np.roots([leading, 2 * (f * o - vfo), o * o - voo]).real)
    return float(low), float(high)
