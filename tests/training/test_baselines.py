"""Any timm model is a baseline: it is checked, trained and shuffled by a recipe that names it; and our own recipes train."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from conftest import REPOSITORY
from ruamel.yaml import YAML

from slws_lab.spec import RunSpec
from slws_lab.spec.weights import fill_digest
from slws_lab.training import Surroundings, TrainResult, build, check, train

pq = pytest.importorskip("pyarrow.parquet")

CIFAR10 = Path(os.environ.get("SLWS_CIFAR10", Path(__file__).parents[3] / "shared/data/cifar10"))
# The smallest model of each published system that timm has, and a ViT: millions of parameters for 10 classes and 32 px (64 px for
# GhostNetV2), and whether it is made for one size of images.
SYSTEMS = {
    "convnext_zepto_rms": (1.90, False),
    "maxvit_pico_rw_256": (7.18, True),
    "tiny_vit_5m_224": (5.07, False),
    "fbnetc_100": (3.61, False),
    "volo_d1_224": (25.80, True),
    "spnasnet_100": (3.15, False),
    "ghostnetv2_100": (4.89, False),
    "focalnet_tiny_srf": (27.67, False),
    "mnasnet_small": (0.76, False),
    "poolformer_s12": (11.41, False),
    "gcvit_xxtiny": (11.45, True),
    "resnetrs50": (33.66, False),
    "vit_tiny_patch16_224": (5.49, True),
}
TRAINED = ["mnasnet_small", "fbnetc_100", "convnext_zepto_rms", "maxvit_pico_rw_256"]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few of CIFAR-10's images in Parquet files."""
    if not CIFAR10.is_dir():
        pytest.skip("CIFAR-10 is not here; SLWS_CIFAR10 may name its folder")
    folder = tmp_path_factory.mktemp("few")
    for split in ("train", "test"):
        pq.write_table(pq.read_table(CIFAR10 / f"{split}.parquet").slice(0, 60), folder / f"{split}.parquet")
    return folder


def run(folder: Path, name: str, size: int = 32, **changes: Any) -> RunSpec:
    return RunSpec.model_validate({
        "kind": "train",
        "model": {"name": name, "args": changes.pop("args", {})},
        "data": {"name": "parquet", "path": str(folder), "size": size},
        "train": {"epochs": 1, "batch_size": 16, "lr": 1e-3},
        "seed": 0,
        **changes,
    })  # fmt: skip


def trained(spec: RunSpec, folder: Path) -> TrainResult:
    torch.set_num_threads(1)
    return train(spec, Surroundings(folder, torch.device("cpu"), lambda epoch, metrics: None, root=folder))


def test_each_system_is_checked_at_32_pixels_and_built_as_known(few: Path) -> None:
    names = [name for name in SYSTEMS if name != "ghostnetv2_100"]
    answers = check([run(few, name) for name in names])
    params = {name: answer.get("params", answer.get("error")) for name, answer in zip(names, answers, strict=True)}
    assert {n: round(p / 1e6, 2) for n, p in params.items()} == {n: SYSTEMS[n][0] for n in names}


def test_only_models_that_are_made_for_one_size_are_told_the_size() -> None:
    told = {name: "img_size" in build._taken(timm.model_entrypoint(name), "{}") for name in SYSTEMS}
    assert told == {name: fixed for name, (_, fixed) in SYSTEMS.items()}


def test_images_that_a_model_cannot_take_are_refused_before_training(few: Path) -> None:
    small, large = check([run(few, "ghostnetv2_100"), run(few, "ghostnetv2_100", size=64)])
    assert small["error"]["given"].startswith("the model does not take images of 32 px")
    assert round(large["params"] / 1e6, 2) == SYSTEMS["ghostnetv2_100"][0]


@pytest.mark.parametrize("name", TRAINED)
def test_a_baseline_trains_an_epoch(name: str, few: Path, tmp_path: Path) -> None:
    result = trained(run(few, name), tmp_path)
    assert (result.status, result.epochs) == ("finished", 1)
    assert result.scan_backend == "" and result.shuffle_rates == ()
    assert result.params == pytest.approx(SYSTEMS[name][0] * 1e6, abs=5e3)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_patch16_224"])
