"""Where tokens may stay permuted from layer to layer: only where nobody but the next layer reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torch import nn
from torch.nn.modules import module as torch_module

# A model's class names by this attribute the list of its layers, and promises: in a call of the model each layer's output
# goes to the next one untouched, and nobody else reads it. A patch of the class would break it unseen.
PROMISE = "passes_tokens_on"


def segments(model: nn.Module, blocks: Sequence[nn.Module]) -> tuple[range, ...]:
    """Return for each layer the run of layers it is in: within one, tokens go on from layer to layer unread.

    Args:
        model: The model that is called.
        blocks: Its shuffled layers, each with the two hooks of its shuffle.
    """
    depth = len(blocks)
    if not _keeps_promise(model, blocks):
        return tuple(range(layer, layer + 1) for layer in range(depth))
    alone = [block.training == model.training and _is_unobserved(block) for block in blocks]
    if all(alone):
        return (range(depth),) * depth
    starts: list[int] = []
    for layer in range(depth):
        starts.append(starts[-1] if layer and alone[layer - 1] and alone[layer] else layer)
    lengths = Counter(starts)
    return tuple(range(start, start + lengths[start]) for start in starts)


def _keeps_promise(model: nn.Module, blocks: Sequence[nn.Module]) -> bool:
    # A subclass may override what its parent promised, so it has to promise anew; so may a function set on the model.
    promised = vars(type(model)).get(PROMISE)
    if promised is None or any(map(callable, vars(model).values())):
        return False
    layers = getattr(model, promised, ())
    return len(layers) == len(blocks) and all(mine is theirs for mine, theirs in zip(layers, blocks, strict=True))


def _is_unobserved(block: nn.Module) -> bool:
    return (
        len(block._forward_pre_hooks) == len(block._forward_hooks) == 1
        and not (block._backward_hooks or block._backward_pre_hooks)
        and not (torch_module._global_forward_pre_hooks or torch_module._global_forward_hooks)
        and not (torch_module._global_backward_pre_hooks or torch_module._global_backward_hooks)
    )
