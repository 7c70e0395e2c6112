"""How tokens change their order: permutations with their inverses, and the gather that applies one to streams of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Permutation(NamedTuple):
    """A permutation of tokens, int64 (length,), or (batch, length) for one a sample, with the one that undoes it.

    Attributes:
        order: Where each token is taken from.
        inverse: The same for the way back.
    """

    order: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, order: Tensor) -> Permutation:
        """Return a permutation, (length,) or (batch, length), with its inverse."""
        if order.dim() == 1:
            return cls(order, order.argsort())
        # Sorting each row would take longer than drawing them all.
        places = torch.arange(order.shape[-1]).expand_as(order)
        return cls(order, torch.empty_like(order).scatter_(-1, order, places))


def change(given: Permutation | None, wanted: Permutation | None) -> Permutation | None:
    """Return what brings tokens from one order into another; None is their own order, or nothing to do."""
    if given is None:
        return wanted
    if wanted is None:
        return Permutation(given.inverse, given.order)
    return Permutation(given.inverse.gather(-1, wanted.order), wanted.inverse.gather(-1, given.order))


def stack(changes: Sequence[Permutation], shape: tuple[int, ...]) -> Tensor:
    """Return changes of order in one tensor, as `reorder` takes them.

    Args:
        changes: At least one, on the CPU.
        shape: (length,), or (batch, length) where any of them has a permutation for each sample.

    Returns:
        (changes, 2, *shape): order and inverse of each; with a batch as row numbers of the flattened batch.
    """
    stacked = torch.stack([each.expand(shape) for one in changes for each in one]).unflatten(0, (len(changes), 2))
    if len(shape) == 1:
        return stacked
    batch, length = shape
    return stacked + length * torch.arange(batch)[:, None]


def send(stacked: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU as `copy_` takes it for a device without making the CPU wait."""
    return stacked.pin_memory() if device.type == "cuda" else stacked


def reorder(streams: Sequence[Tensor | None], by: Permutation) -> tuple[Tensor | None, ...]:
    """Return streams of tokens (batch, length, width) in another order; None stays None.

    Args:
        streams: All of one batch and length.
        by: On their device; (length,), or row numbers (batch, length) as `stack` returns them.
    """
    present = [stream for stream in streams if stream is not None]
    if torch._C._are_functorch_transforms_active():  # they cannot look into a function of ours, and have no need to
        moved = iter([select(stream, by.order) for stream in present])
    else:
        moved = iter(_Gather.apply(by.order, by.inverse, *present))
    return tuple(None if stream is None else next(moved) for stream in streams)


def select(tokens: Tensor, order: Tensor) -> Tensor:
    """Gather tokens (batch, length, ...): the one place where data move; `order` as for `reorder`."""
    if order.dim() == 1:
        return tokens.index_select(1, order)
    return tokens.flatten(0, 1).index_select(0, order.flatten()).view(tokens.shape)


class _Gather(torch.autograd.Function):
    """A gather whose backward gathers by the inverse, where torch's own adds into zeros (after a sort, on a GPU).

    It takes all streams at once, since on small tensors a call costs more than the gather.
    """

    @staticmethod
    def forward(ctx: Any, order: Tensor, inverse: Tensor, *streams: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(inverse)
        ctx.set_materialize_grads(False)
        return tuple([select(stream, order) for stream in streams])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (inverse,) = ctx.saved_tensors
        return None, None, *[None if grad is None else select(grad, inverse) for grad in grads]
