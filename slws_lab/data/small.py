"""Small sets that torchvision reads in their own formats: CIFAR-10, CIFAR-100, Fashion-MNIST. They stay in memory as pixels.

Sources: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; H. Xiao et al., Fashion-MNIST, arXiv 1708.07747.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets import CIFAR10, CIFAR100, FashionMNIST

from slws_lab.data.assemble import Source
from slws_lab.data.dataset import Split, arranged
from slws_lab.data.images import Pixels
from slws_lab.data.request import Request
from slws_lab.data.split import TEST, TRAIN
from slws_lab.errors import UserError, nearest

CLASSES: dict[str, Any] = {"cifar10": CIFAR10, "cifar100": CIFAR100, "fashion_mnist": FashionMNIST}


def read(request: Request) -> Source:
    """Read a set from the folder that `download` filled, or that was unpacked by hand.

    Raises:
        UserError: No folder, or the files are missing or changed.
    """
    folder = request.folder()
    try:
        parts = {name: CLASSES[request.name](folder, train=name == TRAIN) for name in (TRAIN, TEST)}
    except RuntimeError as error:
        todo = f"`slws data download {request.name} FOLDER` fills one, or unpack the set's own archive there"
        raise UserError(f"{folder} does not hold {request.name}: {error}", todo=todo) from error
    names = tuple(parts[TRAIN].classes)
    splits = {name: _split(part, names) for name, part in parts.items()}
    _, channels, size, _ = splits[TRAIN].images.shape(splits[TRAIN].rows)
    return Source(names, splits, size=size, channels=channels)


def download(name: str, folder: Path) -> None:
    """Download a set of torchvision's into a folder, unless it is there already.

    Args:
        name: cifar10, cifar100 or fashion_mnist.
        folder: Where it goes; made when missing.

    Raises:
        UserError: No such set, or it cannot be fetched.
    """
    if name not in CLASSES:
        raise UserError(f"no data set '{name}' to download", allowed=", ".join(CLASSES), todo=nearest(name, CLASSES))
    try:
        CLASSES[name](folder, download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{name} cannot be downloaded: {error}", todo=f"check the connection, or unpack the set into {folder}"
        ) from error


def _split(part: Any, names: tuple[str, ...]) -> Split:
    """Return a part of a set; a sample's file is its number in the set's own order."""
    values, labels = np.asarray(part.data), np.asarray(part.targets, dtype=np.int64)
    values = values[:, None] if values.ndim == 3 else values.transpose(0, 3, 1, 2)
    ids = [f"{names[label].replace('/', '-')}/{row:05d}" for row, label in enumerate(labels.tolist())]
    return arranged(ids, labels, Pixels(values))
