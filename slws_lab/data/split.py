"""Where a sample belongs, decided by its id alone: no other sample and no order has a say; and which labels are kept."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

TRAIN, VAL, TEST = SPLITS = ("train", "val", "test")


def uniform(sample_id: str) -> float:
    """Return a sample's own number in [0, 1): the first 53 bits of the SHA-256 of its id."""
    digest = hashlib.sha256(sample_id.encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def split_of(sample_id: str, test_fraction: float, val_fraction: float) -> str:
    """Return the split of a sample: train, val or test.

    A larger `val_fraction` only moves samples from train to val; test never changes with it.

    Args:
        sample_id: The sample's name, unique in its data set.
        test_fraction: Share of all samples that is test, in [0, 1).
        val_fraction: Share of the others that is val, in [0, 1].
    """
    number = uniform(sample_id)
    if number < test_fraction:
        return TEST
    return VAL if (number - test_fraction) / (1 - test_fraction) < val_fraction else TRAIN


def labelled(ids: Sequence[str], labels: Sequence[int], fraction: float) -> list[int]:
    """Return the positions, in order, of a share of each class; a smaller share is part of a larger one.

    Args:
        ids: The samples' names.
        labels: The samples' classes.
        fraction: Share of each class that is kept, rounded; each class keeps at least one sample.
    """
    classes: dict[int, list[int]] = defaultdict(list)
    for position, label in enumerate(labels):
        classes[label].append(position)
    kept: list[int] = []
    for members in classes.values():
        members.sort(key=lambda position: (uniform(f"label/{ids[position]}"), ids[position]))
        kept += members[: max(1, round(fraction * len(members)))]
    return sorted(kept)
