"""Check every back-end that runs here against the reference in float64; exits 1 when one is wrong.

Errors are relative to the largest value of a tensor; the limits are what rounding allows, set before any measurement.
"""

from __future__ import annotations

import sys

import torch
from measure import DEVICE, REHEARSAL, table, write
from scans import Shape, draw, pair, usable
from torch import Tensor

from slws_lab.scan import selective_scan

Errors = tuple[float, float, bool]  # of y, of the worst gradient, and whether a second call gave the same bits
SHAPES: list[Shape] = (
    [(1, 6, 5, 3)] if REHEARSAL else [(3, 1, 5, 3), (2, 785, 192, 7), (1, 33, 64, 64), (4, 197, 100, 16)]
)
LIMITS = {torch.float32: (2e-6, 2e-5), torch.float16: (1e-3, 2e-3), torch.bfloat16: (6e-3, 1e-2)}  # of y, of gradients
FIXED_ORDER = ("triton", "chunked", "native")  # those that promise the same bits every time


def gradients(y: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    make = torch.Generator().manual_seed(9)
    weights = torch.randn(y.shape, generator=make).to(y)
    return [y.detach(), *torch.autograd.grad(y, leaves, weights)]


def error(found: Tensor, exact: Tensor) -> float:
    scale = exact.double().abs().max().clamp_min(1e-30)
    return ((found.double() - exact.double()).abs().max() / scale).item()


def of_one(shape: Shape, dtype: torch.dtype, backend: str, reverse: bool) -> Errors:
    """Return the errors of y and of the worst gradient of one direction, and whether a second call gave the same bits."""
    tensors = draw(shape, dtype)
    exact = {name: tensor.detach().double().requires_grad_() for name, tensor in tensors.items()}
    first, second = (
        gradients(selective_scan(**tensors, reverse=reverse, backend=backend), list(tensors.values())) for _ in range(2)
    )
    right = gradients(selective_scan(**exact, reverse=reverse, backend="reference"), list(exact.values()))
    errors = [error(a, b) for a, b in zip(first, right, strict=True)]
    return errors[0], max(errors[1:]), all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def of_pair(shape: Shape, backend: str) -> Errors:
    """Return the same of both directions with a gate, in float32."""
    call, leaves = pair(shape, torch.float32, backend)
    first, second = gradients(call(), leaves), gradients(call(), leaves)
    right = exact_pair(shape)
    errors = [error(a, b) for a, b in zip(first, right, strict=True)]
    return errors[0], max(errors[1:]), all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def exact_pair(shape: Shape) -> list[Tensor]:
    """Return output and gradients of the pair in float64, from the values that float32 sees."""
    call, leaves = pair(shape, torch.float64, "reference")
    return gradients(call(), leaves)


def main() -> None:
    rows: list[list[object]] = []
    wrong = 0
    for backend in usable():
        cases: list[tuple[Shape, str, torch.dtype, Errors]] = [
            (shape, "float32", torch.float32, of_one(shape, torch.float32, backend, reverse=n % 2 == 1))
            for n, shape in enumerate(SHAPES)
        ]
        for name, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
            cases.append((SHAPES[-1], name, dtype, of_one(SHAPES[-1], dtype, backend, reverse=True)))
        cases.append((SHAPES[-1], "float32, pair", torch.float32, of_pair(SHAPES[-1], backend)))
        for shape, kind, dtype, (y, gradient, same) in cases:
            good = y <= LIMITS[dtype][0] and gradient <= LIMITS[dtype][1] and (same or backend not in FIXED_ORDER)
            wrong += not good
            verdict = "" if good else "WRONG"
            rows.append([backend, shape, kind, f"{y:.1e}", f"{gradient:.1e}", "yes" if same else "no", verdict])
    head = ["back-end", "batch, length, width, state", "type", "error of y", "worst gradient", "same bits twice", ""]
    write("gpu_correctness", table(head, rows))
    if DEVICE.type == "cuda" and "triton" not in usable():
        print("the Triton back-end does not run on this GPU", file=sys.stderr)
        wrong += 1
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
