"""Time the chunked scan against the reference loop under autograd, in one process, one thread; prints a table.

python benchmarks/scan_chunked.py [seconds per measurement]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

import torch

from slws_lab.scan import selective_scan

SHAPES = [(64, 65, 384, 16), (16, 197, 384, 16), (64, 17, 128, 16), (64, 17, 128, 8), (64, 17, 96, 8)]


def training_pass(shape: tuple[int, int, int, int], backend: str) -> Callable[[], None]:
    """Return a call that runs forward and backward once; shape is (batch, length, width, state)."""
    batch, length, width, state = shape
    torch.manual_seed(0)
    u, delta = (torch.randn(batch, length, width, requires_grad=True) for _ in range(2))
    B, C = (torch.randn(batch, length, state, requires_grad=True) for _ in range(2))
    A = (-torch.rand(width, state) * state).requires_grad_()
    D, bias = (torch.ones(width, requires_grad=True) for _ in range(2))
    grad = torch.randn(batch, length, width)

    def call() -> None:
        selective_scan(u, delta, A, B, C, D, delta_bias=bias, backend=backend).backward(grad)

    return call


def milliseconds(call: Callable[[], None], budget: float) -> float:
    """Return the median time of a call after one warm-up; at least three calls, more while the budget lasts."""
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < budget:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * median(times)


def main() -> None:
    budget = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    torch.set_num_threads(1)
    print("| batch, length, width, state | reference ms | chunked ms | ratio |\n|---|---|---|---|")
    for shape in SHAPES:
        slow, fast = (milliseconds(training_pass(shape, name), budget) for name in ("reference", "chunked"))
        print(f"| {shape} | {slow:.1f} | {fast:.1f} | {slow / fast:.1f} |", flush=True)


if __name__ == "__main__":
    main()
