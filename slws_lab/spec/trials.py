"""A search as a study like any other: its dimensions are factors, its trials a list of arms beside the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from slws_lab.errors import UserError, nearest
from slws_lab.spec import checks, paths
from slws_lab.spec.blocks import ListBlock
from slws_lab.spec.design import Arm, Design, Duplicate, Role
from slws_lab.spec.dimension import Dimension
from slws_lab.spec.expand import check_recipe
from slws_lab.spec.identity import digest
from slws_lab.spec.levels import Factor, Level, Settings
from slws_lab.spec.load import Study
from slws_lab.spec.recipe import Recipe
from slws_lab.spec.search import SearchSpec
from slws_lab.spec.space import Space

SPACE = ("search", "space")


def with_trials(study: Study, trials: Sequence[Settings]) -> Study:
    """Return a search's study with these trials as its arms, beside the baseline.

    Args:
        study: A study with `search:`, as loaded.
        trials: What each sets: a value for each dimension that is on.

    Raises:
        UserError: The space names no field, or the recipe has no value of a dimension for the baseline.
    """
    search = study.spec.search
    assert search is not None
    arms = ListBlock.model_validate({"list": [{}, *trials]})
    levels = {name: _baseline(study, name, dimension) for name, dimension in search.space.items()}
    spec = study.spec.model_copy(
        update={
            "factors": {name: _factor(dimension, levels[name]) for name, dimension in search.space.items()},
            "baseline": levels,
            "designs": [arms],
        }
    )
    return replace(study, spec=spec, source=replace(study.source, aliases={("factors",): SPACE}))


def space_of(study: Study) -> Space:
    """Return the space of a study that `with_trials` made, checked: which dimensions are on in which settings.

    Raises:
        UserError: See `checks.check`.
    """
    return Space(study, checks.check(study), {})


def enqueued(study: Study) -> list[Settings]:
    """Return the trials with which a search begins, each a value for every dimension that is on.

    Raises:
        UserError: One names no dimension, or a value that its dimension cannot take.
    """
    search = study.spec.search
    assert search is not None
    space, found = space_of(with_trials(study, [])), []
    for i, given in enumerate(search.enqueue):
        loc = ("search", "enqueue", i)
        changes: Settings = {} if given == "baseline" else given
        for name in changes:
            if name not in search.space:
                raise UserError(f"'{name}' is no dimension of the search", where=study.source.where((*loc, name), of_key=True),
                                allowed=", ".join(search.space), todo=nearest(name, search.space) or "write it under `set:`")  # fmt: skip
        settings = space.settle(changes)
        for name in changes:
            if name not in settings:
                raise UserError(f"'{name}' is off by its `when` in this trial", where=study.source.where((*loc, name)),
                                allowed=f"where {search.space[name].when}", todo="leave it out, or give what it needs")  # fmt: skip
        for name, value in settings.items():
            if not search.space[name].holds(value):
                raise _outside(study, search, name, value, loc if name in changes else ())
        if settings not in found:
            found.append(settings)
    return found


def corners(study: Study) -> list[Settings]:
    """Return settings in which each level, and each end of a range, occurs: what must be valid before anything starts."""
    search = study.spec.search
    assert search is not None
    space, found = space_of(with_trials(study, [])), []
    for name, dimension in search.space.items():
        values = Factor(levels=dimension.levels).values if dimension.levels is not None else dimension.ends
        for value in values:
            settings = space.settle({**_needed(search, name), name: value})
            if settings not in found:
                found.append(settings)
    return found


def _needed(search: SearchSpec, name: str) -> Settings:
    """Return levels under which a dimension is on."""
    found: Settings = {}
    for other, levels in search.space[name].when.items():
        found |= _needed(search, other) | {other: levels[0]}
    return found


def _factor(dimension: Dimension, usual: Level) -> Factor:
    """Return a dimension as a factor: levels, or both ends of the range, and the baseline's value."""
    levels: list[Any] = list(dimension.levels if dimension.levels is not None else dimension.ends)
    known = Factor(levels=levels).values
    return Factor(levels=levels if usual in known else [*levels, usual], when=dimension.when)


