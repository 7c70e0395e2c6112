"""Images a second of whole training steps on the CPU: this tree against an earlier commit, in turns, and against the processor's limit.

python benchmarks/step_speed.py [--before REV] [--rounds 5] [--out benchmarks/results/NAME.md]

The limit is the time of a step's multiply-adds alone, at the speed of a large float32 matrix product on the same thread: those of the
matrix products and convolutions as torch's own counter has them, and those of the compiled scan as its inner loops have them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
FOUNDATION = "bf845ac"  # the last commit with the scan in torch operations
# On scanned digits of 8 x 8 pixels; with patches of one pixel there are 65 tokens, as in 32 x 32 pixels cut into 4 x 4.
TASKS: dict[str, dict[str, Any]] = {
    "micro, 10 tokens, batch 64": {"patch_size": 4, "stride": 2},
    "micro, 65 tokens, batch 64": {"patch_size": 1, "stride": 1},
    "width 192, 6 layers, 65 tokens, batch 64": {"patch_size": 1, "stride": 1, "embed_dim": 192, "depth": 6},
}
WIDE = list(TASKS)[-1]  # on fewer images
BATCH = 64
# Multiply-adds (or one operation in their place) for a state of a channel at a step: exponential 6, recurrence 2, output 1; backward
# exponential 6, recurrence 2, gradients 8. Counted in kernel.cpp's inner loops.
SCAN_FORWARD, SCAN_BACKWARD = 9, 16


KINDS = {  # how the profiler calls them
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
    "scan": ("_Scan",),
    "convolution with SiLU": ("_Conv",),
    "AdamW, clipping, average": ("Optimizer.", "aten::_fused_adamw", "aten::_foreach", "aten::linalg_vector_norm"),
}


def recipe(task: str, precision: str, epochs: int) -> dict[str, Any]:
    return {
        "kind": "train",
        "model": {"name": "shufflemamba_micro", "args": TASKS[task]},
        "data": {"name": "digits", "val_fraction": 0.8 if task == WIDE else 0.5, "augment": {"crop": 1, "flip": 0.5}},
        "shuffle": {"schedule": "linear", "max_rate": 0.5},
        "train": {
            "epochs": epochs, "batch_size": BATCH, "lr": 1e-3, "warmup_epochs": 0, "clip_grad": 3.0, "ema_decay": 0.95,
            **({} if precision == "fp32" else {"precision": precision}),
        },
        "seed": 0,
    }  # fmt: skip


def train(task: str, precision: str, epochs: int) -> None:
    """Train by whichever slws_lab the interpreter finds, and print images/s of the best epoch after the first."""
    import torch

    from slws_lab.spec import RunSpec
    from slws_lab.training import Surroundings, train

    torch.set_num_threads(1)
    speeds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        around = Surroundings(
            Path(folder), torch.device("cpu"), lambda _, found: speeds.append(found["train/images_per_s"])
        )
        train(RunSpec.model_validate(recipe(task, precision, epochs)), around)
    print(json.dumps(max(speeds[1:])))


def limit(task: str) -> None:
    """Print the multiply-adds of a step and the speed of a large matrix product, in units of 1e9 and 1e9 a second."""
    import timm
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    import slws_lab.models  # noqa: F401 (its names reach timm)

    torch.set_num_threads(1)
    model = timm.create_model("shufflemamba_micro", in_chans=1, img_size=8, num_classes=10, **TASKS[task])
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(BATCH, 1, 8, 8)).sum().backward()
    width, layers = 2 * model.embed_dim, len(model.layers)
    elements = BATCH * model.num_tokens * width * model.config.d_state * 2 * layers
    multiply_adds = counter.get_total_flops() / 2 + elements * (SCAN_FORWARD + SCAN_BACKWARD)
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    print(json.dumps([multiply_adds / 1e9, 1024**3 / min(times) / 1e9]))


def shares(task: str) -> None:
    """Print how a training epoch's time is spread over operations, by torch's profiler, which slows small steps itself."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from slws_lab.spec import RunSpec
    from slws_lab.training import Surroundings, train
    from slws_lab.training.stage import Stage

    torch.set_num_threads(1)
    found: dict[str, float] = {}
    unprofiled = Stage._train_epoch

    def profiled(stage: Stage, epoch: int) -> dict[str, float]:
        if epoch == 0:
            return unprofiled(stage, epoch)
        with profile(activities=[ProfilerActivity.CPU]) as told:
            started = time.perf_counter()
            metrics = unprofiled(stage, epoch)
            found["all"] = 1e6 * (time.perf_counter() - started)
        for event in told.key_averages():
            kind = next((kind for kind, names in KINDS.items() if event.key.startswith(names)), "other operations")
            found[kind] = found.get(kind, 0.0) + event.self_cpu_time_total
        return metrics

    Stage._train_epoch = profiled  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        train(
            RunSpec.model_validate(recipe(task, "fp32", 2)),
            Surroundings(Path(folder), torch.device("cpu"), lambda *_: None),
        )
    whole = found.pop("all")
    found["Python between operations"] = whole - sum(found.values())
    print(json.dumps({kind: spent / whole for kind, spent in found.items()}))


