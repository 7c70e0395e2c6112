"""The shuffle itself: hooks that permute the tokens going into a block and restore their order coming out."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from slws_lab.shuffle.plan import Plan, draw


def attach(
    model: nn.Module,
    blocks: Sequence[nn.Module],
    rates: Sequence[float],
    generator: torch.Generator | None = None,
) -> LayerShuffle:
    """Shuffle the tokens inside each block of a model during training, each layer at its own rate.

    Once per forward of `model` in training mode every layer makes its draws; a layer that shuffles applies
    one permutation, shared by the batch, to the whole sequence (class token and registers included) and
    restores the order after the block. In eval mode nothing happens. State dict keys stay as they are.

    A block takes (batch, length, width) as its first positional argument and returns the same shape. A block
    whose forward has a parameter named `residual` carries a residual stream: it returns (hidden, residual),
    the residual is permuted with the hidden state, None stays None. Other arguments pass untouched.

    All draws are made on the CPU before the forward, equally many at every rate. So activation checkpointing
    of blocks (not of the whole model) repeats the same permutations, also when several forwards wait for
    their backward, as long as the model returns its tensors alone or in tuples, lists and dicts; with another
    kind of output only the latest forward can be recomputed.

    Args:
        model: One call of it is one forward: always call `model(...)`, never its methods.
        blocks: The layers, first to last: different submodules of `model` that are not shuffled yet.
        rates: Probability that a layer shuffles, one per block, each in [0, 1]; see `schedules.rates`.
        generator: CPU generator of the draws; None takes torch's default one, which other CPU draws share.

    Returns:
        The attachment, which can be removed; as a context manager it removes itself.

    Raises:
        ValueError: Blocks, rates or generator are not as described.

    Source: Huang et al., Stochastic Layer-Wise Shuffle, ICML 2025, arXiv 2408.17081.
    """
    return LayerShuffle(model, blocks, rates, generator)


class LayerShuffle:
    """The shuffle attached to a model by `attach`.

    Attributes:
        rates: Probability that a layer shuffles, one per block.
        last_draw: Which layers shuffled in the latest forward; all False before the first and in eval mode.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[nn.Module],
        rates: Sequence[float],
        generator: torch.Generator | None,
    ) -> None:
        _check_rates(rates, blocks, generator)
        _check_blocks(model, blocks)
        self.rates = tuple(float(rate) for rate in rates)
        self.last_draw = (False,) * len(self.rates)
        self._model = model
        self._generator = generator
        self._fixed: tuple[Tensor | None, ...] | None = None
        self._plan: Plan | None = None
        self._residual_at = tuple(_residual_position(block) for block in blocks)
        self._handles = [
            model.register_forward_pre_hook(self._before_model),
            model.register_forward_hook(self._after_model),
        ]
        for layer, block in enumerate(blocks):
            before, after = partial(self._before_block, layer), partial(self._after_block, layer)
            self._handles.append(block.register_forward_pre_hook(before, with_kwargs=True))
            self._handles.append(block.register_forward_hook(after, with_kwargs=True))

    def fix(self, permutations: Sequence[Tensor | None] | None) -> None:
        """Use given permutations in all coming training forwards; the draws are still made, then ignored.

        Args:
            permutations: One per layer: (length,) int64, a permutation of 0 .. length-1, or None for a layer
                that does not shuffle. None in place of the sequence returns to the draws.

        Raises:
            ValueError: Not one per layer, or not a permutation.
        """
        if permutations is not None:
            if len(permutations) != len(self.rates):
                raise ValueError(f"{len(permutations)} permutations for {len(self.rates)} layers")
            for order in permutations:
                if order is not None and sorted(order.tolist()) != list(range(order.numel())):
                    raise ValueError(f"not a permutation of 0 .. {order.numel() - 1}: {order.tolist()}")
        self._fixed = None if permutations is None else tuple(permutations)

    def remove(self) -> None:
        """Take all hooks off the model and its blocks; a second call does nothing."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __enter__(self) -> LayerShuffle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _before_model(self, model: nn.Module, args: tuple[Any, ...]) -> None:
        self._plan = draw(self.rates, self._generator, self._fixed) if model.training else None
        self.last_draw = self._plan.shuffled if self._plan else (False,) * len(self.rates)

    def _after_model(self, model: nn.Module, args: tuple[Any, ...], output: object) -> None:
        # A checkpointed block runs again in the backward, perhaps after a later forward made its own draws.
        # The gradient reaches a forward's output before its blocks: there its plan becomes current again.
        for tensor in _tensors(output):
            if tensor.requires_grad:
                tensor.register_hook(partial(self._resume, self._plan))

    def _resume(self, plan: Plan | None, grad: Tensor) -> None:
        self._plan = plan

    def _orders(self, layer: int, block: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor, Tensor] | None:
        if not block.training or (self._plan is None and not self._model.training):
            return None
        if self._plan is None:
            raise RuntimeError(f"block {layer} ran in training with nothing drawn: call the model itself")
        tokens = _hidden(args)
        return self._plan.orders(layer, tokens.shape[1], tokens.device)

    # The two hooks keep nothing between them: a block that raises, or whose recomputation stops early, leaves
    # no trace.
    def _before_block(
        self, layer: int, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        orders = self._orders(layer, block, args)
        if orders is None:
            return None
        moved, at = [_reorder(args[0], orders[0]), *args[1:]], self._residual_at[layer]
        if at is not None and at < len(args):
            moved[at] = _reorder(args[at], orders[0])
        elif at is not None and "residual" in kwargs:
            kwargs = {**kwargs, "residual": _reorder(kwargs["residual"], orders[0])}
        return tuple(moved), kwargs

    def _after_block(
        self, layer: int, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Tensor | tuple[Tensor | None, ...] | None:
        orders = self._orders(layer, block, args)
        if orders is None:
            return None
        streams = 1 if self._residual_at[layer] is None else 2
        if streams == 1 and isinstance(output, Tensor):
            return _reorder(output, orders[1])
        if isinstance(output, tuple) and streams == len(output):
            return tuple(_reorder(stream, orders[1]) for stream in output)
        raise TypeError(f"block {layer} returned neither a tensor nor, with a residual, (hidden, residual)")


def _reorder(tokens: Tensor | None, order: Tensor) -> Tensor | None:
    """Gather tokens (batch, length, width) in a given order: the one place where data moves."""
    return None if tokens is None else tokens.index_select(1, order)


def _hidden(args: tuple[Any, ...]) -> Tensor:
    if args and isinstance(args[0], Tensor) and args[0].dim() == 3:
        return args[0]
    raise TypeError("a shuffled block's first positional argument must be a tensor (batch, length, width)")


def _residual_position(block: nn.Module) -> int | None:
    names = list(inspect.signature(block.forward).parameters)
    return names.index("residual") if "residual" in names else None


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (tuple, list, dict)):
        for item in output.values() if isinstance(output, dict) else output:
            yield from _tensors(item)


def _check_rates(rates: Sequence[float], blocks: Sequence[nn.Module], generator: torch.Generator | None) -> None:
    if len(rates) != len(blocks):
        raise ValueError(f"{len(rates)} rates for {len(blocks)} blocks; one per block is needed")
    for layer, rate in enumerate(rates):
        if not 0 <= rate <= 1:
            raise ValueError(f"rate {rate} of block {layer} is not a probability from 0 to 1")
    if generator is not None and generator.device.type != "cpu":
        raise ValueError(f"the generator is on {generator.device}; the draws need one on the CPU")


def _check_blocks(model: nn.Module, blocks: Sequence[nn.Module]) -> None:
    inside = {id(module) for module in model.modules()}
    seen: set[int] = set()
    for layer, block in enumerate(blocks):
        if id(block) not in inside:
            raise ValueError(f"block {layer} is not a submodule of the model")
        if id(block) in seen or _is_shuffled(block):
            raise ValueError(f"block {layer} is shuffled already; remove the first attachment before")
        seen.add(id(block))


def _is_shuffled(block: nn.Module) -> bool:
    # The hooks are asked, not a list of ours: a deep copy of a model carries its hooks with it.
    hooks = (getattr(hook, "func", None) for hook in block._forward_pre_hooks.values())
    return any(isinstance(getattr(hook, "__self__", None), LayerShuffle) for hook in hooks)
