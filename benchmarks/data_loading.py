"""Time the streaming loader against torchvision's ImageFolder with DataLoader, and resident against streamed CIFAR-10; prints tables.

SLWS_CIFAR10=FOLDER python benchmarks/data_loading.py     (FOLDER holds train.parquet and test.parquet)
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, InterpolationMode, PILToTensor, RandomResizedCrop

from slws_lab.data import Loader, Request, SampleTransform, epoch_order, load

PICTURES, BATCH, ROUNDS = 512, 64, 3
WIDTH, HEIGHT, SIZE = 500, 375, 224


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kilobytes = write_pictures(Path(folder))
        print(
            f"{PICTURES} JPEG files of {WIDTH} x {HEIGHT}, {kilobytes:.0f} kB each, random resized crop to {SIZE}, batch {BATCH}; "
        )
        print(f"median images/s of {ROUNDS} epochs, taken in turns, after one that started the workers\n")
        print("| workers | ImageFolder + DataLoader | ours, streamed | ratio |\n|---|---|---|---|")
        for workers in (1, 2):
            theirs, ours = in_turns(PICTURES, torchvision_epoch(folder, workers), own_epoch(folder, workers))
            print(f"| {workers} | {theirs:.0f} | {ours:.0f} | {ours / theirs:.2f} |")
    cifar = Path(os.environ.get("SLWS_CIFAR10", Path(__file__).parents[2] / "shared/data/cifar10"))
    if not (cifar / "train.parquet").is_file():
        print("CIFAR-10 is not here: SLWS_CIFAR10 names the folder with train.parquet")
        return
    compare_cifar10(cifar)


def write_pictures(folder: Path) -> float:
    """Write smooth pictures with some grain, and return the mean size of a file in kB."""
    draw = np.random.default_rng(0)
    for number in range(PICTURES):
        rough = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
            (WIDTH, HEIGHT), Image.Resampling.BICUBIC
        )
        grain = draw.normal(0, 12, (HEIGHT, WIDTH, 3))
        path = folder / "train" / f"class{number % 4}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((np.asarray(rough) + grain).clip(0, 255).astype(np.uint8)).save(path, quality=85)
    return sum(path.stat().st_size for path in folder.glob("train/*/*")) / PICTURES / 1000


def torchvision_epoch(folder: str, workers: int) -> Callable[[], Iterable[torch.Tensor]]:
    transform = Compose([RandomResizedCrop(SIZE, (0.08, 1), interpolation=InterpolationMode.BICUBIC), PILToTensor()])
    dataset = ImageFolder(f"{folder}/train", transform)
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, persistent_workers=True)
    return lambda: (images for images, _ in loader)


def own_epoch(folder: str, workers: int) -> Callable[[], Iterable[torch.Tensor]]:
    split = load(Request("image_folder", path=folder, val_fraction=0.01)).splits["train"]
    split = split.take((list(range(len(split))) * 2)[:PICTURES])  # the few that are val are made up for
    loader = Loader(split, SampleTransform(SIZE, train=True, resized_crop=(0.08, 1)), "cpu", workers)
    order = epoch_order(len(split), torch.Generator().manual_seed(0))
    return lambda: (batch.images for batch in loader.batches(order, torch.arange(len(order)).split(BATCH), 0))


def compare_cifar10(folder: Path) -> None:
    split = load(Request("parquet", path=str(folder), size=32, label_fraction=0.125)).splits["train"]
    order, parts = epoch_order(len(split), torch.Generator().manual_seed(0)), torch.arange(len(split)).split(256)
    transform = SampleTransform(32, train=True)
    loaders = {workers: Loader(split, transform, "cpu", workers, resident=False) for workers in (0, 1, 2)}
    resident = Loader(split, transform, "cpu", workers=2, resident=True)
    started = time.perf_counter()
    next(iter(resident.batches(order, parts, 0)))
    filling = time.perf_counter() - started
    print(f"\nCIFAR-10, {len(split)} train images of 32 x 32 from Parquet, no augmentation, batch 256; ")
    print(f"filling the resident tensor with 2 workers took {filling:.1f} s, once\n")
    print("| path | images/s | resident / this |\n|---|---|---|")
    epochs = [lambda loader=loader: (batch.images for batch in loader.batches(order, parts, 0))
              for loader in (resident, *loaders.values())]  # fmt: skip
    fast, *slow = in_turns(len(split), *epochs)
    print(f"| resident | {fast:.0f} | 1 |")
    for workers, rate in zip(loaders, slow, strict=True):
        print(f"| streamed, {workers} workers | {rate:.0f} | {fast / rate:.0f} |")


def in_turns(images: int, *epochs: Callable[[], Iterable[torch.Tensor]]) -> list[float]:
    """Return images/s of each, by the median of some epochs; the first epoch of each is not counted."""
    times: list[list[float]] = [[] for _ in epochs]
    for _ in range(ROUNDS + 1):
        for epoch, taken in zip(epochs, times, strict=True):
            started = time.perf_counter()
            assert sum(len(batch) for batch in epoch()) == images
            taken.append(time.perf_counter() - started)
    return [images / median(taken[1:]) for taken in times]


if __name__ == "__main__":
    main()
