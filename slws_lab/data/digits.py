"""Handwritten digits, 8 x 8 pixels, 1797 samples in 10 classes, which scikit-learn brings along.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test part).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from slws_lab.data.assemble import Source
from slws_lab.data.dataset import Split
from slws_lab.data.images import Pixels
from slws_lab.data.request import Request
from slws_lab.data.split import TRAIN

NAME = "digits"
_TEST_FRACTION = 0.2
_INK_LEVELS = 16


def read(_: Request) -> Source:
    """Read the data set; pixels 0 .. 16 become 0 .. 255, rounded. Samples stay in scikit-learn's order."""
    images, target = _images()
    labels = torch.from_numpy(target).long()
    pixels = np.rint(images * (255 / _INK_LEVELS)).astype(np.uint8)[:, None]
    ids = tuple(f"{NAME}/{label}/{index}" for index, label in enumerate(labels.tolist()))
    samples = Split(ids, labels, Pixels(pixels), np.arange(len(ids)), channels=1)
    names = tuple(str(digit) for digit in range(10))
    return Source(names, {TRAIN: samples}, size=pixels.shape[-1], channels=1, test_fraction=_TEST_FRACTION)


def _images() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return images (samples, 8, 8) with ink from 0 to 16, and their digits (samples,), as scikit-learn's `load_digits` does.

    Its file is read without it: importing it takes a fifth of a worker's start.
    """
    package = find_spec("sklearn")
    file = Path(str(package.origin)).parent / "datasets" / "data" / "digits.csv.gz" if package else None
    if file is not None and file.is_file():
        table = np.loadtxt(file, delimiter=",")
        return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images, found.target
