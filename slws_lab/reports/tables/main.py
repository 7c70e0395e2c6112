"""The tables of a report as views: the results, the contrasts in full, and published rows beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

from slws_lab.analysis import Contrast, Estimate, ResultTable, best, contrasts, estimates
from slws_lab.reports import looks, wording
from slws_lab.reports.tables.cells import (
    DAGGER,
    beside_factors,
    cell,
    delta_text,
    due,
    level_cell,
    pair_runs,
    undeclared_cell,
    verdict_cell,
)
from slws_lab.reports.tables.footnotes import contrasts_notes, main_notes
from slws_lab.reports.view import Cell, Column, TableView
from slws_lab.spec import Arm


def main_view(table: ResultTable) -> TableView:
    """Return the result table: an arm a row, with its estimate, its contrast and verdict."""
    return _MainTable(table).view()


def contrasts_view(table: ResultTable) -> TableView:
    """Return every contrast with all its numbers, for readers who check."""
    names, places = wording.arm_names(table.design), wording.decimals(table.study.metric)
    found = contrasts(table)
    adaptive, beside = table.design.first_seeds is not None, any(beside_factors(table, c) for c in found)
    rows = []
    for c in found:
        runs = pair_runs(table, c)
        ends = [wording.signed(value, places) for value in (c.delta, c.low, c.high)]
        p = [wording.p_value(value) for value in (c.p, c.p_adjusted, c.p_signflip, c.p_equivalence_adjusted)]
        covers = wording.coverage(c.level) if c.low is not None else wording.NOTHING
        look = [looks.look_text(c), covers] if adaptive else []
        texts = [names[c.arm_id], names[c.reference], str(c.n), *look, *ends, wording.signed(c.effect, 2), *p]
        shared = [undeclared_cell(table, c)] if beside else []
        cells = [cell(text, runs) for text in texts]
        delta = 3 + len(look)
        cells[delta] = replace(cells[delta], mark=DAGGER if beside_factors(table, c) else "")
        rows.append((*cells, verdict_cell(c, runs), *shared))
    columns = (
        Column("arm"), Column("against"), Column("pairs", True),
        *([Column("look (seeds)", True), Column("interval", True)] if adaptive else []),
        Column("Δ", True), Column("low", True), Column("high", True), Column("d", True), Column("p", True),
        Column("adjusted p", True), Column("p, sign-flip", True), Column("adjusted p, equivalence", True),
        Column("verdict"), *([Column("undeclared")] if beside else []),
    )  # fmt: skip
    return TableView("contrasts", "Every contrast in full", columns, tuple(rows), contrasts_notes(table, found))


class _MainTable:
    """The main table while it is made: what its rows need to look up."""

    def __init__(self, table: ResultTable) -> None:
        self.table, self.places = table, wording.decimals(table.study.metric)
        self.estimates, self.contrasts, self.best = estimates(table), contrasts(table), best(table)
        self.own: dict[str, list[Contrast | None]] = {}
        for contrast in self.contrasts:
            self.own.setdefault(contrast.arm_id, []).append(contrast)
        self.headers, self.names = wording.factor_names(table.design), wording.arm_names(table.design)
        self.failed = any(e.failed for e in self.estimates)
        self.diverged = any(e.diverged for e in self.estimates)
        self.undeclared = any(beside_factors(table, c) for c in self.contrasts)
        self.several = len({c.reference for c in self.contrasts}) > 1
        self.by_block = table.study.comparisons.family == "block" and len({c.blocks for c in self.contrasts}) > 1
        self.adaptive = table.design.first_seeds is not None
        self.level = looks.one_level(table, self.contrasts)

    def view(self) -> TableView:
        study = self.table.study
        arms = zip(self.table.design.arms, self.estimates, strict=True)
        rows = chain.from_iterable(self.rows(arm, estimate) for arm, estimate in arms)
        notes = main_notes(self.table, self.estimates, self.contrasts, self.best)
        return TableView(study.name, f"{study.name}: {study.question}", self.columns(), tuple(rows), notes)

    def columns(self) -> tuple[Column, ...]:
        metric = self.table.study.metric
        return (
            *(Column(name) for name in self.headers.values() or ("arm",)),
            Column("n", True),
            *([Column("failed", True)] if self.failed else []),
            *([Column("diverged", True)] if self.diverged else []),
            Column(f"{wording.metric_title(metric)}, mean ± sd", True, "up" if metric.goal == "maximize" else "down"),
            *([Column("block", True)] if self.by_block else []),
            *([Column("against")] if self.several else []),
            *([Column("look (seeds)", True)] if self.adaptive else []),
            Column(wording.delta_title(metric, f"{self.level} interval".strip()), True),
            Column("adjusted p", True),
            Column("verdict"),
            *([Column("undeclared")] if self.undeclared else []),
        )

    def rows(self, arm: Arm, estimate: Estimate) -> Iterable[tuple[Cell, ...]]:
        """Yield an arm's row; another for each further contrast of it."""
        for contrast in self.own.get(arm.id) or [None]:
            yield (*self.arm_cells(arm, estimate), *self.contrast_cells(arm, contrast))

    def arm_cells(self, arm: Arm, estimate: Estimate) -> list[Cell]:
        records = due(self.table)[arm.id]
        every = tuple(record.run_id for record in records)
        finished = tuple(self.table.design.run_ids[arm.id, s] for s in self.table.values[arm.id].dropna().index)
        count = str(estimate.n) if estimate.n == len(every) else f"{estimate.n} of {len(every)}"
        cells = [level_cell(self.table, arm, name, every) for name in self.headers] or [Cell(arm.label, every)]
        cells.append(Cell(count, every))
        for shown, status in ((self.failed, "failed"), (self.diverged, "diverged")):
            runs = tuple(record.run_id for record in records if record.status == status)
            cells += [Cell(str(len(runs)), runs, faint=not runs)] if shown else []
        mean = wording.number(estimate.mean, self.places)
        spread = f" ± {wording.number(estimate.sd, self.places)}" if estimate.sd is not None else ""
        value = cell(mean + spread, finished, bold=arm.id in self.best.bold)
        return [*cells, replace(value, second=arm.id == self.best.second)]

    def contrast_cells(self, arm: Arm, contrast: Contrast | None) -> list[Cell]:
        if contrast is None:
            between = [Cell(wording.NOTHING, faint=True)] * (2 + self.by_block + self.several + self.adaptive)
            beside = [Cell(wording.NOTHING, faint=True)] * self.undeclared
            return [*between, Cell(arm.roles[0].text, faint=True), *beside]
        c, runs = contrast, pair_runs(self.table, contrast)
        return [
            *([Cell(str(c.blocks[0] + 1), runs)] if self.by_block else []),
            *([Cell(self.names[c.reference], runs)] if self.several else []),
            *([cell(looks.look_text(c), runs)] if self.adaptive else []),
            replace(
                cell(delta_text(self.table, c, self.level), runs), mark=DAGGER if beside_factors(self.table, c) else ""
            ),
            cell(wording.p_value(c.p_adjusted), runs),
            verdict_cell(c, runs),
            *([undeclared_cell(self.table, c)] if self.undeclared else []),
        ]
