"""The data sets by name. A new one is a module with a `load(val_fraction)` and a line in `DATASETS`."""

from __future__ import annotations

from collections.abc import Callable

from slws_lab.data import digits
from slws_lab.data.dataset import DataSet
from slws_lab.errors import UserError, nearest

DATASETS: dict[str, Callable[[float], DataSet]] = {digits.NAME: digits.load}


def load(name: str, val_fraction: float) -> DataSet:
    """Load a data set with its train, val and test splits.

    Args:
        name: One of `DATASETS`.
        val_fraction: Share of the training samples that becomes val, above 0 and below 1.

    Raises:
        UserError: The name is unknown, the share out of its range, or a split would be empty.
    """
    if name not in DATASETS:
        raise UserError(f"unknown data set '{name}'", allowed=", ".join(DATASETS), todo=nearest(name, DATASETS))
    if not 0 < val_fraction < 1:
        raise UserError(f"val_fraction = {val_fraction}", allowed="a share above 0 and below 1")
    dataset = DATASETS[name](val_fraction)
    for part, split in dataset.splits.items():
        if not len(split):
            todo = "choose a share that leaves samples for both train and val"
            raise UserError(f"val_fraction = {val_fraction} leaves the {part} split of {name} empty", todo=todo)
    return dataset
