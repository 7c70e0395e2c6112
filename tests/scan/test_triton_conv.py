"""The Triton convolution with SiLU: on a GPU where there is one, else in Triton's interpreter.

Where there is no GPU, `test_triton_norm` runs this file in the interpreter, in the process that it starts for its own.
"""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slws_lab.scan import triton_conv

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")

needs_kernels = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(), reason="needs an NVIDIA GPU or TRITON_INTERPRET=1"
)


def draw(batch: int, length: int, width: int, taps: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return x, taps and bias; the weights of half precision stay float32, as under autocast."""
    make = torch.Generator().manual_seed(batch + length + width + taps)
    weights = torch.promote_types(dtype, torch.float32)
    x = torch.randn(batch, length, width, generator=make, dtype=torch.float64).to(DEVICE, dtype)
    rest = [torch.randn(shape, generator=make, dtype=torch.float64) for shape in ((width, taps), (width,))]
    return [tensor.requires_grad_() for tensor in (x, *(tensor.to(DEVICE, weights) for tensor in rest))]


def by_torch(x: Tensor, taps: Tensor, bias: Tensor, reverse: bool) -> Tensor:
    ordered = x.flip(1) if reverse else x
    padded = F.pad(ordered.transpose(1, 2), (taps.shape[1] - 1, 0))
    y = F.silu(F.conv1d(padded, taps[:, None], bias, groups=len(taps))).transpose(1, 2)
    return y.flip(1) if reverse else y


def gradients(y: Tensor, tensors: list[Tensor]) -> list[Tensor]:
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).bfloat16()  # exact in every type
    return [y, *torch.autograd.grad(y, tensors, weights.to(y))]


@needs_kernels
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("batch", "length", "width", "taps"),
    [
        (2, 1, 5, 4),
        (1, 3, 16, 3),
        (2, 9, 140, 4),  # two blocks of channels
        (1, 70, 3, 2),  # two segments of backward, three programs of forward
    ],
)
def test_output_and_every_gradient_equal_torch(batch: int, length: int, width: int, taps: int, reverse: bool) -> None:
    tensors = draw(batch, length, width, taps)
    actual = gradients(triton_conv.conv_silu(*tensors, reverse), tensors)
    for left, right in zip(actual, gradients(by_torch(*tensors, reverse), tensors), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-13)


@needs_kernels
def test_a_half_of_a_wider_tensor_is_read_where_it_stands() -> None:
    (wide, _, _), (_, taps, bias) = draw(2, 6, 10, 4), draw(1, 1, 5, 4)
    found = []
    for function in (triton_conv.conv_silu, by_torch):
        y = function(wide.chunk(2, dim=-1)[1], taps, bias, True)
        found.append(gradients(y, [wide, taps, bias]))
    for left, right in zip(*found, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-13)


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_type_is_rounded_once_with_float32_inside(dtype: torch.dtype) -> None:
    tensors = draw(2, 21, 18, 4, dtype)
    doubles = [tensor.detach().double().requires_grad_() for tensor in tensors]
    y, grad_x, *of_weights = gradients(triton_conv.conv_silu(*tensors, False), tensors)
    exact, exact_x, *exact_weights = gradients(by_torch(*doubles, False), doubles)
    assert (y.dtype, grad_x.dtype) == (dtype, dtype)
    # the interpreter cuts bfloat16 off where a GPU rounds
    cut = 2 if INTERPRETED and dtype == torch.bfloat16 else 1
    for left, right in ((y, exact), (grad_x, exact_x)):
        torch.testing.assert_close(left.double(), right, rtol=cut * max(torch.finfo(dtype).eps / 2, 2e-6), atol=2e-6)
    for left, right in zip(of_weights, exact_weights, strict=True):
        assert left.dtype == torch.float32
        torch.testing.assert_close(left.double(), right, rtol=1e-5, atol=1e-5)


@needs_kernels
def test_torch_finds_nothing_wrong_with_the_operator() -> None:
    tensors = draw(1, 2, 3, 4)
    torch.library.opcheck(triton_conv._conv_operator, (*tensors, True))
    eager = gradients(triton_conv.conv_silu(*tensors, True), tensors)
    for left, right in zip(eager, gradients(triton_conv._conv_operator(*tensors, True), tensors), strict=True):
        assert torch.equal(left, right)


@pytest.mark.gpu
@pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_the_same_inputs_give_the_same_bits() -> None:
    tensors = draw(16, 197, 384, 4, torch.bfloat16)
    first, second = (gradients(triton_conv.conv_silu(*tensors, False), tensors) for _ in range(2))
    assert all(torch.equal(left, right) for left, right in zip(first, second, strict=True))


def test_weights_that_do_not_fit_are_refused() -> None:
    for taps, bias in (((3, 5), (3,)), ((4, 4), (3,)), ((3, 4), (4,))):
        with pytest.raises(ValueError, match="taps must be"):
            triton_conv.conv_silu(torch.ones(1, 2, 3), torch.ones(taps), torch.ones(bias), False)
