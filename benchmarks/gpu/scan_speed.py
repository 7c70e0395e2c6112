"""Time forward and backward of scan, convolution and residual norm by every way that runs here, in bfloat16.

A scan is both directions with gate. Beside each time stands the limit of the hardware: the bytes that must move at the
speed of a measured copy, or for a scan the exponentials (one forward, one backward), 16 a clock and multiprocessor,
whichever takes longer.
"""

from __future__ import annotations

import subprocess

import torch
from layers import Rows, Way, convolutions, draw_conv, draw_norm, norms
from measure import DEVICE, REHEARSAL, milliseconds, table, write
from scans import Shape, pair, usable
from torch import Tensor

SHAPES: list[Shape] = (
    [(1, 5, 4, 3)] if REHEARSAL else [(128, 197, 1536, 16), (64, 197, 768, 16), (64, 65, 384, 16), (16, 785, 384, 16)]
)
LOOP: Shape = (16, 65, 384, 16)  # where the step-by-step loop of plain torch is timed too
# what a token's channel moves, forward and backward: x, y; x, their gradients. And hidden and norm (2 bytes each),
# residual and sum (4): two of each; sum; their gradients
CONV_BYTES, NORM_BYTES = 2 * (2 + 3), (2 * 2 + 2 * 4) + (4 + 2 * 2 + 2 * 4)
LAYER_SECONDS = 0.1  # of timing
EXPONENTIALS_A_CLOCK = 16


def copy_speed() -> float:
    """Return bytes a millisecond of a copy, read and written."""
    source = torch.empty(1 << (16 if REHEARSAL else 30), dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * source.numel() / milliseconds(lambda: target.copy_(source))


def exponential_speed() -> float:
    """Return exponentials a millisecond at the highest clock that the driver names."""
    if REHEARSAL:
        return 1e6
    command = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"]
    megahertz = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])
    return torch.cuda.get_device_properties(0).multi_processor_count * EXPONENTIALS_A_CLOCK * megahertz * 1e3


def limit(shape: Shape, copy: float, exponentials: float) -> float:
    """Return the least time of forward and backward of both directions, in milliseconds."""
    batch, length, width, state = shape
    tokens = batch * length
    # forward: u and delta of two ways, z, out; backward: the same, grad_out and five gradients; B, C and theirs
    values = tokens * (width * (6 + 5 + 1 + 5) + 2 * state * (2 + 2 + 2))
    return max(2 * values / copy, 4 * tokens * width * state / exponentials)


def times(shape: Shape, backend: str) -> tuple[float, float]:
    """Return milliseconds of forward alone, without gradients, and of forward and backward."""
    call, leaves = pair(shape, torch.bfloat16, backend)
    weights = torch.ones(shape[:3], dtype=torch.bfloat16, device=DEVICE)

    def forward() -> None:
        with torch.no_grad():
            call()

    return milliseconds(forward), milliseconds(lambda: torch.autograd.grad(call(), leaves, weights))


def layer_rows(shape: Rows, ways: dict[str, Way], leaves: list[Tensor], least: float) -> list[list[object]]:
    """Return a row of the table for each way to compute a layer; `least` is the limit in milliseconds."""
    rows: list[list[object]] = []
    for name, way in ways.items():
        grads = [torch.ones_like(y) for y in way(leaves)]

        def forward(way: Way = way) -> None:
            with torch.no_grad():
                way(leaves)

        def both(way: Way = way, grads: list[Tensor] = grads) -> None:
            torch.autograd.grad(way(leaves), leaves, grads)

        found = milliseconds(forward, LAYER_SECONDS), milliseconds(both, LAYER_SECONDS)
        rows.append([shape, name, *found, least, f"{100 * least / found[1]:.0f} %"])
    return rows


def layers(copy: float) -> str:
    """Return the tables of convolution and norm, at the sizes of the scans' blocks."""
    conv: list[list[object]] = []
    norm: list[list[object]] = []
    dtype = torch.bfloat16
    for batch, length, inner, _ in SHAPES:
        shape, narrow = (batch, length, inner), (batch, length, inner // 2)
        elements = batch * length * inner
        for reverse in (False, True):
            ways = {f"{name}, back" if reverse else name: way for name, way in convolutions(reverse).items()}
            conv += layer_rows(shape, ways, draw_conv(shape, dtype), CONV_BYTES * elements / copy)
        ways, leaves = norms(False, dtype), draw_norm(narrow, dtype, False)
        norm += layer_rows(narrow, ways, leaves, NORM_BYTES * elements / 2 / copy)
    head = ["batch, length, width", "by", "forward ms", "forward + backward ms", "limit ms", "of limit"]
    note = "Includes torch's gradient of the half that the convolution reads, which the limit does not."
    return (
        f"## Causal convolution with SiLU, one direction\n\n{note}\n\n{table(head, conv)}\n\n"
        f"## Residual sum and RMSNorm\n\n{table(head, norm)}"
    )


def main() -> None:
    copy, exponentials = copy_speed(), exponential_speed()
    rows: list[list[object]] = []
    for shape in SHAPES:
        least = limit(shape, copy, exponentials)
        for backend in usable():
            forward, both = times(shape, backend)
            rows.append([shape, backend, forward, both, both / 2, least, f"{100 * least / both:.0f} %"])
    if not REHEARSAL:
        for backend in (*usable(), "reference"):
            forward, both = times(LOOP, backend)
            least = limit(LOOP, copy, exponentials)
            rows.append([LOOP, backend, forward, both, both / 2, least, f"{100 * least / both:.0f} %"])
    head = [
        "batch, length, width, state",
        "back-end",
        "forward ms",
        "forward + backward ms",
        "a direction ms",
        "limit ms",
        "of limit",
    ]
    note = f"Copy: {copy / 1e9:.2f} TB/s. `chunked` is plain torch in chunks, `reference` the plain loop over time."
    write("gpu_scan", f"{note}\n\n{table(head, rows)}\n\n{layers(copy)}")


if __name__ == "__main__":
    main()
