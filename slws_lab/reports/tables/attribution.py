"""The tables of Shapley attribution: what each on/off component of a design contributes, over all orders of switching on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import factorial

from slws_lab.analysis import Effect, ResultTable, shapley
from slws_lab.analysis.shapley import MAX_COMPONENTS
from slws_lab.reports import looks, wording
from slws_lab.reports.tables.cells import cell
from slws_lab.reports.tables.effects import effect_cells, effect_columns, numbers_note
from slws_lab.reports.tables.grids import Grid, arms_of, cautions, obstacle, whole_runs
from slws_lab.reports.view import Cell, Column, TableView
from slws_lab.spec import level_text
from slws_lab.spec.blocks import Block
from slws_lab.spec.levels import Level

ABOUT_COMPONENTS = ("leave_one_out", "build_up")


def shapley_views(table: ResultTable) -> list[TableView]:
    """Return a table for each set of components of which the design has all 2^k arms.

    Where it has not, a block that is plainly about components gets a note that says how many are missing, others nothing.
    """
    made: dict[str, TableView] = {}
    for block in table.study.designs:
        grid = _components(table, block)
        if len(grid.levels) < 2 or (key := repr((sorted(grid.levels), grid.given))) in made:
            continue
        reason = _reason(table, grid)
        if not reason:
            made[key] = _view(table, grid)
        elif block.kind in ABOUT_COMPONENTS:
            made[key] = TableView("shapley", _title(grid), (), (), (reason,))
    return [replace(view, name=f"shapley-{i}" if i > 1 else "shapley") for i, view in enumerate(made.values(), 1)]


def _components(table: ResultTable, block: Block) -> Grid:
    """Return the components of a block, each with its off level and its on level; none if it is not about components."""
    names = block.content if block.kind in (*ABOUT_COMPONENTS, "grid") else []
    factors = {name: table.study.factors[name] for name in names}
    if block.kind == "grid":
        factors = {name: factor for name, factor in factors.items() if len(factor.values) > 1}
        if any(len(factor.values) > 2 or len(factor.off_levels) != 1 for factor in factors.values()):
            return Grid({}, {})
    usual = table.study.baseline | block.set
    sides = {n: list(_sides(f.values, f.off_levels[0], usual.get(n, f.values[0]))) for n, f in factors.items()}
    return Grid(sides, block.set)


def _sides(levels: tuple[Level, ...], off: Level, usual: Level) -> Iterator[Level]:
    """Yield the level that is off and the one that is on: the baseline's, or the first that is not off."""
    yield off
    yield usual if usual != off else next(level for level in levels if level != off)


def _reason(table: ResultTable, grid: Grid) -> str:
    """Say why there is no table; nothing if there can be one."""
    count = len(grid.levels)
    if count > MAX_COMPONENTS:
        return f"Not made: {count} components have {2**count:,} combinations; it is made for at most {MAX_COMPONENTS} components."
    missing = grid.size - len(arms_of(table, grid))
    reason = obstacle(table, grid, "Shapley attribution")
    if reason and missing:
        return (
            f"Not made: it needs an arm for each of the {grid.size} combinations of the {count} components, and {missing} of them are "
            "missing. Each contrast shows one component, beside those that both its arms have on."
        )
    return reason


def _view(table: ResultTable, grid: Grid) -> TableView:
    arms, count = arms_of(table, grid), len(grid.levels)
    runs = whole_runs(table, arms)
    *parts, total = shapley(table, {name: (levels[0], levels[1]) for name, levels in grid.levels.items()}, grid.given)
    sides = [(level_text(off), level_text(on)) for off, on in grid.levels.values()]
    rows = [_row(table, effect, ends, runs) for effect, ends in zip(parts, sides, strict=True)]
    rows.append(_row(table, total, ("all", "all"), runs))
    pair = " With two components it is the main effect." if count == 2 else ""
    notes = (
        f"Δ of a component: its contribution, which is what switching it on changes, averaged over all {factorial(count)} orders in which "
        f"the {count} components can be switched on (Shapley's value, exact, from {grid.size} arms). The contributions sum to "
        f"the last row, all on minus all off.{pair}",
        numbers_note(table, parts, "component", f"all {grid.size} arms") + " The last row is tested on its own.",
        *cautions(table, arms), *looks.caution(table),
    )  # fmt: skip
    columns = (Column("component"), Column("off"), Column("on"), *effect_columns(table))
    return TableView("shapley", _title(grid), columns, tuple(rows), notes)


def _row(table: ResultTable, effect: Effect, ends: tuple[str, str], runs: tuple[str, ...]) -> tuple[Cell, ...]:
    return (
        *(cell(text, runs) for text in (wording.contrast_name(effect.name), *ends)),
        *effect_cells(table, effect, runs),
    )


def _title(grid: Grid) -> str:
    return f"Shapley attribution of {wording.plural(len(grid.levels), 'component')}: {', '.join(grid.names)}"
