"""Where a block's call and its output hold tokens: by position or keyword, with a residual stream or a mask."""

from __future__ import annotations

import inspect
from itertools import chain, repeat
from typing import Any

from torch import Tensor, nn

from slws_lab.shuffle.gather import Permutation, reorder, select

_RESIDUAL = "residual"
# A mask of tokens (batch, length) says something of each token and moves with it, as Hugging Face's MambaBlock needs.
_TOKEN_MASK = "attention_mask"


class BlockCall:
    """How one block is called: `tokens` checks and finds the hidden state, `moved` and `restored` reorder.

    Args:
        layer: Number of the block, for messages.
        block: The block; its forward's signature says which arguments it has.
    """

    def __init__(self, layer: int, block: nn.Module) -> None:
        parameters = inspect.signature(block.forward).parameters.values()
        by_position = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._name = f"block {layer} ({type(block).__name__})"
        self._names = by_position or ["hidden"]
        self._streams = 2 if any(p.name == _RESIDUAL for p in parameters) else 1
        self._leading = 2 if by_position[1:2] == [_RESIDUAL] else 1

    def tokens(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Return the hidden state (batch, length, width): the first argument, by position or by its name.

        Raises:
            TypeError: It is something else.
        """
        found = args[0] if args else kwargs.get(self._names[0])
        if isinstance(found, Tensor) and found.dim() == 3:
            return found
        raise TypeError(
            f"{self._name} got {_described(found)} as its first argument; the shuffle needs blocks that take tokens, "
            "a tensor (batch, length, width)"
        )

    def moved(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], tokens: Tensor, by: Permutation
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with the hidden state, a residual and a mask of tokens in another order.

        Args:
            args: The call's positional arguments.
            kwargs: Its keyword arguments.
            tokens: What `tokens` finds in them.
            by: What `reorder` takes.
        """
        if not kwargs and len(args) <= self._leading:  # the usual call; it need not pay for the look at names
            return reorder(args, by), kwargs
        names = chain(self._names, repeat(""))
        return (
            tuple(self._move(name, value, tokens, by) for name, value in zip(names, args, strict=False)),
            {name: self._move(name, value, tokens, by) for name, value in kwargs.items()},
        )

    def _move(self, name: str, value: Any, tokens: Tensor, by: Permutation) -> Any:
        if name in (self._names[0], _RESIDUAL):
            return reorder((value,), by)[0]
        is_mask = name == _TOKEN_MASK and isinstance(value, Tensor) and value.shape == tokens.shape[:2]
        return select(value, by.order) if is_mask else value

    def restored(self, output: Any, tokens: Tensor, by: Permutation) -> Any:
        """Return a block's output, the hidden state alone or first in a tuple, in another order.

        Args:
            output: What the block returned.
            tokens: What `tokens` found in the call's arguments.
            by: What `reorder` takes.

        Raises:
            TypeError: The output holds other tensors than the shuffle knows how to put back, or of another length.
        """
        if self._streams == 1 and isinstance(output, Tensor) and output.shape == tokens.shape:
            return reorder((output,), by)[0]
        items = output if isinstance(output, tuple) else (output,)
        streams, rest = items[: self._streams], items[self._streams :]
        known = len(streams) == self._streams and isinstance(streams[0], Tensor)
        if (
            not known
            or not all(_fits(item, tokens) for item in streams)
            or any(isinstance(item, Tensor) for item in rest)
        ):
            wanted = "a tensor (batch, length, width)" if self._streams == 1 else "(hidden, residual)"
            found = ", ".join(_described(item) for item in items)
            raise TypeError(f"{self._name} got {_described(tokens)} and returned {found}; the shuffle needs {wanted}")
        restored = reorder(streams, by)
        return (*restored, *rest) if isinstance(output, tuple) else restored[0]


def _fits(stream: object, tokens: Tensor) -> bool:
    return stream is None or (isinstance(stream, Tensor) and stream.shape[:2] == tokens.shape[:2])


def _described(value: object) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
