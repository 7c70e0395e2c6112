"""A factor and its levels: values of one field, a range of numbers, named sub-trees, or several fields linked."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from slws_lab.spec.recipe import Name, Scalar, Spec


def _flat(value: Any) -> Any:
    """Refuse what holds more than a list of scalars in one sentence, where a union would list all its members."""
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict | list) for item in value)):
        raise ValueError("a value here is a number, text, true, false, null, or a list of these")
    return value


Level = Annotated[Scalar | list[Scalar], BeforeValidator(_flat)]
Settings = dict[str, Level]
Ends = Annotated[list[int | float], Field(min_length=3, max_length=3)]

MAX_LEVELS = 10_000
LONG = 10  # characters of a number that somebody may have written
RANGES = ("linspace", "logspace", "range")
SOURCES = ("levels", *RANGES, "linked")


def as_lists(value: Any) -> Any:
    """`when: {a: x}` is short for `when: {a: [x]}`."""
    if not isinstance(value, dict):
        return value
    return {key: item if isinstance(item, list) else [item] for key, item in value.items()}


Pattern = Annotated[
    dict[str, list[Level]],
    BeforeValidator(as_lists),
    WithJsonSchema({"type": "object", "additionalProperties": {"not": {"type": "object"}}}),
]


class NamedLevel(Spec):
    """A level that sets whole parts of the recipe, under a name."""

    name: Name = Field(description="What labels and tables call it.")
    set: Settings = Field(default_factory=dict, description="Fields of the recipe and their values; empty is off.")


AnyLevel = Annotated[
    Annotated[NamedLevel, Tag("named")] | Annotated[Level, Tag("value")],
    Discriminator(lambda given: "named" if isinstance(given, dict | NamedLevel) else "value"),
]


class Factor(Spec):
    """One thing varied: its levels, and the settings under which it exists at all."""

    levels: list[AnyLevel] | None = Field(
        None,
        min_length=1,
        description="Values of the field, or {name, set} of whole sub-trees; the first is the baseline's.",
    )
    linspace: Ends | None = Field(None, description="[first, last, count]: evenly spaced, both ends included.")
    logspace: Ends | None = Field(None, description="[first, last, count]: evenly spaced ratios, both ends included.")
    range: Ends | None = Field(None, description="[first, last, step]: last included where a step meets it.")
    linked: dict[str, list[Level]] | None = Field(
        None, min_length=1, description="Fields and as many values of each: level i sets the i-th of all."
    )
    when: Pattern = Field(
        default_factory=dict, description="Levels of other factors under which this one exists; else it is absent."
    )
    off: Level = Field(
        None,
        description="The level that leave_one_out and build_up call off; null: the only one that is false, 0, null, "
        "none or an empty `set`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _plain_list(cls, value: Any) -> Any:
        """`[a, b]` is short for `{levels: [a, b]}`."""
        if not isinstance(value, list | dict | Factor):
            raise ValueError("a factor is a list of levels, or {levels: [...], when: {...}}")
        return {"levels": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _distinct_levels(self) -> Factor:
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a factor gives its levels by one of {', '.join(SOURCES)}, not by {' and '.join(given) or 'none'}"
            )
        if len({isinstance(level, NamedLevel) for level in self.levels or ()}) > 1:
            raise ValueError("levels are values, or all of them {name: ..., set: {...}}")
        counts = {field: len(levels) for field, levels in (self.linked or {}).items()}
        if len(set(counts.values())) > 1 or 0 in counts.values():
            raise ValueError(
                "linked fields need as many levels each: " + ", ".join(f"{n} of {f}" for f, n in counts.items())
            )
        seen: set[Any] = set()
        for value in self.values:
            if (key := tuple(value) if isinstance(value, list) else value) in seen:
                raise ValueError(f"level {value!r} is given twice")
            seen.add(key)
        return self

    @cached_property
    def values(self) -> tuple[Level, ...]:
        """The levels as settings hold them: a value of the field, or the name of a sub-tree."""
        for kind in RANGES:
            if (ends := getattr(self, kind)) is not None:
                return _spread(kind, *ends)
        if self._trees:
            return tuple(name for name, _ in self._trees)
        return tuple(level for level in self.levels or () if not isinstance(level, NamedLevel))

    @cached_property
    def subtrees(self) -> dict[str, Settings]:
        """The fields that each level sets, by its name; empty for a factor over one field."""
        return dict(self._trees)

    @property
    def _trees(self) -> list[tuple[str, Settings]]:
        if self.linked is None:
            return [(level.name, level.set) for level in self.levels or () if isinstance(level, NamedLevel)]
        fields = sorted(self.linked)  # a name must not depend on the order of keys
        rows = zip(*(self.linked[field] for field in fields), strict=True)
        return [("/".join(map(level_text, row)), dict(zip(fields, row, strict=True))) for row in rows]

    @property
    def off_levels(self) -> list[Level]:
        """The levels that mean off: the one that `off` names, else all that look so."""
        if self.off is not None:
            return [level for level in self.values if level == self.off]
        trees = self.subtrees
        return [v for v in self.values if (all(map(means_off, trees[str(v)].values())) if trees else means_off(v))]

    def fields(self, name: str) -> list[str]:
        """Return the fields that it sets, given the name under which a study has it."""
        return list(dict.fromkeys(f for tree in self.subtrees.values() for f in tree)) if self.subtrees else [name]

    def place(self, level: Level, field: str) -> tuple[str | int, ...]:
        """Return where within the factor a level gives a field its value."""
        i = self.values.index(level)
        if self.linked:
            return ("linked", field, i)
        if self.levels is None:
            return tuple(kind for kind in RANGES if getattr(self, kind) is not None)
        return ("levels", i, "set", field) if self.subtrees else ("levels", i)


def level_text(level: Level) -> str:
    """Return a level as labels and the command line write it."""
    if isinstance(level, list):
        return "[" + " ".join(map(level_text, level)) + "]"
    if isinstance(level, bool) or level is None:
        return {True: "on", False: "off", None: "null"}[level]
    return str(level)


def brief(level: Level) -> str:
    """Return a level as tables write it: a number with more digits than anybody writes (one that was drawn) is cut to four."""
    return f"{level:.4g}" if isinstance(level, float) and len(repr(level)) > LONG else level_text(level)


def means_off(level: Level) -> bool:
    """Say whether a value reads as off: false, 0, null or none."""
    return level in (None, False, "none")


def tidy(number: float) -> float:
    """Return the shortest number of 12 significant digits, so that 0.1 + 0.2 reads 0.3."""
    return float(f"{number:.12g}")


def _spread(kind: str, first: float, last: float, third: float) -> tuple[Level, ...]:
    """Return the numbers of a range; whole ones stay whole where both ends are."""
    steps = _count(kind, first, last, third) - 1
    if kind == "range":
        numbers = [first + third * i for i in range(steps + 1)]
    elif kind == "linspace":
        numbers = [first + (last - first) * i / steps for i in range(steps + 1)]
    else:
        numbers = [first * (last / first) ** (i / steps) for i in range(steps + 1)]
    found = [tidy(number) for number in numbers]
    if isinstance(first, int) and isinstance(last, int) and all(number.is_integer() for number in found):
        return tuple(int(number) for number in found)
    return tuple(found)


def _count(kind: str, first: float, last: float, third: float) -> int:
    """Return how many numbers a range has."""
    if kind == "logspace" and (first <= 0 or last <= 0):
        raise ValueError("logspace: both ends must be above 0")
    if kind == "range" and (third == 0 or (last - first) / third < 0):
        raise ValueError(f"range: steps of {third:g} do not lead from {first:g} to {last:g}")
    if kind != "range" and (third < 2 or third != int(third)):
        raise ValueError(f"{kind}: the third number is how many levels, at least 2")
    count = int((last - first) / third + 1e-9) + 1 if kind == "range" else int(third)
    if count > MAX_LEVELS:
        raise ValueError(f"{kind}: {count:,} levels, and {MAX_LEVELS:,} are allowed")
    return count
