"""ShuffleMamba, the image classifier that SLWS trains: VideoMamba's image model. It knows nothing of shuffling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from timm.layers.drop import DropPath
from timm.layers.weight_init import lecun_normal_
from torch import Tensor, nn

from slws_lab.models.mixer import BidirectionalMixer
from slws_lab.scan import resolve

NORM_EPS = 1e-5
INIT_STD = 0.02


@dataclass(frozen=True)
class ShuffleMambaConfig:
    """Everything that fixes a ShuffleMamba.

    Args:
        embed_dim: Width of the tokens.
        depth: Number of blocks.
        d_state: State size of the scans.
        layer_norm: Whether the norms are LayerNorm instead of RMSNorm.
        img_size: Height and width of the images, pixels.
        patch_size: Height and width of a patch, pixels.
        stride: Distance between patches, pixels; None means patch_size.
        in_chans: Channels of the images.
        num_classes: Outputs of the head; 0 for no head.
        drop_path_rate: Drop-path rate of the last layer's output; earlier ones grow linearly from 0.
        scan: Name of a scan back-end, or "auto".
    """

    embed_dim: int
    depth: int
    d_state: int = 16
    layer_norm: bool = False
    img_size: int = 224
    patch_size: int = 16
    stride: int | None = None
    in_chans: int = 3
    num_classes: int = 1000
    drop_path_rate: float = 0.0
    scan: str = "auto"

    @property
    def num_patches(self) -> int:
        """Number of patches of one image."""
        return ((self.img_size - self.patch_size) // (self.stride or self.patch_size) + 1) ** 2


class PatchEmbed(nn.Module):
    """Cut images (batch, channels, height, width) into patch tokens (batch, patches, embed_dim)."""

    def __init__(self, config: ShuffleMambaConfig) -> None:
        super().__init__()
        stride = config.stride or config.patch_size
        self.shape = (config.in_chans, config.img_size, config.img_size)
        self.proj = nn.Conv2d(config.in_chans, config.embed_dim, config.patch_size, stride)

    def forward(self, images: Tensor) -> Tensor:
        """Return the tokens row by row; raises ValueError for images of another shape."""
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(f"the model takes images of shape {self.shape}, got {tuple(images.shape[1:])}")
        return self.proj(images).flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Add the previous block's output to the residual, normalise, mix; the mixer's output is added by the next."""

    def __init__(self, config: ShuffleMambaConfig, drop_path: float, scan: str) -> None:
        super().__init__()
        self.drop_path = DropPath(drop_path)
        self.norm = _norm(config)
        self.mixer = BidirectionalMixer(config.embed_dim, config.d_state, scan)

    def forward(self, hidden: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return this block's output and the running residual (float32 or wider), both (batch, length, embed_dim).

        Args:
            hidden: Output of the block before, (batch, length, embed_dim).
            residual: Sum of what came before it, same shape; None before the first block.
        """
        residual = _add(self.drop_path(hidden), residual)
        return self.mixer(self.norm(residual)), residual


class ShuffleMamba(nn.Module):
    """Bidirectional Mamba image classifier with a class token in front and learned absolute positions.

    `num_tokens` counts the whole sequence, class token included; `scan_backend` is the back-end chosen at build.

    Source: official SLWS code, models_shuffle.py; parameter counts and state keys are golden tests.
    """

    def __init__(self, config: ShuffleMambaConfig) -> None:
        super().__init__()
        self.config = config
        self.scan_backend = resolve(config.scan).name
        self.embed_dim, self.depth = config.embed_dim, config.depth
        self.num_features, self.num_classes = config.embed_dim, config.num_classes
        self.num_tokens = config.num_patches + 1
        self.patch_embed = PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.num_tokens, config.embed_dim))
        rates = drop_path_rates(config.drop_path_rate, config.depth)
        self.layers = nn.ModuleList(Block(config, rate, self.scan_backend) for rate in rates[:-1])
        self.drop_path = DropPath(rates[-1])
        self.norm_f = _norm(config)
        self.head = _head(config.embed_dim, config.num_classes)
        self._init_weights()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (batch, num_classes), of images (batch, in_chans, img_size, img_size)."""
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the normalised tokens, (batch, num_tokens, embed_dim), class token first."""
        patches = self.patch_embed(images)
        cls_token = self.cls_token.expand(len(images), -1, -1).to(patches.dtype)
        hidden: Tensor = torch.cat([cls_token, patches], dim=1) + self.pos_embed
        residual: Tensor | None = None
        for layer in self.layers:
            hidden, residual = layer(hidden, residual)
        return self.norm_f(_add(self.drop_path(hidden), residual))

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of tokens, or with `pre_logits` the class token that the head would read."""
        features = tokens[:, 0]
        if pre_logits:
            return features
        logits: Tensor = self.head(features)
        return logits

    def no_weight_decay(self) -> set[str]:
        """Return the names of embeddings, which weight decay leaves alone."""
        return {"pos_embed", "cls_token"}

    def get_classifier(self) -> nn.Module:
        """Return the head."""
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the head by a freshly initialised one; 0 classes for none."""
        self.num_classes = num_classes
        self.head = _head(self.embed_dim, num_classes).to(self.pos_embed.device)
        self.head.apply(_init_linear)

    def _init_weights(self) -> None:
        """Initialise as the official code does: its general rule also resets the bias of dt_proj to zero."""
        lecun_normal_(self.patch_embed.proj.weight)
        _zero_bias(self.patch_embed.proj)
        self.apply(_init_linear)
        nn.init.trunc_normal_(self.pos_embed, std=INIT_STD)
        for module in self.modules():
            if isinstance(module, BidirectionalMixer):
                nn.init.kaiming_uniform_(module.out_proj.weight, a=math.sqrt(5))
                module.out_proj.weight.data.div_(math.sqrt(self.depth))


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Return depth + 1 rates: item i acts on what enters layer i, the last one on the last layer's output.

    Nothing precedes layer 0, and the rule starts its line at layer 0's *output*: the first two rates are 0.
    """
    return [0.0, *torch.linspace(0, last, depth, device="cpu", dtype=torch.float64).tolist()]


def _add(hidden: Tensor, residual: Tensor | None) -> Tensor:
    wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    return wide if residual is None else residual + wide


def _norm(config: ShuffleMambaConfig) -> nn.Module:
    kind = nn.LayerNorm if config.layer_norm else nn.RMSNorm
    return kind(config.embed_dim, eps=NORM_EPS)


def _head(embed_dim: int, num_classes: int) -> nn.Module:
    return nn.Linear(embed_dim, num_classes) if num_classes else nn.Identity()


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=INIT_STD)
        _zero_bias(module)


def _zero_bias(module: nn.Linear | nn.Conv2d) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)
