"""A data set in memory: its splits, the statistics of its train split and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from slws_lab.data.split import SPLITS, TRAIN

_LEVELS = 256


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One part of a data set.

    Attributes:
        images: (n, channels, height, width) uint8.
        labels: (n,) int64, each below the number of classes.
        ids: The samples' names, n of them, in the same order.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.labels.dtype != torch.int64:
            raise ValueError(f"images are {self.images.dtype} and labels {self.labels.dtype}; need uint8 and int64")
        if not len(self.images) == len(self.labels) == len(self.ids):
            raise ValueError(f"{len(self.images)} images, {len(self.labels)} labels, {len(self.ids)} ids")

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False, repr=False)
class DataSet:
    """A classification data set.

    Attributes:
        name: Its name in `sources.DATASETS`.
        class_names: One per class, in the order of the labels.
        splits: The parts `train`, `val` and `test`.
        split_rule: In words, how samples were given to the splits; part of the fingerprint.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Split]
    split_rule: str

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return int(self.splits[TRAIN].images.shape[1])

    @property
    def size(self) -> int:
        """Height, and width, of an image in pixels."""
        return int(self.splits[TRAIN].images.shape[-1])

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the train split; pixels from 0 to 1."""
        return tuple(mean for mean, _ in self._moments)

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel over all pixels of the train split; pixels from 0 to 1."""
        return tuple(std for _, std in self._moments)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over name, split rule, and ids, labels and image bytes of all splits in their order.

        The order counts, since batches are chosen by position.
        """
        digest = hashlib.sha256(json.dumps([self.name, self.split_rule]).encode())
        for name in SPLITS:
            part = self.splits[name]
            digest.update(json.dumps([name, list(part.images.shape), part.ids]).encode())
            digest.update(part.labels.numpy().astype("<i8").tobytes())
            digest.update(part.images.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def _moments(self) -> tuple[tuple[float, float], ...]:
        images = self.splits[TRAIN].images
        return tuple(_mean_and_std(images[:, channel]) for channel in range(self.channels))


def _mean_and_std(pixels: Tensor) -> tuple[float, float]:
    # Sums of whole numbers are exact, so every machine and thread count finds the same mean.
    counts = torch.bincount(pixels.reshape(-1), minlength=_LEVELS).tolist()
    n = sum(counts)
    first = sum(level * count for level, count in enumerate(counts))
    second = sum(level * level * count for level, count in enumerate(counts))
    scale = n * (_LEVELS - 1)
    return first / scale, (n * second - first * first) ** 0.5 / scale
