"""Shapes: which recipes take the same time an epoch."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import RECIPE
from ruamel.yaml import YAML

from slws_lab.spec import Recipe, RunSpec
from slws_lab.spec.paths import assign, fields
from slws_lab.spec.shape import FREE, SWITCHES, shape

TREE: dict[str, Any] = YAML(typ="safe").load(RECIPE)


def recipe(**changes: Any) -> Recipe:
    """Return the tests' recipe with dotted fields changed, `__` for a dot."""
    return Recipe.model_validate(assign(TREE, {name.replace("__", "."): value for name, value in changes.items()}))


@pytest.mark.parametrize(
    "changes",
    [
        {"train__lr": 1e-4, "train__min_lr": 1e-6},
        {"train__weight_decay": 0.3},
        {"train__epochs": 200, "train__warmup_epochs": 5},
        {"train__ema_decay": 0.99, "train__clip_grad": 1.0, "train__smoothing": 0.0},
        {"shuffle__max_rate": 0.1},
        {"shuffle__schedule": "custom", "shuffle__rates": [0.1, 0.2], "shuffle__max_rate": 0.0},
        {"shuffle__over_time": "ramp_up", "shuffle__off_last": 1},
        {"model__drop_path": 0.3, "model__init_from": "weights.safetensors"},
        {"data__augment__crop": 2, "data__augment__erase": 0.5},
    ],
)
def test_what_changes_only_what_is_learned_leaves_the_shape(changes: dict[str, Any]) -> None:
    assert shape(recipe(**changes)) == shape(recipe())


@pytest.mark.parametrize(
    "changes",
    [
        {"train__batch_size": 32},
        {"train__precision": "bf16"},
        {"train__compile": True},
        {"train__accumulate": 2},
        {"train__ranks": 2},
        {"train__ema_decay": None},
        {"train__clip_grad": None},
        {"model__name": "vim_micro"},
        {"model__args__depth": 3},
        {"model__drop_path": 0.0},
        {"data__name": "cifar10"},
        {"data__size": 16},
        {"data__val_fraction": 0.3},
        {"data__label_fraction": 0.5},
        {"data__label_fraction": 0.5, "data__equal": "steps"},
        {"data__augment__flip": 0.5},
        {"data__augment__auto": "3a"},
        {"data__augment__mixup": 0.8},
        {"shuffle__schedule": "none"},
        {"shuffle__permutation": "sample"},
    ],
)
def test_what_changes_the_work_of_an_epoch_changes_the_shape(changes: dict[str, Any]) -> None:
    assert shape(recipe(**changes)) != shape(recipe())


def test_a_run_has_the_shape_of_its_arm_whatever_its_seed() -> None:
    assert {shape(RunSpec.of(recipe(), seed)) for seed in (0, 1)} == {shape(recipe())}


def test_every_name_that_is_left_out_or_only_switched_is_a_field_of_a_recipe() -> None:
    inner = {"kind", "model.init_from.path", "model.init_from.sha256"}
    assert (FREE | SWITCHES) - inner <= set(fields())
    assert not FREE & SWITCHES


def stages(*epochs: int, sizes: tuple[int, ...] = (8, 16)) -> Recipe:
    listed = [
        {"name": f"s{size}", "set": {"data.size": size, "train.epochs": n}}
        for n, size in zip(epochs, sizes, strict=True)
    ]
    return Recipe.model_validate({**TREE, "stages": listed})


def test_stages_count_with_their_part_of_the_epochs() -> None:
    assert shape(stages(4, 2)) == shape(stages(40, 20))
    assert len({shape(stages(4, 2)), shape(stages(2, 4)), shape(stages(4, 2, sizes=(16, 8))), shape(recipe())}) == 4
