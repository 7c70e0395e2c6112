"""The scan of mamba-ssm and the convolution of causal-conv1d, called at their CUDA extensions; neither is a dependency.

What counts is the compiled modules, `selective_scan_cuda` and `causal_conv1d_cuda`: a package can be installed without
its own. The backward of the scan adds up by atomics, so its last bits differ from run to run. Both work in float32
inside, not in float64, and run from the first token to the last: the other direction is flipped before and after.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from slws_lab.errors import UserError
from slws_lab.scan.inputs import ScanInputs

SCAN = ("selective_scan_cuda", "mamba-ssm 2.2 to 2.3.2.post1", {"fwd": 9, "bwd": 14})
CONVOLUTION = ("causal_conv1d_cuda", "causal-conv1d 1.4 to 1.7.0", {"causal_conv1d_fwd": 8, "causal_conv1d_bwd": 12})
MOST_STATES = 256
SCAN_CHUNK = 2048  # steps between two states that the extension keeps
ALIGNMENT = 8  # of widths and strides for the convolution's channel-last kernels


def obstacle(device: torch.device) -> str:
    """Return why mamba-ssm's scan cannot run on the device, or an empty string."""
    return _obstacle(device, SCAN[0])


def conv_obstacle(device: torch.device) -> str:
    """Return why causal-conv1d's convolution cannot run on the device, or an empty string."""
    return _obstacle(device, CONVOLUTION[0])


def scan(inputs: ScanInputs) -> Tensor:
    """Return y, (batch, length, width), equal to the reference within the rounding of float32; once differentiable.

    Raises:
        UserError: If the input is float64, or the extension is of an unknown version.
        ValueError: If there are more than 256 states.
    """
    if inputs.A.shape[1] > MOST_STATES:
        raise ValueError(f"mamba_ssm's scan takes up to {MOST_STATES} states, got {inputs.A.shape[1]}")
    dtype = _type_of_input(inputs.u)

    def channels_first(tensor: Tensor) -> Tensor:
        return (tensor.flip(1) if inputs.reverse else tensor).to(dtype).transpose(1, 2).contiguous()

    u, delta, B, C = (channels_first(tensor) for tensor in (inputs.u, inputs.delta, inputs.B, inputs.C))
    z = None if inputs.z is None else channels_first(inputs.z)
    A, D, bias = (
        None if tensor is None else tensor.float().contiguous() for tensor in (inputs.A, inputs.D, inputs.delta_bias)
    )
    y, _, _ = _scan_operator(u, delta, A, B.unsqueeze(1), C.unsqueeze(1), D, z, bias, inputs.delta_softplus)
    y = y.transpose(1, 2)
    return y.flip(1) if inputs.reverse else y


def conv_silu(x: Tensor, taps: Tensor, bias: Tensor, reverse: bool) -> Tensor:
    """Return SiLU(bias + sum over k of taps[:, k] x_{t-K+1+k}), tokens before the first counting as zero.

    Args:
        x: Tokens, (batch, length, width), on a GPU.
        taps: (width, K), K from 2 to 4; the last meets the token itself.
        bias: (width,).
        reverse: Whether time runs from the last token to the first.

    Returns:
        y, (batch, length, width), in x's dtype.

    Raises:
        UserError: If the input is float64, or the extension is of an unknown version.
        ValueError: If there are fewer than 2 or more than 4 taps.
    """
    if not 2 <= taps.shape[1] <= 4:
        raise ValueError(f"causal_conv1d takes 2 to 4 taps, got {taps.shape[1]}")
    x = (x.flip(1) if reverse else x).to(_type_of_input(x)).transpose(1, 2)
    if not _is_channel_last(x):
        x = x.clone(memory_format=torch.contiguous_format)  # contiguous() keeps the strides of a single token
    y = _conv_operator(x, taps.float().contiguous(), bias.float().contiguous()).transpose(1, 2)
    return y.flip(1) if reverse else y


def _obstacle(device: torch.device, name: str) -> str:
    if device.type != "cuda":
        return "it is for NVIDIA GPUs"
    found = _extension(name)
    return found if isinstance(found, str) else ""


@functools.cache
def _extension(name: str) -> ModuleType | str:
    """Return the compiled module, or why there is none to use."""
    _, supported, functions = next(known for known in (SCAN, CONVOLUTION) if known[0] == name)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return f"the extension {name} is not installed (needs {supported}, built with CUDA)"
    except ImportError as error:
        return f"the extension {name} was built for another torch or CUDA: {error}"
    for function, expected in functions.items():
        documented = getattr(module, function, None).__doc__ or ""
        found = len(re.findall(r"\barg\d+:", documented))  # what pybind11 writes of a signature
        if found not in (0, expected):
            return f"{name}.{function} takes {found} arguments, but {supported} take {expected}"
    return module


