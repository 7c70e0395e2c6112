"""Vim, the first Vision Mamba: as ShuffleMamba, but its class token stands in the middle, and it starts otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from slws_lab.models import initialisation
from slws_lab.models.config import VisionMambaConfig
from slws_lab.models.residual import ResidualMamba


@dataclass(frozen=True)
class VimConfig(VisionMambaConfig):
    """Everything that fixes a Vim: the fields of `VisionMambaConfig`."""


class Vim(ResidualMamba):
    """Bidirectional Mamba image classifier with a class token in the middle and learned absolute positions.

    Source: Vim (arXiv 2401.09417), hustvl/Vim, the bimambav2 models with middle class token and halved sum.
    """

    passes_tokens_on = "layers"
    linear_init = staticmethod(initialisation.trunc_normal_linear)

    def __init__(self, config: VimConfig) -> None:
        super().__init__(config)
        self.init_weights()

    def class_tokens_at(self, num_patches: int) -> tuple[int, ...]:
        """Return the middle of the sequence."""
        return (num_patches // 2,)

    def init_weights(self) -> None:
        """Initialise as the official code does: mixers keep torch's linear layers and Mamba's forward step sizes."""
        initialisation.lecun_patches(self.patch_embed.proj)
        self.head.apply(self.linear_init)
        for embedding in (self.pos_embed, self.cls_token):
            nn.init.trunc_normal_(embedding, std=initialisation.INIT_STD)
        initialisation.forward_steps(self)
        initialisation.scaled_out_proj(self, self.depth)
