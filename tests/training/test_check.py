"""The check of names before anything starts."""

from __future__ import annotations

import pytest
from training_runs import spec

from slws_lab.training import check


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
        ({"model": {"args": {"depht": 3}}}, "model.args", "depht"),
        ({"model": {"args": {"scan": "reference"}}}, "model.args", "resources: {scan: NAME}"),
        ({"model": {"args": {"patch_size": 0}}}, "model.args", "cannot be built"),
        ({"model": {"args": {"img_size": 16}}}, "model.args", "does not take images of 8 px"),
        ({"model": {"args": {"num_classes": 3}}}, "model.args", "3 outputs for 10 classes"),
        ({"data": {"name": "cifar"}}, "data.name", "unknown data set 'cifar'"),
        ({"shuffle": {"schedule": "custom", "max_rate": 0.0, "rates": [0.1]}}, "shuffle", "3"),
        ({"model": {"name": "resnet18", "args": {}}}, "model.name", "no sequence of token blocks"),
        ({"model": {"name": "mnasnet_small", "args": {}}, "data": {"size": 32}}, "model.name", "blocks cannot be shuffled"),
        ({"data": {"augment": {"auto": "strong"}}}, "data.augment.auto", "strong"),
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
