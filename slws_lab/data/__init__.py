"""Data sets: sources, hashed splits, batches resident on a device or streamed to it, augmentation. Knows no model."""

from slws_lab.data.augment import Augment, normalize
from slws_lab.data.dataset import DataSet, Split
from slws_lab.data.examine import examine
from slws_lab.data.images import BrokenImage
from slws_lab.data.keep import LastLoaded
from slws_lab.data.loader import Batch, Loader
from slws_lab.data.order import epoch_order
from slws_lab.data.request import Request
from slws_lab.data.small import download
from slws_lab.data.sources import NAMES, load
from slws_lab.data.transform import SampleTransform

__all__ = [
    "NAMES",
    "Augment",
    "Batch",
    "BrokenImage",
    "DataSet",
    "LastLoaded",
    "Loader",
    "Request",
    "SampleTransform",
    "Split",
    "download",
    "epoch_order",
    "examine",
    "load",
    "normalize",
]
