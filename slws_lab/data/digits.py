"""Handwritten digits, 8 x 8 pixels, 1797 samples in 10 classes, which scikit-learn brings along.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test part).
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from slws_lab.data.dataset import DataSet, Split
from slws_lab.data.split import SPLITS, split_of

NAME = "digits"
_TEST_FRACTION = 0.2
_INK_LEVELS = 16


def load(val_fraction: float) -> DataSet:
    """Read the data set; pixels 0 .. 16 become 0 .. 255, rounded.

    Args:
        val_fraction: Share of the samples outside test that becomes val.
    """
    source = load_digits()
    labels = torch.from_numpy(source.target).long()
    images = torch.from_numpy(source.images).mul(255 / _INK_LEVELS).round().to(torch.uint8).unsqueeze(1)
    ids = [f"{NAME}/{label}/{index}" for index, label in enumerate(labels.tolist())]
    where = [split_of(sample_id, _TEST_FRACTION, val_fraction) for sample_id in ids]
    splits = {}
    for name in SPLITS:
        chosen = [index for index, split in enumerate(where) if split == name]
        splits[name] = Split(images[chosen], labels[chosen], tuple(ids[index] for index in chosen))
    rule = f"sha256 of the id; test {_TEST_FRACTION}, val {val_fraction} of the rest"
    return DataSet(NAME, tuple(str(digit) for digit in source.target_names), splits, rule)
