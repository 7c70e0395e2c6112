"""Check every scan, convolution and norm that runs here against plain code in float64; exits 1 when one is wrong.

Errors are relative to the largest value of a tensor; the limits are what rounding allows, set before any measurement.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from layers import Rows, Way, convolutions, draw_conv, draw_norm, norms
from measure import DEVICE, REHEARSAL, table, write
from scans import Shape, draw, pair, usable
from torch import Tensor

from slws_lab.scan import selective_scan

Errors = tuple[float, float, bool]  # of outputs, of the worst gradient, and whether a second call gave the same bits
Case = tuple[str, tuple[int, ...], str, torch.dtype, Errors]  # what, its shape, the kind of case, its type
SHAPES: list[Shape] = (
    [(1, 6, 5, 3)] if REHEARSAL else [(3, 1, 5, 3), (2, 785, 192, 7), (1, 33, 64, 64), (4, 197, 100, 16)]
)
ROWS: list[Rows] = [(1, 5, 3)] if REHEARSAL else [(3, 1, 5), (2, 785, 192), (4, 197, 100)]  # batch, length, width
TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
LIMITS = {torch.float32: (2e-6, 2e-5), torch.float16: (1e-3, 2e-3), torch.bfloat16: (6e-3, 1e-2)}  # of y, of gradients
FIXED_ORDER = ("triton", "chunked", "native")  # those that promise the same bits every time


def gradients(outputs: tuple[Tensor, ...], leaves: list[Tensor]) -> list[Tensor]:
    make = torch.Generator().manual_seed(9)
    weights = [torch.randn(y.shape, generator=make).to(y) for y in outputs]
    return [*(y.detach() for y in outputs), *torch.autograd.grad(outputs, leaves, weights)]


def error(found: Tensor, exact: Tensor) -> float:
    scale = exact.double().abs().max().clamp_min(1e-30)
    return ((found.double() - exact.double()).abs().max() / scale).item()


def errors(call: Callable[[], tuple[Tensor, ...]], leaves: list[Tensor], right: list[Tensor]) -> Errors:
    """Compare two calls with what is right, as `gradients` gives it."""
    outputs = len(right) - len(leaves)
    first, second = gradients(call(), leaves), gradients(call(), leaves)
    found = [error(a, b) for a, b in zip(first, right, strict=True)]
    same = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    return max(found[:outputs]), max(found[outputs:]), same


def doubled(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().double().requires_grad_() for tensor in tensors]


def of_one(shape: Shape, dtype: torch.dtype, backend: str, reverse: bool) -> Errors:
    """Return the errors of one direction of a scan."""
    tensors = draw(shape, dtype)
    leaves = list(tensors.values())
    exact = dict(zip(tensors, doubled(leaves), strict=True))
    right = gradients((selective_scan(**exact, reverse=reverse, backend="reference"),), list(exact.values()))
    return errors(lambda: (selective_scan(**tensors, reverse=reverse, backend=backend),), leaves, right)


def of_pair(shape: Shape, backend: str) -> Errors:
    """Return those of both directions with a gate, in float32."""
    call, leaves = pair(shape, torch.float32, backend)
    return errors(lambda: (call(),), leaves, exact_pair(shape))


def of_layer(way: Way, exact: Way, leaves: list[Tensor]) -> Errors:
    """Return those of a convolution or a norm, against torch's operations in float64."""
    doubles = doubled(leaves)
    return errors(lambda: way(leaves), leaves, gradients(exact(doubles), doubles))


def exact_pair(shape: Shape) -> list[Tensor]:
    """Return output and gradients of the pair in float64, from the values that float32 sees."""
    call, leaves = pair(shape, torch.float64, "reference")
    return gradients((call(),), leaves)


def scans() -> list[Case]:
    cases: list[Case] = []
    for backend in usable():
        for n, shape in enumerate(SHAPES):
            found = of_one(shape, torch.float32, backend, reverse=n % 2 == 1)
            cases.append((backend, shape, "float32", torch.float32, found))
        for name, dtype in list(TYPES.items())[1:]:
            cases.append((backend, SHAPES[-1], name, dtype, of_one(SHAPES[-1], dtype, backend, reverse=True)))
        cases.append((backend, SHAPES[-1], "float32, pair", torch.float32, of_pair(SHAPES[-1], backend)))
    return cases


def layers() -> list[Case]:
    cases: list[Case] = []
    for (name, dtype), shape in ((item, shape) for item in TYPES.items() for shape in ROWS):
        for reverse in (False, True):
            ways = convolutions(reverse)
            for way in list(ways)[1:]:
                kind = f"convolution, {name}, {'back' if reverse else 'forth'}"
                cases.append((way, shape, kind, dtype, of_layer(ways[way], ways["torch"], draw_conv(shape, dtype))))
        for centred in (False, True):
            ways, exact = norms(centred, dtype), norms(centred, torch.float64)["torch"]
            for way in list(ways)[1:]:
                kind = f"residual {'LayerNorm' if centred else 'RMSNorm'}, {name}"
                cases.append((way, shape, kind, dtype, of_layer(ways[way], exact, draw_norm(shape, dtype, centred))))
    return cases


def main() -> None:
    rows: list[list[object]] = []
    wrong = 0
    for name, shape, kind, dtype, (y, gradient, same) in [*scans(), *layers()]:
        good = y <= LIMITS[dtype][0] and gradient <= LIMITS[dtype][1] and (same or name not in FIXED_ORDER)
        wrong += not good
        rows.append(
            [name, shape, kind, f"{y:.1e}", f"{gradient:.1e}", "yes" if same else "no", "" if good else "WRONG"]
        )
    head = ["by", "batch, length, width[, state]", "what", "error of y", "worst gradient", "same bits twice", ""]
    write("gpu_correctness", table(head, rows))
    if DEVICE.type == "cuda" and "triton" not in usable():
        print("the Triton back-end does not run on this GPU", file=sys.stderr)
        wrong += 1
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
