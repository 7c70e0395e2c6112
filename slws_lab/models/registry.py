"""The named models, registered with timm: `timm.create_model("vim_tiny")`. Unless said otherwise 224 px and 1000 classes."""

from __future__ import annotations

import dataclasses
from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from slws_lab.errors import UserError
from slws_lab.models.config import VisionMambaConfig
from slws_lab.models.mambamlp import MambaMLP, MambaMLPConfig
from slws_lab.models.mambareg import MambaReg, MambaRegConfig
from slws_lab.models.shufflemamba import ShuffleMamba, ShuffleMambaConfig
from slws_lab.models.vim import Vim, VimConfig
from slws_lab.models.vision_mamba import VisionMamba

_FAMILIES: dict[type[VisionMambaConfig], type[VisionMamba]] = {
    ShuffleMambaConfig: ShuffleMamba,
    MambaRegConfig: MambaReg,
    VimConfig: Vim,
    MambaMLPConfig: MambaMLP,
}

_SMALL_IMAGES: dict[str, Any] = {"d_state": 8, "img_size": 32, "patch_size": 4, "num_classes": 10}
CONFIGS: dict[str, VisionMambaConfig] = {
    "shufflemamba_micro": ShuffleMambaConfig(
        32, 6, d_state=8, img_size=8, patch_size=4, stride=2, in_chans=1, num_classes=10
    ),
    "shufflemamba_tiny": ShuffleMambaConfig(192, 24),
    "shufflemamba_small": ShuffleMambaConfig(384, 24),
    "shufflemamba_middle": ShuffleMambaConfig(576, 32, layer_norm=True),
    "shufflemamba_base": ShuffleMambaConfig(768, 24),
    "shufflemamba_large": ShuffleMambaConfig(1024, 48),
    "shufflemamba_large40": ShuffleMambaConfig(1024, 40),
    "mambareg_micro": MambaRegConfig(32, 6, num_registers=4, reduce=2, **_SMALL_IMAGES),
    "mambareg_tiny": MambaRegConfig(192, 24),
    "mambareg_small": MambaRegConfig(384, 24, reduce=2),
    "mambareg_base": MambaRegConfig(768, 24, reduce=4),
    "mambareg_large": MambaRegConfig(1024, 48, num_registers=16, reduce=8),
    "vim_micro": VimConfig(32, 6, **_SMALL_IMAGES),
    "vim_tiny": VimConfig(192, 24),
    "vim_small": VimConfig(384, 24),
    "vim_base": VimConfig(768, 24),
    "mambamlp_micro": MambaMLPConfig(32, 6, **_SMALL_IMAGES),
    "mambamlp_base": MambaMLPConfig(768, 12),
    "mambamlp_large": MambaMLPConfig(1024, 24),
    "mambamlp_huge": MambaMLPConfig(1536, 24),
}
NAMES = tuple(CONFIGS)


def _default_cfg(config: VisionMambaConfig) -> dict[str, Any]:
    colour = config.in_chans == 3
    return {
        "input_size": config.image_shape,
        "fixed_input_size": True,
        "num_classes": config.num_classes,
        "mean": IMAGENET_DEFAULT_MEAN if colour else (0.5,) * config.in_chans,
        "std": IMAGENET_DEFAULT_STD if colour else (0.5,) * config.in_chans,
        "crop_pct": 1.0 if isinstance(config, MambaRegConfig) else 0.875,  # as each is evaluated officially
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    }


default_cfgs = generate_default_cfgs({name: _default_cfg(config) for name, config in CONFIGS.items()})


