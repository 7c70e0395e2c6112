"""Checks that the parts of a command recipe go together: placeholders, fields, metrics. A mistake has its place in the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from slws_lab.errors import UserError, nearest
from slws_lab.spec import template
from slws_lab.spec.command import CommandRecipe, FieldSpec
from slws_lab.spec.recipe import Scalar
from slws_lab.spec.source import Loc, Source, validate

GIVEN = ("seed", "run.dir", "run.id", "threads", "ranks", "device", "python")  # placeholders that are no fields
COLUMNS = ("seed", "arm", "arm_id", "role", "run_id", "status", "cause", "value")  # taken in tables of runs


def read_command(source: Source) -> CommandRecipe:
    """Validate a command recipe.

    Raises:
        UserError: Any mistake in it, with its place.
    """
    recipe = validate(CommandRecipe, source)
    for name in recipe.fields:
        _field(recipe, name, source)
    _epochs(recipe, source)
    _resume(recipe, source)
    for loc, text in _texts(recipe):
        _placeholders(recipe, text, loc, source)
    _values(recipe, source)
    return recipe


def given(recipe: CommandRecipe, name: str, value: Scalar | list[Scalar], where: str) -> Scalar:
    """Return a value for a field as the field holds it.

    Raises:
        UserError: The field does not take it.
    """
    return _value(recipe.fields[name], name, value, where)


def missing_value(recipe: CommandRecipe) -> str:
    """Return the name of a field that has no value and stands bare in the command; empty if there is none."""
    found = (part.name for text in recipe.texts for part in template.parse(text, line=recipe.shell) if not part.option)
    return next((name for name in found if name in recipe.fields and recipe.fields[name].value is None), "")


def names_seed(recipe: CommandRecipe) -> bool:
    """Say whether the seed reaches the command."""
    return "seed" in recipe.used


def _value(field: FieldSpec, name: str, value: Scalar | list[Scalar], where: str) -> Scalar:
    try:
        return field.accepted(value)
    except ValueError as error:
        raise UserError(f"{value!r} is no value of '{name}'", where=where, allowed=str(error),
                        todo=nearest(str(value), map(str, field.choices or ()))) from None  # fmt: skip


def _field(recipe: CommandRecipe, name: str, source: Source) -> None:
    field, loc = recipe.fields[name], ("fields", name)
    if name in (*GIVEN, *COLUMNS, "kind") or name.startswith("recipe."):
        raise UserError(f"'{name}' has a meaning of its own and cannot name a field", where=source.where(loc, of_key=True),
                        todo="choose another name")  # fmt: skip
    for i, choice in enumerate(field.choices or ()):
        _value(field.model_copy(update={"choices": None}), name, choice, source.where((*loc, "choices", i)))
    _value(field, name, field.value, source.where((*loc, "value")))


def _epochs(recipe: CommandRecipe, source: Source) -> None:
    if not isinstance(recipe.epochs, str):
        return
    numbers = [name for name, field in recipe.fields.items() if field.type == "int"]
    if recipe.epochs not in numbers:
        raise UserError(f"'{recipe.epochs}' is no field of type int", where=source.where(("epochs",)),
                        allowed=f"a number, or one of: {', '.join(numbers) or 'none is declared'}",
                        todo=nearest(recipe.epochs, numbers))  # fmt: skip


def _resume(recipe: CommandRecipe, source: Source) -> None:
    """A command that goes on prints only what is left, and may write its file anew: its values cannot be counted."""
    metrics = recipe.metrics
    if recipe.resume and metrics.step is None and (metrics.file or metrics.stdout):
        read = "the file" if metrics.file else "what is printed"
        raise UserError(f"with `resume`, {read} needs `step:`: what a command that goes on gives cannot be counted",
                        where=source.where(("metrics",)), todo="name the key or group that holds the step, e.g. `step: epoch`")  # fmt: skip


def _texts(recipe: CommandRecipe) -> Iterator[tuple[Loc, str]]:
    """Yield each text that may hold placeholders, with its place; of a line that was split only the line has one."""
    for key in ("command", "resume"):
        yield from (((key, i), text) for i, text in enumerate(getattr(recipe, key)))
    yield from ((("env", name), text) for name, text in recipe.env.items())


def _placeholders(recipe: CommandRecipe, text: str, loc: Loc, source: Source) -> None:
    known = [*recipe.fields, *GIVEN]
    try:
        parts = template.parse(text, line=recipe.shell and loc[0] == "command")
    except ValueError as error:
        raise UserError(str(error), where=source.where(loc)) from None
    for part in parts:
        if part.name is not None and part.name not in known:
            raise UserError(f"'{{{part.name}}}' stands for nothing", where=source.where(loc), allowed=_listed(known),
                            todo=nearest(part.name, known) or "declare it under `fields:`, or double the braces")  # fmt: skip
        if part.option and loc[0] == "env":
            raise UserError(f"'{{{part.name}:{part.option}}}': a variable of the environment has a value, and no options",
                            where=source.where(loc), todo=f"write {{{part.name}}}")  # fmt: skip


def _values(recipe: CommandRecipe, source: Source) -> None:
    if name := missing_value(recipe):
        raise no_value(name, source.where(("fields", name, "value")))


def no_value(name: str, where: str) -> UserError:
    """Return the error of a field without a value that the command cannot leave out."""
    return UserError(f"'{name}' is null, and the command holds {{{name}}}, which needs a value", where=where,
                     todo=f"give it a value, or write {{{name}:--option}}, which is left out then")  # fmt: skip


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)
