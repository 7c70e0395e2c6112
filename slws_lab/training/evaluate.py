"""Evaluation of a model on a split: loss, top-1 and top-5."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slws_lab.data import Resident, normalize
from slws_lab.training.numerics import Numerics

BATCH = 256


@torch.inference_mode()
def evaluate(model: nn.Module, split: Resident, numerics: Numerics) -> dict[str, float]:
    """Return `loss` (cross-entropy, no smoothing), `top1` and `top5` in percent, over every sample once.

    Args:
        model: In eval mode when this returns as before.
        split: The samples, on the model's device.
        numerics: Normalisation and precision.
    """
    was_training = model.training
    model.eval()
    loss, hits = torch.zeros((), dtype=torch.float64), torch.zeros(2, dtype=torch.int64)
    for indices in torch.arange(len(split)).split(BATCH):
        images, labels = split.batch(indices)
        with numerics.autocast():
            logits = model(normalize(images, numerics.mean, numerics.std)).float()
        loss += F.cross_entropy(logits, labels, reduction="sum").double().cpu()
        hits += _hits(logits, labels).cpu()
    model.train(was_training)
    top1, top5 = (100.0 * hits.double() / len(split)).tolist()
    return {"loss": float(loss) / len(split), "top1": top1, "top5": top5}


def _hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Count samples whose label is the first, and among the first five, of the logits."""
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    return torch.stack([top[:, 0].sum(), top.sum()])
