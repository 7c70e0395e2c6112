"""Time the Triton scan over ways to cut its work; the constants in slws_lab/scan/triton_scan.py are chosen by this table.

They are constants and not autotuned, since how sums are cut decides their last bits: a rerun must not depend on timing.
"""

from __future__ import annotations

import itertools

import torch
from measure import DEVICE, REHEARSAL, milliseconds, table, write
from scans import Shape, draw

from slws_lab.scan import selective_scan, triton_scan

SHAPES: list[Shape] = [(1, 5, 4, 3)] if REHEARSAL else [(128, 197, 1536, 16), (64, 65, 384, 16)]
FORWARD_TILES = (512,) if REHEARSAL else (512, 1024, 2048)
BACKWARD_TILES = (256,) if REHEARSAL else (256, 512)
STEPS = ((2, 4),) if REHEARSAL else ((2, 8), (4, 8), (8, 8))
Cut = tuple[int, int, int, int]  # FORWARD_TILE, BACKWARD_TILE, CHUNK, SPACING
USED: Cut = (triton_scan.FORWARD_TILE, triton_scan.BACKWARD_TILE, triton_scan.CHUNK, triton_scan.SPACING)


def times(shape: Shape, cut: Cut) -> tuple[float, float]:
    """Return milliseconds of forward and of forward and backward of one direction, in bfloat16."""
    triton_scan.FORWARD_TILE, triton_scan.BACKWARD_TILE, triton_scan.CHUNK, triton_scan.SPACING = cut
    tensors = draw(shape, torch.bfloat16)
    weights = torch.ones(shape[:3], dtype=torch.bfloat16, device=DEVICE)

    def forward() -> torch.Tensor:
        return selective_scan(**tensors, backend="triton")

    def both() -> None:
        torch.autograd.grad(forward(), list(tensors.values()), weights)

    return milliseconds(forward, 0.2), milliseconds(both, 0.2)


def main() -> None:
    cuts: list[Cut] = [USED, *((tile, *USED[1:]) for tile in FORWARD_TILES)]
    cuts += [(USED[0], tile, *steps) for tile, steps in itertools.product(BACKWARD_TILES, STEPS)]
    rows = [[shape, *cut, *times(shape, cut)] for cut in dict.fromkeys(cuts) for shape in SHAPES]
    tile_names = ["FORWARD_TILE", "BACKWARD_TILE", "CHUNK", "SPACING"]
    head = ["batch, length, width, state", *tile_names, "forward ms, states kept", "forward + backward ms"]
    write("gpu_scan_tiles", f"One direction, no gate; the first rows are what is used.\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
