"""The table of dose and response: how the metric follows each numeric factor, and at which of its values it is best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10

from slws_lab.analysis import CORRECTIONS, DoseResponse, ResultTable, dose_response
from slws_lab.analysis.dose import MIN_DOSES, off_arms
from slws_lab.analysis.statistics import adjust
from slws_lab.errors import UserError
from slws_lab.reports import looks, wording
from slws_lab.reports.tables.cells import cell
from slws_lab.reports.tables.grids import cautions, known_settings, whole_runs
from slws_lab.reports.view import Cell, Column, TableView
from slws_lab.spec import dotted, level_text
from slws_lab.spec.levels import Level, Settings

RATE = "shuffle.max_rate"  # an arm that does not shuffle is one of rate 0, whatever the schedule of the others


@dataclass(frozen=True)
class Curve:
    """The doses of a factor at which all else is equal.

    Attributes:
        factor: The factor.
        arms: Dose -> id of its arm, the doses rising.
        others: The levels of the other factors.
        off: Whether the first dose, 0, is the arm in which the factor is off.
    """

    factor: str
    arms: dict[float, str]
    others: Settings
    off: bool

    @property
    def log(self) -> bool:
        """Whether the doses are spaced by ratios rather than by differences."""
        doses = list(self.arms)
        return doses[0] > 0 and _unevenness([log10(dose) for dose in doses]) < _unevenness(doses)

    def fit(self, table: ResultTable) -> DoseResponse:
        """Fit it.

        Raises:
            UserError: Fewer than 3 seeds have finished at all doses.
        """
        doses = list(self.arms)[self.off :]
        absent = 0.0 if self.off else None
        return dose_response(table, self.factor, doses, given=self.others, log=self.log, absent=absent)


def dose_views(table: ResultTable) -> list[TableView]:
    """Return the table of all factors with three numbers or more at which all else is equal; none if there is no such factor."""
    fits, failed = list[tuple[Curve, DoseResponse]](), list[str]()
    for curve in (curve for name in table.study.factors for curve in dose_curves(table, name)):
        try:
            fits.append((curve, curve.fit(table)))
        except UserError as error:
            failed.append(f"Not made for {_name(table, curve)}: {error.given}.")
    title = "Dose and response"
    if not fits:
        return [TableView("doses", title, (), (), tuple(failed))] if failed else []
    adjusted = adjust([fit.p_trend for _, fit in fits], table.study.comparisons.correction)
    rows = tuple(_row(table, curve, fit, p) for (curve, fit), p in zip(fits, adjusted, strict=True))
    interval = f"{wording.level(table.study)} interval"
    bend = wording.delta_title(table.study.metric, interval, "bend")
    columns = (
        Column("factor"), Column("other factors"), Column("doses"), Column("n", True), Column("trend"), Column("p", True),
        Column("adjusted p", True), Column(bend, True), Column(f"best dose [{interval}]", True),
    )  # fmt: skip
    every = list(dict.fromkeys(arm for curve, _ in fits for arm in curve.arms.values()))
    notes = (*_notes(table, fits), *failed, *cautions(table, every), *looks.caution(table))
    return [TableView("doses", title, columns, rows, notes)]


def dose_curves(table: ResultTable, factor: str) -> list[Curve]:
    """Return a factor's curves: one for each combination of the others, but those numeric at the baseline's if there are such."""
    numeric = {
        name: one.values[0] for name, one in table.study.factors.items() if len(_numbers(one.values)) >= MIN_DOSES
    }
    usual = {
        name: level for name, level in (numeric | table.study.baseline).items() if name in numeric and name != factor
    }
    found = list(_all_curves(table, factor))
    plain = [curve for curve in found if all(curve.others.get(name, level) == level for name, level in usual.items())]
    return plain or found


def _all_curves(table: ResultTable, factor: str) -> Iterator[Curve]:
    """Yield a factor's doses, for each combination of the other factors' levels at which there are three or more."""
    groups: dict[str, tuple[Settings, dict[float, str]]] = {}
    for settings, arm_id in known_settings(table):
        for dose in _numbers([settings.get(factor)]):
            others = {name: level for name, level in settings.items() if name != factor}
            groups.setdefault(repr(sorted(others.items())), (others, {}))[1].setdefault(dose, arm_id)
    for others, arms in groups.values():
        off = _without_shuffle(table, others) if factor == RATE and 0.0 not in arms else {}
        doses = off | dict(sorted(arms.items()))
        if len(set(doses.values())) == len(doses) >= MIN_DOSES:
            yield Curve(factor, doses, others, bool(off))


def _without_shuffle(table: ResultTable, others: Settings) -> dict[float, str]:
    """Return the arm that does not shuffle as that of dose 0, where it is the only one without a rate."""
    arms = off_arms(table, RATE, others)
    return {0.0: arms[0].id} if [dotted(arm.recipe).get("shuffle.schedule") for arm in arms] == ["none"] else {}


def _row(table: ResultTable, curve: Curve, fit: DoseResponse, adjusted: float) -> tuple[Cell, ...]:
    runs = whole_runs(table, list(curve.arms.values()))
    places, bend, best = wording.decimals(table.study.metric), fit.curvature, fit.best
    ends = f" [{wording.signed(bend.low, places)}, {wording.signed(bend.high, places)}]" if bend.low is not None else ""
    beyond = ("≤ " if best.dose < sum(fit.doses) / len(fit.doses) else "≥ ") if best.at_border else ""
    texts = (
        wording.factor_names(table.design)[curve.factor],
        others_text(table, curve) or wording.NOTHING,
        f"{len(fit.doses)} from {fit.doses[0]:g} to {fit.doses[-1]:g}",
        str(len(fit.seeds)),
        fit.direction,
        wording.p_value(fit.p_trend),
        wording.p_value(adjusted),
        wording.signed(bend.delta, places) + ends,
        f"{beyond}{best.dose:.3g}" + (f" [{best.low:.3g}, {best.high:.3g}]" if best.low is not None else ""),
    )
    return tuple(cell(text, runs) for text in texts)


def _notes(table: ResultTable, fits: list[tuple[Curve, DoseResponse]]) -> Iterator[str]:
    study, level = table.study, wording.level(table.study)
    top = "highest" if study.metric.goal == "maximize" else "lowest"
    over = f"{CORRECTIONS[study.comparisons.correction]} over {wording.plural(len(fits), 'trend')} of this table"
    yield (
        "A row: one numeric factor, all others equal (those that are not at the baseline's level are named), at the n seeds that all "
        "its doses finished."
    )
    yield (
        "Trend: whether the mean rises or falls with the dose; p: Page's trend test with the seeds as blocks, two-sided, not corrected; "
        f"adjusted p: corrected by {over}, apart from the contrasts."
    )
    yield (
        "Bend: of a parabola fitted to each seed, the mean of its two ends minus its middle, with the t interval over the seeds; "
        "not corrected; zero is a straight line."
    )
    yield (
        f"Best dose: where the mean parabola is {top} within the doses tried. Its interval (Fieller's, {level}, not corrected, cut at the "
        "smallest and largest dose) holds the doses at which the slope cannot be told from zero."
    )
    if any(len(curve.arms) == MIN_DOSES for curve, _ in fits):
        yield "With three doses the parabola goes through all three means, so whether the curve is one at all cannot be seen."
    logs = dict.fromkeys(wording.factor_names(table.design)[curve.factor] for curve, _ in fits if curve.log)
    if logs:
        yield f"Fitted against the logarithm of the dose, since the doses are spaced that way: {', '.join(logs)}."
    off = dict.fromkeys(table.design.arm(curve.arms[0.0]).label for curve, _ in fits if curve.off)
    if off:
        yield f"Dose 0 of {wording.factor_names(table.design)[RATE]} is the arm that does not shuffle ({'; '.join(off)})."
    if any(fit.best.at_border for _, fit in fits):
        yield "≤ and ≥: the parabola is best at that border of the doses tried, or beyond it."
    reasons: dict[str, list[str]] = {}
    for curve, fit in fits:
        reasons.setdefault(fit.best.reason, []).append(_name(table, curve))
    for reason, names in reasons.items():
        if reason:
            yield f"No interval for the best dose of {'; '.join(names)}: {reason}."


def _name(table: ResultTable, curve: Curve) -> str:
    """Name a curve: `max_rate (schedule=linear)`."""
    name, others = wording.factor_names(table.design)[curve.factor], others_text(table, curve)
    return f"{name} ({others})" if others else name


def others_text(table: ResultTable, curve: Curve) -> str:
    """Name the levels of other factors that are not the baseline's; empty if all are."""
    usual, names = wording.baseline(table.design).settings, wording.factor_names(table.design)
    differing = {n: v for n, v in curve.others.items() if n in names and (n not in usual or usual[n] != v)}
    return ", ".join(f"{names[name]}={level_text(level)}" for name, level in differing.items())


def _numbers(levels: Sequence[Level]) -> list[float]:
    return [float(level) for level in levels if isinstance(level, int | float) and not isinstance(level, bool)]


def _unevenness(doses: list[float]) -> float:
    """Return how much larger the largest step is than the smallest."""
    steps = [after - before for before, after in pairwise(doses)]
    return max(steps) / min(steps)
