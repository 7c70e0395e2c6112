"""The tables of main effects and two-way interactions: one for each whole grid of factors in the design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from slws_lab.analysis import CORRECTIONS, Effect, ResultTable, effects
from slws_lab.analysis.effects import corrected
from slws_lab.reports import looks, wording
from slws_lab.reports.tables.cells import cell
from slws_lab.reports.tables.grids import Grid, arms_of, cautions, crossed, obstacle, whole_runs
from slws_lab.reports.view import Cell, Column, TableView
from slws_lab.spec import level_text

MAIN = (
    "Main effect (a − b): the mean of all arms with a minus that of all arms with b, all levels of the other factors "
    "counting alike."
)
INTERACTION = "Interaction, (a − b) × (c − d): by how much a − b is larger at c than at d; where it is zero the two factors simply add up."

PAIRS = "Each is of two factors, from the arms of all their levels; the other factors are at the baseline's levels."


def effects_views(table: ResultTable) -> list[TableView]:
    """Return a table for each grid of two or more factors in the design; one that cannot be made is a note that says why."""
    made = []
    for number, block in enumerate(table.study.designs):
        names = block.content
        if block.kind == "grid" or (block.kind == "pairwise" and len(names) == 2):
            grids = [grid for grid in crossed(table, number, names) if len(grid.levels) > 1]
            made += [
                _view(table, f"Main effects and interactions: {' × '.join(g.names)}", [g], main=True) for g in grids
            ]
        elif block.kind == "pairwise":
            crossings = [grid for pair in combinations(names, 2) for grid in crossed(table, number, pair)]
            pairs = [grid for grid in crossings if len(grid.levels) > 1]
            made += [_view(table, "Two-way interactions", pairs, main=False)] if pairs else []
    return [replace(view, name=f"effects-{i}" if i > 1 else "effects") for i, view in enumerate(made, 1)]


def effect_columns(table: ResultTable) -> list[Column]:
    """Return the columns that every table of effects ends with."""
    delta = wording.delta_title(table.study.metric, f"{wording.level(table.study)} interval")
    return [Column("n", True), Column(delta, True), Column("p", True), Column("adjusted p", True)]


def effect_cells(table: ResultTable, effect: Effect, runs: tuple[str, ...]) -> list[Cell]:
    """Return the cells of an effect in the columns of `effect_columns`."""
    places = wording.decimals(table.study.metric)
    ends = f" [{wording.signed(effect.low, places)}, {wording.signed(effect.high, places)}]"
    delta = wording.signed(effect.delta, places) + (ends if effect.low is not None else "")
    texts = (str(effect.n), delta, wording.p_value(effect.p), wording.p_value(effect.p_adjusted))
    return [cell(text, runs) for text in texts]


def numbers_note(table: ResultTable, found: Sequence[Effect], what: str, arms: str) -> str:
    """Say what n, interval and p of effects are.

    Args:
        table: The results.
        found: The effects that are corrected together.
        what: What each is, in one word.
        arms: From which arms each is made.
    """
    better = "above" if table.study.metric.goal == "maximize" else "below"
    tested = sum(effect.p is not None for effect in found)
    over = f"over {wording.plural(tested, what)} of this table, apart from the contrasts of the arms"
    flat = (
        " –: every seed gives the same difference, so there is no spread to test against."
        if tested < len(found)
        else ""
    )
    return (
        f"n: seeds that {arms} finished; each gives one difference. Δ: their mean, with the t interval of this {what} alone "
        f"({wording.level(table.study)}); {better} zero is better. p: t test over the seeds, not corrected; adjusted p: corrected by "
        f"{CORRECTIONS[table.study.comparisons.correction]} {over}.{flat}"
    )


def _view(table: ResultTable, title: str, grids: list[Grid], *, main: bool) -> TableView:
    """Return the effects of some grids, corrected together.

    Args:
        table: The results.
        title: Caption.
        grids: The grids; what is in the way of one is a note.
        main: Whether to show main effects beside the interactions.
    """
    what = "a table of main effects and interactions" if main else "an interaction"
    reasons = [obstacle(table, grid, what) for grid in grids]
    whole = [grid for grid, reason in zip(grids, reasons, strict=True) if not reason]
    found = [
        (effect, runs)
        for grid in whole
        for runs in [whole_runs(table, arms_of(table, grid))]
        for effect in effects(table, grid.levels, given=grid.given)
        if main or len(effect.factors) == 2
    ]
    failed = tuple(dict.fromkeys(reason for reason in reasons if reason))
    if not found:
        return TableView("effects", title, (), (), failed)
    adjusted = corrected([effect for effect, _ in found], table.study.comparisons.correction)
    rows = [
        (Cell(wording.contrast_name(effect.name), runs), *effect_cells(table, effect, runs))
        for effect, (_, runs) in zip(adjusted, found, strict=True)
    ]
    arms = [arm for grid in whole for arm in arms_of(table, grid)]
    made_of = f"all {len(arms)} arms" if main else "all arms of the two factors"
    notes = (
        *([_grid_note(whole[0], len(arms)), MAIN] if main else [PAIRS]), INTERACTION,
        numbers_note(table, adjusted, "effect" if main else "interaction", made_of),
        *failed, *cautions(table, arms), *looks.caution(table),
    )  # fmt: skip
    return TableView("effects", title, (Column("effect"), *effect_columns(table)), tuple(rows), notes)


def _grid_note(grid: Grid, arms: int) -> str:
    fixed = ", ".join(f"{name}={level_text(level)}" for name, level in grid.given.items())
    left_out = " Arms in which one of these factors is off are left out." if grid.partial else ""
    return f"From the {arms} arms of {grid.text}{f', all with {fixed}' if fixed else ''}.{left_out}"
