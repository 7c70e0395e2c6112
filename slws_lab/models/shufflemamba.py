"""ShuffleMamba, the image classifier that SLWS trains: VideoMamba's image model. It knows nothing of shuffling."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from slws_lab.models import initialisation
from slws_lab.models.config import VisionMambaConfig
from slws_lab.models.residual import ResidualMamba


@dataclass(frozen=True)
class ShuffleMambaConfig(VisionMambaConfig):
    """Everything that fixes a ShuffleMamba: the fields of `VisionMambaConfig`."""


class ShuffleMamba(ResidualMamba):
    """Bidirectional Mamba image classifier with a class token in front and learned absolute positions.

    Source: official SLWS code, models_shuffle.py; parameter counts and state keys are golden tests.
    """

    passes_tokens_on = "layers"
    linear_init = staticmethod(initialisation.trunc_normal_linear)

    def __init__(self, config: ShuffleMambaConfig) -> None:
        super().__init__(config)
        self.init_weights()

    def class_tokens_at(self, num_patches: int) -> tuple[int, ...]:
        """Return (0,): the class token comes first."""
        return (0,)

    def init_weights(self) -> None:
        """Initialise as the official code does: its general rule also resets the bias of dt_proj to zero."""
        initialisation.lecun_patches(self.patch_embed.proj)
        self.apply(self.linear_init)
        nn.init.trunc_normal_(self.pos_embed, std=initialisation.INIT_STD)
        initialisation.scaled_out_proj(self, self.depth)
