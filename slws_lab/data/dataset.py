"""A data set: its splits, the statistics that its images are normalised by, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from slws_lab.data.images import BrokenImage, Images, Pixels, Rows
from slws_lab.data.split import SPLITS

MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One part of a data set.

    Attributes:
        ids: The samples' names, n of them.
        labels: (n,) int64, each below the number of classes.
        images: Where the images are.
        rows: (n,) the samples' rows in `images`.
        channels: Channels that images are converted to: 1 (grey) or 3 (RGB).
        lasting: Whether somebody watches that its images stay as they are, so that what they were decoded to may be kept with it.
    """

    ids: tuple[str, ...]
    labels: Tensor
    images: Images
    rows: Rows
    channels: int = 3
    lasting: bool = False

    def __post_init__(self) -> None:
        if self.labels.dtype != torch.int64:
            raise ValueError(f"labels are {self.labels.dtype}; need int64")
        if not len(self.rows) == len(self.labels) == len(self.ids):
            raise ValueError(f"{len(self.rows)} rows, {len(self.labels)} labels, {len(self.ids)} ids")

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, position: int) -> Image.Image:
        """Return an image, decoded and converted to the split's channels.

        Raises:
            BrokenImage: It cannot be read.
        """
        return self.decoded(position, MODES[self.channels])

    def decoded(self, position: int, mode: str | None = None) -> Image.Image:
        """Return an image, decoded and converted to a mode of Pillow's; None leaves it in its own.

        Raises:
            BrokenImage: It cannot be read.
        """
        try:
            image = self.images.open(int(self.rows[position]))
            image.load()
            return image if mode is None else image.convert(mode)
        except MemoryError:
            raise
        except UnidentifiedImageError as error:  # its own message holds an address in memory
            raise BrokenImage(self.ids[position], "no image that Pillow recognises") from error
        except Exception as error:  # whatever a decoder does with bytes that make no sense
            raise BrokenImage(self.ids[position], f"{type(error).__name__}: {error}") from error

    def pixels(self, positions: Sequence[int] | Rows) -> NDArray[np.uint8] | None:
        """Return images (n, channels, height, width) at once, as they are in memory; None where they are not, or in other channels."""
        if not isinstance(self.images, Pixels) or self.images.values.shape[1] != self.channels:
            return None
        return np.ascontiguousarray(self.images.values[self.rows[positions]])

    def take(self, positions: Sequence[int]) -> Split:
        """Return the samples at these positions, in this order."""
        chosen = np.asarray(positions, dtype=np.int64)
        ids = tuple(self.ids[position] for position in positions)
        return Split(ids, self.labels[torch.from_numpy(chosen)], self.images, self.rows[chosen], self.channels)


def arranged(ids: Sequence[str], labels: Rows, images: Images) -> Split:
    """Return a split of all rows of a store, in the order of their ids.

    Args:
        ids: Name of each row, all different.
        labels: (n,) class of each row.
        images: The store.
    """
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    return Split(tuple(ids[row] for row in order.tolist()), torch.from_numpy(labels[order]), images, order)


@dataclass(frozen=True, eq=False, repr=False)
class DataSet:
    """A classification data set.

    Attributes:
        name: Its name in a recipe.
        class_names: One per class, in the order of the labels.
        splits: The parts `train`, `val` and `test`; test may be empty.
        split_rule: In words, how samples were given to the splits; part of the fingerprint.
        size: Height, and width, in pixels of the images that a model sees.
        channels: Their channels.
        mean: Mean of each channel; pixels from 0 to 1.
        std: Standard deviation of each channel; pixels from 0 to 1.
        full_train: Samples that train would have with all its labels.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Split]
    split_rule: str
    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    full_train: int

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over name, split rule, and ids, labels and images of all splits in their order.

        The order counts, since batches are chosen by position. Images count by their bytes where those are in memory, by the
        bytes' number where they are on a disk; nothing is decoded.
        """
        digest = hashlib.sha256(json.dumps([self.name, self.split_rule]).encode())
        for name in SPLITS:
            part = self.splits[name]
            digest.update(json.dumps([name, part.images.shape(part.rows), part.ids]).encode())
            digest.update(part.labels.numpy().astype("<i8").tobytes())
            for piece in part.images.signature(part.rows):
                digest.update(piece)
        return digest.hexdigest()[:16]
