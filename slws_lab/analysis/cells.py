"""The cells of a grid: the values of every combination of some factors' levels, at the seeds that all of them finished."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slws_lab.analysis.results import ResultTable
from slws_lab.analysis.statistics import MIN_PAIRS, Array
from slws_lab.errors import UserError
from slws_lab.spec import level_text, short_names
from slws_lab.spec.levels import Level, Settings

Levels = Mapping[str, Sequence[Level]]
NAMED = 4  # arms that a message names


@dataclass(frozen=True)
class Cells:
    """A whole grid of values.

    Attributes:
        levels: Factor -> its levels; the first of each is its reference.
        seeds: The seeds at which every cell has a value.
        values: Shape (seeds, levels of the first factor, levels of the second, ...), in the metric's unit.
    """

    levels: dict[str, tuple[Level, ...]]
    seeds: tuple[int, ...]
    values: Array

    @property
    def names(self) -> list[str]:
        """The factors in short words, in order."""
        return list(short_names(self.levels).values())

    def mean(self, fixed: Mapping[int, int]) -> Array:
        """Return each seed's mean over the cells in which the given axes (factors by number) have the given levels."""
        index = (slice(None), *(fixed.get(axis, slice(None)) for axis in range(len(self.levels))))
        return self.values[index].reshape(len(self.seeds), -1).mean(axis=1)  # type: ignore[no-any-return]


def cells(table: ResultTable, levels: Levels, given: Settings | None = None, what: str = "this") -> Cells:
    """Return the values of all combinations of levels.

    Args:
        table: The results.
        levels: Factor -> the levels to combine.
        given: Levels of other factors; one that is not named is at the baseline's.
        what: What needs the cells, for the message.

    Raises:
        UserError: A combination has no arm, or fewer than 3 seeds finished in all of them; the arms are named.
    """
    combinations = list(itertools.product(*levels.values()))
    wanted = [dict(zip(levels, combination, strict=True)) for combination in combinations]
    known = _usual(table, list(levels), given or {})
    arms = [_arm(known, cell) for cell in wanted]
    missing = [_text(cell) for cell, arm in zip(wanted, arms, strict=True) if arm is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise UserError(f"{what} needs every combination: {len(missing)} of {len(arms)} arms {are} missing: {_some(missing)}",
                        where=f"study {table.study.name}", todo="add them to the study, or leave out a level or a factor")  # fmt: skip
    values = table.values[[arm for arm in arms if arm is not None]]
    common = values.dropna()
    if len(common) < MIN_PAIRS:
        planned = [len(table.design.seeds_of(arm_id)) for arm_id in values.columns]
        finished = zip(wanted, values.notna().sum().to_numpy(), planned, strict=True)
        short = _some([f"{_text(cell)} {n} of {of}" for cell, n, of in finished if n < of]) or "all of them"
        raise UserError(f"{what} needs {MIN_PAIRS} seeds that all {len(arms)} arms finished, not {len(common)}; finished: {short}",
                        where=f"study {table.study.name}", todo="run more seeds, or those that are missing")  # fmt: skip
    shape = (len(common), *map(len, levels.values()))
    chosen = {name: tuple(found) for name, found in levels.items()}
    return Cells(chosen, tuple(map(int, common.index)), common.to_numpy().reshape(shape))


def block_levels(table: ResultTable, block: int, factors: Sequence[str]) -> dict[str, list[Level]]:
    """Return the levels that factors have in the arms of a block, in the order in which they appear."""
    arms = [arm for arm in table.design.arms if any(role.block == block for role in arm.roles)]
    found: dict[str, list[Level]] = {name: [] for name in factors}
    for arm in arms:
        for name in factors:
            if name in arm.settings and arm.settings[name] not in found[name]:
                found[name].append(arm.settings[name])
    return found


def _usual(table: ResultTable, names: Sequence[str], given: Settings) -> list[tuple[Settings, str]]:
    """Return the settings and ids of the arms that have all of these factors and are as usual in all others."""
    usual = {name: factor.values[0] for name, factor in table.study.factors.items()} | table.study.baseline | given
    known = [(arm.settings, arm.id) for arm in table.design.arms]
    known += [(duplicate.settings, duplicate.arm) for duplicate in table.design.duplicates]
    others = (
        all(name in names or (name in usual and _same(usual[name], level)) for name, level in settings.items())
        for settings, _ in known
    )
    return [one for one, fits in zip(known, others, strict=True) if fits and all(name in one[0] for name in names)]


def _arm(known: list[tuple[Settings, str]], cell: Settings) -> str | None:
    """Return the arm of a cell."""
    for settings, arm_id in known:
        if all(_same(settings[name], level) for name, level in cell.items()):
            return arm_id
    return None


def _same(one: Level, other: Level) -> bool:
    """Say whether levels are one and the same; 1 is not true."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _text(cell: Settings) -> str:
    short = short_names(cell)
    return "(" + ", ".join(f"{short[name]}={level_text(level)}" for name, level in cell.items()) + ")"


def _some(texts: list[str]) -> str:
    more = [f"and {len(texts) - NAMED} more"] if len(texts) > NAMED else []
    return ", ".join([*texts[:NAMED], *more])
