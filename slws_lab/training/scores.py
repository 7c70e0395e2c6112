"""Figures of a classifier from what it said of each sample: accuracy, per class, confusion, calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

BINS = 15


@dataclass(frozen=True)
class Predictions:
    """What a model said of n samples.

    Attributes:
        labels: (n,) the true classes.
        predicted: (n,) the outputs with the largest logit.
        in_top5: (n,) whether the true class is among the five largest.
        confidence: (n,) largest softmax probability.
        loss: Mean cross-entropy.
        images_per_s: Speed of the forward, after one warm-up batch.
        outputs: Outputs of the model.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    in_top5: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    loss: float
    images_per_s: float
    outputs: int


def summary(said: Predictions, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Return the figures of an evaluation as plain values that JSON can hold; shares are in percent.

    Args:
        said: What the model said.
        class_names: One per class; a model may have more outputs than there are classes.

    Returns:
        `loss`, `top1`, `top5`, `ece`, `n`, `images_per_s`; `per_class` (class, n, recall, precision, f1), `confusion` (true class,
        output, samples; by number, without zeros), `calibration` (for each bin above, up_to, n, confidence, accuracy).
    """
    right = said.predicted == said.labels
    outputs = range(said.outputs)
    precision, recall, f1, count = precision_recall_fscore_support(
        said.labels, said.predicted, labels=outputs, zero_division=np.nan
    )
    matrix = confusion_matrix(said.labels, said.predicted, labels=outputs)
    bins, ece = calibration(said.confidence, right)
    return _finite({
        "loss": said.loss, "top1": 100.0 * right.sum() / len(right), "top5": 100.0 * said.in_top5.sum() / len(right), "ece": 100.0 * ece,
        "n": len(right), "images_per_s": said.images_per_s,
        "per_class": [
            {"class": name, "n": count[i], "recall": 100.0 * recall[i], "precision": 100.0 * precision[i], "f1": 100.0 * f1[i]}
            for i, name in enumerate(class_names)
        ],
        "confusion": [[true, output, matrix[true, output]] for true, output in np.argwhere(matrix)],
        "calibration": bins,
    })  # fmt: skip


def calibration(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[list[dict[str, Any]], float]:
    """Return bins of equal width over the confidence, and the expected calibration error: their mean gap, weighted by samples.

    Args:
        confidence: (n,) probability of the predicted class.
        right: (n,) whether it is the true one.

    Returns:
        For each bin `above`, `up_to`, `n`, and as shares the mean `confidence` and the `accuracy`, NaN in an empty bin; the error as
        a share.

    Source:
        C. Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599: 15 bins, closed above.
    """
    edges = np.linspace(0.0, 1.0, BINS + 1)
    where = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)
    bins, ece = [], 0.0
    for i in range(BINS):
        inside = where == i
        count = int(inside.sum())
        mean, accuracy = (confidence[inside].mean(), right[inside].mean()) if count else (math.nan, math.nan)
        ece += count / len(right) * abs(mean - accuracy) if count else 0.0
        bins.append({"above": edges[i], "up_to": edges[i + 1], "n": count, "confidence": mean, "accuracy": accuracy})
    return bins, ece


def _finite(value: Any) -> Any:
    """Return plain Python values, None for a number that is not finite."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
