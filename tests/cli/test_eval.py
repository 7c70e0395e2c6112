"""`slws eval`: what it prints and writes, and one message for each thing that cannot be evaluated."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import RECIPE, Folder, Slws, make_project
from safetensors.torch import load_file

from slws_lab.spec import Resources, RunSpec, load_recipe
from slws_lab.tracking import RunFolder, Workspace
from slws_lab.worker import Place, execute

FIGURES = ("loss", "top1", "top5", "ece", "n", "images_per_s")


@pytest.fixture(scope="module")
def evaluable(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A project with one finished run of its recipe. Do not change it: copy it."""
    folder = make_project(tmp_path_factory.mktemp("evaluable") / "project")
    run = RunSpec.of(load_recipe(folder.recipe), 0)
    place = Workspace(folder.workspace).run(run)
    place.create(run)
    assert execute(place.new_attempt(), Place(folder.path, Resources(gpus=0), lambda: False)) == "finished"
    return folder


@pytest.fixture
def copied(evaluable: Folder, tmp_path: Path) -> Folder:
    return Folder(Path(shutil.copytree(evaluable.path, tmp_path / "copied")))


def the_run(folder: Folder) -> RunFolder:
    (run,) = Workspace(folder.workspace).folders()
    return run


def weights(folder: Folder, name: str = "last") -> Path:
    return the_run(folder).attempts()[0].checkpoint / f"{name}.safetensors"


