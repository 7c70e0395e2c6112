"""Data sets as tensors: sources, hashed splits, batches resident on a device, augmentation. Knows no model."""

from slws_lab.data.augment import Augment, normalize
from slws_lab.data.dataset import DataSet, Split
from slws_lab.data.resident import Resident, epoch_order
from slws_lab.data.sources import DATASETS, load

__all__ = [
    "DATASETS",
    "Augment",
    "DataSet",
    "Resident",
    "Split",
    "epoch_order",
    "load",
    "normalize",
]
