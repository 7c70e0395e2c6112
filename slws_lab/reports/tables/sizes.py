"""Size scaling: the metric by the size of the model, with and without what is tried at each size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from slws_lab.analysis import Contrast, ResultTable
from slws_lab.analysis.costs import Cost, costs
from slws_lab.reports import wording
from slws_lab.reports.tables.amounts import figure
from slws_lab.reports.tables.compared import difference
from slws_lab.reports.tables.layout import Layout, Place, headers, labels, laid_out, short_headers
from slws_lab.reports.tables.legend import cost_notes, legend
from slws_lab.reports.tables.measures import Measures
from slws_lab.reports.view import Cell, TableView
from slws_lab.spec import Arm, CommandRecipe, ShownMetric, brief
from slws_lab.spec.levels import Settings
from slws_lab.spec.reporting_checks import sizing, varying

SHOW = ("params", "flops", "delta", "interval")
ACROSS = 4  # treatments that fit side by side, each with its difference


def size_views(table: ResultTable) -> list[TableView]:
    """Return the size scaling of a design whose models differ in size; none of one with a single model."""
    arms = [arm for arm in table.design.arms if not isinstance(arm.recipe, CommandRecipe)]
    names = {arm.recipe.model.name for arm in arms if not isinstance(arm.recipe, CommandRecipe)}
    sizes = {cost.params for cost in costs(table) if cost.params is not None}
    if not sizing(table.study.factors, varying(arms)) or max(len(names), len(sizes)) < 2:
        return []
    return [size_view(table, arms)]


def size_view(
    table: ResultTable, arms: Sequence[Arm], metrics: Sequence[ShownMetric] = (), show: Sequence[str] = SHOW,
) -> TableView:  # fmt: skip
    """Return a size scaling, ordered by parameters.

    Args:
        table: The results.
        arms: Those to show.
        metrics: The metrics; none for the study's own.
        show: What else.
    """
    return _Sizes(table, list(arms), metrics, show).view()


class _Sizes:
    """A size scaling while it is made."""

    def __init__(
        self, table: ResultTable, arms: list[Arm], metrics: Sequence[ShownMetric], show: Sequence[str]
    ) -> None:
        self.table, self.metrics, self.show = table, metrics, tuple(show)
        self.of_size = sizing(table.study.factors, varying(arms))
        self.treated = [name for name in varying(arms) if name not in self.of_size]
        self.costs: dict[str, Cost] = {cost.arm_id: cost for cost in costs(table)}
        self.arms = sorted(arms, key=lambda arm: (self.costs[arm.id].params is None, self.costs[arm.id].params or 0))
        usual = wording.baseline(table.design)
        self.without = self._key(usual.settings if usual in arms else arms[0].settings, self.treated)
        self.compared = self._compared()

    def view(self) -> TableView:
        treatments = list(dict.fromkeys(self._key(arm.settings, self.treated) for arm in self.arms))
        treatments.sort(key=lambda key: key != self.without)
        title = f"{self.table.study.name}: by the size of the model"
        if len(treatments) == 1:
            places = tuple(Place(arm.id, labels(self.table, arm, self.of_size)) for arm in self.arms)
            measures = Measures(self.table, self.compared, self.metrics, self.show)
            return laid_out(Layout("scaling", title, headers(self.table, self.of_size), places), measures)
        return self._side_by_side(treatments, title) if len(treatments) <= ACROSS else self._grouped(treatments, title)

    def _side_by_side(self, treatments: list[str], title: str) -> TableView:
        """Return a row for each size: what it costs, the metric without the treatment, then each treatment with its difference."""
        sized: dict[str, dict[str, Arm]] = {}
        for arm in self.arms:
            sized.setdefault(self._key(arm.settings, self.of_size), {})[self._key(arm.settings, self.treated)] = arm
        costly = tuple(name for name in self.show if name in ("params", "flops"))
        behind = tuple(name for name in self.show if name not in costly)
        size = Measures(self.table, {}, self.metrics, costly)
        bare = Measures(
            self.table, {}, self.metrics, tuple(n for n in behind if n not in ("delta", "interval", "verdict", "p"))
        )
        texts = {self._key(arm.settings, self.treated): self._text(arm.settings) for arm in self.arms}
        to = f"the same size with {texts[self.without]}" if self.without in texts else ""
        beside = Measures(self.table, self.compared, self.metrics, behind, to=to)
        kinds = {key: bare if key == self.without else beside for key in treatments}
        columns = [*headers(self.table, self.of_size), *size.columns()[: len(costly)]]
        columns += [column for key in treatments for column in kinds[key].columns(texts[key])]
        rows = []
        for found in sized.values():
            first = next(iter(found.values()))
            row = [*self._size_labels(list(found.values())), *size.cells(first.id)[: len(costly)]]
            ids = {key: found[key].id if key in found else None for key in treatments}
            rows.append((*row, *(cell for key in treatments for cell in kinds[key].cells(ids[key]))))
        notes = (*self._notes(), *legend(beside, [arm.id for arm in self.arms]), *cost_notes(costly))
        return TableView("scaling", title, tuple(columns), tuple(rows), notes)

    def _grouped(self, treatments: list[str], title: str) -> TableView:
        """Return a row for each arm, under a header for each size."""
        ordered = sorted(self.arms, key=lambda arm: treatments.index(self._key(arm.settings, self.treated)))
        sizes = list(dict.fromkeys(self._key(arm.settings, self.of_size) for arm in self.arms))
        ordered.sort(key=lambda arm: sizes.index(self._key(arm.settings, self.of_size)))
        places = [Place(a.id, labels(self.table, a, self.treated), self._size_text(a)) for a in ordered]
        rest = tuple(name for name in self.show if name not in ("params", "flops"))
        columns = tuple(replace(column, merges=False) for column in headers(self.table, self.treated))
        without = next((a for a in self.arms if self._key(a.settings, self.treated) == self.without), None)
        to = f"the same size with {self._text(without.settings)}" if without else ""
        measures = Measures(self.table, self.compared, self.metrics, rest, to=to)
        return laid_out(Layout("scaling", title, columns, tuple(places), notes=tuple(self._notes())), measures)

    def _compared(self) -> dict[str, Contrast]:
        """Return the difference of each arm to that of its size without the treatment; of sizes alone, to the smallest's."""
        if not self.treated:
            reference = wording.baseline(self.table.design)
            first = reference if reference in self.arms else self.arms[0]
            return {arm.id: difference(self.table, arm.id, first.id) for arm in self.arms if arm is not first}
        plain = {
            self._key(arm.settings, self.of_size): arm
            for arm in self.arms
            if self._key(arm.settings, self.treated) == self.without
        }
        pairs = ((arm, plain.get(self._key(arm.settings, self.of_size))) for arm in self.arms)
        return {
            arm.id: difference(self.table, arm.id, other.id)
            for arm, other in pairs
            if other is not None and other is not arm
        }

    def _notes(self) -> list[str]:
        untested = any(not contrast.verdict for contrast in self.compared.values())
        judged = {"p", "verdict"} & set(self.show)
        if not untested or not ("delta" in self.show or judged):
            return []
        said = "Δ without a verdict" if "delta" in self.show else f"{wording.NOTHING} beside the treatment"
        return [
            f"{said}: the study does not test these two arms{', so it is not corrected either' * ('delta' in self.show)}."
        ]

    def _size_labels(self, arms: list[Arm]) -> list[Cell]:
        runs = tuple(dict.fromkeys(run for arm in arms for run in labels(self.table, arm, self.of_size)[0].run_ids))
        return [replace(cell, run_ids=runs) for cell in labels(self.table, arms[0], self.of_size)]

    def _size_text(self, arm: Arm) -> str:
        cost = self.costs[arm.id]
        known = [f"{figure(cost.params / 1e6)} M parameters"] if cost.params is not None else []
        known += [f"{figure(cost.flops / 1e9)} GFLOPs"] if cost.flops is not None else []
        name = ", ".join(brief(arm.settings[n]) for n in self.of_size if n in arm.settings)
        return f"{name} ({', '.join(known)})" if known else name

    def _text(self, settings: Settings) -> str:
        short = short_headers(self.table, self.treated)
        return ", ".join(f"{short[n]} {brief(settings[n])}" for n in self.treated if n in settings)

    @staticmethod
    def _key(settings: Settings, names: Sequence[str]) -> str:
        return repr([settings.get(name, ...) for name in names])
