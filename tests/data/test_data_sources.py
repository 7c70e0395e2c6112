"""Every source against the same images by another way, and what each refuses."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import sys
import tarfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from PIL import Image

from slws_lab.data import DataSet, Request, digits, download, load, small
from slws_lab.errors import UserError


def png(seed: int, size: int = 8) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def same(one: DataSet, other: DataSet) -> bool:
    """Say whether two data sets give the same samples at the same positions."""
    for name, split in one.splits.items():
        twin = other.splits[name]
        if split.ids != twin.ids or not torch.equal(split.labels, twin.labels):
            return False
        if any(split.image(i).tobytes() != twin.image(i).tobytes() for i in range(0, len(split), 7)):
            return False
    return one.class_names == other.class_names


def refused(request: Request) -> UserError:
    with pytest.raises(UserError) as caught:
        load(request)
    assert caught.value.where
    assert caught.value.allowed or caught.value.todo
    return caught.value


def test_files_and_parquet_give_the_same_samples_splits_and_order(cifar10_small, cifar10_unpacked):
    table = load(Request("parquet", path=str(cifar10_small), size=32))
    files = load(Request("image_folder", path=str(cifar10_unpacked), size=32))
    assert {name: len(split) for name, split in table.splits.items()} == {"train": 320, "val": 80, "test": 100}
    assert same(table, files)
    assert list(table.splits["train"].ids) == sorted(table.splits["train"].ids)
    for sample_id, label in zip(table.splits["val"].ids, table.splits["val"].labels.tolist(), strict=True):
        assert sample_id.split("/")[0] == table.class_names[label]


def test_a_sample_is_where_its_hash_says(cifar10_small):
    dataset = load(Request("parquet", path=str(cifar10_small), val_fraction=0.3))
    for name, split in dataset.splits.items():
        if name != "test":
            numbers = [int(hashlib.sha256(i.encode()).hexdigest()[:16], 16) / 2**64 for i in split.ids]
            assert all((number < 0.3) == (name == "val") for number in numbers)


def test_imagenets_layout_has_its_own_val_and_an_empty_test(write_folder):
    folder = write_folder(train=5, val=2)
    dataset = load(Request("image_folder", path=str(folder)))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 10, "val": 4, "test": 0}
    assert (dataset.size, dataset.channels, dataset.class_names) == (224, 3, ("cat", "dog"))
    assert dataset.mean == pytest.approx((0.485, 0.456, 0.406))


def test_a_given_val_is_test_when_val_is_cut(write_folder):
    folder = write_folder(train=20, val=2)
    given = load(Request("image_folder", path=str(folder)))
    cut = load(Request("image_folder", path=str(folder), val="cut"))
    assert cut.splits["test"].ids == given.splits["val"].ids
    assert sorted(cut.splits["train"].ids + cut.splits["val"].ids) == list(given.splits["train"].ids)
    assert cut.splits["val"].image(0).tobytes() == Image.open(folder / "train" / cut.splits["val"].ids[0]).tobytes()


def test_a_set_with_all_three_keeps_its_test(write_folder):
    folder = write_folder(train=20, valid=2, test=3)
    given, cut = (load(Request("image_folder", path=str(folder), val=val)).splits for val in ("given", "cut"))
    assert len(given["test"]) == len(cut["test"]) == 6
    assert (len(given["train"]), len(given["val"])) == (40, 4)
    assert sorted(cut["train"].ids + cut["val"].ids) == list(given["train"].ids)


def test_only_images_count_and_names_decide_the_order(write_folder):
    folder = write_folder(train=3, val=1)
    for stray in (".hidden.png", "notes.txt"):
        (folder / "train/cat" / stray).write_bytes(b"")
    (folder / "train/.cache").mkdir()
    Image.new("L", (4, 4)).save(folder / "train/cat/Last.JPEG", "jpeg")
    ids = load(Request("image_folder", path=str(folder))).splits["train"].ids
    assert ids == ("cat/0.png", "cat/1.png", "cat/2.png", "cat/Last.JPEG", "dog/0.png", "dog/1.png", "dog/2.png")


def test_the_fingerprint_of_a_folder_sees_names_sizes_and_classes_without_decoding(write_folder):
    folder = write_folder(train=3, val=1)
    request = Request("image_folder", path=str(folder))
    found = [load(request).fingerprint]
    file = folder / "train/cat/1.png"
    file.write_bytes(b"not an image")
    found.append(load(request).fingerprint)
    file.rename(folder / "train/cat/9.png")
    found.append(load(request).fingerprint)
    (folder / "train/cat/9.png").rename(folder / "train/dog/9.png")
    found.append(load(request).fingerprint)
    assert len(set(found)) == 4
    assert load(request).fingerprint == found[-1]


def test_variables_and_the_root_are_followed(write_folder, monkeypatch):
    folder = write_folder(train=10)
    monkeypatch.setenv("PLACE", folder.parent.name)
    expected = load(Request("image_folder", path=str(folder))).fingerprint
    for path, root in (("$PLACE/pictures", folder.parent.parent), ("pictures", folder.parent)):
        assert load(Request("image_folder", path=path, root=root)).fingerprint == expected
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load(Request("image_folder", path="~/pictures")).fingerprint == expected


def test_a_folder_that_is_no_data_set_is_refused(write_folder, tmp_path):
    def message(path: Path, **more) -> str:
        return refused(Request("image_folder", path=str(path), **more)).given

    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "bare/train").mkdir(parents=True)
    hole = write_folder("hole", train=2, val=1)
    (hole / "train/ant").mkdir()
    (hole / "val/ant").mkdir()
    other = write_folder("other", train=2, val=1)
    (other / "val/dog").rename(other / "val/horse")
    assert "does not exist" in message(tmp_path / "nowhere")
    assert "is not a folder" in message(tmp_path / "file")
    assert "no train split; it holds nothing" in message(empty)
    assert "no class folders" in message(tmp_path / "bare")
    assert "hole/train/ant has no images" in message(hole)
    assert "only val has horse; only train has dog" in message(other)
    assert "one class only" in message(write_folder("single", classes=("cat",), train=9))
    assert "leaves the val split of image_folder empty" in message(write_folder("few", train=2), val_fraction=1e-6)
    assert "needs a path" in refused(Request("image_folder")).given


def write_parquet(folder: Path, metadata: dict[str, str] | None = None, **columns: list) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), folder / "train.parquet")
    return folder


def hub_rows(n: int, paths: bool = True) -> dict[str, list]:
    images = [{"bytes": png(i), "path": f"{i:03d}.png" if paths else None} for i in range(n)]
    return {"image": images, "label": [i % 2 for i in range(n)]}


HUB = {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["dog", "cat"], "_type": "ClassLabel"}}}})}


@pytest.mark.parametrize("paths", [True, False])
def test_the_hubs_layout_of_parquet_is_read(tmp_path, paths):
    dataset = load(Request("parquet", path=str(write_parquet(tmp_path, HUB, **hub_rows(20, paths)))))
    assert dataset.class_names == ("dog", "cat")
    train = dataset.splits["train"]
    for position, sample_id in enumerate(train.ids):
        row = int(sample_id.split("/")[1].removesuffix(".png"))
        assert train.image(position).tobytes() == Image.open(io.BytesIO(png(row))).tobytes()
        assert train.labels[position] == row % 2


def test_a_test_split_without_labels_is_left_out(tmp_path):
    folder = write_parquet(tmp_path, HUB, **hub_rows(20))
    rows = {**hub_rows(4), "label": [-1] * 4}
    pq.write_table(pa.table(rows).replace_schema_metadata(HUB), folder / "test-00000-of-00001.parquet")
    assert len(load(Request("parquet", path=str(folder))).splits["test"]) == 0


def test_classes_come_from_the_paths_where_no_metadata_names_them(tmp_path):
    rows = {"path": [f"{'ab'[i % 2]}/{i}.png" for i in range(20)], "image": [png(i) for i in range(20)],
            "label": [i % 2 for i in range(20)]}  # fmt: skip
    assert load(Request("parquet", path=str(write_parquet(tmp_path, **rows)))).class_names == ("a", "b")


def test_the_fingerprint_of_parquet_sees_every_byte(tmp_path):
    rows = hub_rows(20)
    first = load(Request("parquet", path=str(write_parquet(tmp_path, HUB, **rows)))).fingerprint
    content = bytearray(rows["image"][3]["bytes"])
    content[-1] ^= 1
    rows["image"][3]["bytes"] = bytes(content)
    assert load(Request("parquet", path=str(write_parquet(tmp_path, HUB, **rows)))).fingerprint != first


def test_parquet_that_is_no_data_set_is_refused(tmp_path, monkeypatch):
    def message(**columns: list) -> str:
        return refused(Request("parquet", path=str(write_parquet(tmp_path, **columns)))).given

    images, labels = [png(i) for i in range(6)], [0, 1] * 3
    assert "has the columns picture, label" in message(picture=images, label=labels)
    assert "column image" in message(image=["text"] * 6, label=labels)
    assert "column label" in message(image=images, label=["cat"] * 6)
    assert "has the label -1" in message(image=images, label=[0, 1, 0, 1, -1, 1])
    assert "one class and file name" in message(image=images, label=labels, path=["a/1.png"] * 6)
    assert "one class only" in message(image=images, label=[0] * 6)
    assert "has the label -1" in message(image=images, label=[0, None, 0, 1, 1, 1])
    monkeypatch.setattr("slws_lab.data.parquet._MEMORY_SHARE", 0.0)
    assert "of memory are free" in message(image=images, label=labels)
    monkeypatch.undo()
    (tmp_path / "train.parquet").write_bytes(b"PAR1 cut short")
    assert "cannot be read" in refused(Request("parquet", path=str(tmp_path))).given
    (tmp_path / "train.parquet").unlink()
    assert "no train split" in refused(Request("parquet", path=str(tmp_path))).given


def test_an_empty_val_file_is_refused(tmp_path):
    folder = write_parquet(tmp_path, HUB, **hub_rows(20))
    pq.write_table(pq.read_table(folder / "train.parquet")[:0], folder / "val.parquet")
    assert "the val split of parquet is empty" in refused(Request("parquet", path=str(folder))).given
    assert len(load(Request("parquet", path=str(folder), val="cut")).splits["val"]) > 0


def test_parquet_splits_of_different_classes_are_refused(tmp_path):
    folder = write_parquet(tmp_path, {"classes": "a,b"}, **hub_rows(20))
    pq.write_table(pa.table(hub_rows(4)).replace_schema_metadata({"classes": "a,c"}), folder / "test.parquet")
    assert "name different classes" in refused(Request("parquet", path=str(folder))).given


def write_tar(path: Path, samples: dict[str, tuple[int, bytes]], labelled: bool = True) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as file:
        for key, (label, image) in samples.items():
            for name, content in ((f"{key}.png", image), (f"{key}.cls", str(label).encode())):
                if labelled or name.endswith(".png"):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    file.addfile(info, io.BytesIO(content))


def test_tars_are_read_by_place_in_the_order_of_the_ids(tmp_path):
    samples = {f"{i:03d}": (i % 2, png(i)) for i in range(20)}
    for shard, start in ((0, 0), (1, 12)):
        part = dict(list(samples.items())[start : start + 12 if shard == 0 else None])
        write_tar(tmp_path / f"set-train-{shard:04d}.tar", part)
    write_tar(tmp_path / "set-validation-0000.tar", {"x": (1, png(99))})
    dataset = load(Request("wds/set", path=str(tmp_path)))
    train = dataset.splits["train"]
    assert train.ids == tuple(sorted(f"{i % 2}/{i:03d}.png" for i in range(20)))
    for position, sample_id in enumerate(train.ids):
        assert train.images.encoded(train.rows[position]) == png(int(sample_id[2:5]))
    assert dataset.splits["val"].ids == ("1/x.png",)
    assert load(Request(f"wds/{tmp_path.name}", root=tmp_path.parent)).splits["train"].ids == train.ids


def test_the_info_file_says_which_tars_belong_to_a_split(tmp_path):
    write_tar(tmp_path / "a.tar", {f"{i}": (i % 2, png(i)) for i in range(6)})
    write_tar(tmp_path / "b.tar", {"9": (0, png(9))})
    splits = {"train": {"filenames": ["a.tar"]}, "validation": {"filenames": ["b.tar"]}}
    (tmp_path / "_info.json").write_text(json.dumps({"splits": splits}))
    dataset = load(Request("wds/set", path=str(tmp_path)))
    assert [len(dataset.splits[name]) for name in ("train", "val", "test")] == [6, 1, 0]


def test_tars_that_are_no_data_set_are_refused(tmp_path):
    def message() -> str:
        return refused(Request("wds/set", path=str(tmp_path))).given

    assert "no train split" in message()
    write_tar(tmp_path / "train.tar", {"0": (0, png(0)), "1": (1, png(1))}, labelled=False)
    assert "0.png in" in message()
    write_tar(tmp_path / "train.tar", {})
    assert "holds no images" in message()
    write_tar(tmp_path / "train.tar", {str(i): (i % 2, png(i)) for i in range(9)})
    write_tar(tmp_path / "test.tar", {"0": (7, png(0))})
    assert "has the label 7" in message()
    (tmp_path / "train.tar").write_bytes(b"x" * 2000)
    assert "cannot be read" in message()


def write_pickle(path: Path, content: dict) -> list[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return [path.name, hashlib.md5(path.read_bytes()).hexdigest()]


@pytest.fixture
def cifar10_files(tmp_path, monkeypatch) -> tuple[Path, np.ndarray]:
    """Six batches of 20 images in CIFAR-10's own format, and their pixels; checksums are those of these files."""
    source = np.random.default_rng(0).integers(0, 256, (6, 20, 3072), dtype=np.uint8)
    base = tmp_path / "cifar-10-batches-py"
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    labels = [i % 10 for i in range(20)]
    sums = [
        write_pickle(base / name, {"data": data, "labels": labels}) for name, data in zip(names, source, strict=True)
    ]
    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    meta = write_pickle(base / "batches.meta", {"label_names": classes})
    cifar = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cifar, "train_list", sums[:5])
    monkeypatch.setattr(cifar, "test_list", sums[5:])
    monkeypatch.setattr(cifar, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    return tmp_path, source


def test_cifar10_is_read_in_its_own_format(cifar10_files):
    folder, source = cifar10_files
    dataset = load(Request("cifar10", path=str(folder)))
    assert (dataset.size, dataset.channels, dataset.num_classes) == (32, 3, 10)
    for split, batches in (("train", source[:5]), ("val", source[:5]), ("test", source[5:])):
        part, planes = dataset.splits[split], batches.reshape(-1, 3, 32, 32)
        for position, sample_id in enumerate(part.ids):
            name, number = sample_id.split("/")
            assert np.array_equal(np.asarray(part.image(position)).transpose(2, 0, 1), planes[int(number)])
            assert dataset.class_names[int(number) % 10] == name
    train = dataset.splits["train"]
    pixels = source[:5].reshape(-1, 3, 32, 32)[[int(i.split("/")[1]) for i in train.ids]] / 255
    assert dataset.mean == pytest.approx(pixels.mean((0, 2, 3)))
    assert dataset.std == pytest.approx(pixels.std((0, 2, 3)))


def test_fashion_mnist_is_read_in_its_own_format(tmp_path):
    raw = tmp_path / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
    labels = np.arange(60, dtype=np.uint8) % 10
    for name in ("train", "t10k"):
        header = np.array([0x803, 60, 28, 28], dtype=">i4").tobytes()
        (raw / f"{name}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(np.array([0x801, 60], dtype=">i4").tobytes() + labels.tobytes())
    dataset = load(Request("fashion_mnist", path=str(tmp_path)))
    assert (dataset.size, dataset.channels, dataset.class_names[0]) == (28, 1, "T-shirt/top")
    test = dataset.splits["test"]
    for position, sample_id in enumerate(test.ids):
        number = int(sample_id.split("/")[1])
        assert np.array_equal(np.asarray(test.image(position)), pixels[number])
        assert test.labels[position] == number % 10


def test_a_set_that_is_not_there_is_refused_and_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "torchvision.datasets.cifar.download_and_extract_archive", lambda *_, **__: pytest.fail("asked")
    )
    assert "does not hold cifar10" in refused(Request("cifar10", path=str(tmp_path))).given
    assert "`slws data download cifar10 FOLDER`" in refused(Request("cifar10", path=str(tmp_path))).todo


def test_a_download_is_made_when_asked_and_its_failure_is_told(tmp_path, monkeypatch):
    asked = []

    def away(url: str, *_: object, **__: object) -> None:
        asked.append(url)
        raise URLError("no route")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", away)
    with pytest.raises(UserError, match=r"cifar10 cannot be downloaded: .*no route"):
        download("cifar10", tmp_path)
    assert len(asked) == 1
    with pytest.raises(UserError, match="did you mean 'cifar100'"):
        download("cifar1000", tmp_path)
    assert set(small.CLASSES) == {"cifar10", "cifar100", "fashion_mnist"}


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    error = refused(Request("hfds/some/set"))
    assert "pip install datasets" in error.todo
    assert error.where == "name"


def test_a_folder_through_hugging_face_gives_the_same_samples(write_folder, tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="the package datasets is optional")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "cache").mkdir()
    folder = write_folder(train=8, test=2)
    hub = load(Request(f"hfds/{folder}", path=str(tmp_path / "cache")))
    assert same(hub, load(Request("image_folder", path=str(folder))))


def test_the_digits_are_those_that_scikit_learn_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    expected = load_digits()
    for package in (digits.find_spec("sklearn"), None):
        monkeypatch.setattr(digits, "find_spec", lambda _, package=package: package)
        images, labels = digits._images()
        assert (images == expected.images).all() and (labels == expected.target).all()
