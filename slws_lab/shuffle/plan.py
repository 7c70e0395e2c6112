"""The draws of one forward: which layers shuffle, and by which permutation. Touches no module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from slws_lab.shuffle.gather import Permutation, change, send, stack
from slws_lab.shuffle.pattern import Pattern

_SEED_LIMIT = 2**63 - 1
Around = tuple[Permutation | None, Permutation | None]


@dataclass(frozen=True)
class Plan:
    """The draws of one forward.

    A sequence's length is known only inside a block, so a permutation is derived from a seed and the length.

    Attributes:
        shuffled: Whether each layer shuffles.
        seeds: Seed of each layer's permutation.
        pattern: Which tokens may change places.
        segments: For each layer the run it is in, see `chain.segments`.
        fixed: Permutations (length,) that replace the derived ones, one per layer; None derives all.
    """

    shuffled: tuple[bool, ...]
    seeds: tuple[int, ...]
    pattern: Pattern
    segments: tuple[range, ...]
    fixed: tuple[Tensor | None, ...] | None = None
    _cache: dict[tuple[int, tuple[int, int, torch.device]], Around] = field(default_factory=dict)

    def changes(self, layer: int, tokens: Tensor) -> Around:
        """Return the changes of order before and after a layer, as `reorder` takes them; None where there is none.

        A layer's tokens come in the order that the layer before it in its run has left them in, which is its own.

        Args:
            layer: Number of the layer.
            tokens: What it got, (batch, length, width).

        Raises:
            ValueError: The layer's fixed permutation does not fit this length.
        """
        batch, length = tokens.shape[:2]
        size = (batch, length, tokens.device)
        found = self._cache.get((layer, size))
        if found is None:
            run = self.segments[layer]
            ready = _on_device(self.along(run, batch, length), tokens.device)
            for each, after in zip(run, ready[1:], strict=True):
                self._cache[each, size] = (ready[0] if each == run.start else None, after)
            found = self._cache[layer, size]
        return found

    def along(self, run: range, batch: int, length: int) -> list[Permutation | None]:
        """Return the changes of order before, between and after layers of one run, on the CPU.

        Args:
            run: Numbers of the layers.
            batch: Number of samples; without effect where they share a permutation.
            length: Number of tokens of each.
        """
        private = torch.Generator(device="cpu")
        orders = [self._order(layer, private, batch, length) for layer in run]
        return [change(given, wanted) for given, wanted in pairwise((None, *orders, None))]

    def _order(self, layer: int, private: torch.Generator, batch: int, length: int) -> Permutation | None:
        if not self.shuffled[layer]:
            return None
        if self.fixed is None:
            return Permutation.of(self.pattern.draw(private.manual_seed(self.seeds[layer]), batch, length))
        order = self.fixed[layer]
        if order is None or len(order) != length:
            raise ValueError(f"layer {layer} got {length} tokens, which its fixed permutation does not fit")
        return Permutation.of(order)


def draw(
    rates: Sequence[float],
    generator: torch.Generator | None,
    pattern: Pattern,
    segments: tuple[range, ...],
    fixed: tuple[Tensor | None, ...] | None = None,
) -> Plan:
    """Make one forward's draws on the CPU: two numbers a layer, whatever the rates and the pattern."""
    depth = len(rates)
    uniform = torch.rand(depth, generator=generator, dtype=torch.float64, device="cpu").tolist()
    seeds = tuple(torch.randint(_SEED_LIMIT, (depth,), generator=generator, device="cpu").tolist())
    if fixed is not None:
        return Plan(tuple(order is not None for order in fixed), seeds, pattern, segments, fixed)
    shuffled = tuple(number < rate for number, rate in zip(uniform, rates, strict=True))
    return Plan(shuffled, seeds, pattern, segments)


def _on_device(changes: list[Permutation | None], device: torch.device) -> list[Permutation | None]:
    """Bring changes of order, all (length,) or all (batch, length), to a device in one copy, as `reorder` takes them."""
    present = [each for each in changes if each is not None]
    if not present or (device.type == "cpu" and present[0].order.dim() == 1):
        return changes
    stacked = send(stack(present, tuple(present[0].order.shape)), device).to(device, non_blocking=True)
    ready = iter([Permutation(*row) for row in stacked])
    return [None if each is None else next(ready) for each in changes]
