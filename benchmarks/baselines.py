"""Train the smallest timm model of each of twelve published systems on a few CIFAR-10 images; prints a table.

Each needs no code but its name in a recipe. Two epochs, so that the loss can be seen to move; one thread, whose
own time is shown, since other programs may share the machine.

SLWS_CIFAR10=FOLDER python benchmarks/baselines.py [train images]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch

from slws_lab.spec import RunSpec
from slws_lab.training import Surroundings, train

CIFAR10 = Path(os.environ.get("SLWS_CIFAR10", Path(__file__).parents[2] / "shared/data/cifar10"))
VAL_FRACTION = 0.25
# system -> its smallest model in timm, pixels
SYSTEMS = {
    "ConvNeXt": ("convnext_zepto_rms", 32),
    "MaxViT": ("maxvit_pico_rw_256", 32),
    "TinyViT": ("tiny_vit_5m_224", 32),
    "FBNet": ("fbnetc_100", 32),
    "VOLO": ("volo_d1_224", 32),
    "Single-Path NAS": ("spnasnet_100", 32),
    "GhostNetV2": ("ghostnetv2_100", 64),  # at 32 px one of its maps would be empty
    "FocalNet": ("focalnet_tiny_srf", 32),
    "MnasNet": ("mnasnet_small", 32),
    "PoolFormer": ("poolformer_s12", 32),
    "GC ViT": ("gcvit_xxtiny", 32),
    "ResNet-RS": ("resnetrs50", 32),
}


def recipe(model: str, size: int, folder: Path) -> RunSpec:
    """Return the training that all systems share."""
    return RunSpec.model_validate({
        "kind": "train",
        "model": {"name": model},
        "data": {"name": "parquet", "path": str(folder), "size": size, "val_fraction": VAL_FRACTION,
                 "augment": {"flip": 0.5}},
        "train": {"epochs": 2, "batch_size": 32, "lr": 5e-4, "clip_grad": 1.0},
        "seed": 0,
    })  # fmt: skip


def row(system: str, model: str, size: int, folder: Path) -> str:
    """Train a model and return its row of the table."""
    losses: list[float] = []
    started = time.process_time()
    around = Surroundings(folder / model, torch.device("cpu"), lambda _, found: losses.append(found["train/loss"]))
    result = train(recipe(model, size, folder), around)
    first, last = (f"{loss:.3f}" for loss in losses)
    return f"| {system} | {model} | {result.params / 1e6:.2f} | {size} | {time.process_time() - started:.1f} | {first} | {last} |"


def main() -> None:
    if not CIFAR10.is_dir():
        print("CIFAR-10 is not here; SLWS_CIFAR10 may name its folder")
        return
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 480
    torch.set_num_threads(1)
    print("| system | timm model | params (M) | pixels | CPU seconds | loss, epoch 1 | loss, epoch 2 |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split, rows in (("train", round(images / (1 - VAL_FRACTION))), ("test", 40)):
            pq.write_table(pq.read_table(CIFAR10 / f"{split}.parquet").slice(0, rows), folder / f"{split}.parquet")
        for system, (model, size) in SYSTEMS.items():
            print(row(system, model, size, folder), flush=True)


if __name__ == "__main__":
    main()
