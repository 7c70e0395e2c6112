"""Feature maps out of the layers, as timm's `features_only` and its users ask for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from timm.models._features import feature_take_indices
from torch import Tensor, nn

from slws_lab.models.config import VisionMambaConfig
from slws_lab.models.sequence import split


class FeatureMaps(nn.Module, ABC):
    """A model whose tokens can be read after each layer."""

    config: VisionMambaConfig
    layers: nn.ModuleList
    norm_f: nn.Module
    embed_dim: int
    depth: int

    @property
    @abstractmethod
    def class_positions(self) -> tuple[int, ...]:
        """Where in the sequence the class tokens or registers stand."""

    @abstractmethod
    def tokens(self, images: Tensor) -> Tensor:
        """Return the sequence that enters the layers, (batch, num_tokens, embed_dim)."""

    @abstractmethod
    def streams(self, tokens: Tensor) -> Iterator[Tensor]:
        """Yield the sequence after each layer, (batch, num_tokens, embed_dim), before the final norm."""

    @abstractmethod
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head."""

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """What timm wants to know of each layer's feature map."""
        shape = {"num_chs": self.embed_dim, "reduction": self.config.step}
        return [{"module": f"layers.{i}", **shape} for i in range(self.depth)]

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        output_dict: bool = False,
    ) -> Any:
        """Return the final tokens and the feature maps of chosen layers.

        Args:
            x: Images, (batch, in_chans, height, width).
            indices: Layers to take, negative from the end; an int takes the last so many, None all.
            return_prefix_tokens: Whether each map comes with the class tokens, (batch, n, embed_dim).
            norm: Whether maps pass the final norm.
            stop_early: Whether layers after the last one taken are left out; for `intermediates_only`.
            output_fmt: "NCHW" for maps (batch, embed_dim, down, across), "NLC" for (batch, patches, embed_dim).
            intermediates_only: Whether the final tokens are left out.
            output_dict: Whether to return timm's dict in place of a tuple.

        Returns:
            (normalised tokens (batch, num_tokens, embed_dim), maps), or only the list of maps.

        Raises:
            ValueError: Unknown format, or stopping early with the final tokens asked for.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f"output_fmt is 'NCHW' or 'NLC', got {output_fmt!r}")
        if stop_early and not intermediates_only:
            raise ValueError("the final tokens need all layers: stop_early goes with intermediates_only")
        taken, last = feature_take_indices(self.depth, indices if isinstance(indices, int | None) else list(indices))
        stages = []
        for i, stream in enumerate(self.streams(self.tokens(x))):
            if i in taken:
                stages.append(split(self.norm_f(stream) if norm else stream, self.class_positions))
            if stop_early and i == last:
                break
        maps = [self._as_map(patches) if output_fmt == "NCHW" else patches for _, patches in stages]
        prefix = [tokens for tokens, _ in stages]
        final = None if intermediates_only else self.norm_f(stream)
        if output_dict:
            parts = {"image_features": final, "image_intermediates": maps}
            parts["image_intermediates_prefix"] = prefix if return_prefix_tokens else None
            return {name: part for name, part in parts.items() if part is not None}
        found = list(zip(maps, prefix, strict=True)) if return_prefix_tokens else maps
        return found if intermediates_only else (final, found)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the layers after the last index, and the norm and the head if asked; returns the indices that stay."""
        taken, last = feature_take_indices(self.depth, indices if isinstance(indices, int) else list(indices))
        self.cut(last + 1)
        if prune_norm:
            self.norm_f = nn.Identity()
        if prune_head:
            self.reset_classifier(0, "")
        return taken

    def cut(self, depth: int) -> None:
        """Keep only the first `depth` layers."""
        self.layers, self.depth = self.layers[:depth], depth

    def _as_map(self, patches: Tensor) -> Tensor:
        return patches.transpose(1, 2).unflatten(2, self.config.grid_size).contiguous()
