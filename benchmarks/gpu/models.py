"""Images a second of every ShuffleMamba size at 224 pixels, forward + backward in bfloat16, with and without SLWS."""

from __future__ import annotations

import timm
import torch
from measure import DEVICE, REHEARSAL, milliseconds, table, write

import slws_lab.models
from slws_lab.scan import resolve
from slws_lab.shuffle import attach, rates

SIZES = {"tiny": 128, "small": 128, "middle": 64, "base": 64, "large": 32, "large_40": 32}  # batch
RATE = 0.5


def images_a_second(name: str, batch: int, shuffled: bool) -> tuple[float, float]:
    """Return images a second and the peak of the GPU's memory in GB."""
    extra = {"embed_dim": 16, "depth": 2, "img_size": 32} if REHEARSAL else {"img_size": 224}
    model = timm.create_model(name, num_classes=1000, **extra).to(DEVICE).train()
    if shuffled:
        attach(model, model.layers, rates("linear", RATE, depth=len(model.layers)), torch.Generator().manual_seed(0))
    images = torch.randn(batch, 3, extra["img_size"], extra["img_size"], device=DEVICE)
    labels = torch.zeros(batch, dtype=torch.long, device=DEVICE)

    def step() -> None:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        model.zero_grad()

    if not REHEARSAL:
        torch.cuda.reset_peak_memory_stats()
    speed = 1000 * batch / milliseconds(step, 3.0)
    return speed, 0.0 if REHEARSAL else torch.cuda.max_memory_allocated() / 1e9


def main() -> None:
    rows: list[list[object]] = []
    known = [
        name for name in slws_lab.models.NAMES if name.startswith("shufflemamba") and name.split("_", 1)[1] in SIZES
    ]
    for name in known[:1] if REHEARSAL else known:
        batch = 2 if REHEARSAL else SIZES[name.split("_", 1)[1]]
        plain, memory = images_a_second(name, batch, shuffled=False)
        shuffled, _ = images_a_second(name, batch, shuffled=True)
        rows.append([name, batch, plain, shuffled, f"{100 * (plain / shuffled - 1):+.1f} %", memory])
    head = ["model", "batch", "images/s", f"images/s, SLWS linear {RATE}", "time of SLWS", "peak memory GB, no SLWS"]
    write("gpu_models", f"Scan: {resolve('auto', DEVICE).name}.\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