def _baseline(study: Study, name: str, dimension: Dimension) -> Level:
    """Return a dimension's value in the baseline: the one that the study gives, else the recipe's own, of sub-trees the first."""
    if name in study.spec.baseline:
        return study.spec.baseline[name]
    if dimension.levels is not None and (trees := Factor(levels=dimension.levels).subtrees):
        return next(iter(trees))
    if study.command is not None:
        if name in study.spec.set or name in study.command.fields:
            return study.spec.set.get(name, study.command.fields[name].value if name in study.command.fields else None)
    elif (found := _own(study, name)) is not ...:
        return found  # type: ignore[no-any-return]
    if not study.has_field(name):  # which `checks` explains
        return dimension.ends[0] if dimension.levels is None else Factor(levels=dimension.levels).values[0]
    raise UserError(f"the baseline has no value of '{name}': the recipe gives none",
                    where=study.source.where((*SPACE, name), of_key=True), todo=f"give one: `baseline: {{{name}: ...}}`")  # fmt: skip


def _own(study: Study, name: str) -> Any:
    """Return the value of a field in a training's recipe with the study's `set`: as written, else its default; ... if it has none."""
    node: Any = paths.assign(study.recipe.data, study.spec.set)
    for part in name.split("."):
        node = node.get(part, ...) if isinstance(node, dict) else ...
    if node is not ...:
        return node
    try:
        node = Recipe.model_validate(paths.assign(study.recipe.data, study.spec.set)).model_dump(mode="json")
    except ValidationError:  # whole only with what the space sets, or with a mistake that is told later
        return _default(name)
    for part in name.split("."):
        node = node.get(part, ...) if isinstance(node, dict) else ...
    return node


def _default(name: str) -> Any:
    """Return the default that a field has by itself; ... if it has none."""
    if name not in paths.fields():
        return ...
    *parents, leaf = name.split(".")
    model: Any = Recipe
    for parent in parents:
        model = model.model_fields[parent].annotation
    field = model.model_fields[leaf]
    return ... if field.is_required() else to_jsonable_python(field.get_default(call_default_factory=True))


def _outside(study: Study, search: SearchSpec, name: str, value: Level, loc: tuple[str | int, ...]) -> UserError:
    dimension = search.space[name]
    levels = dimension.levels
    allowed = f"{dimension.kind}: {list(dimension.ends if levels is None else Factor(levels=levels).values)}"
    if loc:
        return UserError(f"{name}={value!r} is not in the search's space, so this trial cannot be enqueued",
                         where=study.source.where((*loc, name)), allowed=allowed,
                         todo="widen the dimension, or take another value")  # fmt: skip
    return UserError(f"the baseline's {name}={value!r} is not in the search's space, so it cannot be enqueued",
                     where=study.source.where((*SPACE, name)), allowed=allowed,
                     todo="widen the dimension, or enqueue only trials that give another value (`enqueue: []` for none)")  # fmt: skip


class TrialArms:
    """The arms of a search as it goes: the baseline, and one for each distinct training that was tried.

    Args:
        study: A study with `search:`.
    """

    def __init__(self, study: Study) -> None:
        self._study = with_trials(study, [])
        self._arms: dict[str, Arm] = {}
        self._known: dict[str, str] = {}
        self._duplicates: dict[str, Duplicate] = {}
        usual = space_of(self._study).baseline
        recipe = check_recipe(self._study, usual)
        self._baseline = digest(recipe)
        self._keep(Arm(self._baseline, "baseline", usual, recipe, (Role(0, "baseline", None),)))

    def add(self, number: int, settings: Settings) -> Arm:
        """Return the arm of a trial; a setting that trains the same as an earlier one is that one's arm."""
        key = _key(settings)
        if key not in self._known:
            recipe = check_recipe(self._study, settings)
            arm_id = digest(recipe)
            if arm_id in self._arms:
                self._known[key] = arm_id
                self._duplicates[key] = Duplicate(settings, arm_id)
            else:
                self._keep(Arm(arm_id, f"trial {number}", settings, recipe, (Role(0, "variant", self._baseline),)))
        return self._arms[self._known[key]]

    @property
    def design(self) -> Design:
        """The design of all arms so far."""
        return Design(tuple(self._arms.values()), self._study.spec.all_seeds, tuple(self._duplicates.values()))

    def _keep(self, arm: Arm) -> None:
        self._arms[arm.id] = arm
        self._known[_key(arm.settings)] = arm.id


def _key(settings: Settings) -> str:
    return repr(sorted(settings.items()))
