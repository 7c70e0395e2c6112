"""The parts that all families are made of: patches, norms, the head, and the rule of drop path."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slws_lab.models.config import VisionMambaConfig
from slws_lab.scan import triton_norm
from slws_lab.scan.triton_scan import obstacle

NORM_EPS = 1e-5


class PatchEmbed(nn.Module):
    """Cut images (batch, channels, height, width) into patch tokens (batch, patches, embed_dim)."""

    strict_img_size = True  # timm asks for it

    def __init__(self, config: VisionMambaConfig) -> None:
        super().__init__()
        self.set_input_size(config)
        self.proj = nn.Conv2d(config.in_chans, config.embed_dim, config.patch_size, config.step)

    def set_input_size(self, config: VisionMambaConfig) -> None:
        """Take images of the configuration's shape from now on."""
        self.shape, self.img_size = config.image_shape, config.image_shape[1:]
        self.grid_size, self.num_patches = config.grid_size, config.num_patches

    def forward(self, images: Tensor) -> Tensor:
        """Return the tokens row by row; raises ValueError for images of another shape."""
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(f"the model takes images of shape {self.shape}, got {tuple(images.shape[1:])}")
        return self.proj(images).flatten(2).transpose(1, 2)


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Return depth + 1 rates: item i acts on what enters layer i, the last one on the last layer's output.

    Nothing precedes layer 0, and the rule starts its line at layer 0's *output*: the first two rates are 0.
    """
    return [0.0, *torch.linspace(0, last, depth, device="cpu", dtype=torch.float64).tolist()]


class RMSNorm(nn.RMSNorm):
    """RMSNorm of a residual wider than the weights, as in a model turned to bfloat16: its output has the weights' dtype."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens.to(self.weight.dtype))


class LayerNorm(nn.LayerNorm):
    """LayerNorm likewise."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens.to(self.weight.dtype))


def norm(config: VisionMambaConfig, width: int | None = None) -> nn.Module:
    """Return the norm that the configuration asks for, over `width` channels; None means embed_dim."""
    kind = LayerNorm if config.layer_norm else RMSNorm
    return kind(width or config.embed_dim, eps=NORM_EPS)


def add_norm(hidden: Tensor, residual: Tensor | None, norm: nn.Module, scan: str) -> tuple[Tensor, Tensor]:
    """Return the norm of residual + hidden, and that sum: in one pass on a GPU whose scan is a kernel too.

    Args:
        hidden: (batch, length, width).
        residual: Same shape; None before the first block.
        norm: The norm, called as a module unless the kernel takes its place.
        scan: Name of the model's scan back-end.

    Returns:
        The norm, and the sum in float32 or wider. The kernel's norm has the type that a linear layer reads: autocast's
        where it is on, else that of the weights.
    """
    if residual is None or not _has_kernel(scan, norm, hidden.device):
        total = add(hidden, residual)
        return norm(total), total
    assert isinstance(norm, RMSNorm | LayerNorm) and norm.eps is not None
    device, dtype = hidden.device.type, norm.weight.dtype
    if torch.is_autocast_enabled(device) and dtype != torch.float64:  # which autocast leaves alone
        dtype = torch.get_autocast_dtype(device)
    bias = norm.bias if isinstance(norm, LayerNorm) else None
    return triton_norm.add_norm(hidden, residual, norm.weight, bias, norm.eps, dtype)


def add(hidden: Tensor, residual: Tensor | None) -> Tensor:
    """Return residual + hidden in float32 or wider; None counts as zero."""
    wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    return wide if residual is None else residual + wide


def _has_kernel(scan: str, norm: nn.Module, device: torch.device) -> bool:
    return scan in ("triton", "mamba_ssm") and isinstance(norm, RMSNorm | LayerNorm) and not obstacle(device)


def classifier(width: int, num_classes: int) -> nn.Module:
    """Return a linear head, or the identity for 0 classes."""
    return nn.Linear(width, num_classes) if num_classes else nn.Identity()
