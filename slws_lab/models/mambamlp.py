"""MambaMLP, the encoder of SLWS's masked feature distillation: blocks of a narrow mixer and an MLP, as in a transformer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from timm.layers.drop import DropPath
from torch import Tensor, nn

from slws_lab.errors import UserError
from slws_lab.models import initialisation
from slws_lab.models.config import VisionMambaConfig
from slws_lab.models.layers import norm
from slws_lab.models.mixer import COLUMNS, PARTS, BidirectionalMixer
from slws_lab.models.vision_mamba import VisionMamba

SCALES = {2: 1.0, 4: 0.25}  # the official code sums two directions and averages four


@dataclass(frozen=True)
class MambaMLPConfig(VisionMambaConfig):
    """Everything that fixes a MambaMLP.

    Args:
        directions: 2 to scan rows forth and back (pre-training), 4 to scan columns too (fine-tuning).
    """

    layer_norm: bool = True
    global_pool: str = "avg"
    directions: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.directions not in SCALES:
            raise UserError(f"{self.directions} scan directions", allowed="2 or 4")


class SwiGLU(nn.Module):
    """An MLP whose hidden layer is gated: w3(SiLU(w1 x) * w2 x), of hidden width 8/3 embed_dim, rounded down."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        hidden = 8 * embed_dim // 3
        self.w1 = nn.Linear(embed_dim, hidden)
        self.w2 = nn.Linear(embed_dim, hidden)
        self.w3 = nn.Linear(hidden, embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens, (batch, length, embed_dim) like the input."""
        return self.w3(nn.functional.silu(self.w1(tokens)) * self.w2(tokens))


class MLPBlock(nn.Module):
    """Normalise, mix, add; normalise, MLP, add."""

    def __init__(self, config: MambaMLPConfig, drop_path: float, scan: str) -> None:
        super().__init__()
        grid = config.grid_size if config.directions == 4 else None
        scale = SCALES[config.directions]
        self.mixer = BidirectionalMixer(config.embed_dim, config.d_state, scan, expand=1, scale=scale, grid=grid)
        self.mlp = SwiGLU(config.embed_dim)
        self.drop_path = DropPath(drop_path)
        self.norm1, self.norm2 = norm(config), norm(config)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return tokens, (batch, length, embed_dim) like the input."""
        hidden = hidden + self.drop_path(self.mixer(self.norm1(hidden)))
        return hidden + self.drop_path(self.mlp(self.norm2(hidden)))


class MambaMLP(VisionMamba):
    """Image classifier of Mamba and MLP blocks with a class token in front; its head reads the mean patch by default.

    Source: ARM (arXiv 2406.07537) and the official SLWS code, Masked_distillation.
    """

    passes_tokens_on = "layers"
    linear_init = staticmethod(initialisation.xavier_linear)
    config: MambaMLPConfig

    def __init__(self, config: MambaMLPConfig) -> None:
        super().__init__(config)
        self.init_weights()

    def class_tokens_at(self, num_patches: int) -> tuple[int, ...]:
        """Return (0,): the class token comes first."""
        return (0,)

    def make_block(self, drop_path: float) -> MLPBlock:
        """Return a block; its drop path acts on both its branches."""
        return MLPBlock(self.config, drop_path, self.scan_backend)

    def streams(self, tokens: Tensor) -> Iterator[Tensor]:
        """Yield the sequence after each block."""
        for layer in self.layers:
            tokens = self.run(layer, tokens)
            yield tokens

    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Take images of another size, see `VisionMamba`; scans of columns follow."""
        super().set_input_size(img_size)
        if self.config.directions == 4:
            for layer in self.layers:
                cast(MLPBlock, layer).mixer.grid = self.config.grid_size

    def init_weights(self) -> None:
        """Initialise as the official pre-training does: its second pass puts Xavier on all linear layers, dt_proj too."""
        self.apply(self.linear_init)
        nn.init.trunc_normal_(self.pos_embed, std=initialisation.INIT_STD)
        nn.init.normal_(self.cls_token, std=initialisation.INIT_STD)

    def adapted(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of two directions as those of four: both scans of columns start from the rows' forward one.

        Args:
            weights: A state dict, of two directions or four; what is there stays.
        """
        if self.config.directions == 2:
            return weights
        rows: dict[str, str] = {}
        for layer, part, suffix in itertools.product(range(self.depth), PARTS, COLUMNS):
            row, column = (f"layers.{layer}.mixer.{part.format(name)}" for name in ("", suffix))
            rows |= {column + end: row + end for end in ("", ".weight", ".bias")}
        started = {column: weights[row].clone() for column, row in rows.items() if row in weights}
        return {**started, **weights}
