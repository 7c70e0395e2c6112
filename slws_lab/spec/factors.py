"""The rules of factors within a study: their names and order, matching, labels, and where a bad level stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from pydantic import ValidationError

from slws_lab.errors import UserError, nearest
from slws_lab.spec import paths
from slws_lab.spec.load import Study
from slws_lab.spec.source import Loc, explain
from slws_lab.spec.study import GridBlock, Level, ListBlock, OneAtATimeBlock, Settings


def check(study: Study) -> list[str]:
    """Check every name and level that a study gives, and return its factors in the order in which `when` settles them.

    Raises:
        UserError: An unknown field, factor or level, or a cycle of `when`.
    """
    spec = study.spec
    _known_fields(study, spec.set, ("set",))
    _known_fields(study, spec.factors, ("factors",))
    for name, factor in spec.factors.items():
        _known_levels(study, factor.when, ("factors", name, "when"))
    _known_levels(study, {name: [level] for name, level in spec.baseline.items()}, ("baseline",))
    for i, pattern in enumerate(spec.exclude):
        wanted = {name: level if isinstance(level, list) else [level] for name, level in pattern.items()}
        _known_levels(study, wanted, ("exclude", i))
    for i, block in enumerate(spec.designs):
        if isinstance(block, GridBlock):
            _known_factors(study, block.grid, ("designs", i, "grid"))
        elif isinstance(block, OneAtATimeBlock):
            _known_factors(study, block.one_at_a_time, ("designs", i, "one_at_a_time"))
        elif isinstance(block, ListBlock):
            for j, settings in enumerate(block.list):
                _known_fields(study, settings, ("designs", i, "list", j))
    return _order(study)


def matches(settings: Settings, pattern: dict[str, Level]) -> bool:
    """Say whether settings hold every entry of a pattern; a list in it means any of its values."""
    return all(
        name in settings and (settings[name] in level if isinstance(level, list) else settings[name] == level)
        for name, level in pattern.items()
    )


def labels(settings: list[Settings]) -> list[str]:
    """Return a short, unique label an arm: what varies over the arms, by the last part of its path where that is clear."""
    names = list(dict.fromkeys(name for one in settings for name in one))
    varying = [name for name in names if len({repr(one.get(name)) for one in settings}) > 1]
    clear = short_names(varying)
    found = [
        ", ".join(f"{clear[n]}={level_text(one[n])}" for n in varying if n in one) or "baseline" for one in settings
    ]
    times = Counter(found)
    return [text if times[text] == 1 else f"{text} #{i}" for i, text in enumerate(found)]


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Map dotted fields to the last part of their path where that is clear (`model.name` to `model`), else to themselves."""
    short = {name: _short(name) for name in names}
    return {name: text if list(short.values()).count(text) == 1 else name for name, text in short.items()}


def locate(error: ValidationError, study: Study, settings: Settings) -> UserError:
    """Say where the value stands that a recipe's validation refused: a level, `set`, or the recipe's own file."""
    place = _origin(study, ".".join(map(str, error.errors(include_url=False)[0]["loc"])), settings)
    return explain(error, study.recipe) if place is None else explain(error, study.source, place)


def where_set(study: Study, field: str, settings: Settings) -> str:
    """Say where a field of an arm's recipe got its value: a level, `set`, or the recipe's own file."""
    if field.startswith("resources."):
        return study.source.where(tuple(field.split(".")))
    place = _origin(study, field, settings)
    return study.recipe.where_field(field) if place is None else study.source.where(place)


def _origin(study: Study, field: str, settings: Settings) -> Loc | None:
    """Return the place in the study of what set a field, or a part of it; None if it stands in the recipe."""
    for name in sorted({*settings, *study.spec.set}, key=lambda name: (name not in settings, -len(name))):
        if field == name or field.startswith(name + ".") or (field and name.startswith(field + ".")):
            return _place(study, name, settings)
    return None


def _place(study: Study, name: str, settings: Settings) -> Loc:
    spec = study.spec
    if name in spec.factors:
        levels = spec.factors[name].levels
        i = levels.index(settings[name]) if settings.get(name) in levels else 0
        inner: Loc = ("factors", name, "levels", i)
        return inner
    for i, block in enumerate(spec.designs):
        for j, listed in enumerate(block.list if isinstance(block, ListBlock) else ()):
            if name in listed and listed[name] == settings.get(name):
                return ("designs", i, "list", j, name)
    return ("set", name)


def _known_fields(study: Study, names: Iterable[str], loc: Loc) -> None:
    for name in names:
        if not paths.exists(name):
            todo = "give `seeds:` for seeds" if name == "seed" else nearest(name, paths.fields())
            raise UserError(f"'{name}' is no field of a recipe", where=study.source.where((*loc, name), of_key=True),
                            allowed=", ".join(paths.fields()) + ", model.args.<argument>", todo=todo)  # fmt: skip


def _known_factors(study: Study, names: list[str], loc: Loc) -> None:
    for i, name in enumerate(names):
        if name not in study.spec.factors:
            raise _no_factor(study, name, (*loc, i))
        if name in names[:i]:
            raise UserError(f"factor '{name}' is given twice", where=study.source.where((*loc, i)))


def _known_levels(study: Study, wanted: Mapping[str, Sequence[Level]], loc: Loc) -> None:
    for name, levels in wanted.items():
        if name not in study.spec.factors:
            raise _no_factor(study, name, (*loc, name))
        known = study.spec.factors[name].levels
        for level in levels:
            if level not in known:
                raise UserError(f"{level!r} is no level of factor '{name}'", where=study.source.where((*loc, name)),
                                allowed=", ".join(map(repr, known)), todo=nearest(str(level), map(str, known)))  # fmt: skip


def _no_factor(study: Study, name: str, loc: Loc) -> UserError:
    known = list(study.spec.factors)
    return UserError(f"'{name}' is no factor of this study", where=study.source.where(loc),
                     allowed=", ".join(known) or "none: the study has no `factors:`", todo=nearest(name, known))  # fmt: skip


def _order(study: Study) -> list[str]:
    graph = {name: set(factor.when) for name, factor in study.spec.factors.items()}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        around = " -> ".join(error.args[1])
        raise UserError(f"factors depend on each other in a circle by `when`: {around}",
                        where=study.source.where(("factors", error.args[1][0], "when"))) from None  # fmt: skip


def _short(name: str) -> str:
    *parents, leaf = name.split(".")
    return parents[-1] if leaf == "name" and parents else leaf


def level_text(level: Level) -> str:
    """Return a level as labels and the command line write it."""
    if isinstance(level, list):
        return "[" + " ".join(map(level_text, level)) + "]"
    if isinstance(level, bool) or level is None:
        return {True: "on", False: "off", None: "null"}[level]
    return str(level)
