"""What all Vision Mamba families share: patches, class tokens, a stack of layers, a head, and timm's ways with a model."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections import deque
from typing import Any, ClassVar

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slws_lab.errors import UserError
from slws_lab.models.config import POOLS, VisionMambaConfig
from slws_lab.models.features import FeatureMaps
from slws_lab.models.layers import PatchEmbed, classifier, drop_path_rates, norm
from slws_lab.models.sequence import insert, split
from slws_lab.scan import resolve


class VisionMamba(FeatureMaps):
    """An image classifier over a sequence of patch tokens with class tokens (or registers) among them.

    `num_tokens` counts the whole sequence; `scan_backend` is the back-end chosen at build; `num_features` is the width
    of the tokens, `head_hidden_size` that of what the head reads.

    A class that names its list of layers in `passes_tokens_on` promises: in a call of the model each layer's output goes
    to the next layer untouched, and nobody else reads it. A subclass that keeps it has to say so itself.
    """

    passes_tokens_on: ClassVar[str]

    def __init__(self, config: VisionMambaConfig, class_tokens: int = 1) -> None:
        super().__init__()
        self.config = config
        self.scan_backend = resolve(config.scan).name
        self.embed_dim, self.depth, self.num_features = config.embed_dim, config.depth, config.embed_dim
        self.num_classes, self.in_chans, self.global_pool = config.num_classes, config.in_chans, config.global_pool
        self.grad_checkpointing = False
        self.patch_embed = PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.zeros(1, class_tokens, config.embed_dim))
        rows = config.num_patches + len(self.embedded_at(config.num_patches))
        self.pos_embed = nn.Parameter(torch.zeros(1, rows, config.embed_dim))
        rates = drop_path_rates(config.drop_path_rate, config.depth)[:-1]
        self.layers = nn.ModuleList(self.make_block(rate) for rate in rates)
        self.norm_f = norm(config)
        self.head_drop = nn.Dropout(config.drop_rate)
        self.head = classifier(self.head_hidden_size, config.num_classes)

    @abstractmethod
    def class_tokens_at(self, num_patches: int) -> tuple[int, ...]:
        """Return where the class tokens stand in the sequence of so many patches, ascending."""

    @staticmethod
    @abstractmethod
    def linear_init(module: nn.Module) -> None:
        """Initialise a linear layer of the head."""

    @abstractmethod
    def make_block(self, drop_path: float) -> nn.Module:
        """Return a block with this drop-path rate."""

    @property
    def class_positions(self) -> tuple[int, ...]:
        """Where in the sequence the class tokens or registers stand."""
        return self.class_tokens_at(self.config.num_patches)

    @property
    def num_tokens(self) -> int:
        """Length of the sequence."""
        return self.config.num_patches + len(self.class_positions)

    @property
    def head_hidden_size(self) -> int:
        """Width of what the head reads."""
        return self.embed_dim

    def embedded_at(self, num_patches: int) -> tuple[int, ...]:
        """Return which rows of the position embedding of so many patches belong to class tokens."""
        return self.class_tokens_at(num_patches)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (batch, num_classes), of images (batch, in_chans, height, width)."""
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the normalised tokens, (batch, num_tokens, embed_dim)."""
        return self.norm_f(deque(self.streams(self.tokens(images)), maxlen=1)[0])

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of tokens, or with `pre_logits` what the head would read, (batch, head_hidden_size)."""
        features = self.pool(tokens)
        return features if pre_logits else self.head(self.head_drop(features))

    def tokens(self, images: Tensor) -> Tensor:
        """Return the sequence that enters the layers, (batch, num_tokens, embed_dim)."""
        patches = self.patch_embed(images)
        cls_token = self.cls_token.expand(len(images), -1, -1).to(patches.dtype)
        return insert(patches, cls_token, self.class_positions) + self.pos_embed

    def pool(self, tokens: Tensor) -> Tensor:
        """Return what the head reads of normalised tokens, (batch, num_tokens, embed_dim)."""
        if self.global_pool == "":
            return tokens
        class_tokens, patches = split(tokens, self.class_positions)
        return class_tokens.flatten(1) if self.global_pool == "token" else patches.mean(1)

    def run(self, layer: nn.Module, *streams: Tensor | None) -> Any:
        """Call a layer; with gradient checkpointing it keeps only its inputs and runs again in the backward."""
        if self.grad_checkpointing and torch.is_grad_enabled():
            return checkpoint(layer, *streams, use_reentrant=False)
        return layer(*streams)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: keep nothing of a layer but its inputs."""
        self.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Return the names of embeddings, which weight decay leaves alone."""
        return {"pos_embed", "cls_token"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return timm's patterns of stem and layers, for layer-wise learning rates; the head is what is left over."""
        return {
            "stem": r"^cls_token|pos_embed|patch_embed",
            "blocks": [(r"^layers\.(\d+)", None), (r"^norm_f", (99999,))],
        }

    def get_classifier(self) -> nn.Module:
        """Return the head."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head by a freshly initialised one.

        Args:
            num_classes: Its outputs; 0 for no head.
            global_pool: What it reads from now on, see `VisionMambaConfig`; None leaves that as it is.
        """
        if global_pool is not None:
            if global_pool not in POOLS:
                raise ValueError(f"global_pool is one of {POOLS}, got {global_pool!r}")
            self.global_pool = global_pool
        self.num_classes = num_classes
        self.head = classifier(self.head_hidden_size, num_classes).to(self.pos_embed)
        self.head.apply(self.linear_init)

    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Take images of another size: position embeddings are resized, class tokens and registers move.

        Args:
            img_size: Height and width, pixels; one number for square images.
        """
        old_grid = self.config.grid_size
        self.config = dataclasses.replace(self.config, img_size=img_size)
        self.patch_embed.set_input_size(self.config)
        resized = self.resized_pos_embed(self.pos_embed.detach(), old_grid)
        self.pos_embed = nn.Parameter(resized, requires_grad=self.pos_embed.requires_grad)
        # where timm looks for the size that a model takes now
        self._traits = {**getattr(self, "_traits", {}), "img_size": self.config.image_shape[1:]}

    def resized_pos_embed(self, pos_embed: Tensor, old_grid: tuple[int, int] | None = None) -> Tensor:
        """Return a position embedding fitted to this model's grid: patches bicubically, class rows as they are.

        Args:
            pos_embed: (1, rows, embed_dim), of this family.
            old_grid: Patches down and across that it was made for; None for a square.

        Raises:
            UserError: If it is not that of a square grid and no grid is given.
        """
        # class rows do not depend on where they stand: their number is the same at every size
        patches = pos_embed.shape[1] - len(self.embedded_at(self.config.num_patches))
        side = math.isqrt(max(patches, 0))
        if old_grid is None and (side < 1 or side * side != patches):
            raise UserError(f"a position embedding of {pos_embed.shape[1]} rows is not that of a square image",
                            allowed=f"a square number of patches and {pos_embed.shape[1] - patches} class rows")  # fmt: skip
        class_rows, patch_rows = split(pos_embed, self.embedded_at(patches))
        new = resample_abs_pos_embed(
            patch_rows,
            list(self.config.grid_size),
            list(old_grid or (side, side)),
            num_prefix_tokens=0,
            antialias=False,
        )  # without antialias, as the official codes do
        return insert(new, class_rows, self.embedded_at(self.config.num_patches))
