"""How weights start; families differ in which of these rules they apply, and in which order."""

from __future__ import annotations

import math

import torch
from timm.layers.weight_init import lecun_normal_
from torch import nn

from slws_lab.models.mixer import BidirectionalMixer

INIT_STD = 0.02
DT_RANGE = (1e-3, 1e-1)  # step sizes that a forward scan starts from


def trunc_normal_linear(module: nn.Module) -> None:
    """Draw a linear layer's weight from a truncated normal of standard deviation 0.02 and zero its bias."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=INIT_STD)
        _zero_bias(module)


def xavier_linear(module: nn.Module) -> None:
    """Draw a linear layer's weight from Xavier's uniform distribution and zero its bias."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        _zero_bias(module)


def lecun_patches(proj: nn.Conv2d) -> None:
    """Draw the patch projection from LeCun's normal distribution and zero its bias."""
    lecun_normal_(proj.weight)
    _zero_bias(proj)


def scaled_out_proj(model: nn.Module, depth: int) -> None:
    """Draw each mixer's output projection anew and divide it by the root of the number of layers."""
    for mixer in _mixers(model):
        nn.init.kaiming_uniform_(mixer.out_proj.weight, a=math.sqrt(5))
        mixer.out_proj.weight.data.div_(math.sqrt(depth))


def forward_steps(model: nn.Module) -> None:
    """Let each forward scan start from step sizes log-uniform in `DT_RANGE`, each backward scan from a zero bias.

    Source: Mamba (arXiv 2312.00752); that the backward branch lacks it is so in the official Vim and Mamba-Reg.
    """
    low, high = (math.log(end) for end in DT_RANGE)
    for mixer in _mixers(model):
        steps = torch.empty_like(mixer.dt_proj.bias).uniform_(low, high).exp()
        with torch.no_grad():
            mixer.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # the inverse of softplus
        _zero_bias(mixer.dt_proj_b)


def _mixers(model: nn.Module) -> list[BidirectionalMixer]:
    return [module for module in model.modules() if isinstance(module, BidirectionalMixer)]


def _zero_bias(module: nn.Linear | nn.Conv2d) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)
