"""Small data sets on disk: the shared CIFAR-10 where it is there, and folders of drawn pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

WriteFolder = Callable[..., Path]


@pytest.fixture(scope="session")
def cifar10_parquet() -> Path:
    """The folder with CIFAR-10 as Parquet files, which lies beside the project or where SLWS_CIFAR10 says."""
    folder = Path(os.environ.get("SLWS_CIFAR10", Path(__file__).parents[3] / "shared/data/cifar10"))
    if not (folder / "train.parquet").is_file():
        pytest.skip("CIFAR-10 as Parquet is not here; SLWS_CIFAR10 names its folder")
    return folder


@pytest.fixture(scope="session")
def cifar10_small(cifar10_parquet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 train and 100 test rows of CIFAR-10, train in two shards."""
    folder = tmp_path_factory.mktemp("cifar10")
    train = next(pq.ParquetFile(cifar10_parquet / "train.parquet").iter_batches(400))
    test = next(pq.ParquetFile(cifar10_parquet / "test.parquet").iter_batches(100))
    for name, rows in (("train-0", train[:250]), ("train-1", train[250:]), ("test", test)):
        pq.write_table(pa.Table.from_batches([rows]), folder / f"{name}.parquet")
    return folder


@pytest.fixture(scope="session")
def cifar10_unpacked(cifar10_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images as files, train/CLASS/FILE."""
    folder = tmp_path_factory.mktemp("unpacked")
    for file in cifar10_small.glob("*.parquet"):
        for row in pq.read_table(file).to_pylist():
            path = folder / file.stem.split("-")[0] / row["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row["image"])
    return folder


def picture(seed: int, width: int = 12, height: int = 9, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteFolder:
    """Write `n` pictures for each class and split, e.g. train=6; all differ, but for equal `seed`s."""

    def write(name: str = "pictures", classes: tuple[str, ...] = ("cat", "dog"), seed: int = 0, **splits: int) -> Path:
        folder = tmp_path / name
        for split, n in splits.items():
            for one in classes:
                (folder / split / one).mkdir(parents=True)
                for number in range(n):
                    seed += 1
                    picture(seed).save(folder / split / one / f"{number}.png")
        return folder

    return write
