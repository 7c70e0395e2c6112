"""The check of names before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from training_runs import TINY, spec

from slws_lab.spec import Recipe
from slws_lab.spec.weights import fill_digest
from slws_lab.training import build, check


def test_a_good_recipe_is_answered_with_its_size_and_data() -> None:
    (answer,) = check([spec()])
    assert answer == {"params": answer["params"], "data_fingerprint": "21a836d43d337820"}
    assert answer["params"] > 1000


def test_a_timm_model_with_token_blocks_is_fine() -> None:
    vit = {"name": "vit_tiny_patch16_224", "args": {"img_size": 8, "patch_size": 2}}
    (answer,) = check([spec(model=vit)])
    assert "params" in answer


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ({"model": {"name": "shufflemamba_mikro"}}, "model.name", "did you mean 'shufflemamba_micro'?"),
        ({"model": {"args": {"depht": 3}}}, "model.args.depht", "depht"),
        ({"model": {"args": {"scan": "reference"}}}, "model.args", "resources: {scan: NAME}"),
        ({"model": {"args": {"patch_size": 0}}}, "model.args", "cannot be built"),
        ({"model": {"args": {"img_size": 16}}}, "model.args", "does not take images of 8 px"),
        ({"model": {"args": {"num_classes": 3}}}, "model.args", "3 outputs for 10 classes"),
        ({"data": {"name": "cifar"}}, "data.name", "unknown data set 'cifar'"),
        ({"shuffle": {"schedule": "custom", "max_rate": 0.0, "rates": [0.1]}}, "shuffle", "3"),
        ({"model": {"name": "resnet18", "args": {}}}, "model.name", "no sequence of token blocks"),
        (
            {"model": {"name": "mnasnet_small", "args": {}}, "data": {"size": 32}},
            "model.name",
            "blocks cannot be shuffled",
        ),
        ({"data": {"augment": {"auto": "strong"}}}, "data.augment.auto", "strong"),
        ({"data": {"augment": {"auto": "rand-m99"}}}, "data.augment.auto", "rand-m99"),
        (
            {"model": {"name": "twins_svt_small", "args": {}}, "data": {"size": 64}},
            "model.name",
            "no sequence of token blocks",
        ),
        (
            {
                "model": {"name": "cait_xxs24_224", "args": {"depth": 2}},
                "data": {"size": 32},
                "shuffle": {"class_token": False},
            },
            "shuffle.class_token",
            "joins later",
        ),
        ({"model": {"args": {"num_classes": 0}}}, "model.args.num_classes", "asks for none"),
        (
            {"stages": [{"name": "a"}, {"name": "b", "set": {"model.args.depth": 5}}]},
            "stages",
            "the stage before has no",
        ),
        ({"data": {"name": "image_folder", "path": "$NO_SUCH_VARIABLE/x"}}, "data.path", "variable that is not set"),
    ],
)
def test_what_does_not_exist_is_an_answer_with_its_field(changes: dict[str, object], where: str, said: str) -> None:
    (answer,) = check([spec(**changes)])
    assert answer["error"]["where"] == where
    assert said in " ".join(answer["error"].values())


def test_an_unknown_scan_back_end_is_an_answer_too() -> None:
    (answer,) = check([spec()], scan="chunkd")
    assert answer["error"]["where"] == "resources.scan"
    assert "chunked" in answer["error"]["todo"] + answer["error"]["allowed"]


def test_a_drop_path_of_zero_is_zero_whatever_the_models_own_default() -> None:
    recipe = spec(model={"name": "focalnet_tiny_srf", "args": {}, "drop_path": 0.0})
    model = build.build_model(recipe, build.Shape(64, 3, 10), "chunked", Path())
    assert not [part for part in model.modules() if getattr(part, "drop_prob", 0)]


def test_a_checkpoint_of_another_depth_is_refused_before_anything_starts(tmp_path: Path) -> None:
    torch.save(timm.create_model("shufflemamba_micro", depth=3, embed_dim=16).state_dict(), tmp_path / "three.pth")
    recipe = spec(model={"init_from": "three.pth", "args": {"depth": 6, "embed_dim": 16}}, data={"size": 8})
    (answer,) = check([fill_digest(recipe, tmp_path)], tmp_path)
    assert answer["error"]["where"] == "model.init_from"
    assert "differ in" in answer["error"]["given"]


def test_a_users_model_that_wraps_one_of_ours_is_checked_without_memory(tmp_path: Path) -> None:
    """Its blocks take the scan of the machine, which must not read tensors that have none."""
    (tmp_path / "wrapping.py").write_text(
        "import timm\nfrom timm.models import register_model\n\n\n@register_model\ndef wrapping(pretrained=False, **args):\n"
        "    return timm.create_model('shufflemamba_micro', **args)\n"
    )
    changed = TINY | {"models": ["wrapping.py"], "model": {"name": "wrapping"}}
    (answer,) = check([Recipe.model_validate({k: v for k, v in changed.items() if k != "seed"})], tmp_path)
    assert answer.get("params", 0) > 1000, answer
