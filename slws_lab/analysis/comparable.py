"""The guard of comparisons: in what, beside the declared factors, the runs of an arm and of its reference differ.

Compared are the resolved recipes, and what the records say of each pair of runs: epochs seen, data, code, packages, device, scan back-end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from slws_lab.analysis.families import Hypothesis, arm_names, families
from slws_lab.analysis.results import ResultTable
from slws_lab.errors import UserError
from slws_lab.spec import Arm, StudySpec, dotted
from slws_lab.tracking import RunRecord

# What a run did that follows from what its recipe says: a declared difference in such a field explains it.
FOLLOWS = {
    "epochs": ("train.epochs", "stages"),
    "data fingerprint": ("data.name", "data.path", "data.size", "data.channels", "data.val", "data.label_fraction"),
    "scan back-end": ("model.",),
}
# A switch of the shuffle's schedule decides which of its other fields have a meaning, and resets the others.
SWITCHES = {"shuffle.schedule": "shuffle."}
NOT_RECORDED = "not recorded"
SHOWN = 5


@dataclass(frozen=True)
class Undeclared:
    """Something in which an arm and its reference differ that the study does not declare.

    Attributes:
        arm_id: Id of the arm.
        reference: Id of the arm it is compared to.
        field: What differs: a field of the recipe, or of what the records say.
        values: The arm's value and the reference's, as text.
        seeds: The seeds at which they differ.
        names: The arm and its reference as one speaks of them.
    """

    arm_id: str
    reference: str
    field: str
    values: tuple[str, str]
    seeds: tuple[int, ...]
    names: tuple[str, str]

    def __repr__(self) -> str:
        seeds = f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"
        return f"{self.names[0]} - {self.names[1]}: {self.field} {self.values[0]} against {self.values[1]} ({seeds})"


@lru_cache(maxsize=4)
def undeclared(table: ResultTable) -> tuple[Undeclared, ...]:
    """Return all undeclared differences between the finished runs that a study compares; empty if they are comparable."""
    names = arm_names(table.design)
    hypotheses = [hypothesis for family in families(table.design, "all") for hypothesis in family]
    return tuple(found for hypothesis in hypotheses for found in between(table, hypothesis, names))


def refuse_undeclared(table: ResultTable) -> None:
    """Refuse a study whose runs differ in anything undeclared.

    Raises:
        UserError: Some do; the message names the field and both values.
    """
    found = undeclared(table)
    if not found:
        return
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    listed = "\n    ".join([*map(repr, found[:SHOWN]), *more])
    raise UserError(f"arms differ in what the study does not declare:\n    {listed}", where=f"study {table.study.name}",
                    todo="run them again alike, declare the field as a factor, or leave out --strict")  # fmt: skip


def between(table: ResultTable, hypothesis: Hypothesis, names: dict[str, str]) -> Iterator[Undeclared]:
    """Yield the undeclared differences between the runs of two arms, whether or not the study compares these.

    Args:
        table: The results.
        hypothesis: The two arms.
        names: Arm id -> what to call the arm.
    """
    arms = table.design.arm(hypothesis.arm_id), table.design.arm(hypothesis.reference)
    declared = _declared(table.study, arms)
    seeds = table.values[[arm.id for arm in arms]].dropna().index
    found: dict[tuple[str, str, str], list[int]] = {}
    for seed in map(int, seeds):
        for field, one, other in [
            *_recipes(arms),
            *recorded_differences(table.record(arms[0].id, seed), table.record(arms[1].id, seed)),
        ]:
            if not explained(field, declared):
                found.setdefault((field, one, other), []).append(seed)
    called = (names[arms[0].id], names[arms[1].id])
    for (field, one, other), at in found.items():
        yield Undeclared(arms[0].id, arms[1].id, field, (one, other), tuple(at), called)


def _declared(study: StudySpec, arms: tuple[Arm, Arm]) -> set[str]:
    """Return the recipe's fields that the study varies between two arms."""
    one, other = arms[0].settings, arms[1].settings
    names = [name for name in {*one, *other} if name not in one or name not in other or one[name] != other[name]]
    fields = [
        field for name in names for field in (study.factors[name].fields(name) if name in study.factors else [name])
    ]
    return {*fields, *(SWITCHES[field] for field in fields if field in SWITCHES)}


def explained(field: str, declared: set[str]) -> bool:
    """Say whether a declared field is this one, holds it, or has it as a consequence."""
    within = any(field == name or field.startswith(name.rstrip(".") + ".") for name in declared)
    causes = FOLLOWS.get(field, ())
    return within or any(name.startswith(causes) or name == "models" for name in declared if causes)


def _recipes(arms: tuple[Arm, Arm]) -> Iterator[tuple[str, str, str]]:
    one, other = (dotted(arm.recipe) for arm in arms)
    for field in dict.fromkeys([*one, *other]):
        if one.get(field) != other.get(field):
            yield field, str(one.get(field)), str(other.get(field))


def recorded_differences(one: RunRecord, other: RunRecord) -> Iterator[tuple[str, str, str]]:
    for field, read in RECORDED.items():
        values = read(one), read(other)
        if values[0] != values[1]:
            yield field, _text(values[0]), _text(values[1])
    then, now = _provenance(one, "packages"), _provenance(other, "packages")
    for name in dict.fromkeys([*then, *now]):
        if then.get(name) != now.get(name):
            yield name, _text(then.get(name)), _text(now.get(name))
    modules = _provenance(one, "modules"), _provenance(other, "modules")
    for name in modules[0]:
        if modules[1].get(name, modules[0][name]) != modules[0][name]:
            yield f"code of {name}", modules[0][name], modules[1][name]


def _text(value: Any) -> str:
    return NOT_RECORDED if value is None else str(value)


def _provenance(record: RunRecord, part: str) -> dict[str, Any]:
    return (record.result.get("provenance") or {}).get(part) or {}


# Modules are compared one by one, as far as both runs loaded them: a digest over all would differ where models differ.
RECORDED: dict[str, Callable[[RunRecord], Any]] = {
    "epochs": lambda record: record.result.get("epochs"),
    "data fingerprint": lambda record: record.result.get("data_fingerprint"),
    "device": lambda record: record.result.get("device"),
    "scan back-end": lambda record: record.result.get("scan_backend"),
    "threads": lambda record: record.result.get("threads"),
}
