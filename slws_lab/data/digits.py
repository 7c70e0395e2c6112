"""Handwritten digits, 8 x 8 pixels, 1797 samples in 10 classes, which scikit-learn brings along.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test part).
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

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
    source = load_digits()
    labels = torch.from_numpy(source.target).long()
    pixels = np.rint(source.images * (255 / _INK_LEVELS)).astype(np.uint8)[:, None]
    ids = tuple(f"{NAME}/{label}/{index}" for index, label in enumerate(labels.tolist()))
    samples = Split(ids, labels, Pixels(pixels), np.arange(len(ids)), channels=1)
    names = tuple(str(digit) for digit in source.target_names)
    return Source(names, {TRAIN: samples}, size=pixels.shape[-1], channels=1, test_fraction=_TEST_FRACTION)
