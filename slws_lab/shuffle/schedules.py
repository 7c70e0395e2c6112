"""How the shuffle rate is spread over the depth: one rate per layer. Plain arithmetic, no tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from slws_lab.errors import UserError, nearest

SCHEDULES = (
    "none", "linear", "constant", "constant_skip_first", "reverse", "cosine", "step", "last_k", "custom"
)  # fmt: skip

# A shape maps a layer's relative depth (0 at the first layer, 1 at the last) to a share of the largest rate.
_SHAPES: dict[str, Callable[[float], float]] = {
    "none": lambda position: 0.0,
    "linear": lambda position: position,
    "constant": lambda position: 1.0,
    "constant_skip_first": lambda position: float(position > 0),
    "cosine": lambda position: (1 - math.cos(math.pi * position)) / 2,
}
_OWNERS = {"steps": "step", "k": "last_k", "custom": "custom"}
_DEFAULT_STEPS = 2


def rates(
    schedule: str,
    max_rate: float,
    depth: int,
    *,
    steps: int | None = None,
    k: int | None = None,
    custom: Sequence[float] | None = None,
) -> tuple[float, ...]:
    """Return the shuffle rate of every layer, first layer first.

    With p = `max_rate`, L = `depth` and layers l = 0 .. L-1: `none` 0; `linear` p * l/(L-1); `constant` p;
    `constant_skip_first` 0, then p; `reverse` the linear rates in reverse order; `cosine`
    p * (1 - cos(pi * l/(L-1)))/2; `step` equal stairs from 0 to p; `last_k` p in the last `k` layers, else 0.
    A single layer counts as the first: at depth 1 only `constant`, `last_k` and `custom` can be above 0.

    Args:
        schedule: One of `SCHEDULES`.
        max_rate: Largest rate, in [0, 1]; without effect for `none` and `custom`.
        depth: Number of layers, at least 1.
        steps: Number of stairs of `step`, from 2 to `depth`; None means 2.
        k: Number of shuffled layers of `last_k`, from 1 to `depth`.
        custom: The rates of `custom`, one per layer.

    Returns:
        `depth` rates in [0, 1].

    Raises:
        UserError: An unknown schedule, a value out of its range, or one that the schedule does not take.

    Source: linear is the published allocation, `constant_skip_first` the alternative left in the official
    code (Huang et al., ICML 2025, arXiv 2408.17081); the others are ablations of ours.
    """
    _check(schedule, max_rate, depth, {"steps": steps, "k": k, "custom": custom})
    if schedule == "custom":
        return _custom(custom, depth)
    if schedule == "last_k":
        count = _count("k", k, 1, depth)
        return (0.0,) * (depth - count) + (float(max_rate),) * count
    if schedule == "step":
        # One layer still has a staircase of two: it stands on the lower stair.
        count = _count("steps", _DEFAULT_STEPS if steps is None else steps, 2, max(depth, 2))
        return tuple(max_rate * ((layer * count // depth) / (count - 1)) for layer in range(depth))
    shape = _SHAPES["linear" if schedule == "reverse" else schedule]
    rising = tuple(max_rate * shape(layer / max(depth - 1, 1)) for layer in range(depth))
    return rising[::-1] if schedule == "reverse" else rising


def mean_rate(rates: Sequence[float]) -> float:
    """Return the mean of the layers' rates: a `constant` control arm at this rate shuffles as much.

    Args:
        rates: One rate per layer, at least one.

    Raises:
        UserError: There is no rate.
    """
    if not rates:
        raise UserError("the mean of no rates", allowed="at least one rate")
    return math.fsum(rates) / len(rates)


def _check(schedule: str, max_rate: float, depth: int, own: dict[str, object]) -> None:
    if schedule not in SCHEDULES:
        given = f"unknown shuffle schedule '{schedule}'"
        raise UserError(given, allowed=", ".join(SCHEDULES), todo=nearest(schedule, SCHEDULES))
    if depth < 1:
        raise UserError(f"a depth of {depth} layers", allowed="1 or more")
    _check_rate("max_rate", max_rate)
    for name, value in own.items():
        owner = _OWNERS[name]
        if value is not None and owner != schedule:
            raise UserError(f"`{name}` with shuffle schedule {schedule}", allowed=f"with {owner} only")


def _check_rate(name: str, rate: float) -> None:
    if not 0 <= rate <= 1:
        raise UserError(f"{name} = {rate}", allowed="a probability from 0 to 1")


def _count(name: str, value: int | None, low: int, high: int) -> int:
    if value is None or not low <= value <= high:
        raise UserError(f"{name} = {value}", allowed=f"a whole number from {low} to {high} at this depth")
    return value


def _custom(custom: Sequence[float] | None, depth: int) -> tuple[float, ...]:
    if custom is None or len(custom) != depth:
        given = "no rates" if custom is None else f"{len(custom)} rates"
        raise UserError(f"shuffle schedule custom with {given}", allowed=f"one rate per layer: {depth}")
    for layer, rate in enumerate(custom):
        _check_rate(f"rate of layer {layer}", rate)
    return tuple(float(rate) for rate in custom)
