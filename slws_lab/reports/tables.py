"""The tables of a report as views: the results, the contrasts in full, and published rows beside them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from slws_lab.analysis import CORRECTIONS, Contrast, Estimate, ResultTable, best, contrasts, estimates
from slws_lab.reports import wording
from slws_lab.reports.footnotes import beside_factors, main_notes
from slws_lab.reports.references import Published
from slws_lab.reports.view import Cell, Column, TableView
from slws_lab.spec import Arm

FIELDS = 3  # undeclared fields named in a cell; the note below the table names all


def main_view(table: ResultTable) -> TableView:
    """Return the result table: an arm a row, with its estimate, its contrast and verdict."""
    return _MainTable(table).view()


def contrasts_view(table: ResultTable) -> TableView:
    """Return every contrast with all its numbers, for readers who check."""
    names, places = wording.arm_names(table.design), wording.decimals(table.study.metric)
    adjusted = f"p, {CORRECTIONS[table.study.comparisons.correction]}"
    columns = (
        Column("arm"), Column("against"), Column("pairs", True), Column("Δ", True), Column("low", True),
        Column("high", True), Column("d", True), Column("p", True), Column(adjusted, True),
        Column("p, sign-flip", True), Column("p, equivalence", True), Column("verdict"),
    )  # fmt: skip
    rows = []
    for c in contrasts(table):
        ends = [wording.signed(value, places) for value in (c.delta, c.low, c.high)]
        p = [wording.p_value(value) for value in (c.p, c.p_adjusted, c.p_signflip, c.p_equivalence_adjusted)]
        texts = [names[c.arm_id], names[c.reference], str(c.n), *ends, wording.signed(c.effect, 2), *p, verdict_text(c)]
        rows.append(tuple(_cell(text, pair_runs(table, c)) for text in texts))
    return TableView("contrasts", "Every contrast in full", columns, tuple(rows), (
        "d: mean of the paired differences over their standard deviation. p and p, sign-flip are not adjusted; "
        f"{adjusted} and p, equivalence are, within the family.",
    ))  # fmt: skip


def published_view(rows: list[Published]) -> TableView:
    """Return published figures; each source is a note."""
    sources = list(dict.fromkeys(row.source for row in rows))
    columns = (
        Column("system"), Column("variant"), Column("params (M)", True), Column("data set"), Column("resolution", True),
        Column("epochs", True), Column("metric"), Column("value", True), Column("source", True),
    )  # fmt: skip
    cells = []
    for row in rows:
        texts = (row.system, row.variant, row.params_m, row.dataset, row.resolution, row.epochs, row.metric, row.value)
        cells.append(tuple(Cell(text) for text in (*texts, f"[{sources.index(row.source) + 1}]")))
    title = "Published figures (their settings differ; not tested against ours)"
    return TableView("published", title, columns, tuple(cells), tuple(f"[{i}] {s}" for i, s in enumerate(sources, 1)))


def pair_runs(table: ResultTable, contrast: Contrast) -> tuple[str, ...]:
    """Return the runs of a contrast's pairs: the arm's, then the reference's."""
    arms = (contrast.arm_id, contrast.reference)
    return tuple(table.design.run_ids[arm_id, seed] for arm_id in arms for seed in contrast.seeds)


def verdict_text(contrast: Contrast) -> str:
    """Return a verdict as printed."""
    return contrast.verdict + (" (below margin)" if contrast.below_margin else "")


