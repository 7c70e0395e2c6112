"""Ablation tables as papers print them: a column for each component, with a check mark where it is on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from slws_lab.analysis import ResultTable
from slws_lab.reports import wording
from slws_lab.reports.tables.cells import arm_runs, level_cell
from slws_lab.reports.tables.compared import difference
from slws_lab.reports.tables.grids import CROSSED
from slws_lab.reports.tables.layout import Layout, Place, laid_out, short_headers
from slws_lab.reports.tables.measures import Measures
from slws_lab.reports.view import Cell, Column, TableView
from slws_lab.spec import Arm, Role, brief
from slws_lab.spec.blocks import Block
from slws_lab.spec.levels import Level

CHECK = "✓"
TITLES = {
    "leave_one_out": "all components, and each taken out in turn",
    "build_up": "components added one at a time",
    "grid": "all combinations of the components",
    "pairwise": "each component alone, and every two together",
}
ROLES = (*CROSSED, "all_on", "removed", "step")


def component_views(table: ResultTable) -> list[TableView]:
    """Return an ablation table for each block of the design that switches two components or more."""
    made = []
    for number, block in enumerate(table.study.designs):
        if len(names := switched(table, block)) > 1:
            made.append(_view(table, number, names))
    return [replace(view, name=f"ablation-{i}" if i > 1 else "ablation") for i, view in enumerate(made, 1)]


def switched(table: ResultTable, block: Block) -> list[str]:
    """Return the components of a block; none if it is about anything else."""
    if block.kind in ("leave_one_out", "build_up"):
        return list(block.content)
    if block.kind not in ("grid", "pairwise"):
        return []
    factors = {name: table.study.factors[name] for name in block.content}
    varied = {name: factor for name, factor in factors.items() if len(factor.values) > 1}
    whole = all(len(factor.values) == 2 and len(factor.off_levels) == 1 for factor in varied.values())
    return list(varied) if whole else []


def component_cell(table: ResultTable, arm: Arm, name: str) -> Cell:
    """Return a check mark where a component is on, nothing where it is off; the level of one that is no switch."""
    if name not in arm.settings or not is_switch(table, name):
        return level_cell(table, arm, name, arm_runs(table, arm.id))
    factor = table.study.factors[name]
    return Cell("" if arm.settings[name] in factor.off_levels else CHECK, arm_runs(table, arm.id))


def is_switch(table: ResultTable, name: str) -> bool:
    """Say whether a factor has two levels, one of them off."""
    factor = table.study.factors.get(name)
    return factor is not None and len(factor.values) == 2 and len(factor.off_levels) == 1


def check_note(table: ResultTable, names: Sequence[str]) -> str:
    """Say what a check mark stands for in each column; nothing where all components are plainly on or off."""
    short, said = short_headers(table, names), []
    own = wording.factor_names(table.design)
    for name in names:
        factor = table.study.factors.get(name)
        on = [level for level in factor.values if level not in factor.off_levels] if factor else []
        if factor and is_switch(table, name) and on != [True]:
            along = "".join(f", {own[other]} {brief(level)}" for other, level in _along(table, name, on[0]))
            said.append(f"{short[name]} {brief(on[0])}{along} (else {brief(factor.off_levels[0])})")
    return f"{CHECK}: {'; '.join(said)}." if said else ""


def _along(table: ResultTable, name: str, level: Level) -> list[tuple[str, Level]]:
    """Return the other fields that have one value wherever a component is on, and none where it is off."""
    on = [arm.settings for arm in table.design.arms if arm.settings.get(name) == level]
    off = [arm.settings for arm in table.design.arms if arm.settings.get(name) != level]
    return [
        (other, value) for other, value in (on[0].items() if on else ())
        if other != name and all(one.get(other) == value for one in on) and not any(other in one for one in off)
    ]  # fmt: skip


def _view(table: ResultTable, number: int, names: list[str]) -> TableView:
    block, arms = table.study.designs[number], _arms(table, number)
    compared = {arm.id: difference(table, arm.id, role.reference) for arm, role in arms if role.reference}
    places = [Place(arm.id, tuple(component_cell(table, arm, name) for name in names)) for arm, _ in arms]
    if block.kind in ("grid", "pairwise"):
        places.sort(key=lambda place: sum(bool(cell.text) for cell in place.labels))
    short = short_headers(table, names)
    note = check_note(table, names)
    layout = Layout(
        "ablation", block_title(table, number, TITLES[block.kind]), tuple(Column(short[name]) for name in names), tuple(places),
        notes=(note,) if note else (),
    )  # fmt: skip
    return laid_out(layout, Measures(table, compared, to="the row above" if block.kind == "build_up" else ""))


def _arms(table: ResultTable, number: int) -> list[tuple[Arm, Role]]:
    """Return the arms of a block, each with its role there; steps in their order."""
    found = [
        (arm, role) for arm in table.design.arms for role in arm.roles if role.block == number and role.kind in ROLES
    ]
    return sorted(found, key=lambda pair: (pair[1].step or 0, pair[1].reference is not None))


def block_title(table: ResultTable, number: int, title: str) -> str:
    """Return a caption of a block's table, with the block's name and what all its arms have in common."""
    block = table.study.designs[number]
    named = f" ({block.name})" if block.name else ""
    fixed = ", ".join(f"{name}={brief(level)}" for name, level in block.set.items())
    return f"{table.study.name}: {title}{named}" + (f", all with {fixed}" if fixed else "")
