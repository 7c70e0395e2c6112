"""Which tokens may change places: draws of permutations with windows and exempt tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PERMUTATIONS = ("batch", "sample")


@dataclass(frozen=True)
class Pattern:
    """Which tokens may change places with which, and whether the samples of a batch do it alike.

    Attributes:
        permutation: `batch`, one permutation for all samples, or `sample`, one for each.
        window: Tokens change places within each window of so many consecutive tokens, exempt ones not counted; the
            last window may be shorter. None: the whole sequence is one window.
        exempt: Positions that stay where they are; negative ones count from the end.
    """

    permutation: str = "batch"
    window: int | None = None
    exempt: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.permutation not in PERMUTATIONS:
            raise ValueError(f"unknown permutation '{self.permutation}'; known: {', '.join(PERMUTATIONS)}")
        if self.window is not None and self.window < 1:
            raise ValueError(f"a window of {self.window} tokens; at least 1 is needed")

    def check(self, length: int) -> None:
        """Make sure that a sequence of `length` tokens has all exempt positions.

        Raises:
            ValueError: It has not.
        """
        for position in self.exempt:
            if not -length <= position < length:
                raise ValueError(f"position {position} is exempt from the shuffle, but a sequence has {length} tokens")

    def draw(self, generator: torch.Generator, batch: int, length: int) -> Tensor:
        """Draw where each token of a shuffled sequence is taken from.

        Args:
            generator: CPU generator of the draw. Sample i's permutation does not depend on the samples after it.
            batch: Number of samples.
            length: Number of tokens; `check` accepts it.

        Returns:
            (length,) int64 for `batch`, (batch, length) for `sample`, on the CPU.
        """
        free = self._free(length)
        count = length if free is None else len(free)
        if self.permutation == "batch":
            order = torch.randperm(count, generator=generator, device="cpu")
        else:
            drawn = [torch.randperm(count, generator=generator, device="cpu") for _ in range(batch)]
            order = torch.stack(drawn) if drawn else torch.empty(0, count, dtype=torch.int64)
        if self.window is not None:
            # Sorted by window and otherwise left in their random order, the tokens of a window are permuted uniformly.
            order = order.gather(-1, (order // self.window).argsort(dim=-1, stable=True))
        if free is None:
            return order
        places = torch.arange(length).expand(*order.shape[:-1], length).clone()
        places[..., free] = free[order]
        return places

    def _free(self, length: int) -> Tensor | None:
        """Return the positions that may move, ascending; None for all."""
        if not self.exempt:
            return None
        free = torch.ones(length, dtype=torch.bool)
        for position in self.exempt:
            free[position] = False
        return free.nonzero().squeeze(1)
