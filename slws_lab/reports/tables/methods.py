"""The comparison of methods: our arms, and below them published rows in grey, each with its source; never tested against each other."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from slws_lab.analysis import ResultTable, best, estimates
from slws_lab.analysis.costs import costs
from slws_lab.reports import wording
from slws_lab.reports.references import Published, published
from slws_lab.reports.tables.amounts import scaled
from slws_lab.reports.tables.cells import arm_runs
from slws_lab.reports.tables.compared import first_contrasts
from slws_lab.reports.tables.legend import legend
from slws_lab.reports.tables.measures import Measures
from slws_lab.reports.tables.reproduced import SAME, reproduced
from slws_lab.reports.view import Cell, Column, Group, TableView
from slws_lab.spec import Arm, CommandRecipe, ShownMetric, Study, matches

GROUP = "Published (their settings differ; not tested against ours)"
OTHERS = "Published, of other metrics"
FLOPS_NOTE = "FLOPs of ours: of one image's forward, a multiply-add counted as two; the published ones as their sources count, many as one."
SIZES = {"params": "params (M)", "flops": "FLOPs (G)"}
COSTS = ("gflops",)
MOST = 12  # of our arms: of more, only the baseline, the reproduced and the best are shown
_HEADERS = {"dataset": "data set", "resolution": "resolution", "epochs": "epochs", "setting": "setting"}
P = TypeVar("P")


@dataclass(frozen=True)
class Gap:
    """An arm and the published row that it reproduces."""

    arm: Arm
    row: Published


def method_views(table: ResultTable, study: Study) -> list[TableView]:
    """Return the comparison with the published rows that the study names; none if it names none.

    Raises:
        UserError: There is no such published row, or several fit.
    """
    return [method_view(table, study, _chosen(table, study))] if _keys(study) else []


def method_view(
    table: ResultTable, study: Study, arms: Sequence[Arm], show: Sequence[str] = ("params", "flops")
) -> TableView:
    """Return our arms beside published rows.

    Args:
        table: The results.
        study: The study as loaded.
        arms: Ours to show.
        show: What else stands in a row.

    Raises:
        UserError: There is no such published row, or several fit.
    """
    return _Methods(table, study, list(arms), tuple(show)).view()


class _Methods:
    """The comparison while it is made."""

    def __init__(self, table: ResultTable, study: Study, arms: list[Arm], show: tuple[str, ...]) -> None:
        self.table, self.study, self.arms, self.show = table, study, arms, show
        self.costs = {cost.arm_id: cost for cost in costs(table)}
        self.names = wording.arm_names(table.design)
        self.means = {e.arm_id: e.mean for e in estimates(table)}
        found = reproduced(study)  # first, since a key that is wrong there is best told there
        self.rows = published(_keys(study), study.source.where(("report", "references")))
        self.gaps = [
            Gap(arm, row)
            for one, row in zip(study.spec.report.reproduces, found, strict=True)
            for arm in self.arms
            if matches(arm.settings, one.arm)
        ]
        self.sources = list(dict.fromkeys(row.source for row in self.rows))
        self.named = {name: any(getattr(row, name) for row in self.rows) for name in ("variant", *_HEADERS)}
        behind = tuple(name for name in show if name not in SIZES)
        self.measures = Measures(table, first_contrasts(table), (ShownMetric(name=table.study.metric.name),), behind)
        self.value = next(i for i, each in enumerate(self.measures.all) if each.is_metric)  # n may stand before it

    def view(self) -> TableView:
        alike, others = self._parted()
        rows = [*map(self._ours, self.arms), *map(self._theirs, alike), *map(self._theirs, others)]
        starts = ((0, f"Ours ({self.study.spec.name})"), (len(self.arms), GROUP), (len(self.arms) + len(alike), OTHERS))
        held = (self.arms, alike, others)
        groups = tuple(Group(*start) for start, part in zip(starts, held, strict=True) if part)
        title = f"{self.study.spec.name}: beside published results"
        notes = (*legend(self.measures, [arm.id for arm in self.arms]), *self._notes())
        return TableView("methods", title, tuple(self._columns()), tuple(rows), notes, groups)

    def _parted(self) -> tuple[list[Published], list[Published]]:
        """Return the published rows of the study's metric and those of others; what has a column of its own is in neither."""
        wanted = SAME.get(self.table.study.metric.name, self.table.study.metric.name)
        alike = [row for row in self.rows if row.metric == wanted]
        return alike, [row for row in self.rows if row.metric not in (wanted, *COSTS)]

    def _columns(self) -> list[Column]:
        front, value, behind = self._split(self.measures.columns())
        sizes = [Column(title, True) for name, title in SIZES.items() if name in self.show]
        gap = [Column(_gap_title(self.table), True)] if self.gaps else []
        variant = [Column("variant")] if self.named["variant"] else []
        named = [Column(_HEADERS[name]) for name in _HEADERS if self.named[name]]
        return [
            Column("method"),
            *variant,
            *sizes,
            *named,
            *front,
            Column("metric"),
            replace(value, name="value", better="" if self._parted()[1] else value.better),
            *gap,
            *behind,
        ]

    def _ours(self, arm: Arm) -> tuple[Cell, ...]:
        runs, cost, facts = arm_runs(self.table, arm.id), self.costs[arm.id], _facts(self.table, arm)
        front, value, behind = self._split(self.measures.cells(arm.id))
        known = {"params": scaled(cost.params, 1e6), "flops": scaled(cost.flops, 1e9)}
        sizes = [Cell(text, cost.run_ids if text else ()) for name, text in known.items() if name in self.show]
        variant = [Cell(facts["variant"], runs if facts["variant"] else ())] if self.named["variant"] else []
        named = [Cell(facts[name], runs if facts[name] else ()) for name in _HEADERS if self.named[name]]
        metric = Cell(wording.metric_title(self.table.study.metric), runs)
        gap = [self._gap(arm)] if self.gaps else []
        name = Cell(self.names[arm.id], runs)
        return (name, *variant, *sizes, *named, *front, metric, value, *gap, *behind)

    def _theirs(self, row: Published) -> tuple[Cell, ...]:
        known = {"params": row.params_m, "flops": row.flops_g or row.flops}
        front, _, behind = self._split([Cell("", faint=True) for _ in self.measures.all])
        texts = [
            row.system, *([row.variant] if self.named["variant"] else []), *(known[name] for name in known if name in self.show),
            *(getattr(row, name) for name in _HEADERS if self.named[name]),
        ]  # fmt: skip
        metric = Cell(f"{row.metric} ({row.unit})" if row.unit else row.metric, faint=True)
        value = Cell(row.value, faint=True, mark=self._mark(row))
        gap = [Cell("", faint=True)] if self.gaps else []
        return (*(Cell(text, faint=True) for text in texts), *front, metric, value, *gap, *behind)

    def _split(self, parts: list[P]) -> tuple[list[P], P, list[P]]:
        """Split what stands in the columns of the measures: before the metric, the metric's, behind it."""
        return parts[: self.value], parts[self.value], parts[self.value + 1 :]

    def _gap(self, arm: Arm) -> Cell:
        """Return our mean minus each published figure that the arm reproduces; blank where there is no such number."""
        known = [(text, gap.row) for gap in self.gaps if gap.arm is arm and (text := self._gap_text(gap))]
        if not known:
            return Cell("")
        runs = tuple(self.table.design.run_ids[arm.id, seed] for seed in self.table.values[arm.id].dropna().index)
        marks = dict.fromkeys(self._mark(row) for _, row in known)
        return Cell("; ".join(text for text, _ in known), runs, mark=", ".join(marks))

    def _gap_text(self, gap: Gap) -> str:
        """Print our mean minus the published figure; nothing where one of the two is not a number."""
        mean, value = self.means[gap.arm.id], _number(gap.row.value)
        return (
            ""
            if mean is None or value is None
            else wording.signed(mean - value, wording.decimals(self.table.study.metric))
        )

    def _mark(self, row: Published) -> str:
        return note_mark(self.sources.index(row.source))

    def _notes(self) -> list[str]:
        gap = (
            [f"Gap: our mean minus the published figure; not tested. {' '.join(map(self._gap_note, self.gaps))}"]
            if self.gaps
            else []
        )
        left = len(self.table.design.arms) - len(self.arms)
        fewer = [f"{wording.plural(left, 'further arm')} of ours in the table of results."] if left else []
        counted = [FLOPS_NOTE] if "flops" in self.show and any(self.costs[arm.id].flops for arm in self.arms) else []
        return [*gap, *counted, *fewer, *(f"{note_mark(i)} {source}" for i, source in enumerate(self.sources))]

    def _gap_note(self, gap: Gap) -> str:
        """Say which published row an arm reproduces, and on what each was measured."""
        theirs = ", ".join(text for text in (gap.row.dataset, gap.row.resolution) if text)
        facts = _facts(self.table, gap.arm)
        ours = ", ".join(facts[name] for name in ("dataset", "resolution") if facts[name])
        name = self.names[gap.arm.id]
        row = f"{gap.row.system} {gap.row.variant} ({theirs or 'data not told'})"
        several = sum(other.arm is gap.arm for other in self.gaps) > 1
        own = f", gap {self._gap_text(gap) or wording.NOTHING}" if several else ""
        return f"{name} ({ours or 'data not told'}) reproduces {row}{own}."


