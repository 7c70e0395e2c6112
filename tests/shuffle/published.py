"""The published form of the shuffle around a whole model, written anew: indices as large as the tokens, four gathers a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from slws_lab.shuffle.pattern import Pattern


def drawn_orders(seed: int, rate: float, depth: int, size: tuple[int, int], pattern: Pattern) -> list[Tensor | None]:
    """Return each layer's permutations (batch, length), None where it does not shuffle, as a generator draws them."""
    draws = torch.Generator().manual_seed(seed)
    shuffled = (torch.rand(depth, generator=draws, dtype=torch.float64) < rate).tolist()
    seeds = torch.randint(2**63 - 1, (depth,), generator=draws).tolist()
    return [
        pattern.draw(torch.Generator().manual_seed(own), *size).expand(size) if shuffles else None
        for shuffles, own in zip(shuffled, seeds, strict=True)
    ]


@contextmanager
def four_gathers(blocks: Sequence[nn.Module], orders: Sequence[Tensor | None]) -> Iterator[None]:
    """Shuffle blocks in given orders, and restore the order after each; checkpointed ones too."""
    handles = []
    for block, order in zip(blocks, orders, strict=True):
        if order is not None:
            back = order.argsort(dim=1)
            handles.append(block.register_forward_pre_hook(lambda _, args, order=order: _gathered(args, order)))
            handles.append(block.register_forward_hook(lambda _, __, out, back=back: _gathered(out, back)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _gathered(streams: Tensor | tuple[Tensor | None, ...], order: Tensor) -> Tensor | tuple[Tensor | None, ...]:
    if isinstance(streams, tuple):
        return tuple(None if stream is None else _gathered(stream, order) for stream in streams)
    return torch.gather(streams, 1, order[..., None].expand(streams.shape))
