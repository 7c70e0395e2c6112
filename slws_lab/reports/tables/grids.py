"""Whole grids within a design: which factors a block crosses, what stands in the way of an analysis, and the runs of a grid."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slws_lab.analysis import ResultTable, undeclared
from slws_lab.analysis.cells import cells
from slws_lab.errors import UserError
from slws_lab.spec import level_text, short_names
from slws_lab.spec.levels import Level, Settings

CROSSED = ("baseline", "variant", "pair")  # roles of the arms that a block crosses; a control is beside them


@dataclass(frozen=True)
class Grid:
    """Levels to combine, all else being equal.

    Attributes:
        levels: Factor -> its levels, the reference first.
        given: Levels of other factors; one that is not named is at the baseline's.
        partial: Whether its block has further arms, in which other factors are on.
    """

    levels: dict[str, list[Level]]
    given: Settings
    partial: bool = False

    @property
    def size(self) -> int:
        """How many arms it has."""
        return math.prod(map(len, self.levels.values()))

    @property
    def names(self) -> list[str]:
        """Its factors in short words."""
        return list(short_names(self.levels).values())

    @property
    def text(self) -> str:
        """The grid written out: `schedule (linear, constant) × max_rate (0.3, 0.6)`."""
        levels = [", ".join(map(level_text, found)) for found in self.levels.values()]
        return " × ".join(f"{name} ({found})" for name, found in zip(self.names, levels, strict=True))


def crossed(table: ResultTable, block: int, names: Sequence[str]) -> Iterator[Grid]:
    """Yield the grids that a block holds of these factors: one for each set of them that are on together."""
    arms = [
        arm.settings
        for arm in table.design.arms
        if any(role.block == block and role.kind in CROSSED for role in arm.roles)
    ]
    together = dict.fromkeys(tuple(name for name in names if name in settings) for settings in arms)
    for on in together:
        alike = [settings for settings in arms if all((name in settings) == (name in on) for name in names)]
        found = {name: _levels(alike, name) for name in on}
        fixed = {name: levels[0] for name, levels in found.items() if len(levels) == 1}
        varied = {name: levels for name, levels in found.items() if len(levels) > 1}
        yield Grid(varied, {**table.study.designs[block].set, **fixed}, partial=len(together) > 1)


def known_settings(table: ResultTable) -> list[tuple[Settings, str]]:
    """Return all settings of a design with the arm of each; several may be one arm's training."""
    arms = [(arm.settings, arm.id) for arm in table.design.arms]
    return [*arms, *((duplicate.settings, duplicate.arm) for duplicate in table.design.duplicates)]


def arms_of(table: ResultTable, grid: Grid) -> list[str]:
    """Return the ids of those arms of a grid that there are."""
    factors = table.study.factors.items()
    usual = {name: factor.values[0] for name, factor in factors} | table.study.baseline | grid.given
    allowed = {name: [level] for name, level in usual.items()} | grid.levels
    found = [
        arm_id
        for settings, arm_id in known_settings(table)
        if grid.levels.keys() <= settings.keys() and all(v in allowed.get(name, ()) for name, v in settings.items())
    ]
    return list(dict.fromkeys(found))


def whole_runs(table: ResultTable, arms: Sequence[str]) -> tuple[str, ...]:
    """Return the runs of some arms at the seeds that all of them finished."""
    seeds = table.values[list(arms)].dropna().index
    return tuple(table.design.run_ids[arm, int(seed)] for arm in arms for seed in seeds)


def obstacle(table: ResultTable, grid: Grid, what: str) -> str:
    """Say why a grid cannot be analysed; nothing if all its arms are there, with 3 seeds that all of them finished.

    Args:
        table: The results.
        grid: The grid.
        what: What needs it, for the sentence.
    """
    try:
        cells(table, grid.levels, grid.given, what)
    except UserError as error:
        return f"Not made: {error.given}."
    return ""


def cautions(table: ResultTable, arms: Sequence[str]) -> list[str]:
    """Say that some of these arms differ from what they are compared with in what the study does not declare; nothing if none does."""
    fields = dict.fromkeys(one.field for one in undeclared(table) if {one.arm_id, one.reference} & set(arms))
    named = ", ".join(fields)
    return (
        [f"Some of these arms' runs also differ in what the study does not declare: {named}; see the contrasts."]
        if fields
        else []
    )


def _levels(settings: list[Settings], name: str) -> list[Level]:
    found: list[Level] = []
    for one in settings:
        if one[name] not in found:
            found.append(one[name])
    return found