def test_the_shuffle_changes_the_training_of_a_transformer(name: str, few: Path, tmp_path: Path) -> None:
    small = {"patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3}
    shuffled = {"schedule": "linear", "max_rate": 0.9, "class_token": False}
    plain = trained(run(few, name, args=small), tmp_path / "plain")
    result = trained(run(few, name, args=small, shuffle=shuffled), tmp_path / "shuffled")
    assert result.shuffle_rates == pytest.approx((0, 0.45, 0.9))
    assert result.metrics["train/loss"] != plain.metrics["train/loss"]
    again = trained(run(few, name, args=small, shuffle=shuffled), tmp_path / "again")
    assert again.metrics["val/loss"] == result.metrics["val/loss"]


def test_the_shuffle_refuses_blocks_that_take_feature_maps(few: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="the shuffle needs blocks that take tokens"):
        trained(run(few, "mnasnet_small", shuffle={"schedule": "constant", "max_rate": 1.0}), tmp_path)


OURS = sorted(path for path in (REPOSITORY / "experiments").glob("*.yaml") if not path.stem.endswith("digits"))


def made_small(path: Path, folder: Path) -> RunSpec:
    """Return a recipe with its augmentation, stages and optimisation, but two narrow layers, small images and an epoch a stage."""
    text = path.read_text().replace("size: 224", "size: 96").replace("size: 128", "size: 64")
    given = YAML(typ="safe", pure=True).load(text)
    heads = {"num_heads": 2} if given["model"]["name"].startswith("deit") else {}
    given["model"]["args"] = {**given["model"].get("args", {}), "depth": 2, "embed_dim": 32, **heads}
    given["train"] |= {"epochs": 1, "warmup_epochs": 0, "batch_size": 16, "ranks": 1, "accumulate": 2}
    given["data"] |= {"name": "parquet", "path": str(folder), "val_fraction": 0.2}
    for stage in given.get("stages", ()):
        stage["set"] = {k: v for k, v in stage["set"].items() if k not in ("train.epochs", "train.batch_size")}
    return RunSpec.model_validate({**given, "seed": 0})


def start_file(spec: RunSpec, root: Path) -> RunSpec:
    """Write the checkpoint that a recipe starts from, of two scan directions as the distillation leaves it."""
    if spec.model.init_from is None:
        return spec
    path = root / spec.model.init_from.path
    path.parent.mkdir(parents=True)
    args = {**spec.model.args, "directions": 2, "img_size": spec.data.size}
    torch.save({"model": timm.create_model(spec.model.name, **args).state_dict()}, path)
    return fill_digest(spec, root)


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_a_recipe_of_experiments_trains_when_made_small(path: Path, few: Path, tmp_path: Path) -> None:
    spec = start_file(made_small(path, few), tmp_path)
    result = trained(spec, tmp_path)
    assert (result.status, result.epochs) == ("finished", max(len(spec.stages), 1))
    assert ("tensors loaded" in result.started_from) == (spec.model.init_from is not None or len(spec.stages) > 1)
    assert bool(result.shuffle_rates) == (spec.shuffle.schedule != "none")


def test_the_guides_own_model_trains(few: Path, tmp_path: Path) -> None:
    guide = (REPOSITORY / "docs" / "how-to" / "recipes.md").read_text()
    code = re.search(r"```python\n(.*?)```\n\n```yaml\n(.*?)```", guide, re.DOTALL)
    assert code is not None
    given = YAML(typ="safe", pure=True).load(code[2])
    (tmp_path / given["models"][0]).write_text(code[1])
    assert trained(run(few, "", **given), tmp_path).params == 10 * (3 * 32 * 32 + 1)
    mistyped = {**given, "model": {**given["model"], "args": {"bais": False}}}
    (answer,) = check([run(few, "", **mistyped)], tmp_path)
    assert answer["error"]["where"] == "model.args.bais"
