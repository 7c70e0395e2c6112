"""`slws data`: a data set read through, with what is wrong named; a download that fails says so."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import RECIPE, REPOSITORY, Folder, Slws, make_project
from PIL import Image
from ruamel.yaml import YAML
from typer.main import get_command

from slws_lab.cli.app import app
from slws_lab.spec import DataSpec

OUT_OF_ORDER = """name: tiny
question: q
recipe: ../experiments/tiny.yaml
factors: {data.label_fraction: {levels: [1.0, 0.25], off: 1.0}, model.drop_path: [0.0, 0.1]}
designs: [{leave_one_out: [data.label_fraction, model.drop_path]}, {grid: [model.drop_path]}]
seeds: 3
"""


@pytest.fixture
def images(tmp_path: Path) -> Folder:
    """A project whose recipe reads a folder of 3 splits, 2 classes, 4 images each."""
    project = make_project(
        tmp_path / "project", recipe=RECIPE.replace("name: digits", "name: image_folder, path: pets")
    )
    draws = np.random.Generator(np.random.PCG64(1))
    for split in ("train", "val", "test"):
        for name in ("cat", "dog"):
            for i in range(4):
                path = project.path / "pets" / split / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draws.integers(0, 256, (10, 12 + i, 3), dtype=np.uint8)).save(path)
    return project


@pytest.mark.usefixtures("here")
def test_a_sound_data_set_is_described(images: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws("data", "check", images.recipe, cwd=images.path) == 0
    printed = capsys.readouterr().out
    for words in ("image_folder", "2 classes", "train", "12 to 15", "RGB 8", "224 px, 3 channel(s), mean 0.4850", "images/s",
                  "every image can be read"):  # fmt: skip
        assert words in printed
    assert slws("data", "check", images.recipe, "--json", cwd=images.path) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sound"] is True
    assert found["splits"]["test"]["per_class"] == {"cat": 4, "dog": 4}


@pytest.mark.usefixtures("here")
def test_of_a_study_the_data_of_its_baseline_are_read(
    images: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = images.study.read_text() + "set: {data.label_fraction: 0.25}\n"
    images.study.write_text(fewer)
    for named in (str(images.study), images.study.stem):
        assert slws("data", "check", named, "--json", cwd=images.path) == 0
        assert json.loads(capsys.readouterr().out)["splits"]["train"]["samples"] == 2, "one of four a class"
    images.study.write_text(OUT_OF_ORDER)
    assert slws("data", "check", str(images.study), "--json", cwd=images.path) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["samples"] == 8, "the first arm has all on"
    assert slws("data", "check", "absent", cwd=images.path) == 2
    assert "no study 'absent'" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_broken_and_shared_images_are_named_and_the_exit_code_is_1(
    images: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    pets = images.path / "pets"
    (pets / "val" / "dog" / "2.png").write_bytes(b"nothing")
    assert slws("data", "check", images.recipe, cwd=images.path) == 1
    printed = capsys.readouterr().out
    assert "broken in val: dog/2.png" in printed
    assert "1 broken image(s)" in printed
    (pets / "val" / "dog" / "2.png").write_bytes((pets / "val" / "dog" / "1.png").read_bytes())
    assert slws("data", "check", images.recipe, cwd=images.path) == 0
    assert "repeated in val: dog/1.png = dog/2.png" in capsys.readouterr().out
    (pets / "test" / "cat" / "3.png").write_bytes((pets / "train" / "cat" / "0.png").read_bytes())
    assert slws("data", "check", images.recipe, cwd=images.path) == 1
    printed = capsys.readouterr().out
    assert "train and test share: cat/0.png = cat/3.png" in printed
    assert "1 image(s) of test are in train too" in printed


def test_workers_and_a_process_of_its_own_find_the_same(
    images: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    (images.path / "pets" / "train" / "cat" / "1.png").write_bytes(b"")
    assert slws("data", "check", images.recipe, "--workers", 2, "--json", cwd=images.path) == 1
    assert list(json.loads(capsys.readouterr().out)["splits"]["train"]["broken"]) == ["cat/1.png"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("path: pets", "path: nowhere", ["does not exist", "tiny.yaml:3:34 (data.path)"]),
        ("name: image_folder", "name: image_folders", ["unknown data set", "tiny.yaml:3:14 (data.name)"]),
        ("epochs: 2", "epoch: 2", ["unknown key 'epoch'"]),
    ],
)
def test_recipes_whose_data_cannot_be_read(
    old: str, new: str, said: list[str], images: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    images.recipe.write_text(images.recipe.read_text().replace(old, new, 1))
    assert slws("data", "check", images.recipe, cwd=images.path) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [part for part in said if part not in printed.err] == [], printed.err


@pytest.mark.usefixtures("here")
def test_a_download_that_fails_is_one_message(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nothing listens
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        "urllib.request._opener", None
    )  # it keeps the proxies that it was made with, for all later tests
    assert slws("data", "download", "cifar10", project.path / "sets", cwd=project.path) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("slws: cifar10 cannot be downloaded")
    assert "check the connection" in printed.err
    assert "Traceback" not in printed.err
    assert "cifar10 is in" not in printed.out


@pytest.mark.usefixtures("here")
def test_a_set_that_cannot_be_downloaded_is_a_mistake(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    before = project.listing()
    assert slws("data", "download", "cifar", cwd=project.path) == 2
    assert "did you mean 'cifar10'?" in capsys.readouterr().err
    assert slws("data", "download", "cifar10", "pyproject.toml", cwd=project.path) == 2
    assert "a file, not a folder" in capsys.readouterr().err
    assert project.listing() == before


@pytest.mark.usefixtures("here")
def test_a_download_says_how_a_recipe_uses_it(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Path]] = []
    monkeypatch.setattr("slws_lab.data.download", lambda name, folder: asked.append((name, folder)))
    assert slws("data", "download", "cifar100", cwd=project.path) == 0
    assert asked == [("cifar100", project.path / "data")]
    assert f"data: {{name: cifar100, path: {project.path / 'data'}}}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["data.md", "evaluate.md"])
def test_what_the_how_tos_show_is_there(name: str) -> None:
    text = (REPOSITORY / "docs" / "how-to" / name).read_text()
    commands = re.findall(r"^slws (.+?)(?:\s+#.*)?$", text, re.MULTILINE)
    assert len(commands) >= 4
    for words in map(shlex.split, commands):
        found = get_command(app)
        while hasattr(found, "commands"):
            found = found.commands[words.pop(0)]
        options = {option for parameter in found.params for option in parameter.opts}
        assert [word for word in words if word.startswith("--") and word not in options] == []
        assert [word for word in words if word.startswith("experiments/") and not (REPOSITORY / word).exists()] == []
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        DataSpec.model_validate(YAML(typ="safe").load(block)["data"])
