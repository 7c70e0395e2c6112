"""The stages of a recipe: each resolved to a whole recipe of its own, so that nothing else knows how they are written."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from slws_lab.errors import UserError, nearest
from slws_lab.spec import paths
from slws_lab.spec.command import CommandRecipe
from slws_lab.spec.kinds import AnyRecipe
from slws_lab.spec.recipe import RATELESS, Recipe

# What all stages share: the samples of each split, the network's kind, the processes, and where the first one starts.
SHARED = (
    "models", "stages", "model.name", "model.init_from", "train.ranks", "data.name", "data.path", "data.channels",
    "data.val", "data.val_fraction", "data.label_fraction", "data.mean", "data.std", "data.on_broken",
)  # fmt: skip


def resolve(recipe: Recipe) -> tuple[Recipe, ...]:
    """Return the trainings of a recipe in their order, each without stages; a recipe without stages is its only one.

    Raises:
        UserError: A stage sets a field that does not exist, that stages share, or to what it cannot be. `where` is the
            place within the recipe.
    """
    if not recipe.stages:
        return (recipe,)
    base = recipe.model_dump(mode="json", include=set(Recipe.model_fields) - {"stages"})
    names = [stage.name for stage in recipe.stages]
    if len(set(names)) < len(names):
        raise UserError("two stages have the same name", where="stages", allowed="a name each")
    resolved = tuple(_resolve(base, stage.set, number) for number, stage in enumerate(recipe.stages))
    for number, stage in enumerate(recipe.stages[1:], 1):
        if stage.start == "ema" and resolved[number - 1].train.ema_decay is None:
            raise UserError("this stage starts from `ema`, and the one before it keeps no moving average",
                            where=f"stages.{number}.start", todo="set train.ema_decay there, or `start: last`")  # fmt: skip
    return resolved


def total_epochs(recipe: AnyRecipe) -> int:
    """Return the epochs of all stages together; 0 for a command that does not say how many steps it logs."""
    if isinstance(recipe, CommandRecipe):
        return recipe.total_epochs
    return sum(stage.train.epochs for stage in resolve(recipe))


def hidden(recipe: Recipe, field: str) -> bool:
    """Say whether every stage sets a field itself, so that the recipe's own value of it is never used."""
    return bool(recipe.stages) and all(field in stage.set for stage in recipe.stages)


def changes(recipe: Recipe) -> list[dict[str, Any]]:
    """Return what each stage changes as its resolved values, and which weights it starts from: all that can change a number."""
    resolved = resolve(recipe) if recipe.stages else ()
    changed = [
        {"start": stage.start} | {field: _value(one, field) for field in stage.set}
        for stage, one in zip(recipe.stages, resolved, strict=True)
    ]
    for first in changed[:1]:
        del first["start"]  # it has no stage before it
    return changed


def _value(recipe: Recipe, field: str) -> Any:
    node: Any = recipe.model_dump(mode="json")
    for part in field.split("."):
        node = node[part]
    return node


def _resolve(base: dict[str, Any], changed: dict[str, Any], number: int) -> Recipe:
    settable = [field for field in paths.fields() if field not in SHARED]
    for field in changed:
        where = f"stages.{number}.set.{field}"
        if field in SHARED:
            raise UserError(
                f"a stage cannot set '{field}', which all stages share", where=where, todo="set it in the recipe"
            )
        inner = next((known for known in (*settable, "model.args.depth") if known.startswith(field + ".")), None)
        if inner:
            raise UserError(
                f"'{field}' as a whole cannot be set here", where=where, todo=f"name the field, as in `{inner}: ...`"
            )
        if not paths.exists(field):
            raise UserError(f"'{field}' is no field of a recipe", where=where, allowed=", ".join(settable) + ", model.args.<argument>",
                            todo=nearest(field, settable))  # fmt: skip
    off, schedule = base["shuffle"]["schedule"] in RATELESS, changed.get("shuffle.schedule", "none")
    if off and schedule not in RATELESS and "shuffle.max_rate" not in changed:
        raise UserError(f"schedule {schedule} needs `shuffle.max_rate` here: the recipe has none",
                        where=f"stages.{number}.set.shuffle.schedule")  # fmt: skip
    try:
        return Recipe.model_validate(paths.assign(base, changed))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        at = next((name for name in changed if field == name or field.startswith(name + ".")), "")
        given = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{field + ': ' if not at else ''}{given}",
                        where=f"stages.{number}.set" + (f".{at}" if at else "")) from None  # fmt: skip
