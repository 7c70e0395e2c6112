"""How the shuffle's rates change over the training: one factor per epoch. Plain arithmetic, no tensors."""

from __future__ import annotations

from slws_lab.errors import UserError, nearest

OVER_TIME = ("constant", "ramp_up", "ramp_down")


def factor(kind: str, epoch: int, epochs: int, off_last: int = 0) -> float:
    """Return what all layers' rates are multiplied by in an epoch; `LayerShuffle.scale` takes it.

    The first `epochs - off_last` epochs shuffle, the others do not. Over those that do, `constant` is 1, `ramp_up`
    rises linearly from 0 in the first to 1 in the last, `ramp_down` falls from 1 to 0. A single shuffled epoch counts
    as the first, as a single layer does in `rates`.

    Args:
        kind: One of `OVER_TIME`.
        epoch: The epoch, from 0.
        epochs: Number of epochs of the training, at least 1.
        off_last: Number of epochs at the end without shuffle, from 0 to `epochs`.

    Returns:
        A factor in [0, 1].

    Raises:
        UserError: An unknown kind, or a number out of its range.

    Source: an ablation of ours; the paper's rates are constant over time.
    """
    if kind not in OVER_TIME:
        given = f"unknown course of the shuffle over time '{kind}'"
        raise UserError(given, allowed=", ".join(OVER_TIME), todo=nearest(kind, OVER_TIME))
    if epochs < 1:
        raise UserError(f"a training of {epochs} epochs", allowed="1 or more")
    if not 0 <= epoch < epochs:
        raise UserError(f"epoch {epoch} of {epochs}", allowed=f"from 0 to {epochs - 1}")
    if not 0 <= off_last <= epochs:
        raise UserError(f"the last {off_last} of {epochs} epochs without shuffle", allowed=f"from 0 to {epochs}")
    shuffled = epochs - off_last
    if epoch >= shuffled:
        return 0.0
    if kind == "constant":
        return 1.0
    risen = epoch / max(shuffled - 1, 1)
    return risen if kind == "ramp_up" else 1 - risen
