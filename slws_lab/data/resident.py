"""The fast path for small data sets: a whole split lives on the device and batches are gathered there."""

from __future__ import annotations

import torch
from torch import Tensor

from slws_lab.data.dataset import Split


class Resident:
    """A split held on a device as uint8.

    Args:
        split: The split to copy.
        device: Where the images and labels live.
    """

    def __init__(self, split: Split, device: torch.device | str) -> None:
        self.images = split.images.to(device)
        self.labels = split.labels.to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Gather a batch.

        Args:
            indices: (batch,) int64 positions in the split, on any device.

        Returns:
            Images (batch, channels, height, width) uint8 and labels (batch,) int64, on the device.
        """
        indices = indices.to(self.images.device)
        return self.images.index_select(0, indices), self.labels.index_select(0, indices)


def epoch_order(n: int, generator: torch.Generator) -> Tensor:
    """Return a random order of n samples, (n,) int64 on the CPU, from a CPU generator."""
    return torch.randperm(n, generator=generator, device="cpu")
