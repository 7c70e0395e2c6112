"""Evaluation of a model on a split: loss, top-1 and top-5."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slws_lab.data import Loader, normalize
from slws_lab.training.numerics import Numerics
from slws_lab.training.world import World

BATCH = 256


@torch.inference_mode()
def evaluate(model: nn.Module, samples: Loader, numerics: Numerics, world: World) -> dict[str, float]:
    """Return `loss` (cross-entropy, no smoothing), `top1` and `top5` in percent, over every readable sample once.

    Args:
        model: In the mode in which it was when this returns.
        samples: The split's samples, for the model's device.
        numerics: Normalisation and precision.
        world: The processes that share the samples; each gets the same answer.
    """
    sums = torch.zeros(4, dtype=torch.float64, device=numerics.device)  # there, so that only the end waits for it
    for logits, labels in _predictions(model, samples, numerics, world):
        sums[0] += F.cross_entropy(logits, labels, reduction="sum").double()
        sums[1:3] += _hits(logits, labels)
        sums[3] += len(labels)
    loss, top1, top5, count = world.sum(sums).tolist()
    if not count:
        raise OSError("no image of the split can be read")
    return {"loss": loss / count, "top1": 100.0 * top1 / count, "top5": 100.0 * top5 / count}


@torch.inference_mode()
def _predictions(
    model: nn.Module, samples: Loader, numerics: Numerics, world: World
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits (batch, classes) in float32 and labels (batch,) of this process's share of the samples."""
    was_training = model.training
    model.eval()
    # Each process takes whole batches, so that the sums are those of one process up to the order of adding.
    slots = list(torch.arange(len(samples)).split(BATCH))[world.rank :: world.size]
    for batch in samples.batches(torch.arange(len(samples)), slots, 0):
        if len(batch.labels):
            with numerics.autocast():
                logits = model(normalize(batch.images, numerics.mean, numerics.std)).float()
            yield logits, batch.labels
    model.train(was_training)


def _hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Count samples whose label is the first, and among the first five, of the logits."""
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    return torch.stack([top[:, 0].sum(), top.sum()])
