"""The causal convolution against torch's own, alone and with SiLU, outputs and gradients, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slws_lab.models.conv import causal_conv, causal_conv_silu
from slws_lab.scan import conv, conv_silu, describe, kernel, mamba_ssm, triton_conv

compiled = pytest.mark.skipif(not describe("cpu")["native"].startswith("usable"), reason=describe("cpu")["native"])


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


@compiled
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("batch", "length", "width"), [(2, 1, 5), (1, 3, 8), (2, 4, 1), (3, 17, 33), (1, 40, 300)])
def test_the_compiled_convolution_with_silu_equals_torch(batch: int, length: int, width: int, reverse: bool) -> None:
    torch.manual_seed(0)
    held = nn.Conv1d(width, width, 4, groups=width, dtype=torch.float64)
    wide = torch.randn(batch, length, 2 * width, dtype=torch.float64, requires_grad=True)
    inputs = [wide, held.weight, held.bias]
    x = wide.chunk(2, dim=-1)[0]
    expected, actual = F.silu(by_torch(x, *inputs[1:], reverse)), causal_conv_silu(x, held, reverse, "native")
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-13)
    weights = torch.randn_like(expected)
    for left, right in zip(*(torch.autograd.grad(y, inputs, weights) for y in (actual, expected)), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-12)


@compiled
def test_the_compiled_convolution_in_float32_and_bfloat16() -> None:
    torch.manual_seed(0)
    x, taps, bias = torch.randn(2, 40, 20), torch.randn(20, 4), torch.randn(20)
    exact = conv_silu(x.double(), taps.double(), bias.double(), reverse=False)
    torch.testing.assert_close(conv_silu(x, taps, bias, reverse=False).double(), exact, rtol=1e-6, atol=1e-6)
    half = conv_silu(x.bfloat16(), taps, bias, reverse=False)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(
        half.double(), conv_silu(x.bfloat16().double(), taps, bias, False), rtol=2**-8, atol=1e-6
    )


@compiled
def test_the_compiled_convolution_gives_the_same_bits_on_any_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "WORTH_A_THREAD", 1)
    torch.manual_seed(0)
    inputs = [torch.randn(s, requires_grad=True) for s in ((5, 40, 150), (150, 4), (150,))]
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        y = conv_silu(*inputs, reverse=True)
        found.append((y, *torch.autograd.grad(y.square().sum(), inputs)))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@compiled
def test_torch_finds_nothing_wrong_with_the_compiled_convolution() -> None:
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 6, 3), (3, 4), (3,))]
    torch.library.opcheck(conv._conv_operator, (*inputs, True))
    assert torch.autograd.gradcheck(conv_silu, (*inputs, False))


@compiled
def test_the_compiled_convolution_refuses_taps_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="taps must be"):
        conv_silu(torch.randn(1, 2, 3), torch.randn(3, 5), torch.randn(3), False)


def test_a_convolution_that_the_kernel_is_not_made_for_goes_the_other_way() -> None:
    torch.manual_seed(0)
    held = nn.Conv1d(5, 5, 3, groups=5)
    x = torch.randn(2, 7, 5)
    assert torch.equal(causal_conv_silu(x, held, True, "native"), F.silu(causal_conv(x, held, True)))


@pytest.mark.parametrize(
    ("scan", "taps", "obstacle", "kernel"),
    [
        ("triton", 4, "", triton_conv),
        ("triton", 2, "", triton_conv),
        ("triton", 5, "", None),
        ("mamba_ssm", 4, "", mamba_ssm),
        ("mamba_ssm", 4, "the extension is not installed", None),
        ("mamba_ssm", 1, "", None),
        ("chunked", 4, "", None),
    ],
)
def test_a_gpu_back_end_convolves_by_its_own_kernel_where_that_takes_the_taps(
    monkeypatch: pytest.MonkeyPatch, scan: str, taps: int, obstacle: str, kernel: ModuleType | None
) -> None:
    called: list[object] = []

    def stand_in(home: ModuleType) -> Callable[[Tensor, Tensor, Tensor, bool], Tensor]:
        def conv_silu(x: Tensor, weight: Tensor, bias: Tensor, reverse: bool) -> Tensor:
            called.append(home)
            return F.silu(by_torch(x, weight[:, None], bias, reverse))

        return conv_silu

    for home in (triton_conv, mamba_ssm):
        monkeypatch.setattr(home, "conv_silu", stand_in(home))
    monkeypatch.setattr(mamba_ssm, "conv_obstacle", lambda device: obstacle)
    torch.manual_seed(0)
    held = nn.Conv1d(5, 5, taps, groups=5)
    x = torch.randn(2, 7, 5)
    torch.testing.assert_close(causal_conv_silu(x, held, True, scan), F.silu(causal_conv(x, held, True)))
    assert called == ([] if kernel is None else [kernel])