def told(tree: Path, *arguments: str) -> Any:
    """Run this script with the tree's slws_lab and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(before: Path, rounds: int) -> list[str]:
    lines = [
        "| task | before, fp32 | now, fp32 | now, bf16 | now over before, fp32 | bf16 over fp32 | share of the limit, fp32 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for task in TASKS:
        speeds: dict[str, list[float]] = {"before": [], "fp32": [], "bf16": []}
        shares = []
        for _ in range(rounds):
            speeds["before"].append(told(before, "train", task, "fp32", "2"))
            multiply_adds, peak = told(ROOT, "limit", task)
            for precision in ("fp32", "bf16"):
                speeds[precision].append(told(ROOT, "train", task, precision, "3" if task == WIDE else "5"))
            shares.append(multiply_adds / peak / (BATCH / speeds["fp32"][-1]))
        old, new, half = speeds.values()
        cells = [f"{median(values):.0f} ({min(values):.0f} to {max(values):.0f})" for values in speeds.values()]
        ratios = [median(b / a for a, b in zip(*pair, strict=True)) for pair in ((old, new), (new, half))]
        cells += [f"{ratio:.1f}" if ratio > 3 else f"{ratio:.2f}" for ratio in ratios]
        lines.append(f"| {task} | {' | '.join(cells)} | {median(shares):.0%} |")
        print(lines[-1], flush=True)
    return lines


def where() -> list[str]:
    """Return the table of where an epoch's time goes."""
    found = {task: told(ROOT, "shares", task) for task in TASKS}
    kinds = [*KINDS, "other operations", "Python between operations"]
    head = ["| task | " + " | ".join(kinds) + " |", "|---|" + "---:|" * len(kinds)]
    return head + [
        f"| {task} | " + " | ".join(f"{part.get(kind, 0):.0%}" for kind in kinds) + " |" for task, part in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", default=FOUNDATION)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from slws_lab.tracking.provenance import machine

    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(before), options.before], check=True)
        try:
            load = os.getloadavg()[0]
            lines = measure(before, options.rounds)
            lines += ["", "## Where an epoch's time goes, fp32", "", *where()]
        finally:
            subprocess.run([*git, "remove", "--force", str(before)], check=True)
    text = "\n".join([
        "# Whole training steps on the CPU", "",
        "Images a second of `slws_lab.training.train`: augmentation, forward, backward, clipping, AdamW, average; SLWS linear 0.5.",
        f"One thread, {machine()['processor']}; median (least to most) of {options.rounds} processes, in turns with those of",
        f"commit {options.before}. The limit: see the script's first lines.",
        f"Load average {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end.", "", *lines, "",
    ])  # fmt: skip
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["train", task, precision, epochs]:
            train(task, precision, int(epochs))
        case ["limit", task]:
            limit(task)
        case ["shares", task]:
            shares(task)
        case _:
            main()
