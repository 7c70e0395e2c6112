"""The stack of ShuffleMamba, Mamba-Reg and Vim: a residual stream beside the hidden state, kept in float32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from timm.layers.drop import DropPath
from torch import Tensor, nn

from slws_lab.models.config import VisionMambaConfig
from slws_lab.models.layers import add, add_norm, drop_path_rates, norm
from slws_lab.models.mixer import BidirectionalMixer
from slws_lab.models.vision_mamba import VisionMamba


class Block(nn.Module):
    """Add the previous block's output to the residual, normalise, mix; the mixer's output is added by the next."""

    def __init__(self, config: VisionMambaConfig, drop_path: float, scan: str) -> None:
        super().__init__()
        self.drop_path = DropPath(drop_path)
        self.norm = norm(config)
        self.mixer = BidirectionalMixer(config.embed_dim, config.d_state, scan)

    def forward(self, hidden: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return this block's output and the running residual (float32 or wider), both (batch, length, embed_dim).

        Args:
            hidden: Output of the block before, (batch, length, embed_dim).
            residual: Sum of what came before it, same shape; None before the first block.
        """
        normalised, residual = add_norm(self.drop_path(hidden), residual, self.norm, self.mixer.scan)
        return self.mixer(normalised), residual


class ResidualMamba(VisionMamba):
    """A Vision Mamba of residual-stream blocks."""

    def __init__(self, config: VisionMambaConfig, class_tokens: int = 1) -> None:
        super().__init__(config, class_tokens)
        self.drop_path = DropPath(drop_path_rates(config.drop_path_rate, config.depth)[-1])

    def make_block(self, drop_path: float) -> Block:
        """Return a block; its drop path acts on what enters it."""
        return Block(self.config, drop_path, self.scan_backend)

    def streams(self, tokens: Tensor) -> Iterator[Tensor]:
        """Yield the sum of all blocks so far after each block; the next one adds the output, so it comes a block late."""
        hidden, residual = tokens, None
        for i, layer in enumerate(self.layers):
            hidden, residual = self.run(layer, hidden, residual)
            if i:
                yield residual
        yield add(self.drop_path(hidden), residual)

    def cut(self, depth: int) -> None:
        """Keep the first blocks; the drop path of the first that goes acts on the last that stays."""
        if depth < self.depth:
            self.drop_path = cast(Block, self.layers[depth]).drop_path
        super().cut(depth)
