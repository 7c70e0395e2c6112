"""The recipe of anybody's training command (`kind: command`): its arguments, declared fields, and where its metrics are.

What stands here is checked for its form; `command_checks` checks the parts against each other, with their places in the file.
"""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from slws_lab.spec import template
from slws_lab.spec.recipe import Name, Place, Scalar, Spec


def _inside(path: str) -> str:
    parts = path.split("/")
    if not parts[0] or parts[0].startswith("~") or ".." in parts or "$" in path or "{run.dir}" in path:
        raise ValueError("no path within {run.dir}: it is relative to that folder, without `..`, `~` and `$`")
    return path


Inside = Annotated[Place, AfterValidator(_inside)]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.\w+)*$", max_length=120)]
MetricName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+$", max_length=120)]
Argument = Annotated[str, Field(max_length=10_000)]
Texts = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
MetricNames = WithJsonSchema({
    "anyOf": [{"type": "object", "additionalProperties": {"type": "string"}}, {"type": "array", "items": {"type": "string"}}]
})  # fmt: skip

KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
WORDS = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}


class FieldSpec(Spec):
    """A field that a command declares: what a study may vary, and what `{name}` stands for in the command."""

    type: Literal["int", "float", "str", "bool"] = Field(description="What a value must be; null is always allowed.")
    value: Scalar = Field(
        description="The value where no study says otherwise; null: not given, see `{name:--option}`."
    )
    choices: tuple[Scalar, ...] | None = Field(
        None, strict=False, description="The only values allowed; null: all of the type."
    )
    min: float | None = Field(None, description="Smallest number allowed.")
    max: float | None = Field(None, description="Largest number allowed.")
    shape: bool = Field(
        True,
        description="Whether it may change how long a run takes; false lets costs be told from runs at other values.",
    )
    description: str = ""

    @field_validator("value")
    @classmethod
    def _as_a_float(cls, given: Any, info: ValidationInfo) -> Any:
        """A whole number for a float is that float, as `accepted` would have it, so that both have one id."""
        return float(given) if info.data.get("type") == "float" and type(given) is int else given

    def accepted(self, given: Any) -> Scalar:
        """Return a value as the field holds it: whole numbers become floats where floats are declared.

        Raises:
            ValueError: It is not allowed; the message is `allowed`.
        """
        if given is None:
            return None
        right = isinstance(given, KINDS[self.type]) and (self.type == "bool") == isinstance(given, bool)
        if not right or (isinstance(given, str) and "\0" in given):
            raise ValueError(self.allowed)
        value: Scalar = float(given) if self.type == "float" else given
        low, high = self.min, self.max
        outside = isinstance(value, int | float) and (
            (low is not None and value < low) or (high is not None and value > high)
        )
        if outside or (self.choices is not None and value not in self.choices):
            raise ValueError(self.allowed)
        return value

    @property
    def allowed(self) -> str:
        """What a value may be, in words."""
        if self.choices is not None:
            return ", ".join(map(str, self.choices))
        bounds = [f"at least {self.min:g}"] if self.min is not None else []
        bounds += [f"at most {self.max:g}"] if self.max is not None else []
        return " ".join([WORDS[self.type], " and ".join(bounds)]).strip()


class MetricsSpec(Spec):
    """Where the metrics of a command are. What it gives to `slws_lab.log(...)` is always taken."""

    names: Annotated[dict[MetricName, str], MetricNames] = Field(
        min_length=1, description="Metric to the key of the file, or the group of the pattern, that holds it; a list where "
        "only `slws_lab.log` gives them. A run that ends without one of them has failed, one in which one is not finite has diverged.",
    )  # fmt: skip
    file: Inside | None = Field(
        None,
        description="File in `{run.dir}` with a JSON object a line, as DeiT's log.txt; or a table, if it ends in .csv.",
    )
    stdout: Annotated[tuple[Place, ...] | None, Texts] = Field(
        None, strict=False, description="Regular expressions with named groups, looked for in each line that the command prints."
    )  # fmt: skip
    step: str | None = Field(
        None,
        description="Key or group that holds the step, e.g. epoch; null counts the values of a metric, which `resume` forbids.",
    )
    counts_from: Literal[0, 1] = Field(1, description="What the command calls its first step; curves begin at 1.")

    @field_validator("names", mode="before")
    @classmethod
    def _a_list_is_enough(cls, given: Any) -> Any:
        return {name: name for name in given} if isinstance(given, list) else given

    @field_validator("stdout", mode="before")
    @classmethod
    def _patterns(cls, given: Any) -> Any:
        patterns = [given] if isinstance(given, str) else given
        for pattern in patterns or ():
            try:
                re.compile(str(pattern))
            except re.error as error:
                which = "" if isinstance(given, str) else f"{pattern!r}: "
                raise ValueError(f"{which}no regular expression: {error}") from None
        return patterns

    @model_validator(mode="after")
    def _one_source(self) -> MetricsSpec:
        if self.file is not None and self.stdout is not None:
            raise ValueError("metrics come from `file` or from `stdout`, not from both")
        renamed = next((name for name, key in self.names.items() if name != key), None)
        if self.file is None and self.stdout is None and renamed:
            raise ValueError(f"`names` says where {renamed} is found, but neither `file` nor `stdout` is given")
        if self.stdout is not None:
            groups = {name for pattern in self.stdout for name in re.compile(pattern).groupindex}
            missing = [key for key in (*self.names.values(), self.step) if key is not None and key not in groups]
            if missing:
                raise ValueError(f"no pattern of `stdout` has a group (?P<{missing[0]}>...)")
        return self


