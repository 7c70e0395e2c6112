"""What a worker keeps of its data between runs: the last data set, as long as its files are as they were."""

import gc
import os
import weakref
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from slws_lab.data import LastLoaded, Loader, Request, SampleTransform, keep, load
from slws_lab.data.dataset import DataSet, Split
from slws_lab.data.images import Pixels
from slws_lab.errors import UserError

STILL = SampleTransform(16, train=False, eval_crop=0.9)


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Files that a test has just written count as settled; that fresh ones do not is a test of its own."""
    monkeypatch.setattr(keep, "SETTLED_S", -1e6)


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8))


def images_of(dataset: DataSet, transform: SampleTransform = STILL) -> torch.Tensor:
    loader = Loader(dataset.splits["train"], transform, "cpu", resident=True)
    order = torch.arange(len(loader))
    (batch,) = loader.batches(order, [order], 0)
    return batch.images


def folder_request(folder: Path) -> Request:
    return Request("image_folder", str(folder))


def test_the_same_request_gets_the_same_data_set_and_it_is_what_loading_gives() -> None:
    last = LastLoaded()
    first = last.load(Request("digits"))
    assert last.load(Request("digits")) is first
    fresh = load(Request("digits"))
    assert (first.fingerprint, first.mean, first.std) == (fresh.fingerprint, fresh.mean, fresh.std)
    assert torch.equal(
        images_of(first, SampleTransform(8, train=True)), images_of(fresh, SampleTransform(8, train=True))
    )


@pytest.mark.parametrize(
    "other", [Request("digits", val_fraction=0.3), Request("digits", size=9), Request("digits", mean=(0.5,))]
)
def test_another_request_gets_its_own_and_the_one_before_is_let_go(other: Request) -> None:
    last = LastLoaded()
    gone = weakref.ref(last.load(Request("digits")))
    found, fresh = last.load(other), load(other)
    assert (found.fingerprint, found.size, found.mean) == (fresh.fingerprint, fresh.size, fresh.mean)
    gc.collect()
    assert gone() is None


def test_images_are_decoded_once_for_all_runs_of_one_data_set(write_folder, monkeypatch) -> None:
    request, last = folder_request(write_folder(train=6)), LastLoaded()
    first = images_of(last.load(request))
    monkeypatch.setattr(Split, "image", lambda *_: pytest.fail("decoded again"))
    assert torch.equal(images_of(last.load(request)), first)


def test_kept_images_count_as_fitting_whatever_else_has_filled_the_memory_since(write_folder, monkeypatch) -> None:
    split = LastLoaded().load(folder_request(write_folder(train=6))).splits["train"]
    first = Loader(split, STILL, "cpu")
    assert first.resident
    list(first.batches(torch.arange(2), [torch.arange(2)], 0))
    monkeypatch.setattr("slws_lab.data.loader._CPU_LIMIT", 0)
    assert Loader(split, STILL, "cpu").resident
    assert not Loader(split, SampleTransform(12, train=False), "cpu").resident
    assert not Loader(split, STILL, "cpu", resident=False).resident


def test_other_transforms_get_their_own_images(write_folder) -> None:
    request, last = folder_request(write_folder(train=6)), LastLoaded()
    for size, crop in ((16, 0.9), (16, 0.5), (12, 0.9)):
        transform = SampleTransform(size, train=False, eval_crop=crop)
        assert torch.equal(images_of(last.load(request), transform), images_of(load(request), transform))


@pytest.mark.parametrize("same_size", [True, False])
def test_a_changed_file_is_seen_even_with_its_old_size_and_date(write_folder, same_size: bool) -> None:
    folder, last = write_folder(train=6), LastLoaded()
    before = images_of(last.load(folder_request(folder)))
    file = folder / "train/cat/1.png"
    content, status = file.read_bytes(), file.stat()
    Image.new("RGB", (12, 9)).save(file)  # shorter, and what follows a picture's end is no part of it
    if same_size:
        file.write_bytes(file.read_bytes().ljust(len(content), b"\0"))
    assert (file.stat().st_size == len(content)) is same_size
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = images_of(last.load(folder_request(folder)))
    assert not torch.equal(after, before)
    assert torch.equal(after, images_of(load(folder_request(folder))))


def test_an_added_and_a_removed_file_are_seen(write_folder) -> None:
    folder, last = write_folder(train=12), LastLoaded()
    request = folder_request(folder)
    known = last.load(request)
    picture(50).save(folder / "train/cat/new.png")
    assert last.load(request).fingerprint == load(request).fingerprint != known.fingerprint
    (folder / "train/cat/new.png").unlink()
    assert last.load(request).fingerprint == known.fingerprint


def test_a_file_that_was_just_written_could_change_unseen_so_nothing_is_kept(write_folder, monkeypatch) -> None:
    monkeypatch.setattr(keep, "SETTLED_S", 3600.0)
    request, last = folder_request(write_folder(train=6)), LastLoaded()
    assert last.load(request) is not last.load(request)


def test_a_folder_of_too_many_files_is_not_kept(write_folder, monkeypatch) -> None:
    monkeypatch.setattr(keep, "MOST_ENTRIES", 5)
    request, last = folder_request(write_folder(train=6)), LastLoaded()
    assert last.load(request) is not last.load(request)


@pytest.mark.parametrize("inline", [True, False])
def test_a_table_is_kept_unless_it_names_images_elsewhere(tmp_path: Path, write_folder, inline: bool) -> None:
    files = sorted((write_folder(train=9) / "train").glob("*/*.png"))
    images = [{"bytes": file.read_bytes() if inline else None, "path": str(file)} for file in files]
    rows = [{"image": image, "label": i % 2} for i, image in enumerate(images)]
    kind = pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.int64()})
    (tmp_path / "tables").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, kind), tmp_path / "tables/train.parquet")
    request, last = Request("parquet", str(tmp_path / "tables")), LastLoaded()
    assert (last.load(request) is last.load(request)) is inline


def test_unreadable_images_are_tried_again_by_the_next_run(write_folder) -> None:
    folder, last = write_folder(train=6), LastLoaded()
    file = folder / "train/cat/1.png"
    content = file.read_bytes()
    file.write_bytes(b"no image at all")
    dataset = last.load(folder_request(folder))
    loader = Loader(dataset.splits["train"], STILL, "cpu", resident=True, on_broken="skip")
    order = torch.arange(len(loader))
    list(loader.batches(order, [order], 0))
    assert list(loader.broken) == ["cat/1.png"]
    file.write_bytes(content)
    assert len(images_of(dataset)) == len(order)


def test_what_cannot_be_loaded_is_told_as_ever(tmp_path: Path) -> None:
    last = LastLoaded()
    for request in (Request("digitz"), Request("image_folder", str(tmp_path / "nowhere")), Request("image_folder")):
        with pytest.raises(UserError) as kept:
            last.load(request)
        with pytest.raises(UserError) as plain:
            load(request)
        assert str(kept.value) == str(plain.value)


def test_a_library_users_splits_keep_nothing(write_folder) -> None:
    dataset = load(folder_request(write_folder(train=6)))
    before = images_of(dataset)
    for file in (dataset.splits["train"].images.folder).glob("*/*.png"):
        picture(77).save(file)
    assert not torch.equal(images_of(dataset), before)


@pytest.mark.parametrize("values", [(5, 1, 16, 16), (5, 3, 16, 16)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_the_right_size_are_taken_at_once_and_equal_to_one_by_one(values, channels, monkeypatch) -> None:
    drawn = (
        np.random.default_rng(0)
        .integers(0, 256, (values[0], *values[2:], values[1]), dtype=np.uint8)
        .transpose(0, 3, 1, 2)
    )
    split = Split(tuple("abcde"), torch.arange(5), Pixels(drawn), np.array([4, 2, 0, 1, 3]), channels)
    for transform in (
        SampleTransform(16, train=True),
        SampleTransform(16, train=False),
        STILL,
        SampleTransform(9, train=True),
    ):
        for resident in (True, False):
            order, slots = (
                torch.tensor([3, 0, 4, 4, 1]),
                [torch.tensor([0, 1, 2]), torch.tensor([], dtype=torch.int64), torch.tensor([4])],
            )
            found = [b.images for b in Loader(split, transform, "cpu", resident=resident).batches(order, slots, 0)]
            singly = [[transform(split.image(int(order[s]))) for s in slot] for slot in slots]
            for batch, images in zip(found, singly, strict=True):
                assert batch.is_contiguous()
                assert list(batch) == [] if not images else torch.equal(batch, torch.stack(images))


def test_a_random_transform_still_draws_on_pixels_of_the_right_size() -> None:
    assert not SampleTransform(16, train=True, color_jitter=0.4).leaves_alone(16, 16)
    assert not SampleTransform(16, train=True, resized_crop=(0.5, 1.0)).leaves_alone(16, 16)
    assert not STILL.leaves_alone(16, 16)
    assert SampleTransform(16, train=False).leaves_alone(16, 16)
    assert not SampleTransform(16, train=False).leaves_alone(16, 17)
