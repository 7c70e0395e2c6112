"""Vision Mamba models; importing this package registers them with timm. Nothing here knows of shuffling."""

from __future__ import annotations

from slws_lab.models.config import VisionMambaConfig
from slws_lab.models.layers import drop_path_rates
from slws_lab.models.loading import LoadReport, load_weights, read_weights
from slws_lab.models.mambamlp import MambaMLP, MambaMLPConfig
from slws_lab.models.mambareg import MambaReg, MambaRegConfig
from slws_lab.models.mixer import BidirectionalMixer
from slws_lab.models.registry import NAMES
from slws_lab.models.residual import Block
from slws_lab.models.shufflemamba import ShuffleMamba, ShuffleMambaConfig
from slws_lab.models.vim import Vim, VimConfig
from slws_lab.models.vision_mamba import VisionMamba

__all__ = [
    "NAMES",
    "BidirectionalMixer",
    "Block",
    "LoadReport",
    "MambaMLP",
    "MambaMLPConfig",
    "MambaReg",
    "MambaRegConfig",
    "ShuffleMamba",
    "ShuffleMambaConfig",
    "Vim",
    "VimConfig",
    "VisionMamba",
    "VisionMambaConfig",
    "drop_path_rates",
    "load_weights",
    "read_weights",
]
