"""What lies between a search's baseline and a setting that it found: factors of two levels that give the search's own runs again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from slws_lab.errors import UserError
from slws_lab.spec import paths
from slws_lab.spec.expand import check_recipe
from slws_lab.spec.identity import dotted
from slws_lab.spec.levels import Level, Settings, means_off
from slws_lab.spec.load import Study
from slws_lab.spec.recipe import Recipe
from slws_lab.spec.space import Space
from slws_lab.spec.trials import space_of, with_trials


@dataclass(frozen=True)
class Differences:
    """The two ends of an ablation, and what leads from one to the other.

    Attributes:
        set: Fields that every arm sets over the recipe.
        factors: What varies, as a study file has it: each step's two levels, the default first; and with one level what comes and
            goes with a step by its `when`.
        steps: The factors of two levels, in the order of the space.
        default: The search's baseline: dimension to value.
        found: The found setting likewise.
    """

    set: Settings
    factors: dict[str, dict[str, Any]]
    steps: tuple[str, ...]
    default: Settings
    found: Settings


def differences(study: Study, found: Settings) -> Differences:
    """Return what lies between a search's baseline and a found setting.

    A dimension that both have, with different values, is a step. One that only one of them has moves with the step that its `when`
    names: it never stands alone, for without it it means nothing.

    Args:
        study: A study with `search:`, as loaded.
        found: The found setting: dimension to value; one that is off is absent.

    Raises:
        UserError: A dimension's two values both mean off, so that the study language cannot tell which of them is the default.
    """
    search = with_trials(study, [found])
    space = space_of(search)
    return _Between(search, space, space.baseline, space.settle(found)).whole()


class _Between:
    """The dimensions between two settings, each put where it belongs: parents first, since what follows depends on them."""

    def __init__(self, study: Study, space: Space, default: Settings, found: Settings) -> None:
        self.study, self.space, self.default, self.found = study, space, default, found
        self.reach = self._reach()
        self.shared = [n for n in self.reach if n in default and n in found and default[n] == found[n]]
        self.steps = [n for n in space.factors if n in default and n in found and default[n] != found[n]]
        self.moving = {name for name in self.reach if name not in self.shared}

    def whole(self) -> Differences:
        factors = {
            name: self._step(name) if name in self.steps else self._along(name)
            for name in self.space.factors
            if name in self.moving
        }
        return Differences(self._set(), factors, tuple(self.steps), self.default, self.found)

    def _reach(self) -> dict[str, list[Level]]:
        """Return the levels of each dimension that is on in any arm; what is off in all is left out."""
        reach: dict[str, list[Level]] = {}
        for name in self.space.order:
            when = self.space.factors[name].when
            if all(other in reach and _common(reach[other], levels) for other, levels in when.items()):
                ends = [settings[name] for settings in (self.default, self.found) if name in settings]
                reach[name] = ends or [self.space.usual(name)]  # on only where two steps meet halfway
        return reach

    def _step(self, name: str) -> dict[str, Any]:
        default, found = self.default[name], self.found[name]
        if default is None:  # `off: null` stands for whichever level looks off
            if means_off(found):
                raise UserError(f"{name}: null, the default, and {found!r}, which was found, both mean off",
                                where=self.study.source.where(("search", "space", name), of_key=True),
                                todo="give the recipe the value that null stands for")  # fmt: skip
            return {"levels": [default, found]}
        return {"levels": [self._level(name, level) for level in (default, found)], "off": default}

    def _along(self, name: str) -> dict[str, Any]:
        when = {
            other: _common(self.reach[other], levels)
            for other, levels in self.space.factors[name].when.items()
            if other in self.moving
        }
        return {"levels": [self._level(name, level) for level in self.reach[name]], "when": when}

    def _level(self, name: str, level: Level) -> Any:
        factor = self.space.factors[name]
        if not factor.subtrees:
            return level
        fields = factor.subtrees[str(level)]
        given = {} if name in self.steps else self._left_to_recipe(name, fields)
        return {"name": level, "set": {**fields, **given}}

    def _left_to_recipe(self, name: str, fields: Mapping[str, Level]) -> Settings:
        """Return what a level leaves to the recipe and other levels set: with the factor off, the search takes that out too."""
        others = self._owned([name]) - fields.keys() - self._owned(self.moving - {name})
        return {field: value for field in sorted(others) if (value := self._given(field)) is not ...}

    def _set(self) -> Settings:
        """Return the study's `set`, with what all arms share, and without what is taken out of the recipe in all of them."""
        gone = self._owned(name for name in self.space.factors if name not in self.reach) - self._owned(self.reach)
        kept = {field: value for field, value in self.study.spec.set.items() if field not in gone}
        usual = self._usual()
        for name in self.shared:
            factor, level = self.space.factors[name], self.default[name]
            fields = factor.subtrees[str(level)] if factor.subtrees else {name: level}
            kept |= {field: value for field, value in fields.items() if usual.get(field, ...) != value}
        if self.study.command is None:
            defaults = dotted(check_recipe(self.study, self.default))
            written = {field for field in gone if _get(self.study.recipe.data, field) is not ...}
            kept |= {field: defaults[field] for field in sorted(written) if field in defaults}
        return kept

    def _owned(self, names: Iterable[str]) -> set[str]:
        return {field for name in names for field in self.space.factors[name].fields(name)}

    def _usual(self) -> dict[str, Any]:
        """Return the value of each field in the recipe with the study's `set`, defaults included, as far as that is a recipe."""
        study = self.study
        if study.command is not None:
            return {name: field.value for name, field in study.command.fields.items()} | study.spec.set
        try:
            return dotted(Recipe.model_validate(paths.assign(study.recipe.data, study.spec.set)))
        except ValidationError:  # it is whole only with what the space sets
            return dict(study.spec.set)

    def _given(self, field: str) -> Any:
        """Return a field's value in the recipe with the study's `set`; ... where they give none."""
        if self.study.command is None:
            return _get(paths.assign(self.study.recipe.data, self.study.spec.set), field)
        known = self.study.command.fields
        return self.study.spec.set.get(field, known[field].value if field in known else ...)


def _common(reached: list[Level], levels: list[Level]) -> list[Level]:
    return [level for level in reached if level in levels]


def _get(tree: Any, field: str) -> Any:
    for part in field.split("."):
        tree = tree.get(part, ...) if isinstance(tree, dict) else ...
    return tree