def _loaded(name: str) -> ModuleType:
    found = _extension(name)
    if isinstance(found, str):
        raise UserError(found, todo="use scan: auto")
    return found


def _type_of_input(tensor: Tensor) -> torch.dtype:
    if tensor.dtype == torch.float64:
        raise UserError("mamba_ssm works in float32, not in float64", todo="use scan: triton")
    return tensor.dtype


def _is_channel_last(x: Tensor) -> bool:
    sizes = x.shape[1], x.stride(0), x.stride(2)
    return x.stride(1) == 1 and x.shape[2] > 1 and all(size % ALIGNMENT == 0 for size in sizes)


@torch.library.custom_op("slws_lab::mamba_ssm_scan", mutates_args=())
def _scan_operator(  # noqa: PLR0913, PLR0917 (the extension's own list)
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, the states at chunk borders, and y before the gate, which is empty where there is no gate."""
    y, states, *gated = _loaded(SCAN[0]).fwd(u, delta, A, B, C, D, z, bias, softplus)
    return (gated[0], states, y) if gated else (y, states, y.new_empty(0))


@torch.library.custom_op("slws_lab::mamba_ssm_scan_gradient", mutates_args=())
def _scan_gradient_operator(
    grad_y: Tensor, states: Tensor, ungated: Tensor, tensors: Sequence[Tensor | None], softplus: bool
) -> list[Tensor]:
    """Return the gradients of those that are there of u, delta, A, B, C, D, z and bias."""
    gate = None if tensors[6] is None else ungated
    found = _loaded(SCAN[0]).bwd(*tensors, grad_y.contiguous(), states, gate, None, softplus, False)
    u, delta, A, B, C, D, bias, *z = found
    grads = u, delta, A, B, C, D, *(z or [None]), bias
    return [grad for grad, tensor in zip(grads, tensors, strict=True) if tensor is not None]


@torch.library.custom_op("slws_lab::causal_conv1d", mutates_args=())
def _conv_operator(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    y = torch.empty_like(x)
    _loaded(CONVOLUTION[0]).causal_conv1d_fwd(x, taps, bias, None, None, y, None, True)
    return y


@torch.library.custom_op("slws_lab::causal_conv1d_gradient", mutates_args=())
def _conv_gradient_operator(grad_y: Tensor, x: Tensor, taps: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    grads = torch.empty_like(x), torch.zeros_like(taps), torch.zeros_like(bias)
    grad_y = torch.empty_like(x).copy_(grad_y)  # in x's layout, which the extension asks for
    _loaded(CONVOLUTION[0]).causal_conv1d_bwd(x, taps, bias, grad_y, None, None, None, *grads, None, True)
    return grads


@_scan_operator.register_fake
def _(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    batch, width, length = u.shape
    states = A.new_empty(batch, width, -(-length // SCAN_CHUNK), 2 * A.shape[1])
    return torch.empty_like(u), states, u.new_empty(0) if z is None else torch.empty_like(u)


@_scan_gradient_operator.register_fake
def _(
    grad_y: Tensor, states: Tensor, ungated: Tensor, tensors: Sequence[Tensor | None], softplus: bool
) -> list[Tensor]:
    return [torch.empty_like(tensor) for tensor in tensors if tensor is not None]


@_conv_operator.register_fake
def _(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    return torch.empty_like(x)


@_conv_gradient_operator.register_fake
def _(grad_y: Tensor, x: Tensor, taps: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(taps), torch.empty_like(bias)


def _keep_scan(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, ctx.softplus = inputs
    ctx.save_for_backward(*output[1:], *tensors)


def _scan_gradients(ctx: Any, grad_y: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    states, ungated, *tensors = ctx.saved_tensors
    grads = iter(_scan_gradient_operator(grad_y, states, ungated, tensors, ctx.softplus))
    return *(None if tensor is None else next(grads) for tensor in tensors), None


def _keep_conv(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _conv_gradients(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _conv_gradient_operator(grad_y, *ctx.saved_tensors)


_scan_operator.register_autograd(_scan_gradients, setup_context=_keep_scan)
_conv_operator.register_autograd(_conv_gradients, setup_context=_keep_conv)
