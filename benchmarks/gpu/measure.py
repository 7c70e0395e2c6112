"""What the GPU benchmarks share: the device or its rehearsal, times, and results written as one Markdown file."""

from __future__ import annotations

import datetime
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch

REHEARSAL = not torch.cuda.is_available()  # tiny shapes on the CPU, to see that everything runs
DEVICE = torch.device("cpu" if REHEARSAL else "cuda")
RESULTS = Path(os.environ.get("SLWS_RESULTS", Path(__file__).parents[1] / "results"))


def milliseconds(call: Callable[[], object], seconds: float = 0.4) -> float:
    """Return the median time of a call after warm-up; at least five calls, more while the time lasts."""
    for _ in range(1 if REHEARSAL else 3):
        call()
    if REHEARSAL:
        start = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - start)
    torch.cuda.synchronize()
    end = time.perf_counter() + seconds
    times: list[float] = []
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 200):
        start_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start_event.record()
        call()
        end_event.record()
        end_event.synchronize()
        times.append(start_event.elapsed_time(end_event))
    return median(times)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; numbers get three significant digits."""

    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"

    return "\n".join([line(head), "|---" * len(head) + "|", *map(line, rows)])


def write(theme: str, text: str) -> None:
    """Print the text and write it to RESULTS as theme_hardware_yyyymm.md, whole or not at all."""
    name = "rehearsal" if REHEARSAL else torch.cuda.get_device_name()
    try:
        import triton

        version = triton.__version__
    except ImportError:
        version = "none"
    about = f"{name}; torch {torch.__version__}, Triton {version}; medians, in one process unless said otherwise."
    text = f"# {theme.replace('_', ' ')}\n\n{about}\n\n{text}\n"
    print(text, flush=True)
    hardware = re.sub(r"[^a-z0-9]+", "", name.lower().removeprefix("nvidia"))
    path = RESULTS / f"{theme}_{hardware}_{datetime.datetime.now(tz=datetime.UTC):%Y%m}.md"
    RESULTS.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".part").write_text(text)
    path.with_suffix(".part").replace(path)
