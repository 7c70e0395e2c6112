"""The causal convolution against torch's own, outputs and gradients, in both directions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slws_lab.models.conv import causal_conv


def by_torch(x: Tensor, weight: Tensor, bias: Tensor, reverse: bool) -> Tensor:
    ordered = x.flip(1) if reverse else x
    padded = F.pad(ordered.transpose(1, 2), (weight.shape[-1] - 1, 0))
    y = F.conv1d(padded, weight, bias, groups=weight.shape[0]).transpose(1, 2)
    return y.flip(1) if reverse else y


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 17])
def test_equals_torch_on_the_flipped_sequence(length: int, reverse: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv1d(5, 5, 4, groups=5, dtype=torch.float64)
    inputs = [torch.randn(2, length, 5, dtype=torch.float64, requires_grad=True), conv.weight, conv.bias]
    expected, actual = by_torch(*inputs, reverse), causal_conv(inputs[0], conv, reverse)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-13)
    weights = torch.randn_like(expected)
    for left, right in zip(*(torch.autograd.grad(y, inputs, weights) for y in (actual, expected)), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-13)
