"""Where a value of an arm's recipe stands: a level, a block, `set`, or the recipe's own file."""

from __future__ import annotations

from pydantic import ValidationError

from slws_lab.errors import UserError
from slws_lab.spec.levels import Level, Settings
from slws_lab.spec.load import Study
from slws_lab.spec.source import Loc, explain


def locate(error: ValidationError, study: Study, settings: Settings) -> UserError:
    """Say where the value stands that a recipe's validation refused: a level, `set`, or the recipe's own file."""
    place = _origin(study, ".".join(map(str, error.errors(include_url=False)[0]["loc"])), settings)
    return explain(error, study.recipe) if place is None else explain(error, study.source, place)


def where_set(study: Study, field: str, settings: Settings, *, alike: bool = False) -> str:
    """Say where a field of an arm's recipe got its value: a level, `set`, or the recipe's own file.

    Args:
        study: The study.
        field: The field.
        settings: The arm's.
        alike: Whether all arms are refused alike, so that a level which sets only a part of the field is not at fault.
    """
    if field.startswith("resources."):
        return study.source.where(tuple(field.split(".")))
    place = _origin(study, field, settings, alike=alike)
    if study.command and field in study.command.fields:
        field = f"fields.{field}.value"
    return study.recipe.where_field(field) if place is None else study.source.where(place)


def _origin(study: Study, field: str, settings: Settings, *, alike: bool = False) -> Loc | None:
    """Return the place in the study of what set a field, or a part of it; None if it stands in the recipe."""
    own = _places(study, settings)
    known = {name: ("set", name) for name in study.spec.set} | own
    for name in sorted(known, key=lambda name: (name not in own, -len(name))):
        part = field and name.startswith(field + ".") and not (alike and name in own)
        if field == name or field.startswith(name + ".") or part:
            return known[name]
    return None


def _places(study: Study, settings: Settings) -> dict[str, Loc]:
    """Return the place of each field that settings set; what they name themselves wins over a level of several fields."""
    found: dict[str, Loc] = {}
    for name, level in settings.items():
        factor = study.spec.factors.get(name)
        if factor is not None and level in factor.values:
            fields = factor.subtrees[str(level)] if factor.subtrees else [name]
            found = {field: ("factors", name, *factor.place(level, field)) for field in fields} | found
    return found | {name: _written(study, name, level) for name, level in settings.items() if name not in found}


def _written(study: Study, name: str, level: Level) -> Loc:
    """Return where a block writes out a value that is no level of a factor."""
    for i, block in enumerate(study.spec.designs):
        if block.set.get(name, ...) == level:
            return ("designs", i, "set", name)
        for j, listed in enumerate(block.content if block.kind == "list" else ()):
            if listed.get(name, ...) == level:
                return ("designs", i, "list", j, name)
        if block.kind == "zip" and isinstance(block.content, dict) and level in block.content.get(name, ()):
            return ("designs", i, "zip", name, block.content[name].index(level))
    controlled = [i for i, block in enumerate(study.spec.designs) if block.control]
    return ("designs", controlled[0], "control") if controlled else ("set", name)
