"""Steps of a model too small to fill a GPU: eager, torch.compile, a CUDA graph, and several processes on one GPU."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import timm
import torch
from measure import DEVICE, REHEARSAL, milliseconds, table, write

import slws_lab.models  # noqa: F401 (its names reach timm)

MODEL = {"in_chans": 3, "img_size": 32, "patch_size": 4, "embed_dim": 64, "depth": 6, "num_classes": 10}  # 65 tokens
BATCH = 2 if REHEARSAL else 128
PROCESSES = (2,) if REHEARSAL else (1, 2, 4, 8)
SECONDS = 0.1 if REHEARSAL else 3.0


def training_step(compiled: bool = False) -> Callable[[], None]:
    """Return a call that makes a whole step: forward and backward in bfloat16, AdamW; nothing waits for the GPU."""
    torch.manual_seed(0)
    model = timm.create_model("shufflemamba_micro", **MODEL).to(DEVICE).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, capturable=DEVICE.type == "cuda")
    forward = torch.compile(model) if compiled else model
    images = torch.randn(BATCH, 3, MODEL["img_size"], MODEL["img_size"], device=DEVICE)
    labels = torch.zeros(BATCH, dtype=torch.long, device=DEVICE)

    def step() -> None:
        with torch.autocast(DEVICE.type, torch.bfloat16, cache_enabled=False):
            loss = torch.nn.functional.cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def graph(step: Callable[[], None]) -> Callable[[], None]:
    """Return a call that replays the step as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        step()
    return captured.replay


def worker() -> None:
    """Warm up, say so, wait for the word, and print how many steps a second went by."""
    step = training_step()
    for _ in range(1 if REHEARSAL else 10):
        step()
    print("ready", flush=True)
    sys.stdin.readline()
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < SECONDS:
        step()
        if not REHEARSAL:
            torch.cuda.synchronize()
        steps += 1
    print(steps / (time.perf_counter() - begin), flush=True)


def of_processes(count: int) -> float:
    """Return images a second of so many processes together."""
    command = [sys.executable, __file__, "worker"]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
    for process in started:
        assert process.stdout is not None and process.stdout.readline().strip() == "ready"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [float(process.communicate()[0]) for process in started]
    return BATCH * sum(found)


def main() -> None:
    rows: list[list[object]] = [["eager", 1000 * BATCH / milliseconds(training_step(), 3.0)]]
    if not REHEARSAL:
        rows.append(["torch.compile", 1000 * BATCH / milliseconds(training_step(compiled=True), 3.0)])
        rows.append(["CUDA graph", 1000 * BATCH / milliseconds(graph(training_step()), 3.0)])
    rows += [[f"eager, {count} processes", of_processes(count)] for count in PROCESSES]
    about = ", ".join(f"{name} {value}" for name, value in MODEL.items())
    write("gpu_tiny_model", f"shufflemamba_micro with {about}, batch {BATCH}.\n\n{table(['how', 'images/s'], rows)}")


if __name__ == "__main__":
    worker() if sys.argv[1:] == ["worker"] else main()
