"""Vision Mamba models; importing this package registers them with timm. Nothing here knows of shuffling."""

from __future__ import annotations

from slws_lab.models.mixer import BidirectionalMixer
from slws_lab.models.registry import (
    NAMES,
    shufflemamba_base,
    shufflemamba_large,
    shufflemamba_large40,
    shufflemamba_micro,
    shufflemamba_middle,
    shufflemamba_small,
    shufflemamba_tiny,
)
from slws_lab.models.shufflemamba import Block, ShuffleMamba, ShuffleMambaConfig, drop_path_rates

__all__ = [
    "NAMES",
    "BidirectionalMixer",
    "Block",
    "ShuffleMamba",
    "ShuffleMambaConfig",
    "drop_path_rates",
    "shufflemamba_base",
    "shufflemamba_large",
    "shufflemamba_large40",
    "shufflemamba_micro",
    "shufflemamba_middle",
    "shufflemamba_small",
    "shufflemamba_tiny",
]
