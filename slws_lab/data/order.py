"""The order in which an epoch visits its samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def epoch_order(n: int, generator: torch.Generator, repeats: int = 1, length: int | None = None) -> Tensor:
    """Return positions in a random order, on the CPU.

    Args:
        n: Number of samples, at least 1.
        generator: CPU generator of the permutations.
        repeats: Times that each drawn sample stands in a row: repeated augmentation, with draws of its own each time.
        length: Positions that are returned; None is n. Where one permutation does not suffice, further ones follow.

    Returns:
        (length,) int64.

    Raises:
        ValueError: A number below 1.

    Source: repeated augmentation after Hoffer et al., Augment Your Batch, CVPR 2020, arXiv 1901.09335.
    """
    length = n if length is None else length
    if min(n, repeats, length) < 1:
        raise ValueError(f"n = {n}, repeats = {repeats}, length = {length}; need at least 1")
    rounds = math.ceil(length / (n * repeats))
    drawn = torch.cat([torch.randperm(n, generator=generator, device="cpu") for _ in range(rounds)])
    return drawn.repeat_interleave(repeats)[:length]
