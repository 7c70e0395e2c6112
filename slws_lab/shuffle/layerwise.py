"""The shuffle itself: hooks that permute the tokens going into a block and restore their order coming out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from slws_lab.shuffle.block_call import BlockCall
from slws_lab.shuffle.chain import segments
from slws_lab.shuffle.memory import FixedMemory
from slws_lab.shuffle.pattern import Pattern
from slws_lab.shuffle.plan import Plan, draw


def attach(
    model: nn.Module,
    blocks: Sequence[nn.Module],
    rates: Sequence[float],
    generator: torch.Generator | None = None,
    *,
    permutation: str = "batch",
    window: int | None = None,
    exempt: Iterable[int] = (),
    static: tuple[int, int] | None = None,
) -> LayerShuffle:
    """Shuffle the tokens inside each block of a model during training, each layer at its own rate.

    Once per forward of `model` in training mode every layer makes its draws; a layer that shuffles applies
    a permutation to the sequence, by default the same one to every sample and to the whole sequence (class
    token and registers included), and restores the order after the block. In eval mode nothing happens.
    State dict keys stay as they are.

    Where a model's class promises that each layer's output goes to the next one untouched (`chain.PROMISE`), and no
    other hook looks on, tokens are not put in order between two layers but brought from one order into the next.

    A block takes tokens (batch, length, width) as its first argument, by position or by keyword, and returns
    the same shape, alone or first in a tuple that holds no other tensor. A block whose forward has a parameter
    named `residual` carries a residual stream: it returns (hidden, residual), the residual is permuted with
    the hidden state, None stays None. An argument `attention_mask` of shape (batch, length) is permuted too.
    Other arguments pass untouched: what they say of places holds for the tokens that are moved there.

    All draws are made on the CPU before the forward, equally many at every rate. So activation checkpointing
    repeats the same permutations, also when several forwards wait for their backward, as long as the model
    returns its tensors alone or in tuples, lists and dicts; with another kind of output only the latest
    forward can be recomputed. A checkpoint around the whole model needs `use_reentrant=False`.

    Args:
        model: One call of it is one forward: in training always call `model(...)`, never its methods.
        blocks: The layers, first to last: different submodules of `model` that are not shuffled yet.
        rates: Probability that a layer shuffles, one per block, each in [0, 1]; see `schedules.rates`.
        generator: CPU generator of the draws; None takes torch's default one, which other CPU draws share.
        permutation: `batch`, one permutation for all samples of a batch, or `sample`, one for each; whether a
            layer shuffles is one draw for the batch either way.
        window: Tokens change places only within each window of so many consecutive tokens, exempt ones not
            counted; the last window may be shorter. None: within the whole sequence.
        exempt: Positions that stay where they are, such as those of class tokens and registers; negative ones
            count from the end.
        static: (batch, length) of the tokens, for the static form, on the device where the blocks are now; with one
            permutation for all samples a batch of any size goes. None: each forward draws, and may have any size. Compiled
            code does not check that `redraw` was called: without it nothing is shuffled.

    Returns:
        The attachment, which can be removed; as a context manager it removes itself.

    Raises:
        ValueError: An argument is not as described.

    Source: Huang et al., Stochastic Layer-Wise Shuffle, ICML 2025, arXiv 2408.17081; permutations per sample,
    windows and exempt tokens are ablations of ours.
    """
    pattern = Pattern(permutation, window, tuple(int(position) for position in exempt))
    return LayerShuffle(model, blocks, rates, generator, pattern, static)


class LayerShuffle:
    """The shuffle attached to a model by `attach`.

    Attributes:
        rates: Probability that a layer shuffles, one per block, before `scale`.
        pattern: Which tokens may change places.
        last_draw: Which layers shuffled in the latest forward, in the static form since the latest `redraw`; all False
            before the first and in eval mode.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[nn.Module],
        rates: Sequence[float],
        generator: torch.Generator | None,
        pattern: Pattern,
        static: tuple[int, int] | None = None,
    ) -> None:
        _check_rates(rates, blocks, generator)
        _check_blocks(model, blocks)
        if static is not None:
            pattern.check(static[1])
        self.rates = tuple(float(rate) for rate in rates)
        self.pattern = pattern
        self.last_draw = (False,) * len(self.rates)
        self._scale = 1.0
        self._model, self._blocks = model, tuple(blocks)
        self._generator = generator
        self._fixed: tuple[Tensor | None, ...] | None = None
        self._plan: Plan | None = None
        self._in_forward = False
        self._resumed = False
        self._calls = tuple(BlockCall(layer, block) for layer, block in enumerate(blocks))
        self._handles = [
            model.register_forward_pre_hook(self._before_model),
            model.register_forward_hook(self._after_model, always_call=True),
        ]
        for layer, block in enumerate(blocks):
            before, after = partial(self._before_block, layer), partial(self._after_block, layer)
            self._handles.append(block.register_forward_pre_hook(before, with_kwargs=True))
            self._handles.append(block.register_forward_hook(after, with_kwargs=True))
        self._memory = None if static is None else self._fixed_memory(*static)

    @property
    def scale(self) -> float:
        """What all rates are multiplied by from the next forward on, in [0, 1]; 1 at first. See `over_time.factor`."""
        return self._scale

    @scale.setter
    def scale(self, scale: float) -> None:
        if not 0 <= scale <= 1:
            raise ValueError(f"a scale of {scale}; it must be from 0 to 1")
        self._scale = float(scale)

    def fix(self, permutations: Sequence[Tensor | None] | None) -> None:
        """Use given permutations in all coming training forwards; the draws are still made, then ignored.

        They replace the pattern too, and the scale does not touch them. In the static form they hold from the next
        `redraw` on.

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

    def redraw(self) -> None:
        """Make the draws of the next forward, in the static form; call it before each, and after the last one's backward.

        A generator in the same state gives the same permutations as in the other form. Nothing waits for a GPU.

        Raises:
            RuntimeError: The shuffle is not of the static form.
            ValueError: A fixed permutation does not fit.
        """
        if self._memory is None:
            raise RuntimeError("only a shuffle attached with `static` is to be redrawn; this one draws at each forward")
        self._plan = self._draw(self._memory.segments)
        self._memory.write(self._plan)
        self.last_draw = self._plan.shuffled

    def remove(self) -> None:
        """Take all hooks off the model and its blocks; a second call does nothing."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __enter__(self) -> LayerShuffle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _fixed_memory(self, batch: int, length: int) -> FixedMemory:
        tensors = chain(
            *(block.parameters() for block in self._blocks), self._model.parameters(), self._model.buffers()
        )
        device = next((tensor.device for tensor in tensors), torch.device("cpu"))
        samples = batch if self.pattern.permutation == "sample" else None
        return FixedMemory(segments(self._model, self._blocks), samples, length, device)

    def _before_model(self, model: nn.Module, args: tuple[Any, ...]) -> None:
        self._in_forward = True
        if torch.compiler.is_compiling() and self._memory is not None:
            return  # what follows is no part of a graph
        if _in_backward():
            # The whole model is recomputed: it needs the draws that its first forward had, not new ones.
            if model.training and not self._resumed:
                raise RuntimeError(
                    "the model ran in a backward with nothing drawn: checkpoint it with use_reentrant=False"
                )
            return
        self._resumed = False
        if self._memory is None:
            self._plan = self._draw(segments(model, self._blocks)) if model.training else None
        elif model.training:
            self._check_static()
        self.last_draw = self._plan.shuffled if self._plan and model.training else (False,) * len(self.rates)

    def _check_static(self) -> None:
        assert self._memory is not None
        if self._plan is None:
            raise RuntimeError("nothing is drawn for this forward: call `redraw` before it")
        if segments(self._model, self._blocks) != self._memory.segments:
            raise RuntimeError(
                "since a static shuffle was attached, a block has got another hook or mode; attach the shuffle after that"
            )

    def _after_model(self, model: nn.Module, args: tuple[Any, ...], output: object) -> None:
        self._in_forward = False
        if torch.compiler.is_compiling() and self._memory is not None:
            return
        # A checkpointed block runs again in the backward, perhaps after a later forward made its own draws.
        # The gradient reaches a forward's output before its blocks: there its plan becomes current again. A leaf, such as
        # a parameter that is returned too, comes from no block and would collect a hook at each forward.
        for tensor in _tensors(output):
            if tensor.grad_fn is not None:
                tensor.register_hook(partial(self._resume, self._plan))

    def _draw(self, runs: tuple[range, ...]) -> Plan:
        rates = [rate * self._scale for rate in self.rates]
        return draw(rates, self._generator, self.pattern, runs, self._fixed)

    def _resume(self, plan: Plan | None, grad: Tensor) -> None:
        if self._memory is not None and plan is not self._plan:
            raise RuntimeError("`redraw` came between a forward and its backward: call it after the backward")
        self._plan, self._resumed = plan, True

    def _current(self, layer: int, block: nn.Module) -> Plan | FixedMemory | None:
        """Return the draws of the forward, or recomputation, that the block takes part in; None for no shuffle."""
        if not block.training:
            return None
        if self._in_forward or _in_backward():
            return self._plan if self._memory is None else self._memory
        if self._model.training:
            raise RuntimeError(f"block {layer} ran in training outside a forward of the model: call the model itself")
        return None

    # The two hooks keep nothing between them: a block that raises, or whose recomputation stops early, leaves
    # no trace.
    def _before_block(
        self, layer: int, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        drawn = self._current(layer, block)
        if drawn is None:
            return None
        call = self._calls[layer]
        tokens = call.tokens(args, kwargs)
        # A mistake shows in the first forward, not when the layer first happens to shuffle.
        if self.pattern.exempt:
            self.pattern.check(tokens.shape[1])
        before, _ = drawn.changes(layer, tokens)
        return None if before is None else call.moved(args, kwargs, tokens, before)

    def _after_block(
        self, layer: int, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        drawn = self._current(layer, block)
        if drawn is None:
            return None
        call = self._calls[layer]
        tokens = call.tokens(args, kwargs)
        _, after = drawn.changes(layer, tokens)
        return None if after is None else call.restored(output, tokens, after)


def _in_backward() -> bool:
    # As torch's own checkpointing asks; the question would break a graph that is being compiled.
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


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
