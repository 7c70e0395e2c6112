"""Class tokens and registers among the patch tokens: put in at given positions, and taken out again."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor


def insert(patches: Tensor, tokens: Tensor, positions: Sequence[int]) -> Tensor:
    """Return the patch tokens with `tokens` put in between.

    Args:
        patches: (batch, patches, width).
        tokens: (batch, n, width).
        positions: Where in the result each of the n tokens stands, ascending.

    Returns:
        The sequence, (batch, patches + n, width).
    """
    starts = [0, *(position - before for before, position in enumerate(positions))]
    pieces = []
    for i, (start, end) in enumerate(itertools.pairwise(starts)):
        pieces += [patches[:, start:end], tokens[:, i : i + 1]]
    return torch.cat([*pieces, patches[:, starts[-1] :]], dim=1)


def split(sequence: Tensor, positions: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the tokens at `positions` and the patch tokens, (batch, n, width) and (batch, patches, width)."""
    starts = [0, *(position + 1 for position in positions)]
    ends = [*positions, sequence.shape[1]]
    tokens = [sequence[:, position : position + 1] for position in positions]
    patches = [sequence[:, start:end] for start, end in zip(starts, ends, strict=True)]
    return torch.cat(tokens or [sequence[:, :0]], dim=1), torch.cat(patches, dim=1)