class CommandRecipe(Spec):
    """One complete training by a command of the user's, but for its seed (`experiments/*.yaml`)."""

    kind: Literal["command"] = Field(description="What the recipe is: `command` runs a command.")
    name: Name = Field(description="What its runs are called.")
    shell: bool = Field(False, description="Whether a shell reads the command; values are quoted then.")
    command: Annotated[tuple[Argument, ...], Texts] = Field(
        strict=False, min_length=1, description="Program and arguments: a list, or a line that is split at spaces, quotes as in a "
        "shell. {name} is a field's value, {name:--option} an option with it; also {seed}, {run.dir}, {run.id}, {threads}, {ranks}, "
        "{device} and {python}. $VARIABLES are read where it runs.",
    )  # fmt: skip
    fields: dict[FieldName, FieldSpec] = Field(default_factory=dict, description="What a study may vary, by its name.")
    metrics: MetricsSpec
    epochs: int | str | None = Field(
        None, description="Steps that a whole run logs, or the field that says so; null: not known."
    )
    resume: Annotated[tuple[Argument, ...], Texts] = Field(
        (), strict=False, description="Arguments added when a run goes on, if every file in {run.dir} that they name is there, or, where "
        "they name none, if that folder is not empty; without them it begins again from nothing.",
    )  # fmt: skip
    keep: tuple[Inside, ...] | None = Field(
        None,
        strict=False,
        description="Which files of {run.dir} stay when a run has a result, e.g. ['*.pth']; null: all.",
    )
    cwd: Place | None = Field(None, description="Folder it runs in, relative to the project's, which null means.")
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], Argument] = Field(
        default_factory=dict, description="Variables of the environment, with placeholders as in the command."
    )
    ranks: int = Field(
        1, ge=1, le=1024, description="Processes that the command starts, a GPU each where there are GPUs."
    )

    @field_validator("command", "resume", mode="before")
    @classmethod
    def _split(cls, given: Any, info: ValidationInfo) -> Any:
        if isinstance(given, str):
            try:
                return [given] if info.data.get("shell") else shlex.split(given)
            except ValueError as error:
                said = str(error)
                raise ValueError(f"cannot be split into arguments: {said[0].lower()}{said[1:]}") from None
        for argument in given if isinstance(given, list | tuple) else ():
            if not isinstance(argument, str):
                raise ValueError(f"an argument is text, and {_shown(argument)} is none: put it into quotes")
        return given

    @model_validator(mode="after")
    def _one_line_for_a_shell(self) -> CommandRecipe:
        if self.shell and (len(self.command) > 1 or self.resume):
            raise ValueError("with `shell: true` the command is one line of text, and `resume` is not possible")
        return self

    @property
    def title(self) -> str:
        """What run ids begin with."""
        return self.name

    @property
    def values(self) -> dict[str, Scalar]:
        """The value of each field."""
        return {name: field.value for name, field in self.fields.items()}

    @property
    def total_epochs(self) -> int:
        """Steps of a whole run; 0 where that is not known."""
        found = self.fields[self.epochs].value if isinstance(self.epochs, str) else self.epochs
        return found if isinstance(found, int) else 0

    @property
    def used(self) -> frozenset[str]:
        """Names of all placeholders that decide what is executed, those of `resume` aside."""
        texts = (*self.command, *self.env.values())
        return frozenset(part.name for text in texts for part in template.parse(text, line=self.shell) if part.name)

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts that may hold placeholders."""
        return (*self.command, *self.resume, *self.env.values())


class CommandRun(CommandRecipe):
    """A command recipe with a seed: all that decides a run's numbers, as far as anybody declared it."""

    seed: int = Field(ge=0, lt=2**31)

    @classmethod
    def of(cls, recipe: CommandRecipe, seed: int) -> CommandRun:
        """Join a recipe and a seed."""
        return cls(**{name: getattr(recipe, name) for name in CommandRecipe.model_fields}, seed=seed)


def _shown(argument: Any) -> str:
    """Return an argument that is no text as the file has it: YAML takes `{seed}` without quotes for a mapping."""
    if isinstance(argument, dict):
        return "{" + ", ".join(map(str, argument)) + "}"
    return str(argument)
