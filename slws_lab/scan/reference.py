"""The selective scan one step at a time: the meaning that every other back-end must match, not a fast one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from slws_lab.scan.inputs import ScanInputs


def scan(inputs: ScanInputs) -> Tensor:
    """Return y, (batch, length, width), of the recurrence written in `selective_scan`, by a loop over time.

    Source: Mamba (arXiv 2312.00752), equation 2 with the simplified discretisation dt B of its released code.
    """
    dtype = inputs.accumulate_dtype
    u, A, B, C = (tensor.to(dtype) for tensor in (inputs.u, inputs.A, inputs.B, inputs.C))
    dt = time_steps(inputs)
    batch, length, width = u.shape
    h = u.new_zeros(batch, width, A.shape[1])
    y: list[Tensor] = [h] * length
    for t in reversed(range(length)) if inputs.reverse else range(length):
        decay = torch.exp(dt[:, t, :, None] * A)
        h = decay * h + (dt[:, t] * u[:, t])[:, :, None] * B[:, t, None, :]
        y[t] = (h * C[:, t, None, :]).sum(-1)
    return skip_and_gate(torch.stack(y, dim=1), inputs)


def time_steps(inputs: ScanInputs) -> Tensor:
    """Return dt = softplus(delta + bias), (batch, length, width), in the accumulation dtype."""
    dt = inputs.delta.to(inputs.accumulate_dtype)
    if inputs.delta_bias is not None:
        dt = dt + inputs.delta_bias
    return F.softplus(dt) if inputs.delta_softplus else dt


def skip_and_gate(y: Tensor, inputs: ScanInputs) -> Tensor:
    """Return (y + D u) SiLU(z) in u's dtype; an absent D or z leaves its part out."""
    if inputs.D is not None:
        y = y + inputs.D * inputs.u.to(y.dtype)
    if inputs.z is not None:
        y = y * F.silu(inputs.z.to(y.dtype))
    return y.to(inputs.u.dtype)
