"""What stands in a row of a paper's table beside its labels: metrics, differences, verdicts and costs of an arm, a column each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from slws_lab.analysis import Contrast, Estimate, ResultTable, best, estimates
from slws_lab.analysis.costs import Cost, costs
from slws_lab.reports import looks, wording
from slws_lab.reports.tables import amounts
from slws_lab.reports.tables.cells import (
    DAGGER,
    arm_runs,
    beside_factors,
    cell,
    delta_text,
    due,
    pair_runs,
    verdict_cell,
)
from slws_lab.reports.tables.compared import verdict_mark
from slws_lab.reports.view import Cell, Column
from slws_lab.spec import Metric, ShownMetric
from slws_lab.spec.reporting_checks import journal_name, recorded_by

FIRST = ("params", "flops", "n")  # before the metrics; all else follows them
LAST = ("delta", "p", "verdict", "device_hours", "images_per_s", "peak_memory")


@dataclass(frozen=True)
class Measure:
    """A column and what stands in it for an arm; whether it is a metric's."""

    column: Column
    cell: Callable[[str], Cell]
    is_metric: bool = False


class Measures:
    """The measures of a table.

    Args:
        table: The results.
        compared: Arm id -> the difference to print beside it; an arm without one is a reference.
        metrics: The metrics to show; none for the study's own.
        show: What else, as in `report.tables`.
        to: What every arm is compared with, where that can be said in words: `the row above`; empty to name the arms.
        controlled: Arm id -> its difference to its control, for a column of its own; empty for none.
    """

    def __init__(
        self, table: ResultTable, compared: Mapping[str, Contrast], metrics: Sequence[ShownMetric] = (),
        show: Sequence[str] = ("delta", "interval"), *, to: str = "", controlled: Mapping[str, Contrast] | None = None,
    ) -> None:  # fmt: skip
        self.table, self.compared, self.show, self.to = table, compared, tuple(show), to
        self.controlled = controlled or {}
        self.metrics = tuple(metrics) or (ShownMetric(name=table.study.metric.name),)
        self.level = looks.one_level(table, [*compared.values(), *self.controlled.values()])

    @cached_property
    def all(self) -> list[Measure]:
        """The measures in the order in which they are printed."""
        made = {
            "params": lambda: self._cost("params (M)", lambda cost: amounts.scaled(cost.params, 1e6)),
            "flops": lambda: self._cost("FLOPs (G)", lambda cost: amounts.scaled(cost.flops, 1e9)),
            "n": lambda: Measure(Column("n", True), self._count),
            "delta": lambda: self._difference_column("Δ", self.compared),
            "p": lambda: Measure(Column("adjusted p", True), self._p),
            "verdict": lambda: Measure(Column("verdict"), self._verdict),
            "device_hours": lambda: self._cost("device-hours", lambda cost: amounts.scaled(cost.device_hours), "down"),
            "images_per_s": lambda: self._cost("images/s", lambda cost: amounts.scaled(cost.images_per_s), "up"),
            "peak_memory": lambda: self._cost("peak memory (MB)", lambda cost: amounts.scaled(cost.peak_memory_mb), "down"),
        }  # fmt: skip
        first = [made[name]() for name in FIRST if name in self.show]
        against = [Measure(Column("against"), self._against)] if self._names_references else []
        last = [made[name]() for name in LAST if name in self.show]
        control = [self._difference_column("Δ to its control", self.controlled)] if self.controlled else []
        return [*first, *map(self._metric, self.metrics), *against, *last, *control]

    def columns(self, over: str = "") -> list[Column]:
        """Return the columns, all under one header if that is given."""
        return [replace(measure.column, over=over) for measure in self.all]

    def cells(self, arm_id: str | None) -> list[Cell]:
        """Return the cells of an arm; en dashes where there is none."""
        if arm_id is None:
            return [Cell(wording.NOTHING, faint=True) for _ in self.all]
        return [measure.cell(arm_id) for measure in self.all]

    def is_study_metric(self, metric: ShownMetric) -> bool:
        """Say whether a metric is the one that the study is judged by."""
        return self._name(metric) == self.table.study.metric.key

    def _name(self, metric: ShownMetric) -> str:
        return journal_name(metric, self.table.study.metric.weights, self._recorded)

    @cached_property
    def _recorded(self) -> tuple[str, ...]:
        return recorded_by(self.table.design)

    def _metric(self, metric: ShownMetric) -> Measure:
        study = self.table.study.metric
        if self.is_study_metric(metric):
            return Measure(
                Column(amounts.header(metric, study, own=True), True, amounts.better(metric, study)),
                self._estimate,
                True,
            )
        asked = Metric.of(self._name(metric))
        values = {arm.id: self._values(arm.id, asked) for arm in self.table.design.arms}
        places = amounts.decimals(asked.name, [value for found in values.values() for value in found.values()])
        column = Column(amounts.header(metric, asked, own=False), True, amounts.better(metric))
        return Measure(column, lambda a: cell(amounts.spread(list(values[a].values()), places), tuple(values[a])), True)

    def _values(self, arm_id: str, metric: Metric) -> dict[str, float]:
        """Return run id -> the last value of a metric, of the finished runs."""
        found = {record.run_id: record.value(metric) for record in self.table.arm_records(arm_id)}
        return {run_id: value for run_id, value in found.items() if value is not None and math.isfinite(value)}

    def _estimate(self, arm_id: str) -> Cell:
        """Return the study's metric of an arm: bold or underlined, and with its n raised where that is below plan and not shown."""
        e, chosen = self.estimates[arm_id], best(self.table)
        places = wording.decimals(self.table.study.metric)
        spread = f" ± {wording.number(e.sd, places)}" if e.sd is not None else ""
        runs = tuple(self.table.design.run_ids[arm_id, s] for s in self.table.values[arm_id].dropna().index)
        found = cell(wording.number(e.mean, places) + spread, runs, bold=arm_id in chosen.bold)
        return replace(found, second=arm_id == chosen.second, mark="" if "n" in self.show else self.below_plan(arm_id))

    def below_plan(self, arm_id: str) -> str:
        """Return `2 of 5` for an arm of which some runs have finished, fewer than are wanted; else nothing."""
        planned, n = len(due(self.table)[arm_id]), self.estimates[arm_id].n
        return f"{n} of {planned}" if 0 < n < planned else ""

    def _count(self, arm_id: str) -> Cell:
        n, planned = self.estimates[arm_id].n, len(due(self.table)[arm_id])
        return Cell(str(n) if n == planned else f"{n} of {planned}", arm_runs(self.table, arm_id))

    def _difference_column(self, name: str, compared: Mapping[str, Contrast]) -> Measure:
        metric, interval = self.table.study.metric, "interval" in self.show
        unit = f" ({wording.delta_unit(metric)})" if wording.delta_unit(metric) else ""
        title = wording.delta_title(metric, f"{self.level} interval".strip(), name) if interval else f"{name}{unit}"
        return Measure(Column(title, True), lambda arm_id: self._difference(compared.get(arm_id), interval=interval))

    def _difference(self, contrast: Contrast | None, *, interval: bool) -> Cell:
        if contrast is None:
            return Cell(wording.NOTHING, faint=True)
        mark = verdict_mark(contrast) + (DAGGER if beside_factors(self.table, contrast) else "")
        text = delta_text(self.table, contrast, self.level, interval=interval)
        return replace(cell(text, pair_runs(self.table, contrast)), mark=mark)

    def _p(self, arm_id: str) -> Cell:
        contrast = self.compared.get(arm_id)
        runs = pair_runs(self.table, contrast) if contrast else ()
        found = cell(wording.p_value(contrast.p_adjusted if contrast else None), runs)
        return self._marked(found, contrast if contrast and contrast.verdict else None)

    def _verdict(self, arm_id: str) -> Cell:
        contrast = self.compared.get(arm_id)
        if contrast is None or not contrast.verdict:
            return Cell("reference" if contrast is None else wording.NOTHING, faint=True)
        return self._marked(verdict_cell(contrast, pair_runs(self.table, contrast)), contrast)

    def _marked(self, found: Cell, contrast: Contrast | None) -> Cell:
        """Return a cell with the dagger of its difference, where that is not shown itself."""
        marks = contrast is not None and "delta" not in self.show and bool(beside_factors(self.table, contrast))
        return replace(found, mark=DAGGER) if marks else found

    def _against(self, arm_id: str) -> Cell:
        contrast = self.compared.get(arm_id)
        if contrast is None:
            return Cell(wording.NOTHING, faint=True)
        return Cell(self.arm_names[contrast.reference], pair_runs(self.table, contrast))

    def _cost(self, title: str, read: Callable[[Cost], str], better: str = "") -> Measure:
        found = {cost.arm_id: cost for cost in costs(self.table)}
        return Measure(Column(title, True, better), lambda arm_id: Cell(read(found[arm_id]), found[arm_id].run_ids))

    @property
    def _names_references(self) -> bool:
        several = len({contrast.reference for contrast in self.compared.values()}) > 1
        return several and not self.to and bool({"delta", "p", "verdict"} & set(self.show))

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """The estimates by arm id."""
        return {e.arm_id: e for e in estimates(self.table)}

    @cached_property
    def arm_names(self) -> dict[str, str]:
        """What each arm is called, by its id."""
        return wording.arm_names(self.table.design)
