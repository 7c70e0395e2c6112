"""The processes that share a training's batches: how many, which one this is, and sums over all of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class World:
    """One process among those of a training; the default is a training of one process.

    Attributes:
        rank: Number of this process, from 0. Rank 0 reports and writes.
        size: How many there are. Above 1, `torch.distributed` is initialised.
    """

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process reports metrics and writes files."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, the same on each; its argument stays as it is."""
        if self.size == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def counts(self, numbers: tuple[int, ...], device: torch.device) -> tuple[int, ...]:
        """Return the sum of each whole number over all processes."""
        return numbers if self.size == 1 else tuple(self.sum(torch.tensor(numbers, device=device)).tolist())

    def any(self, flag: bool, device: torch.device) -> bool:
        """Say whether the flag is up in any process, so that all act alike."""
        return self.counts((int(flag),), device)[0] > 0

    def align(self, *models: nn.Module) -> None:
        """Give the models of all processes rank 0's buffers, such as the running statistics that each has taken of its own samples."""
        if self.size > 1:
            for model in models:
                for buffer in model.buffers():
                    dist.broadcast(buffer, 0)

    def merge(self, names: dict[str, str]) -> dict[str, str]:
        """Return the union of the processes' mappings."""
        if self.size == 1:
            return names
        parts: list[dict[str, str]] = [{} for _ in range(self.size)]
        dist.all_gather_object(parts, names)
        return {key: value for part in parts for key, value in part.items()}
