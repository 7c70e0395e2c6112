"""From a study to its design: pure, deterministic, no run twice.

How a block grows its settings stands in `GROWTH`, one entry a kind of block: a new design is a new block in `study` and an entry here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from slws_lab.errors import UserError
from slws_lab.spec import factors, paths, stages, weights
from slws_lab.spec.design import Arm, Design, Duplicate, Role
from slws_lab.spec.identity import digest
from slws_lab.spec.load import Study
from slws_lab.spec.recipe import Recipe
from slws_lab.spec.study import Block, GridBlock, Level, ListBlock, OneAtATimeBlock, Settings

MAX_RUNS = 1_000_000


def expand(study: Study) -> Design:
    """Turn a study into its design.

    Raises:
        UserError: A factor, level, `when`, `exclude` or `baseline` that does not fit, or over 1,000,000 runs.
    """
    return _Expansion(study).design()


def check_recipe(study: Study, settings: Settings) -> Recipe:
    """Resolve and validate the recipe of some settings; each value by its own field.

    Raises:
        UserError: With the place in the study or the recipe where the offending value stands.
    """
    off = tuple(name for name in study.spec.factors if name not in settings)
    tree = paths.assign(study.recipe.data, {**study.spec.set, **settings}, off)
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        raise factors.locate(error, study, settings) from None
    try:
        recipe = weights.fill_digest(recipe, study.root)
        stages.resolve(recipe)
    except UserError as error:
        raise error.at(factors.where_set(study, error.where, settings)) from None
    for name in (*study.spec.set, *settings):
        if stages.hidden(recipe, name):
            raise UserError(f"'{name}' would change nothing: each stage of the recipe sets its own",
                            where=factors.where_set(study, name, settings), todo="take it out of the stages' `set:`")  # fmt: skip
    if study.spec.metric.weights == "ema" and stages.resolve(recipe)[-1].train.ema_decay is None:
        raise UserError("the metric is of the moving average of the weights, and there is none",
                        where=study.source.where(("metric", "weights")), todo="set train.ema_decay, or weights: raw")  # fmt: skip
    return recipe


def _grid(x: _Expansion, block: GridBlock) -> Iterator[Settings]:
    for levels in itertools.product(*(x.levels(name) for name in block.grid)):
        yield x.settle(dict(zip(block.grid, levels, strict=True)))


def _one_at_a_time(x: _Expansion, block: OneAtATimeBlock) -> Iterator[Settings]:
    for name in block.one_at_a_time:
        x.must_be_on(name, x.baseline, "the baseline", "one_at_a_time")
        yield from (x.settle({name: level}) for level in x.levels(name))


def _list(x: _Expansion, block: ListBlock) -> Iterator[Settings]:
    for changes in block.list:
        settings = x.settle(changes)
        for name in changes:
            x.must_be_on(name, settings, "that arm", "list")
        yield settings


@dataclass(frozen=True)
class _Growth:
    """How a kind of block grows: its settings, and how many at most (to refuse a huge design before it is built)."""

    settings: Callable[[_Expansion, Any], Iterator[Settings]]
    at_most: Callable[[_Expansion, Any], int]


GROWTH: dict[type[Block], _Growth] = {
    GridBlock: _Growth(_grid, lambda x, block: math.prod(len(x.levels(name)) for name in block.grid)),
    OneAtATimeBlock: _Growth(
        _one_at_a_time, lambda x, block: 1 + sum(len(x.levels(name)) - 1 for name in block.one_at_a_time)
    ),
    ListBlock: _Growth(_list, lambda x, block: 1 + len(block.list)),
}


@dataclass
class _Sprout:
    """An arm while its design is being expanded: its roles come block by block."""

    settings: Settings
    recipe: Recipe
    roles: list[Role] = field(default_factory=list)


class _Expansion:
    """One expansion at work: the study's factors, checked once, and the arms found so far."""

    def __init__(self, study: Study) -> None:
        self.study, self.spec = study, study.spec
        self.order = factors.check(study)
        self.baseline = self.settle({})
        self.sprouts: dict[str, _Sprout] = {}
        self.duplicates: dict[str, Duplicate] = {}
        self.excluded: set[str] = set()

    def design(self) -> Design:
        self._check_size()
        reference = digest(check_recipe(self.study, self.baseline))
        for number, block in enumerate(self.spec.designs):
            for settings in (self.baseline, *GROWTH[type(block)].settings(self, block)):
                if self._is_excluded(settings):
                    self.excluded.add(repr(settings))
                else:
                    self._add(settings, number, reference)
        labels = factors.labels([sprout.settings for sprout in self.sprouts.values()])
        arms = tuple(
            Arm(arm_id, label, sprout.settings, sprout.recipe, tuple(sprout.roles))
            for (arm_id, sprout), label in zip(self.sprouts.items(), labels, strict=True)
        )
        return Design(arms, tuple(self.spec.seeds), tuple(self.duplicates.values()), len(self.excluded))

    def levels(self, name: str) -> list[Level]:
        return self.spec.factors[name].levels

    def settle(self, changes: Settings) -> Settings:
        """Return the settings of an arm: changes over the baseline, factors that are off by `when` left out."""
        settled: Settings = {}
        for name in self.order:
            factor = self.spec.factors[name]
            if all(other in settled and settled[other] in levels for other, levels in factor.when.items()):
                settled[name] = changes.get(name, self.spec.baseline.get(name, factor.levels[0]))
        in_order = {name: settled[name] for name in self.spec.factors if name in settled}
        return in_order | {name: level for name, level in changes.items() if name not in self.spec.factors}

    def must_be_on(self, name: str, settings: Settings, where: str, block: str) -> None:
        """Refuse to vary a factor where it is off by its `when`: it would silently change nothing."""
        if name not in settings:
            needed = self.spec.factors[name].when
            raise UserError(f"`{block}` varies '{name}', which is off by its `when` in {where}",
                            where=self.study.source.where(("factors", name, "when")), allowed=f"where {needed}",
                            todo="choose another `baseline:`, or give the levels that it needs too")  # fmt: skip

    def _add(self, settings: Settings, block: int, reference: str) -> None:
        recipe = check_recipe(self.study, settings)
        arm_id = digest(recipe)
        sprout = self.sprouts.setdefault(arm_id, _Sprout(settings, recipe))
        if sprout.settings != settings:
            self.duplicates.setdefault(repr(settings), Duplicate(settings, arm_id))
        if all(role.block != block for role in sprout.roles):
            is_reference = arm_id == reference
            role = Role(block, "baseline", None) if is_reference else Role(block, "variant", reference)
            sprout.roles.append(role)

    def _is_excluded(self, settings: Settings) -> bool:
        out = any(factors.matches(settings, pattern) for pattern in self.spec.exclude)
        if out and settings == self.baseline:
            raise UserError("`exclude` takes out the baseline, to which the other arms are compared",
                            where=self.study.source.where(("exclude",)), todo="choose another `baseline:`")  # fmt: skip
        return out

    def _check_size(self) -> None:
        arms = sum(GROWTH[type(block)].at_most(self, block) for block in self.spec.designs)
        runs = arms * len(self.spec.seeds)
        if runs > MAX_RUNS:
            raise UserError(f"the design has up to {runs:,} runs", where=self.study.source.where(("designs",)),
                            allowed=f"at most {MAX_RUNS:,}", todo="vary fewer factors in one grid")  # fmt: skip
