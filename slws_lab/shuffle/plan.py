"""The draws of one forward: which layers shuffle, and by which permutation. Touches no module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

_SEED_LIMIT = 2**63 - 1


@dataclass(frozen=True)
class Plan:
    """The draws of one forward.

    A sequence's length is known only inside a block, so a permutation is derived from a seed and the length.

    Attributes:
        shuffled: Whether each layer shuffles.
        seeds: Seed of each layer's permutation.
        fixed: Permutations (length,) that replace the derived ones, one per layer; None derives all.
    """

    shuffled: tuple[bool, ...]
    seeds: tuple[int, ...]
    fixed: tuple[Tensor | None, ...] | None = None
    _cache: dict[tuple[int, int, torch.device], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def orders(self, layer: int, length: int, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """Return the layer's permutation and its inverse, (length,) each; None when it does not shuffle."""
        if not self.shuffled[layer]:
            return None
        key = (layer, length, device)
        if key not in self._cache:
            order = self._order(layer, length)
            self._cache[key] = (order.to(device), order.argsort().to(device))
        return self._cache[key]

    def _order(self, layer: int, length: int) -> Tensor:
        if self.fixed is None:
            private = torch.Generator(device="cpu").manual_seed(self.seeds[layer])
            return torch.randperm(length, generator=private, device="cpu")
        order = self.fixed[layer]
        if order is None or len(order) != length:
            raise ValueError(f"layer {layer} got {length} tokens, which its fixed permutation does not fit")
        return order


def draw(rates: Sequence[float], generator: torch.Generator | None, fixed: tuple[Tensor | None, ...] | None) -> Plan:
    """Make one forward's draws on the CPU: two numbers a layer, whatever the rates."""
    depth = len(rates)
    uniform = torch.rand(depth, generator=generator, dtype=torch.float64, device="cpu").tolist()
    seeds = tuple(torch.randint(_SEED_LIMIT, (depth,), generator=generator, device="cpu").tolist())
    if fixed is not None:
        return Plan(tuple(order is not None for order in fixed), seeds, fixed)
    return Plan(tuple(number < rate for number, rate in zip(uniform, rates, strict=True)), seeds)
