"""Processes of the micro model that share one GPU: images a second and memory of 1, 2, 4, 8 and 16. Not run yet: no GPU was there.

Each process trains by itself, as runs of a study do; eager and with a CUDA graph. Start NVIDIA's multi-process service (MPS) before, to
measure with it: the result says whether it was on. The last line says how many processes the local launcher would put on this GPU.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from measure import DEVICE, REHEARSAL, table, write
from tiny import BATCH, MODEL, training_step

import slws_lab

HOWS = ("eager", "graph")
PROCESSES = (1, 2) if REHEARSAL else (1, 2, 4, 8, 16)
SECONDS = 0.1 if REHEARSAL else 2.0
WARM_UP = 4 if REHEARSAL else 20
GB = 2**30
# The product's own rule; the package around it imports what may be missing on this machine.
chosen = runpy.run_path(str(Path(slws_lab.__file__).parent / "launch" / "packing.py"), run_name="rule")["processes"]


def worker() -> None:
    """Warm up and say how many GB torch has reserved; at each line, one of `HOWS`, count the images a second of such steps."""
    steps = {how: training_step(graph=how == "graph") for how in HOWS}
    for step in steps.values():
        for _ in range(WARM_UP):
            step()
    print(0.0 if REHEARSAL else torch.cuda.max_memory_reserved() / GB, flush=True)
    for line in sys.stdin:
        step, done, begin = steps[line.strip()], 0, time.perf_counter()
        while time.perf_counter() - begin < SECONDS:
            step()
            if not REHEARSAL:
                torch.cuda.synchronize()
            done += BATCH
        print(done / (time.perf_counter() - begin), flush=True)


def used_gb() -> float:
    """Return the GB of the GPU that all processes together hold, contexts too; 0 in a rehearsal."""
    if REHEARSAL:
        return 0.0
    free, total = torch.cuda.mem_get_info(DEVICE)
    return (total - free) / GB


def measure() -> tuple[dict[str, dict[int, float]], float, float]:
    """Return how -> number of processes -> images a second; the GB of the GPU that a process holds, and what torch has reserved of it."""
    before, pipe, command = used_gb(), subprocess.PIPE, [sys.executable, __file__, "worker"]
    started = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(max(PROCESSES))]
    reserved = max(float(said(process)) for process in started)
    held = (used_gb() - before) / len(started)
    rates: dict[str, dict[int, float]] = {how: {} for how in HOWS}
    for how in HOWS:
        for count in PROCESSES:
            for process in started[:count]:
                assert process.stdin is not None
                process.stdin.write(f"{how}\n")
                process.stdin.flush()
            rates[how][count] = sum(float(said(process)) for process in started[:count])
    for process in started:
        process.communicate()
    return rates, held, reserved


def said(process: subprocess.Popen[str]) -> str:
    """Return the next line of a process."""
    assert process.stdout is not None
    return process.stdout.readline()


def mps() -> bool:
    """Say whether NVIDIA's multi-process service is on."""
    pipes = os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or Path("/", "tmp", "nvidia-mps")  # NVIDIA's default
    return Path(pipes, "control").exists()


def kept(rates: Mapping[int, float]) -> int:
    """Return how many processes the local launcher would keep, if it measured these rates."""
    return min(int(chosen(rates)), max(PROCESSES))


def main() -> None:
    rates, held, reserved = measure()
    rows: list[list[object]] = [[count, *(rates[how][count] for how in HOWS)] for count in PROCESSES]
    about = ", ".join(f"{name} {value}" for name, value in MODEL.items())
    text = f"""shufflemamba_micro with {about}, batch {BATCH}, bfloat16, each process with its own steps; MPS {"on" if mps() else "off"}.

{table(["processes", "eager, images/s", "CUDA graph, images/s"], rows)}

A process with both holds {held:.2f} GB with its context, of which torch has reserved {reserved:.2f} GB. By these figures the local
launcher keeps {kept(rates["eager"])} processes, and {kept(rates["graph"])} with a CUDA graph."""
    write("gpu_packing", text)


if __name__ == "__main__":
    worker() if sys.argv[1:] == ["worker"] else main()