class _MainTable:
    """The main table while it is made: what its rows need to look up."""

    def __init__(self, table: ResultTable) -> None:
        self.table, self.places = table, wording.decimals(table.study.metric)
        self.estimates, self.contrasts, self.best = estimates(table), contrasts(table), best(table)
        self.headers, self.names = wording.factor_names(table.design), wording.arm_names(table.design)
        self.failed = any(e.failed for e in self.estimates)
        self.diverged = any(e.diverged for e in self.estimates)
        self.undeclared = any(beside_factors(table, c) for c in self.contrasts)
        self.several = len({c.reference for c in self.contrasts}) > 1
        self.by_block = table.study.comparisons.family == "block" and len({c.blocks for c in self.contrasts}) > 1

    def view(self) -> TableView:
        study = self.table.study
        arms = zip(self.table.design.arms, self.estimates, strict=True)
        rows = chain.from_iterable(self.rows(arm, estimate) for arm, estimate in arms)
        notes = main_notes(self.table, self.estimates, self.contrasts, self.best)
        return TableView(study.name, f"{study.name}: {study.question}", self.columns(), tuple(rows), notes)

    def columns(self) -> tuple[Column, ...]:
        study = self.table.study
        unit = wording.delta_unit(study.metric)
        delta = f"Δ [{wording.level(study)} interval]" + (f" ({unit})" if unit else "")
        return (
            *(Column(name) for name in self.headers.values() or ("arm",)),
            Column("n", True),
            *([Column("failed", True)] if self.failed else []),
            *([Column("diverged", True)] if self.diverged else []),
            Column(f"{wording.metric_title(study.metric)}, mean ± sd", True),
            *([Column("block", True)] if self.by_block else []),
            *([Column("against")] if self.several else []),
            Column(delta, True),
            Column("adjusted p", True),
            Column("verdict"),
            *([Column("undeclared")] if self.undeclared else []),
        )

    def rows(self, arm: Arm, estimate: Estimate) -> Iterable[tuple[Cell, ...]]:
        """Yield an arm's row; another for each further contrast of it."""
        own: list[Contrast | None] = [c for c in self.contrasts if c.arm_id == arm.id]
        for contrast in own or [None]:
            yield (*self.arm_cells(arm, estimate), *self.contrast_cells(arm, contrast))

    def arm_cells(self, arm: Arm, estimate: Estimate) -> list[Cell]:
        records = self.table.arm_records(arm.id)
        every = tuple(record.run_id for record in records)
        finished = tuple(self.table.design.run_ids[arm.id, s] for s in self.table.values[arm.id].dropna().index)
        count = str(estimate.n) if estimate.n == len(every) else f"{estimate.n} of {len(every)}"
        cells = [_cell(wording.level_text(arm, name), every) for name in self.headers] or [Cell(arm.label, every)]
        cells.append(Cell(count, every))
        for shown, status in ((self.failed, "failed"), (self.diverged, "diverged")):
            runs = tuple(record.run_id for record in records if record.status == status)
            cells += [Cell(str(len(runs)), runs, faint=not runs)] if shown else []
        mean = wording.number(estimate.mean, self.places)
        spread = f" ± {wording.number(estimate.sd, self.places)}" if estimate.sd is not None else ""
        return [*cells, _cell(mean + spread, finished, bold=arm.id in self.best.bold)]

    def contrast_cells(self, arm: Arm, contrast: Contrast | None) -> list[Cell]:
        if contrast is None:
            between = [Cell(wording.NOTHING, faint=True)] * (2 + self.by_block + self.several)
            beside = [Cell(wording.NOTHING, faint=True)] * self.undeclared
            return [*between, Cell(arm.roles[0].text, faint=True), *beside]
        c, runs = contrast, pair_runs(self.table, contrast)
        ends = f" [{wording.signed(c.low, self.places)}, {wording.signed(c.high, self.places)}]"
        return [
            *([Cell(str(c.blocks[0] + 1), runs)] if self.by_block else []),
            *([Cell(self.names[c.reference], runs)] if self.several else []),
            _cell(wording.signed(c.delta, self.places) + (ends if c.low is not None else ""), runs),
            _cell(wording.p_value(c.p_adjusted), runs),
            Cell(verdict_text(c), runs, faint=c.verdict in ("inconclusive", "withheld")),
            *([self.undeclared_cell(c)] if self.undeclared else []),
        ]

    def undeclared_cell(self, contrast: Contrast) -> Cell:
        """Name what differs beside the factors; its runs are those of the seeds at which it does."""
        found = beside_factors(self.table, contrast)
        fields = [one.field for one in found]
        more = [f"and {len(fields) - FIELDS} more"] if len(fields) > FIELDS else []
        seeds = sorted({seed for one in found for seed in one.seeds})
        pair = (contrast.arm_id, contrast.reference) if found else ()
        runs = tuple(self.table.design.run_ids[arm_id, seed] for arm_id in pair for seed in seeds)
        return _cell(", ".join([*fields[:FIELDS], *more]) or wording.NOTHING, runs)


def _cell(text: str, run_ids: tuple[str, ...], *, bold: bool = False) -> Cell:
    return Cell(text, run_ids, bold, faint=text == wording.NOTHING)
