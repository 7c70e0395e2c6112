"""The draws of one forward: which layers shuffle, and by which permutation. Touches no module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from slws_lab.shuffle.pattern import Pattern, inverse, rows

_SEED_LIMIT = 2**63 - 1


@dataclass(frozen=True)
class Plan:
    """The draws of one forward.

    A sequence's length is known only inside a block, so a permutation is derived from a seed and the length.

    Attributes:
        shuffled: Whether each layer shuffles.
        seeds: Seed of each layer's permutation.
        pattern: Which tokens may change places.
        fixed: Permutations (length,) that replace the derived ones, one per layer; None derives all.
    """

    shuffled: tuple[bool, ...]
    seeds: tuple[int, ...]
    pattern: Pattern
    fixed: tuple[Tensor | None, ...] | None = None
    _cache: dict[tuple[int, int, int, torch.device], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def orders(self, layer: int, tokens: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return what `reorder` takes to shuffle the layer's tokens (batch, length, ...) and to put them back.

        Returns:
            The permutation and its inverse on the tokens' device, or None when the layer does not shuffle.

        Raises:
            ValueError: The layer's fixed permutation does not fit this length.
        """
        if not self.shuffled[layer]:
            return None
        batch, length = tokens.shape[:2]
        key = (layer, batch, length, tokens.device)
        if key not in self._cache:
            order = self._order(layer, batch, length)
            self._cache[key] = (rows(order).to(tokens.device), rows(inverse(order)).to(tokens.device))
        return self._cache[key]

    def _order(self, layer: int, batch: int, length: int) -> Tensor:
        if self.fixed is None:
            private = torch.Generator(device="cpu").manual_seed(self.seeds[layer])
            return self.pattern.draw(private, batch, length)
        order = self.fixed[layer]
        if order is None or len(order) != length:
            raise ValueError(f"layer {layer} got {length} tokens, which its fixed permutation does not fit")
        return order


def draw(
    rates: Sequence[float],
    generator: torch.Generator | None,
    pattern: Pattern,
    fixed: tuple[Tensor | None, ...] | None = None,
) -> Plan:
    """Make one forward's draws on the CPU: two numbers a layer, whatever the rates and the pattern."""
    depth = len(rates)
    uniform = torch.rand(depth, generator=generator, dtype=torch.float64, device="cpu").tolist()
    seeds = tuple(torch.randint(_SEED_LIMIT, (depth,), generator=generator, device="cpu").tolist())
    if fixed is not None:
        return Plan(tuple(order is not None for order in fixed), seeds, pattern, fixed)
    return Plan(tuple(number < rate for number, rate in zip(uniform, rates, strict=True)), seeds, pattern)
