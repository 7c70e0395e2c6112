"""Mean and standard deviation of the pixels of a split of small images, exact on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slws_lab.data.dataset import Split
from slws_lab.data.images import Pixels

_LEVELS = 256


def moments(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel over all pixels; pixels from 0 to 1.

    Args:
        split: A split of `Pixels`.
    """
    pixels = _pixels(split)
    both = [_mean_and_std(pixels[:, channel]) for channel in range(split.channels)]
    return tuple(mean for mean, _ in both), tuple(std for _, std in both)


def _pixels(split: Split) -> NDArray[np.uint8]:
    if not isinstance(split.images, Pixels):
        raise TypeError(f"the images are {type(split.images).__name__}, not Pixels")
    if (pixels := split.pixels(np.arange(len(split)))) is not None:
        return pixels
    images = [np.asarray(split.image(position)) for position in range(len(split))]
    return np.stack(images).reshape(len(split), *images[0].shape[:2], split.channels).transpose(0, 3, 1, 2)


def _mean_and_std(pixels: NDArray[np.uint8]) -> tuple[float, float]:
    # Sums of whole numbers are exact, so every machine and thread count finds the same mean.
    counts = np.bincount(pixels.reshape(-1), minlength=_LEVELS).tolist()
    n = sum(counts)
    first = sum(level * count for level, count in enumerate(counts))
    second = sum(level * level * count for level, count in enumerate(counts))
    scale = n * (_LEVELS - 1)
    return first / scale, (n * second - first * first) ** 0.5 / scale