def note_mark(number: int) -> str:
    """Return the mark of a source: a, b, ..., z, aa, ab, ..."""
    first, last = divmod(number, len(string.ascii_lowercase))
    return (note_mark(first - 1) if first else "") + string.ascii_lowercase[last]


def _keys(study: Study) -> list[str]:
    """Return the keys of the published rows to show: those named, and those of arms that reproduce one."""
    return list(dict.fromkeys([*study.spec.report.references, *(one.key for one in study.spec.report.reproduces)]))


def _chosen(table: ResultTable, study: Study) -> list[Arm]:
    """Return our arms to show: all of few, else the baseline, those that reproduce a published row, and the best."""
    arms = list(table.design.arms)
    if len(arms) <= MOST:
        return arms
    means = {e.arm_id: e.mean for e in estimates(table) if e.mean is not None}
    sign = 1 if table.study.metric.goal == "maximize" else -1
    top = {max(means, key=lambda arm_id: sign * means[arm_id])} if means else set()
    wanted = [one.arm for one in study.spec.report.reproduces]
    found = [
        a
        for a in arms
        if a.id in top or a is wording.baseline(table.design) or any(matches(a.settings, w) for w in wanted)
    ]
    bold = [arm for arm in arms if arm.id in best(table).bold and arm not in found]
    return [arm for arm in arms if arm in [*found, *bold[: MOST - len(found)]]]


def _facts(table: ResultTable, arm: Arm) -> dict[str, str]:
    """Return what we know of an arm in the columns of published rows; blank where a command's recipe does not say."""
    facts = dict.fromkeys(("variant", *_HEADERS), "")
    if isinstance(arm.recipe, CommandRecipe):
        return facts
    epochs = {r.result["epochs"] for r in table.arm_records(arm.id) if r.result.get("epochs") is not None}
    size = arm.recipe.data.size
    told = {
        "variant": arm.recipe.model.name,
        "dataset": arm.recipe.data.name,
        "resolution": "" if size is None else str(size),
    }
    return facts | told | {"epochs": str(epochs.pop()) if len(epochs) == 1 else ""}


def _gap_title(table: ResultTable) -> str:
    unit = wording.delta_unit(table.study.metric)
    return f"gap ({unit})" if unit else "gap"


def _number(text: str) -> float | None:
    """Read a published figure; None where it is none, as `<600M`."""
    try:
        return float(text)
    except ValueError:
        return None
