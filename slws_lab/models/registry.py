"""The named ShuffleMambas, registered with timm: `timm.create_model("shufflemamba_tiny")`."""

from __future__ import annotations

import dataclasses
from typing import Any

from timm.models import register_model

from slws_lab.errors import UserError
from slws_lab.models.shufflemamba import ShuffleMamba, ShuffleMambaConfig

NAMES = tuple(f"shufflemamba_{size}" for size in ("micro", "tiny", "small", "middle", "base", "large", "large40"))

# what timm.create_model passes of its own accord; none of it means anything without published weights
_TIMM_KEYWORDS = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


@register_model
def shufflemamba_micro(pretrained: bool = False, **overrides: Any) -> ShuffleMamba:
    """8x8 grey images in overlapping 4x4 patches: small enough for one CPU thread; ours, not the paper's."""
    micro = ShuffleMambaConfig(32, 6, d_state=8, img_size=8, patch_size=4, stride=2, in_chans=1, num_classes=10)
    return _build(micro, pretrained, overrides)


@register_model
def shufflemamba_tiny(pretrained: bool = False, **overrides: Any) -> ShuffleMamba:
    """7.1 M parameters; as all below, 224 px and 1000 classes unless overridden."""
    return _build(ShuffleMambaConfig(192, 24), pretrained, overrides)


@register_model
def shufflemamba_small(pretrained: bool = False, **overrides: Any) -> ShuffleMamba:
    """25.8 M parameters."""
    return _build(ShuffleMambaConfig(384, 24), pretrained, overrides)


@register_model
def shufflemamba_middle(pretrained: bool = False, **overrides: Any) -> ShuffleMamba:
    """74.2 M parameters; the only size with LayerNorm."""
    return _build(ShuffleMambaConfig(576, 32, layer_norm=True), pretrained, overrides)


@register_model
def shufflemamba_base(pretrained: bool = False, **overrides: Any) -> ShuffleMamba:
    """97.6 M parameters."""
    return _build(ShuffleMambaConfig(768, 24), pretrained, overrides)


@register_model
def shufflemamba_large(pretrained: bool = False, **overrides: Any) -> ShuffleMamba:
    """340.0 M parameters, 48 layers."""
    return _build(ShuffleMambaConfig(1024, 48), pretrained, overrides)


@register_model
def shufflemamba_large40(pretrained: bool = False, **overrides: Any) -> ShuffleMamba:
    """283.7 M parameters, 40 layers."""
    return _build(ShuffleMambaConfig(1024, 40), pretrained, overrides)


def _build(config: ShuffleMambaConfig, pretrained: bool, overrides: dict[str, Any]) -> ShuffleMamba:
    """Build a model from its named configuration and the caller's overrides of `ShuffleMambaConfig`'s fields.

    Raises:
        UserError: If pretrained weights are asked for, or the scan back-end is unknown.
        TypeError: If a keyword is no field of `ShuffleMambaConfig`.
    """
    if pretrained:
        raise UserError("there are no pretrained ShuffleMamba weights in slws_lab", todo="use pretrained=False")
    own = {name: value for name, value in overrides.items() if name not in _TIMM_KEYWORDS}
    return ShuffleMamba(dataclasses.replace(config, **own))
