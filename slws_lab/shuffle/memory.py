"""Permutations in fixed memory: every layer always gathers, so that a graph is the same whatever is drawn."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from slws_lab.shuffle.gather import Permutation, send, stack
from slws_lab.shuffle.plan import Around, Plan


class FixedMemory:
    """The changes of order around each layer, in memory that stays where it is; at first no token changes its place.

    Args:
        segments: For each layer the run it is in, see `chain.segments`.
        batch: Number of samples of each permutation; None for one that all share.
        length: Number of tokens.
        device: Where the tokens are.
    """

    def __init__(self, segments: tuple[range, ...], batch: int | None, length: int, device: torch.device) -> None:
        self.segments = segments
        self._runs = tuple(dict.fromkeys(segments))
        self._batch, self._length = batch, length
        shape = (length,) if batch is None else (batch, length)
        self._unmoved = Permutation.of(torch.arange(length))
        unmoved = stack([self._unmoved] * (len(segments) + len(self._runs)), shape)
        self._memory = unmoved.to(device, copy=True)
        rows = itertools.count()
        self._rows: list[
            tuple[int | None, int]
        ] = []  # numbers, not views: a pickled copy's views would have memory of their own
        for run in self._runs:
            self._rows += [(next(rows) if layer == run.start else None, next(rows)) for layer in run]

    def changes(self, layer: int, tokens: Tensor) -> Around:
        """Return the changes of order before and after a layer; arguments as for `Plan.changes`.

        Raises:
            ValueError: The tokens are not of the size that there is memory for.
        """
        batch, length = tokens.shape[:2]
        if length != self._length or self._batch not in (None, batch):
            wanted = f"{self._length} tokens" if self._batch is None else f"{self._batch} x {self._length} tokens"
            raise ValueError(f"layer {layer} got {batch} x {length} tokens; the shuffle was attached for {wanted}")
        before, after = self._rows[layer]
        return None if before is None else Permutation(*self._memory[before]), Permutation(*self._memory[after])

    def write(self, plan: Plan) -> None:
        """Take over a plan's draws, without waiting for the device."""
        shape = tuple(self._memory.shape[2:])
        found = [each for run in self._runs for each in plan.along(run, shape[0], self._length)]
        stacked = stack([each or self._unmoved for each in found], shape)
        self._memory.copy_(send(stacked, self._memory.device), non_blocking=True)
