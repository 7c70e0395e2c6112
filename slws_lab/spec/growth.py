"""How each kind of block grows its arms: one entry of `GROWTH` a kind, so a new design is a block and an entry."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from slws_lab.spec.blocks import Block
from slws_lab.spec.levels import Level, Settings
from slws_lab.spec.space import Space


@dataclass(frozen=True)
class Member:
    """An arm as a block gives it.

    Attributes:
        settings: Its settings.
        kind: What it is in the block, as in `Role`.
        reference: Settings of the arm that it is compared to; None for the block's reference.
        step: Number of the step, for build_up.
        note: The factors that it is about, as in `Role`.
    """

    settings: Settings
    kind: str
    reference: Settings | None
    step: int | None = None
    note: str = ""


def members(space: Space, block: Block) -> Iterator[Member]:
    """Return the arms of a block, its reference first.

    Raises:
        UserError: It varies a factor that is off by its `when`.
    """
    return GROWTH[block.kind].members(space, block.content)


def at_most(space: Space, block: Block) -> int:
    """Return how many arms a block has at most, without growing them."""
    return (1 + GROWTH[block.kind].others(space, block.content)) * (2 if block.control else 1)


def _around_baseline(settings: Callable[[Space, Any], Iterator[Settings]]) -> Callable[[Space, Any], Iterator[Member]]:
    """Make arms of settings, each compared with the baseline."""

    def grow(space: Space, content: Any) -> Iterator[Member]:
        yield Member(space.baseline, "baseline", None)
        yield from (Member(one, "variant", space.baseline) for one in settings(space, content))

    return grow


def _grid(space: Space, names: list[str]) -> Iterator[Settings]:
    for levels in itertools.product(*(space.levels(name) for name in names)):
        yield space.settle(dict(zip(names, levels, strict=True)))


def _one_at_a_time(space: Space, names: list[str]) -> Iterator[Settings]:
    for name in names:
        space.must_be_on(name, space.baseline, "the baseline", "one_at_a_time")
        yield from (space.settle({name: level}) for level in space.levels(name))


def _list(space: Space, content: list[Settings]) -> Iterator[Settings]:
    return _written(space, content, "list")


def _zip(space: Space, content: Any) -> Iterator[Settings]:
    columns = _columns(space, content)
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return _written(space, rows, "zip")


def _columns(space: Space, content: Any) -> dict[str, Sequence[Level]]:
    return content if isinstance(content, dict) else {name: space.levels(name) for name in content}


def _written(space: Space, rows: Iterable[Settings], kind: str) -> Iterator[Settings]:
    for changes in rows:
        settings = space.settle(changes)
        for name in changes:
            space.must_be_on(name, settings, "that arm", kind)
        yield settings


def _leave_one_out(space: Space, names: list[str]) -> Iterator[Member]:
    whole = {name: space.on(name) for name in names}
    all_on = space.settle(whole)
    yield Member(all_on, "all_on", None)
    for name in names:
        space.must_be_on(name, all_on, "the arm with all on", "leave_one_out")
        yield Member(space.settle({**whole, name: space.off(name)}), "removed", all_on, note=name)


def _build_up(space: Space, names: list[str]) -> Iterator[Member]:
    changes = {name: space.off(name) for name in names}
    before = space.settle(changes)
    yield Member(before, "step", None, step=0)
    for step, name in enumerate(names, 1):
        changes[name] = space.on(name)
        settings = space.settle(changes)
        space.must_be_on(name, settings, f"step {step}", "build_up")
        yield Member(settings, "step", before, step, name)
        before = settings


def _pairwise(space: Space, names: list[str]) -> Iterator[Member]:
    yield Member(space.baseline, "baseline", None)
    for name in names:
        space.must_be_on(name, space.baseline, "the baseline", "pairwise")
        for level in space.others(name):
            yield Member(space.settle({name: level}), "variant", space.baseline, note=name)
    for first, second in itertools.combinations(names, 2):
        for levels in itertools.product(space.others(first), space.others(second)):
            settings = space.settle({first: levels[0], second: levels[1]})
            for name in (first, second):
                space.must_be_on(name, settings, f"an arm of '{first}' and '{second}'", "pairwise")
            yield Member(settings, "pair", space.baseline, note=f"{first} x {second}")


@dataclass(frozen=True)
class _Growth:
    """How a kind of block grows: its arms, and how many there are at most beside the reference."""

    members: Callable[[Space, Any], Iterator[Member]]
    others: Callable[[Space, Any], int]


def _singles(space: Space, names: list[str]) -> int:
    return sum(len(space.levels(name)) - 1 for name in names)


def _pairs(space: Space, names: list[str]) -> int:
    return sum((len(space.levels(f)) - 1) * (len(space.levels(g)) - 1) for f, g in itertools.combinations(names, 2))


GROWTH: dict[str, _Growth] = {
    "grid": _Growth(_around_baseline(_grid), lambda x, names: math.prod(len(x.levels(n)) for n in names) - 1),
    "one_at_a_time": _Growth(_around_baseline(_one_at_a_time), _singles),
    "list": _Growth(_around_baseline(_list), lambda x, rows: len(rows)),
    "zip": _Growth(_around_baseline(_zip), lambda x, content: max(map(len, _columns(x, content).values()))),
    "leave_one_out": _Growth(_leave_one_out, lambda x, names: len(names)),
    "build_up": _Growth(_build_up, lambda x, names: len(names)),
    "pairwise": _Growth(_pairwise, lambda x, names: _singles(x, names) + _pairs(x, names)),
}
