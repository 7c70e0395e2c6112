"""Real images from disk: Parquet and folder alike, resumed in the middle of an epoch with workers, broken images left out."""

from __future__ import annotations

import io
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_runs import MEASURED, Curve, spec

from slws_lab.data import BrokenImage
from slws_lab.spec import RunSpec
from slws_lab.training import Interrupted, Outdated, Surroundings, TrainResult, train

pyarrow = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402

CIFAR10 = Path(os.environ.get("SLWS_CIFAR10", Path(__file__).parents[3] / "shared/data/cifar10"))
PER_CLASS = 24
STRONG = {"resized_crop": [0.3, 1.0], "auto": "rand-m9-mstd0.5-inc1", "flip": 0.5, "erase": 0.25, "erase_mode": "pixel",
          "repeats": 3, "mixup": 0.8, "cutmix": 1.0}  # fmt: skip
Start = Callable[..., tuple[TrainResult, Curve]]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few of CIFAR-10's images, once in Parquet files and once unpacked into folders."""
    if not CIFAR10.is_dir():
        pytest.skip("CIFAR-10 is not here; SLWS_CIFAR10 may name its folder")
    root = tmp_path_factory.mktemp("images")
    (root / "parquet").mkdir()
    for split in ("train", "test"):
        table = pq.read_table(CIFAR10 / f"{split}.parquet")
        labels = table["label"].to_pylist()
        chosen = [row for c in range(10) for row in [i for i, label in enumerate(labels) if label == c][:PER_CLASS]]
        few = table.take(chosen)
        pq.write_table(few, root / "parquet" / f"{split}.parquet")
        for row in few.to_pylist():
            path = root / "folder" / split / row["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row["image"])
    return root


def cifar(name: str, **data: Any) -> RunSpec:
    model = {"name": "shufflemamba_micro", "args": {"embed_dim": 16, "depth": 3, "patch_size": 8, "stride": 8}}
    path = {"parquet": "parquet", "image_folder": "folder"}[name]
    fields = {"name": name, "path": path, "size": 32, "augment": {"crop": 2, "flip": 0.5}, **data}
    run = spec(model=model, train={"batch_size": 32, "smoothing": 0.1})
    return RunSpec.model_validate({**run.model_dump(mode="json"), "data": fields})


@pytest.fixture
def start(images: Path, tmp_path: Path) -> Start:
    """Train on the images in a folder of the test, with so many workers."""
    torch.set_num_threads(1)

    def call(run: RunSpec, folder: str = "a", workers: int = 0, **more: Any) -> tuple[TrainResult, Curve]:
        curve: Curve = more.pop("curve", Curve())

        def report(epoch: int, metrics: dict[str, float]) -> None:
            curve[epoch] = {name: value for name, value in metrics.items() if name not in MEASURED}

        around = Surroundings(tmp_path / folder, torch.device("cpu"), report, root=images, workers=workers, **more)
        return train(run, around), curve

    return call


def test_parquet_and_folder_train_to_the_same_bits_resident_and_streaming(start: Start, tmp_path: Path) -> None:
    _, parquet = start(cifar("parquet"), "parquet")
    _, folder = start(cifar("image_folder"), "folder", resident=False)
    assert folder == parquet
    first, second = (load_file(tmp_path / name / "last.safetensors") for name in ("parquet", "folder"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_streaming_training_stopped_within_an_epoch_ends_like_an_undisturbed_one(
    start: Start, tmp_path: Path
) -> None:
    """With workers, and every augmentation that draws."""
    run = cifar("image_folder", augment=STRONG)
    _, undisturbed = start(run, "undisturbed")
    steps, curve = itertools.count(), Curve()
    with pytest.raises(Interrupted):
        start(run, "resumed", workers=2, should_stop=lambda: next(steps) >= 8, curve=curve)
    start(run, "resumed", workers=1, curve=curve)
    assert curve == undisturbed
    first, second = (load_file(tmp_path / name / "last.safetensors") for name in ("undisturbed", "resumed"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_accumulated_parts_equal_the_whole_batch(start: Start, tmp_path: Path) -> None:
    def whole(parts: int) -> RunSpec:
        run = cifar("parquet", augment={})
        train = run.train.model_copy(update={"accumulate": parts, "ema_decay": None})
        plain = run.shuffle.model_copy(update={"schedule": "none", "max_rate": 0.0})
        return run.model_copy(
            update={"train": train, "shuffle": plain, "model": run.model.model_copy(update={"drop_path": 0.0})}
        )

    _, once = start(whole(1), "once")
    _, parts = start(whole(4), "parts")
    for epoch, metrics in once.items():
        assert parts[epoch] == pytest.approx(metrics, rel=1e-4)


def test_broken_images_are_counted_and_named_or_stop_the_training(start: Start, images: Path, tmp_path: Path) -> None:
    table = pq.read_table(images / "parquet" / "train.parquet")
    rows = table.to_pylist()
    for row in rows[:3]:
        row["image"] = io.BytesIO(row["image"]).read(100)
    broken = tmp_path / "broken"
    broken.mkdir()
    pq.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), broken / "train.parquet")
    pq.write_table(pq.read_table(images / "parquet" / "test.parquet"), broken / "test.parquet")
    result, curve = start(cifar("parquet", path=str(broken), on_broken="skip"))
    assert set(result.broken) == {f"{split}/{row['path']}" for row in rows[:3] for split in ("train", "val")} & set(
        result.broken
    )
    assert len(result.broken) == 3
    assert [curve[epoch]["data/broken"] for epoch in curve] == [3, 3]
    run = cifar("parquet", path=str(broken), on_broken="skip", augment={"repeats": 16})
    short = run.train.model_copy(update={"epochs": 1, "warmup_epochs": 0, "eval_train": True})
    result, _ = start(run.model_copy(update={"train": short}), "once")
    assert len(result.broken) == 3, "an evaluation of the training images meets those that the epoch did not draw"
    with pytest.raises(BrokenImage, match="|".join(row["path"] for row in rows[:3])):
        start(cifar("parquet", path=str(broken)), "stops")


def test_a_label_fraction_of_equal_steps_is_as_long_as_the_whole(start: Start) -> None:
    rates = {}
    for equal in ("epochs", "steps"):
        _, curve = start(cifar("parquet", label_fraction=0.25, equal=equal), equal)
        rates[equal] = curve[1]["train/lr"]
    _, curve = start(cifar("parquet"), "all")
    assert rates["steps"] == curve[1]["train/lr"] != rates["epochs"]


def test_a_resume_that_finds_other_data_says_so_instead_of_mixing(start: Start, images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changing"
    shutil.copytree(images / "folder", folder)
    run, steps = cifar("image_folder", path=str(folder)), itertools.count()
    with pytest.raises(Interrupted):
        start(run, should_stop=lambda: next(steps) >= 3)
    next((folder / "train").rglob("*.jpg")).unlink()
    with pytest.raises(Outdated, match="the data were"):
        start(run)
