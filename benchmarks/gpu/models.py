"""Images a second of every ShuffleMamba size at 224 pixels, forward + backward in bfloat16, with and without SLWS."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable
from statistics import median

import timm
import torch
from measure import DEVICE, REHEARSAL, table, write
from torch import Tensor, nn

import slws_lab.models
from slws_lab.scan import resolve
from slws_lab.shuffle import attach, rates

SIZES = {"tiny": 128, "small": 128, "middle": 64, "base": 64, "large": 32, "large40": 32}  # batch
RATE = 0.5
WARM_UP = 1 if REHEARSAL else 3
SECONDS = 0.0 if REHEARSAL else 3.0


def step(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return a call of forward and backward."""

    def call() -> None:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        model.zero_grad()

    return call


def seconds(call: Callable[[], None]) -> float:
    """Return the time of a call, the device's own on a GPU."""
    if REHEARSAL:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begun.record()
    call()
    ended.record()
    ended.synchronize()
    return begun.elapsed_time(ended) / 1000


def peak_gb(call: Callable[[], None]) -> float:
    """Warm a call up and return the peak of the GPU's memory, weights of both models included."""
    if not REHEARSAL:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(WARM_UP):
        call()
    return 0.0 if REHEARSAL else torch.cuda.max_memory_allocated() / 1e9


def in_turns(*calls: Callable[[], None]) -> list[list[float]]:
    """Return each call's times in seconds; the calls alternate one by one, in a random order, for `SECONDS`."""
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + SECONDS
    while not times[0] or time.perf_counter() < end:
        for which in random.sample(range(len(calls)), len(calls)):
            times[which].append(seconds(calls[which]))
    return times


def row(name: str, batch: int) -> list[object]:
    """Return a size's row of the table."""
    extra = {"embed_dim": 16, "depth": 2, "img_size": 32} if REHEARSAL else {"img_size": 224}
    plain = timm.create_model(name, num_classes=1000, **extra).to(DEVICE).train()
    shuffled = copy.deepcopy(plain)
    attach(shuffled, shuffled.layers, rates("linear", RATE, len(shuffled.layers)), torch.Generator().manual_seed(0))
    images = torch.randn(batch, 3, extra["img_size"], extra["img_size"], device=DEVICE)
    labels = torch.zeros(batch, dtype=torch.long, device=DEVICE)
    calls = [step(model, images, labels) for model in (plain, shuffled)]
    memory = [peak_gb(call) for call in calls]
    times = in_turns(*calls)
    cost = median(b / a for a, b in zip(*times, strict=True)) - 1
    speeds = [batch / median(each) for each in times]
    return [name, batch, *speeds, f"{100 * cost:+.1f} %", *memory]


def main() -> None:
    random.seed(0)
    known = [f"shufflemamba_{size}" for size in SIZES if f"shufflemamba_{size}" in slws_lab.models.NAMES]
    if len(known) < len(SIZES):
        raise SystemExit(f"of the sizes {', '.join(SIZES)} only {', '.join(known)} are registered")
    rows = [row(name, 2 if REHEARSAL else SIZES[name.split("_", 1)[1]]) for name in known[: 1 if REHEARSAL else None]]
    head = [
        "model",
        "batch",
        "images/s",
        f"images/s, SLWS linear {RATE}",
        "time of SLWS",
        "peak memory GB",
        "with SLWS",
    ]
    about = (
        "Single steps without and with SLWS alternate in random order; its time is the median of the pairs' ratios. "
        "Memory: with the weights of both models."
    )
    write("gpu_models", f"Scan: {resolve('auto', DEVICE).name}. {about}\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
