"""What is found in a data set with planted faults."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from slws_lab.data import Request, examine


@pytest.mark.parametrize("workers", [0, 2])
def test_planted_faults_are_found(write_folder, workers):
    folder = write_folder(train=5, val=3, test=2)
    shutil.copy(folder / "train/cat/0.png", folder / "test/dog/leak.png")
    shutil.copy(folder / "train/cat/0.png", folder / "train/dog/again.png")
    Image.new("L", (30, 4)).save(folder / "val/cat/grey.png")
    (folder / "train/cat/4.png").write_bytes(b"")
    for name in ("link", "other"):
        (folder / f"val/dog/{name}.png").symlink_to(folder / "nowhere")
    found = examine(Request("image_folder", path=str(folder)), workers)
    assert json.loads(json.dumps(found)) == found
    train, val, test = (found["splits"][name] for name in ("train", "val", "test"))
    assert (train["samples"], train["per_class"]) == (11, {"cat": 5, "dog": 6})
    assert (train["width"], train["height"], train["modes"]) == ([12, 12], [9, 9], {"RGB": 10})
    assert train["broken"] == {"cat/4.png": "no image that Pillow recognises"}
    assert train["duplicates"] == {"images": 1, "groups": [["cat/0.png", "dog/again.png"]]}
    assert (val["width"], val["height"], val["modes"]) == ([12, 30], [4, 9], {"L": 1, "RGB": 6})
    assert "FileNotFoundError" in val["broken"]["dog/link.png"]
    assert test["duplicates"] == val["duplicates"] == {"images": 0, "groups": []}
    shared = {tuple(one["splits"]): (one["images"], one["examples"]) for one in found["shared"]}
    assert shared == {
        ("train", "val"): (0, []),
        ("train", "test"): (1, [["cat/0.png", "dog/leak.png"]]),
        ("val", "test"): (0, []),
    }
    assert (found["name"], found["classes"]) == ("image_folder", 2)
    assert found["images_per_s"] * found["seconds"] == pytest.approx(25)


def test_an_empty_split_has_no_sizes(write_folder):
    found = examine(Request("image_folder", path=str(write_folder(train=5, val=3))))
    assert found["splits"]["test"]["samples"] == 0
    assert found["splits"]["test"]["width"] is None


def test_the_digits_are_examined_by_their_pixels():
    found = examine(Request("digits"))
    assert sum(split["samples"] for split in found["splits"].values()) == 1797
    assert found["splits"]["train"]["modes"] == {"L": 1140}
    assert found["splits"]["train"]["width"] == [8, 8]
