"""Batches: resident or streamed, with and without workers, in parts, with broken images, and how workers end."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from slws_lab.data import Batch, BrokenImage, DataSet, Loader, Request, SampleTransform, Split, epoch_order, load

RANDOM = SampleTransform(16, train=True, resized_crop=(0.3, 1.0), auto="rand-m9-mstd0.5-inc1")
STILL = SampleTransform(16, train=False, eval_crop=0.9)


@pytest.fixture
def pictures(write_folder) -> tuple[DataSet, Path]:
    folder = write_folder(train=12, val=2)
    return load(Request("image_folder", path=str(folder))), folder


@pytest.fixture
def train(pictures) -> Split:
    return pictures[0].splits["train"]


def epoch(n: int, seed: int = 0) -> Tensor:
    return epoch_order(n, torch.Generator().manual_seed(seed))


def slots(n: int, size: int = 5) -> list[Tensor]:
    return list(torch.arange(n).split(size))


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) and torch.equal(a.positions, b.positions)
        for a, b in zip(one, other, strict=True)
    )


def test_a_batch_holds_the_transformed_samples_of_its_slots(train):
    order = epoch(24)
    for workers in (0, 2):
        batches = list(Loader(train, STILL, "cpu", workers, resident=False).batches(order, slots(24), 0))
        assert torch.cat([batch.positions for batch in batches]).tolist() == order.tolist()
        for batch in batches:
            for image, label, position in zip(batch.images, batch.labels, batch.positions.tolist(), strict=True):
                assert torch.equal(image, STILL(train.image(position)))
                assert label == train.labels[position]


@pytest.mark.parametrize("workers", [0, 2])
def test_both_paths_give_the_same_batches(train, workers):
    order = epoch(24)
    streamed = list(Loader(train, STILL, "cpu", workers, resident=False).batches(order, slots(24), 3))
    resident = Loader(train, STILL, "cpu", workers)
    assert resident.resident
    assert equal(list(resident.batches(order, slots(24), 3)), streamed)


def test_both_paths_and_both_sources_give_the_same_batches_of_cifar10(cifar10_small, cifar10_unpacked):
    found = []
    for name, folder in (("parquet", cifar10_small), ("image_folder", cifar10_unpacked)):
        dataset = load(Request(name, path=str(folder), size=32, label_fraction=0.5))
        order = epoch(len(dataset.splits["train"]))
        for transform, resident in ((STILL, True), (STILL, False), (RANDOM, False)):
            loader = Loader(dataset.splits["train"], transform, "cpu", workers=1, resident=resident)
            found.append(list(loader.batches(order, slots(len(order), 64), 7)))
    parquet, files = found[:3], found[3:]
    assert equal(parquet[0], parquet[1])
    assert all(equal(one, other) for one, other in zip(parquet, files, strict=True))


def test_draws_depend_on_key_and_slot_alone(train):
    order = epoch(24)
    whole = list(Loader(train, RANDOM, "cpu").batches(order, slots(24), 9))
    two = Loader(train, RANDOM, "cpu", workers=2)
    assert equal(list(two.batches(order, slots(24), 9)), whole)
    assert equal(list(two.batches(order, slots(24)[3:], 9)), whole[3:])  # a resume in the middle, the same workers
    other = list(two.batches(order, slots(24), 10))
    assert not any(torch.equal(a.images, b.images) for a, b in zip(whole, other, strict=True))
    images = torch.cat([batch.images for batch in whole])
    ranks = [[part[rank::2] for part in slots(24)] for rank in (0, 1)]
    for rank in (0, 1):
        mine = list(Loader(train, RANDOM, "cpu").batches(order, ranks[rank], 9))
        assert torch.equal(torch.cat([batch.images for batch in mine]), images[torch.cat(ranks[rank])])


def test_copies_of_a_sample_are_drawn_apart(train):
    order = epoch_order(24, torch.Generator().manual_seed(0), repeats=3)
    images = torch.cat([batch.images for batch in Loader(train, RANDOM, "cpu").batches(order, slots(24), 0)])
    assert images.unique(dim=0).shape[0] == 24


def test_an_epoch_may_have_empty_parts(train):
    parts = [torch.arange(0), torch.arange(3)]
    for loader in (Loader(train, RANDOM, "cpu"), Loader(train, STILL, "cpu")):
        sizes = [len(batch.images) for batch in loader.batches(epoch(24), parts, 0)]
        assert sizes == [0, 3]


@pytest.mark.parametrize("workers", [0, 1])
def test_the_process_wide_generators_are_left_alone(train, workers):
    def states() -> list[object]:
        return [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]

    before = states()
    list(Loader(train, RANDOM, "cpu", workers).batches(epoch(24), slots(24), 0))
    assert states() == before


def test_a_transform_that_draws_is_never_resident_and_large_splits_are_not_either(train, monkeypatch):
    assert not Loader(train, RANDOM, "cpu", resident=True).resident
    assert Loader(train, STILL, "cpu").resident
    monkeypatch.setattr("slws_lab.data.loader._CPU_LIMIT", 24 * 3 * 16 * 16 - 1)
    assert not Loader(train, STILL, "cpu").resident
    assert Loader(train, STILL, "cpu", resident=True).resident


def test_no_image_is_read_before_the_first_batch_nor_of_another_split(write_folder):
    folder = write_folder(train=4, val=4, test=4)
    dataset = load(Request("image_folder", path=str(folder)))
    for split in ("val", "test"):
        for file in (folder / split).glob("*/*"):
            file.write_bytes(b"broken")
    assert dataset.fingerprint
    loaders = {name: Loader(split, STILL, "cpu") for name, split in dataset.splits.items()}
    assert len(list(loaders["train"].batches(epoch(8), slots(8), 0))) == 2
    assert not loaders["test"].broken


def break_two(folder: Path) -> None:
    (folder / "train/cat/3.png").write_bytes(b"no image at all")
    whole = (folder / "train/dog/1.png").read_bytes()
    (folder / "train/dog/1.png").write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("transform", [STILL, RANDOM], ids=["still", "random"])
def test_broken_images_are_left_out_counted_and_named(pictures, workers, transform):
    dataset, folder = pictures
    train, order = dataset.splits["train"], epoch(24)
    whole = list(Loader(train, transform, "cpu").batches(order, slots(24), 4))
    break_two(folder)
    for resident in (False, None):
        loader = Loader(train, transform, "cpu", workers, resident=resident, on_broken="skip")
        found = list(loader.batches(order, slots(24), 4))
        assert list(loader.broken) == [
            i for i in (train.ids[p] for p in order.tolist()) if i in ("cat/3.png", "dog/1.png")
        ]
        assert loader.broken["cat/3.png"] == "no image that Pillow recognises"
        assert sum(len(batch.images) for batch in found) == 22
        for mine, full in zip(found, whole, strict=True):
            kept = [train.ids[p] not in loader.broken for p in full.positions.tolist()]
            assert torch.equal(mine.images, full.images[kept])
            assert torch.equal(mine.positions, full.positions[kept])
            assert torch.equal(mine.labels, full.labels[kept])


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_stops_where_it_is_met(pictures, workers, resident):
    dataset, folder = pictures
    (folder / "train/cat/3.png").unlink()
    position = dataset.splits["train"].ids.index("cat/3.png")
    loader = Loader(dataset.splits["train"], STILL, "cpu", workers, resident)
    met: list[Batch] = []
    with pytest.raises(BrokenImage, match=r"'cat/3.png' cannot be read: FileNotFoundError"):
        met.extend(loader.batches(torch.arange(24), slots(24, 2), 0))
    assert len(met) == position // 2


def test_a_batch_of_broken_images_alone_is_empty(pictures):
    dataset, folder = pictures
    (folder / "train/cat/3.png").write_bytes(b"")
    split = dataset.splits["train"]
    position = torch.tensor([split.ids.index("cat/3.png")])
    for resident in (True, False):
        loader = Loader(split, STILL, "cpu", resident=resident, on_broken="skip")
        (batch,) = loader.batches(position, [torch.arange(1)], 0)
        assert batch.images.shape == (0, 3, 16, 16)
        assert batch.labels.tolist() == batch.positions.tolist() == []


class _Failing(SampleTransform):
    def __call__(self, image: object) -> Tensor:
        raise ZeroDivisionError("a bug")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failing_transform_names_the_sample(train, workers):
    with pytest.raises(RuntimeError, match=r"image 'cat/1.png' cannot be transformed: a bug"):
        list(
            Loader(train, _Failing(16, train=True, color_jitter=0.1), "cpu", workers).batches(
                torch.tensor([1]), slots(1), 0
            )
        )


@contextlib.contextmanager
def children_end() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    left = set(psutil.Process().children(recursive=True)) - before
    assert not psutil.wait_procs(left, timeout=20)[1]


def test_workers_stay_for_the_next_epoch_and_end_with_the_loader(train):
    before = set(psutil.Process().children())
    with children_end():
        loader = Loader(train, RANDOM, "cpu", workers=2)
        seen = []
        for key in (0, 1):
            list(loader.batches(epoch(24), slots(24), key))
            seen.append(set(psutil.Process().children()) - before)
        assert len(seen[0]) == 2
        assert seen[0] == seen[1]
        loader.close()
    assert len(list(loader.batches(epoch(24), slots(24), 0))) == 5


def test_workers_end_when_the_iterator_is_closed_early_and_start_again(train):
    with children_end():
        loader = Loader(train, RANDOM, "cpu", workers=2)
        batches = loader.batches(epoch(24), slots(24, 1), 0)
        first = next(batches)
        batches.close()
    with children_end():
        again = loader.batches(epoch(24), slots(24, 1), 0)
        assert equal([next(again)], [first])
        del again, loader


def test_workers_end_when_a_broken_image_stops_the_epoch(pictures):
    dataset, folder = pictures
    (folder / "train/cat/3.png").write_bytes(b"")
    with children_end():
        loader = Loader(dataset.splits["train"], RANDOM, "cpu", workers=2)
        with pytest.raises(BrokenImage) as caught:  # which keeps the frames of what failed
            list(loader.batches(torch.arange(24), slots(24, 1), 0))
    assert caught.value.sample_id == "cat/3.png"


def test_a_wrong_rule_for_broken_images_is_refused(train):
    with pytest.raises(ValueError, match="stop or skip"):
        Loader(train, STILL, "cpu", on_broken="ignore")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("transform", [STILL, RANDOM], ids=["still", "random"])
def test_a_gpu_gets_the_same_batches(train, transform):
    order = epoch(24)
    expected = list(Loader(train, transform, "cpu").batches(order, slots(24), 0))
    for workers in (0, 2):
        found = list(Loader(train, transform, "cuda", workers).batches(order, slots(24), 0))
        assert all(batch.images.is_cuda and batch.labels.is_cuda for batch in found)
        assert equal([Batch(b.images.cpu(), b.labels.cpu(), b.positions) for b in found], expected)
