"""Steps of a model too small to fill a GPU: eager, torch.compile, a CUDA graph, both, and several processes on one GPU."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from measure import DEVICE, REHEARSAL, milliseconds, table, write

import slws_lab.models
from slws_lab.shuffle import attach, rates

# The product's own step; the package around it imports what may be missing on this machine.
sys.path.append(str(Path(slws_lab.__file__).parent / "training"))
from graph import RECORDERS, Recorded
from numerics import Numerics
from step import Step

MODEL = {"in_chans": 3, "img_size": 32, "patch_size": 4, "embed_dim": 64, "depth": 6, "num_classes": 10}  # 65 tokens
BATCH = 2 if REHEARSAL else 128
PROCESSES = (1, 2) if REHEARSAL else (1, 2, 4, 8)
SECONDS = 0.1 if REHEARSAL else 1.0
RATE = 0.5


class Again:
    """A rehearsal of the recorder, which computes anew instead of replaying."""

    def run(self, compute: Callable[[], None]) -> None:
        compute()

    def record(self, compute: Callable[[], None]) -> Callable[[], None]:
        return compute


def training_step(*, graph: bool = False, compiled: bool = False, shuffled: bool = False) -> Callable[[], None]:
    """Return a call that makes a whole step in bfloat16: draws, forward, backward, clipping, AdamW; nothing waits for the GPU."""
    torch.manual_seed(0)
    model = timm.create_model("shufflemamba_micro", **MODEL).to(DEVICE).train()
    on_gpu = DEVICE.type == "cuda"
    optimizer = torch.optim.AdamW(model.parameters(), fused=True, capturable=on_gpu)
    rate = torch.zeros((), device=DEVICE)
    for group in optimizer.param_groups:
        group["lr"] = rate
    slws = None
    if shuffled:
        static = (BATCH, model.num_tokens) if graph else None
        draws = torch.Generator().manual_seed(0)
        slws = attach(model, model.layers, rates("linear", RATE, len(model.layers)), draws, static=static)
    if compiled:
        for block in model.layers:
            block.forward = torch.compile(block.forward)
    loss, numerics = torch.nn.CrossEntropyLoss(), Numerics(DEVICE, "bf16", (0.5,) * 3, (0.5,) * 3)
    step = Step(model, model, loss, optimizer, numerics, clip_grad=1.0)
    whole = Recorded(step, RECORDERS.get(DEVICE.type, Again)(), BATCH) if graph else step
    images = torch.randn(BATCH, 3, MODEL["img_size"], MODEL["img_size"], device=DEVICE)
    labels = torch.zeros(BATCH, dtype=torch.long, device=DEVICE)

    def call() -> None:
        rate.copy_(torch.tensor(1e-4), non_blocking=True)
        if slws is not None and graph:
            slws.redraw()
        whole(images, labels)

    return call


def worker() -> None:
    """Warm up, say so, and at each word, `eager` or `graph`, print how many of such steps a second went by."""
    steps = {"eager": training_step(), "graph": training_step(graph=True)}
    for step in steps.values():
        for _ in range(4 if REHEARSAL else 10):
            step()
    print("ready", flush=True)
    for line in sys.stdin:
        begin, done = time.perf_counter(), 0
        while time.perf_counter() - begin < SECONDS:
            steps[line.strip()]()
            if not REHEARSAL:
                torch.cuda.synchronize()
            done += 1
        print(done / (time.perf_counter() - begin), flush=True)


def of_processes() -> list[list[object]]:
    """Return rows of images a second, of so many processes together."""
    command = [sys.executable, __file__, "worker"]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(max(PROCESSES))]
    answer = [process.stdout for process in started if process.stdout is not None]
    ask = [process.stdin for process in started if process.stdin is not None]
    assert all(line.readline().strip() == "ready" for line in answer)
    rows: list[list[object]] = []
    for count in PROCESSES:
        speeds = []
        for how in ("eager", "graph"):
            for line in ask[:count]:
                line.write(f"{how}\n")
                line.flush()
            speeds.append(BATCH * sum(float(line.readline()) for line in answer[:count]))
        rows.append([count, *speeds])
    for process in started:
        process.communicate()
    return rows


def of_forms() -> list[list[object]]:
    """Return rows of images a second of one process, without and with the shuffle."""
    rows: list[list[object]] = []
    for name, how in {
        "eager": {}, "torch.compile": {"compiled": True}, "CUDA graph": {"graph": True},
        "CUDA graph of torch.compile": {"graph": True, "compiled": True},
    }.items():  # fmt: skip
        if REHEARSAL and "compiled" in how:
            continue  # as in a training on a CPU, which tests/training shows
        made = [training_step(**how, shuffled=shuffled) for shuffled in (False, True)]
        for _ in range(5):  # beyond what is not replayed yet
            for step in made:
                step()
        plain, slws = (1000 * BATCH / milliseconds(step, SECONDS) for step in made)
        rows.append([name, plain, slws, f"{100 * (plain / slws - 1):+.1f} %"])
    return rows


def main() -> None:
    about = ", ".join(f"{name} {value}" for name, value in MODEL.items())
    slws = f"SLWS linear {RATE}"
    text = f"""shufflemamba_micro with {about}, batch {BATCH}, bfloat16, the product's step on a batch that is ready.

{table(["how", "images/s", f"images/s, {slws}", "time of SLWS"], of_forms())}

Processes on one GPU, each waiting for its own step; no SLWS:

{table(["processes", "eager, images/s", "CUDA graph, images/s"], of_processes())}"""
    write("gpu_tiny_model", text)


if __name__ == "__main__":
    worker() if sys.argv[1:] == ["worker"] else main()
