"""What a finished training leaves for MLflow: a folder that loads as a pyfunc and predicts to the last bit as the checkpoint itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Folder
from numpy.typing import NDArray
from safetensors.torch import load_file
from training_runs import spec

from slws_lab import worker
from slws_lab.data import normalize
from slws_lab.spec import Resources, RunSpec, resolve_stages
from slws_lab.tracking import Attempt, Workspace
from slws_lab.tracking.mirror_model import model_files
from slws_lab.training import build, inference
from slws_lab.worker.served import Served, _load_pyfunc

OWN = """
import timm, torch
from timm.models import register_model

class Flat(torch.nn.Module):
    def __init__(self, num_classes, in_chans):
        super().__init__()
        self.head = torch.nn.Linear(64 * in_chans, num_classes)

    def forward(self, images):
        return self.head(images.flatten(1))

@register_model
def flat(pretrained=False, num_classes=10, in_chans=1, **kwargs):
    return Flat(num_classes, in_chans)
"""


def executed(root: Path, run: RunSpec) -> Attempt:
    folder = Workspace(root).run(run)
    folder.create(run)
    attempt = folder.attempt(1)
    assert worker.execute(attempt, worker.Place(root, Resources(gpus=0), lambda: False)) == "finished", attempt.result()
    return attempt


def forward(
    attempt: Attempt, run: RunSpec, weights: str, root: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return images with pixels from 0 to 1, and the logits of the checkpoint's own model for their bytes."""
    recipe = resolve_stages(run)[-1]
    data = build.build_data(recipe, root)
    model = build.build_model(recipe, build.Shape.of(data), str((attempt.result() or {})["scan_backend"]), root)
    model.load_state_dict(load_file(attempt.checkpoint / f"{weights}.safetensors"))
    shape = (9, data.channels, data.size, data.size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = model.eval()(normalize(pixels, data.mean, data.std))
    return (pixels.float() / 255).numpy(), logits.numpy()


def artifacts(attempt: Attempt, weights: Any, place: Path) -> Path:
    """Lay an attempt's model out as MLflow's artifacts have it."""
    for name, source in model_files(attempt, weights).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place / name)
    return place


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Attempt, RunSpec]:
    run = spec(train={"epochs": 1})
    torch.set_num_threads(1)
    return executed(tmp_path_factory.mktemp("trained"), run), run


@pytest.mark.parametrize("weights", ["last", "ema"])
def test_a_model_predicts_bit_for_bit_as_its_checkpoint(
    trained: tuple[Attempt, RunSpec], weights: str, tmp_path: Path
) -> None:
    attempt, run = trained
    images, logits = forward(attempt, run, weights, tmp_path)
    state = torch.get_rng_state()
    served = _load_pyfunc(str(artifacts(attempt, weights, tmp_path / "model")))
    assert torch.equal(torch.get_rng_state(), state)  # who loads a model keeps his own draws
    assert np.array_equal(served.predict(images), logits)
    assert served.predict(images).dtype == np.float32


def test_mlflow_reads_the_signature_and_refuses_other_images(trained: tuple[Attempt, RunSpec]) -> None:
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException

    attempt, _ = trained
    loaded = mlflow.pyfunc.load_model(str(attempt.path / "model"))  # in the run's folder the weights are beside it
    signature = loaded.metadata.signature.to_dict()
    shapes = [json.loads(signature[side])[0]["tensor-spec"] for side in ("inputs", "outputs")]
    assert shapes == [{"dtype": "float32", "shape": [-1, 1, 8, 8]}, {"dtype": "float32", "shape": [-1, 10]}]
    assert "not normalised" in loaded.metadata.metadata["input"]
    images = np.random.default_rng(0).random((300, 1, 8, 8), dtype=np.float32)
    assert loaded.predict(images).shape == (300, 10)
    for wrong in (images.astype(np.float64), images[:, :, :7], images[0]):
        with pytest.raises(MlflowException):
            loaded.predict(wrong)