@register_model
def shufflemamba_micro(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """8x8 grey images in overlapping 4x4 patches: small enough for one CPU thread; ours, not the paper's."""
    return _build("shufflemamba_micro", pretrained, overrides)


@register_model
def shufflemamba_tiny(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """7.1 M parameters."""
    return _build("shufflemamba_tiny", pretrained, overrides)


@register_model
def shufflemamba_small(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """25.8 M parameters."""
    return _build("shufflemamba_small", pretrained, overrides)


@register_model
def shufflemamba_middle(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """74.2 M parameters; the only size with LayerNorm."""
    return _build("shufflemamba_middle", pretrained, overrides)


@register_model
def shufflemamba_base(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """97.6 M parameters."""
    return _build("shufflemamba_base", pretrained, overrides)


@register_model
def shufflemamba_large(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """340.0 M parameters, 48 layers."""
    return _build("shufflemamba_large", pretrained, overrides)


@register_model
def shufflemamba_large40(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """283.7 M parameters, 40 layers."""
    return _build("shufflemamba_large40", pretrained, overrides)


@register_model
def mambareg_micro(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """32x32 colour images in 4x4 patches, 4 registers: for a CPU; ours, not a paper's."""
    return _build("mambareg_micro", pretrained, overrides)


@register_model
def mambareg_tiny(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """9.3 M parameters, 12 registers."""
    return _build("mambareg_tiny", pretrained, overrides)


@register_model
def mambareg_small(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """27.8 M parameters, 12 registers."""
    return _build("mambareg_small", pretrained, overrides)


@register_model
def mambareg_base(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """99.3 M parameters, 12 registers."""
    return _build("mambareg_base", pretrained, overrides)


@register_model
def mambareg_large(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """341.2 M parameters, 48 layers, 16 registers."""
    return _build("mambareg_large", pretrained, overrides)


@register_model
def vim_micro(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """32x32 colour images in 4x4 patches: for a CPU; ours, not a paper's."""
    return _build("vim_micro", pretrained, overrides)


@register_model
def vim_tiny(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """7.1 M parameters."""
    return _build("vim_tiny", pretrained, overrides)


@register_model
def vim_small(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """25.8 M parameters."""
    return _build("vim_small", pretrained, overrides)


@register_model
def vim_base(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """97.6 M parameters."""
    return _build("vim_base", pretrained, overrides)


@register_model
def mambamlp_micro(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """32x32 colour images in 4x4 patches: for a CPU; ours, not a paper's."""
    return _build("mambamlp_micro", pretrained, overrides)


@register_model
def mambamlp_base(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """82.2 M parameters with two scan directions, 85.0 M with four."""
    return _build("mambamlp_base", pretrained, overrides)


@register_model
def mambamlp_large(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """288.0 M parameters with two scan directions, 297.0 M with four."""
    return _build("mambamlp_large", pretrained, overrides)


@register_model
def mambamlp_huge(pretrained: bool = False, **overrides: Any) -> VisionMamba:
    """644.5 M parameters with two scan directions, 662.7 M with four."""
    return _build("mambamlp_huge", pretrained, overrides)


def _build(name: str, pretrained: bool, overrides: dict[str, Any]) -> VisionMamba:
    """Build a model from its named configuration and the caller's overrides of the configuration's fields.

    Args:
        name: A key of `CONFIGS`.
        pretrained: Must be False.
        overrides: Fields of the family's configuration, and timm's own `features_only`, `out_indices`,
            `pretrained_cfg`; `cache_dir` means nothing where nothing is downloaded.

    Raises:
        UserError: If pretrained weights are asked for, or the scan back-end is unknown.
        TypeError: If a keyword is no field of the family's configuration.
    """
    if pretrained:
        raise UserError(f"there are no pretrained weights of {name} to download",
                        todo="use pretrained=False, and checkpoint_path= or slws_lab.models.load_weights for a file")  # fmt: skip
    config = CONFIGS[name]
    family = _FAMILIES[type(config)]
    own = {key: value for key, value in overrides.items() if key != "cache_dir"}
    features: dict[str, Any] = {"out_indices": 3, "feature_cls": "getter"}
    return build_model_with_cfg(
        lambda **fields: family(dataclasses.replace(config, **fields)), name, False, feature_cfg=features, **own
    )
