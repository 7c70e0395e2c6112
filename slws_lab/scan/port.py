"""The one way into a selective scan, and the list of back-ends behind it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from slws_lab.errors import UserError, nearest
from slws_lab.scan import chunked, mamba_ssm, native, reference, triton_scan
from slws_lab.scan.inputs import ScanInputs


def _everywhere(device: torch.device) -> str:
    return ""


@dataclass(frozen=True)
class Backend:
    """One implementation of the scan.

    Args:
        name: How recipes and records call it.
        about: What it is, in a few words.
        scan: From checked inputs to y in u's dtype, (batch, length, width); autocast is off when it is called.
        obstacle: Why it cannot run on a device; an empty string where it can.
        pair: Two scans without gates, summed, times scale SiLU(z); None for two calls of `scan`.
    """

    name: str
    about: str
    scan: Callable[[ScanInputs], Tensor]
    obstacle: Callable[[torch.device], str] = _everywhere
    pair: Callable[[ScanInputs, ScanInputs, Tensor | None, float], Tensor] | None = None


# best first: "auto" takes the first that can run on the device
_BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("native", "C++ kernel compiled for this processor", native.scan, native.obstacle, native.scan_pair),
        Backend("mamba_ssm", "CUDA kernels of the mamba-ssm package", mamba_ssm.scan, mamba_ssm.obstacle),
        Backend("triton", "our Triton kernels", triton_scan.scan, triton_scan.obstacle, triton_scan.scan_pair),
        Backend("chunked", "torch operations in chunks, hand-written backward", chunked.scan),
        Backend("reference", "step-by-step loop under autograd: the meaning, slow", reference.scan),
    )
}


def backends() -> tuple[str, ...]:
    """Return the names of all back-ends, best first."""
    return tuple(_BACKENDS)


def resolve(name: str = "auto", device: torch.device | str | None = None) -> Backend:
    """Return the back-end called `name` once it is known to run on `device`.

    Args:
        name: One of `backends()`, or "auto" for the best that can run on the device.
        device: Where it will run; None means the GPU if this machine has one, else the CPU. On "meta", where only shapes are asked,
            one that can tell them stands for any.

    Raises:
        UserError: If the name is unknown or that back-end cannot run on the device.
    """
    where = _device(device)
    if name not in ("auto", *_BACKENDS):
        raise UserError(
            f"unknown scan back-end '{name}'", allowed=", ".join(("auto", *_BACKENDS)), todo=nearest(name, _BACKENDS)
        )
    if name == "auto" or where.type == "meta":
        return next(backend for backend in _BACKENDS.values() if not backend.obstacle(where))
    backend = _BACKENDS[name]
    if reason := backend.obstacle(where):
        raise UserError(f"scan back-end '{name}' cannot run on {where}: {reason}", todo="use scan: auto")
    return backend


def describe(device: torch.device | str | None = None) -> dict[str, str]:
    """Return, for each back-end, "usable: what it is" or "not usable: why" on `device` (None as in `resolve`)."""
    where = _device(device)
    reasons = {name: backend.obstacle(where) for name, backend in _BACKENDS.items()}
    return {
        name: f"not usable on {where.type}: {reason}" if reason else f"usable on {where.type}: {_BACKENDS[name].about}"
        for name, reason in reasons.items()
    }


def selective_scan(  # noqa: PLR0913 (the argument list that the field knows)
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    delta_softplus: bool = True,
    reverse: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Run h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t and return y_t = (C_t h_t + D u_t) SiLU(z_t).

    State and sums are float32 (float64 for float64 `u`), under autocast too. Gradients can be taken once, not twice.

    Args:
        u: Input, (batch, length, width).
        delta: Step sizes before bias and softplus, (batch, length, width).
        A: Decay rates, (width, state); negative for a state that fades.
        B: Input weights, (batch, length, state).
        C: Output weights, (batch, length, state).
        D: Skip weights, (width,); None for no skip.
        z: Gate before SiLU, (batch, length, width); None for no gate.
        delta_bias: Added to delta, (width,); None for zero.
        delta_softplus: Whether dt = softplus(delta + delta_bias), else dt = delta + delta_bias.
        reverse: Whether time runs from the last token to the first.
        backend: One of `backends()`, or "auto".

    Returns:
        y, (batch, length, width), in u's dtype.

    Raises:
        ValueError: If shapes, dtypes or devices do not fit.
        UserError: If the back-end is unknown or cannot run on u's device.

    Source: Gu and Dao, Mamba, arXiv 2312.00752.
    """
    inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse)
    chosen = resolve(backend, u.device)
    with _full_precision(u.device):
        return chosen.scan(inputs)


def selective_scan_pair(
    forth: ScanInputs, back: ScanInputs, z: Tensor | None = None, scale: float = 1.0, *, backend: str = "auto"
) -> Tensor:
    """Scan in both directions and return (y of forth + y of back) scale SiLU(z).

    Args:
        forth: One direction, without a gate of its own.
        back: The other direction, of the same shapes and types, `reverse` the other way round.
        z: Gate before SiLU, (batch, length, width); None for the sum alone.
        scale: What the gate is multiplied by; without a gate it must be 1.
        backend: As in `selective_scan`.

    Returns:
        The gated sum, (batch, length, width), in u's dtype.

    Raises:
        ValueError: If the two do not fit each other or the gate.
        UserError: If the back-end is unknown or cannot run on u's device.
    """
    _check_pair(forth, back, z, scale)
    chosen = resolve(backend, forth.u.device)
    if chosen.pair is not None:
        with _full_precision(forth.u.device):
            return chosen.pair(forth, back, z, scale)
    with _full_precision(forth.u.device):
        y = chosen.scan(forth) + chosen.scan(back)
    return y if z is None else y * (scale * F.silu(z))


def _check_pair(forth: ScanInputs, back: ScanInputs, z: Tensor | None, scale: float) -> None:
    if forth.z is not None or back.z is not None:
        raise ValueError("a direction of a pair has no gate of its own: give z to the pair")
    if forth.reverse == back.reverse:
        raise ValueError("the directions of a pair must be opposite: one with reverse, one without")
    if forth.delta_softplus != back.delta_softplus:
        raise ValueError("both directions of a pair need the same delta_softplus")
    found = [(way.u.shape, way.A.shape, way.u.dtype, way.u.device) for way in (forth, back)]
    if found[0] != found[1]:
        raise ValueError(f"the directions of a pair differ: {found[0]} and {found[1]}")
    if z is None:
        if scale != 1:
            raise ValueError(f"scale belongs to the gate, so it must be 1 without z, got {scale}")
    elif z.shape != forth.u.shape or not z.is_floating_point() or z.device != forth.u.device:
        raise ValueError(f"z must be like u, {tuple(forth.u.shape)}, got {tuple(z.shape)}, {z.dtype}, {z.device}")


def _full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Return a context without autocast."""
    has_autocast = torch.amp.is_autocast_available(device.type)  # the meta device has none
    return torch.autocast(device.type, enabled=False) if has_autocast else nullcontext()


def _device(device: torch.device | str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