def test_what_is_written_names_the_packages_and_the_recipe_and_no_place_of_this_machine(
    trained: tuple[Attempt, RunSpec],
) -> None:
    attempt, run = trained
    folder = attempt.path / "model"
    assert sorted(path.name for path in folder.iterdir()) == ["MLmodel", "config.json", "requirements.txt"]
    told = json.loads((folder / "config.json").read_text())
    assert told["recipe"] == run.model_dump(mode="json", exclude={"seed"})
    assert f"torch=={version('torch')}" in (folder / "requirements.txt").read_text().splitlines()
    assert not any(
        str(Path.home()) in path.read_text() or str(attempt.path) in path.read_text() for path in folder.iterdir()
    )


def test_a_model_of_the_users_own_goes_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    run = spec(models=["mine.py"], model={"name": "flat", "drop_path": 0.0, "args": {}}, shuffle={"schedule": "none"},
               train={"epochs": 1, "ema_decay": None})  # fmt: skip
    attempt = executed(tmp_path, run)
    images, logits = forward(attempt, run, "last", tmp_path)
    place = artifacts(attempt, "last", tmp_path / "elsewhere" / "model")
    (tmp_path / "mine.py").unlink()
    assert np.array_equal(Served(place, torch.device("cpu")).predict(images), logits)


def test_a_result_says_what_an_image_costs_and_does_without_where_that_cannot_be_counted(
    trained: tuple[Attempt, RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt, run = trained
    result = attempt.result() or {}
    measured = inference.measure(inference.Question(run, tmp_path, gpus=0))
    assert result["flops"] == measured["flops"] > 0

    def refuse(*_: object) -> int:
        raise NotImplementedError("no numbers on the meta device")

    monkeypatch.setattr(inference, "count_flops", refuse)
    monkeypatch.setattr(inference, "_COUNTED", {})
    other = executed(tmp_path, run)
    assert "flops" not in (other.result() or {"flops": 0})
    assert "cannot be counted: no numbers on the meta device" in other.log.read_text()


def test_flops_are_counted_once_for_each_architecture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    counted: list[object] = []
    monkeypatch.setattr(inference, "_COUNTED", {})
    monkeypatch.setattr(inference, "count_flops", lambda model, _: counted.append(model) or 7)
    shape = build.Shape(8, 1, 10)
    for run in (
        spec(),
        spec(seed=2),
        spec(model={"drop_path": 0.1}),
        spec(train={"lr": 1e-3}),
        spec(model={"args": {"depth": 2}}),
    ):
        assert inference.flops_of(run, shape, tmp_path) == 7
    assert len(counted) == 2


LOAD = """
import sys, numpy, mlflow.pyfunc
model = mlflow.pyfunc.load_model(sys.argv[1])
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2])))
"""


def test_the_best_runs_model_loads_from_the_store_in_a_fresh_process(finished: Folder, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    store = f"sqlite:///{finished.workspace / 'mlflow.db'}"
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("tiny").experiment_id
    runs = client.search_runs([experiment], "tags.`slws.kind` = 'run'")
    (best,) = [run for run in runs if "slws.best" in run.data.tags]
    assert best.data.metrics["val/top1"] == max(run.data.metrics["val/top1"] for run in runs)
    folder = Workspace(finished.workspace).run(best.data.tags["slws.run_id"])
    run = folder.spec()
    assert isinstance(run, RunSpec)
    images, logits = forward(folder.attempt(1), run, "last", finished.path)
    np.save(tmp_path / "images.npy", images)
    told = {"MLFLOW_TRACKING_URI": store, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-c",
        LOAD,
        best.data.tags["slws.model"],
        tmp_path / "images.npy",
        tmp_path / "logits.npy",
    ]
    subprocess.run(command, cwd=tmp_path, env=os.environ | told, check=True)
    assert np.array_equal(np.load(tmp_path / "logits.npy"), logits)