def test_a_runs_own_val_figures_come_out_of_the_command(
    evaluable: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    run = the_run(evaluable)
    name = run.run_id.rsplit("-", 1)[1][:6]
    assert slws("eval", name, "--split", "val", "--gpus", 0, "--json", cwd=evaluable.path) == 0
    found, own = json.loads(capsys.readouterr().out), (run.attempts()[0].result() or {})["metrics"]
    assert (found["run_id"], found["attempt"], found["notes"]) == (run.run_id, 1, [])
    for kind, ending in (("last", ""), ("ema", "_ema")):
        assert found["weights"][kind]["loss"] == own[f"val/loss{ending}"]
        assert found["weights"][kind]["top1"] == own[f"val/top1{ending}"]
        assert all(name in found["weights"][kind] for name in FIGURES)


@pytest.mark.usefixtures("here")
def test_figures_are_drawn_and_written(
    evaluable: Folder, tmp_path: Path, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a" / "b"
    assert slws("eval", the_run(evaluable).run_id, "--out", out, "--gpus", 0, cwd=evaluable.path) == 0
    printed = capsys.readouterr().out
    assert [
        word for word in (*FIGURES, "last", "ema", "split test", "recall", "true \\ said") if word not in printed
    ] == []
    assert sorted(path.name for path in out.iterdir()) == ["confusion.csv", "evaluation.json", "per_class.csv"]
    found = json.loads((out / "evaluation.json").read_text())
    with (out / "per_class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["weights"], row["class"]) for row in rows] == [
        (kind, str(i)) for kind in ("last", "ema") for i in range(10)
    ]
    with (out / "confusion.csv").open(newline="") as file:
        confusion = list(csv.DictReader(file))
    right = sum(int(row[row["class"]]) for row in confusion if row["weights"] == "ema")
    assert 100 * right / found["weights"]["ema"]["n"] == found["weights"]["ema"]["top1"]
    assert sum(int(row[str(i)]) for row in confusion for i in range(10)) == 2 * found["weights"]["ema"]["n"]


@pytest.mark.usefixtures("here")
def test_a_file_and_its_recipe_are_the_run(evaluable: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    def loss(*arguments: object) -> float:
        assert slws("eval", *arguments, "--gpus", 0, "--weights", "last", "--json", cwd=evaluable.path) == 0
        return float(json.loads(capsys.readouterr().out)["weights"]["last"]["loss"])

    assert loss(weights(evaluable), "--recipe", evaluable.recipe) == loss(the_run(evaluable).run_id)


@pytest.mark.usefixtures("here")
def test_the_last_stage_says_how_a_run_is_evaluated(
    copied: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    copied.recipe.write_text(RECIPE + "stages: [{name: a}, {name: b, set: {data.size: 16}}]\n")
    assert slws("eval", weights(copied), "--recipe", copied.recipe, "--gpus", 0, "--json", cwd=copied.path) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["size"] == 16
    assert found["weights"]["last"]["resized"] == ["pos_embed"]


def refused(slws: Slws, folder: Folder, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Give a command that must be refused without a trace; return its message."""
    before = folder.listing()
    assert slws("eval", *arguments, cwd=folder.path) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert folder.listing() == before
    return " ".join(printed.err.split())


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--split", "train"], ["--split train", "test, val"]),
        (["--weights", "emma"], ["--weights emma", "did you mean 'ema'?"]),
        (["--data", "digit"], ["unknown data set 'digit'", "where: --data", "did you mean 'digits'?"]),
        (["--data", "image_folder:nowhere"], ["does not exist", "where: --data"]),
        (["--data", "cifar10"], ["needs a path"]),
        (["--data", ":"], ["--data :", "NAME or NAME:PATH"]),
        (["--resolution", 9], ["no whole number of patches", "where: --resolution"]),
        (["--resolution", 1], ["hold no patch", "where: --resolution"]),
        (["--resolution", 0], ["Invalid value for '--resolution'"]),
        (["--crop", 0], ["--crop 0.0", "a share above 0, at most 1"]),
        (["--batch-size", 0], ["Invalid value for '--batch-size'"]),
        (["--out", "pyproject.toml/x"], ["a file, not a folder"]),
        (["--out", "x" * 300], ["no folder can have this name"]),
        (["--recipe", "experiments/tiny.yaml"], ["no such file of weights", "a run is named without --recipe"]),
    ],
)  # fmt: skip
def test_what_a_run_cannot_be_evaluated_with(
    options: list[object], said: list[str], evaluable: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(slws, evaluable, capsys, the_run(evaluable).run_id, *options, "--gpus", 0)
    assert [part for part in said if part not in message] == [], message


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.usefixtures("here")
def test_a_gpu_that_is_not_there(evaluable: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert "torch finds no GPU" in refused(slws, evaluable, capsys, the_run(evaluable).run_id, "--gpus", 1)


@pytest.mark.parametrize("name", ["nothing", "shufflemamba-s0-abc", "../../etc/passwd", "x" * 300, "*"])
def test_runs_that_are_not_there(name: str, evaluable: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such run" in refused(slws, evaluable, capsys, name)


def test_runs_without_weights(copied: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    run = the_run(copied)
    assert slws("clean", "--weights", "--yes", cwd=copied.path) == 0
    capsys.readouterr()
    message = refused(slws, copied, capsys, run.run_id)
    assert "are gone" in message
    assert "slws clean --weights" in message
    (run.attempts()[0].path / "result.json").unlink()
    assert "has no result: it is pending" in refused(slws, copied, capsys, run.run_id)


@pytest.mark.usefixtures("here")
def test_files_that_hold_no_weights_of_the_model(
    copied: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    def of(name: str, content: object) -> str:
        path = copied.path / name
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        return refused(slws, copied, capsys, path, "--recipe", copied.recipe, "--gpus", 0)

    state = load_file(weights(copied))
    for name in ("a.pth", "a.safetensors"):
        assert "the file cannot be read" in of(name, b"no checkpoint\x00")
    assert "no weights in it" in of("b.pth", {"epoch": 3})
    assert "holds more than data" in of("c.pth", {"model": state, "spec": Path("x")})
    assert "no key of this" in of("d.pth", {"fc.weight": torch.zeros(2, 2)})
    assert "7 classes, the model has 10" in of(
        "e.pth", state | {"head.weight": torch.zeros(7, 16), "head.bias": torch.zeros(7)}
    )
    assert "a file, which does not say" in refused(slws, copied, capsys, copied.path / "d.pth")
    assert "slws eval absent.pth --recipe RECIPE" in refused(slws, copied, capsys, "absent.pth")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("epochs: 2", "epoch: 2", ["unknown key 'epoch'", "tiny.yaml:5:9"]),
        ("shufflemamba_micro,", "shufflemamba_mikro,", ["no model 'shufflemamba_mikro'", "tiny.yaml:2:15 (model.name)"]),
        ("name: digits,", "name: parquet, path: nowhere,", ["does not exist", "tiny.yaml:3:29 (data.path)"]),
        ("depth: 2", "depth: 3", ["the weights do not fit", "missing"]),
        ("ema_decay: 0.9}", "ema_decay: 0.9}\nstages: [{name: a, set: {data.name: x}}]", ["stages share", "tiny.yaml:6:"]),
    ],
)  # fmt: skip
def test_recipes_that_do_not_say_what_a_file_belongs_to(
    old: str, new: str, said: list[str], copied: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in RECIPE
    copied.recipe.write_text(RECIPE.replace(old, new, 1))
    message = refused(slws, copied, capsys, weights(copied), "--recipe", copied.recipe, "--gpus", 0)
    assert [part for part in said if part not in message] == [], message
