"""Factors: named sub-trees, linked fields, ranges of numbers; any field of a recipe may be one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slws_lab.errors import UserError
from slws_lab.spec import Design, Factor, Study, check_recipe, where_set

if TYPE_CHECKING:
    from collections.abc import Callable

    DesignOf = Callable[..., Design]
    StudyOf = Callable[..., Study]

AUGMENTATION = {
    "levels": [
        {"name": "plain", "set": {}},
        {"name": "strong", "set": {"data.augment.erase": 0.5, "data.augment.mixup": 0.8}},
    ]
}


@pytest.mark.parametrize(
    ("given", "levels"),
    [
        ({"linspace": [0.1, 0.7, 4]}, (0.1, 0.3, 0.5, 0.7)),
        ({"linspace": [0.1, 0.4, 4]}, (0.1, 0.2, 0.3, 0.4)),
        ({"linspace": [8, 32, 4]}, (8, 16, 24, 32)),
        ({"linspace": [0, 1, 3]}, (0.0, 0.5, 1.0)),
        ({"logspace": [1e-5, 1e-2, 4]}, (1e-5, 1e-4, 1e-3, 1e-2)),
        ({"logspace": [2e-3, 3.2e-2, 5]}, (0.002, 0.004, 0.008, 0.016, 0.032)),
        ({"logspace": [1, 100, 3]}, (1, 10, 100)),
        ({"range": [1, 10, 3]}, (1, 4, 7, 10)),
        ({"range": [1, 9, 3]}, (1, 4, 7)),
        ({"range": [0.0, 0.3, 0.1]}, (0.0, 0.1, 0.2, 0.3)),
        ({"range": [3, 1, -1]}, (3, 2, 1)),
    ],
)
def test_ranges_give_round_numbers_with_both_ends(given: dict[str, Any], levels: tuple[float, ...]) -> None:
    found = Factor.model_validate(given).values
    assert found == levels
    assert list(map(type, found)) == list(map(type, levels))


def test_a_named_level_sets_a_sub_tree_and_shows_its_name(design_of: DesignOf) -> None:
    design = design_of(factors={"augmentation": AUGMENTATION}, designs=[{"grid": ["augmentation"]}])
    assert [arm.label for arm in design.arms] == ["augmentation=plain", "augmentation=strong"]
    augment = [arm.recipe.data.augment for arm in design.arms]
    assert [(one.crop, one.erase, one.mixup) for one in augment] == [(1, 0.2, 0.0), (1, 0.5, 0.8)]


def test_an_empty_sub_tree_is_off(design_of: DesignOf) -> None:
    design = design_of(factors={"augmentation": AUGMENTATION}, designs=[{"build_up": ["augmentation"]}])
    assert [arm.settings["augmentation"] for arm in design.arms] == ["plain", "strong"]


def test_a_sub_tree_that_is_off_by_when_leaves_the_fields_defaults(design_of: DesignOf) -> None:
    factors = {"augmentation": {**AUGMENTATION, "when": {"train.epochs": 6}}, "train.epochs": [5, 6]}
    design = design_of(factors=factors, designs=[{"grid": ["train.epochs", "augmentation"]}])
    assert [arm.recipe.data.augment.erase for arm in design.arms] == [0.0, 0.2, 0.5]


def test_names_of_sub_trees_stand_for_levels_everywhere(design_of: DesignOf) -> None:
    design = design_of(
        factors={"augmentation": AUGMENTATION, "train.lr": {"levels": [0.1, 0.2], "when": {"augmentation": "strong"}}},
        baseline={"augmentation": "strong"},
        designs=[{"list": [{"augmentation": "plain"}, {"augmentation": "strong", "train.lr": 0.2}]}],
        exclude=[{"augmentation": "plain"}],
    )
    assert [arm.label for arm in design.arms] == ["lr=0.1", "lr=0.2"]


def test_what_an_arm_writes_out_wins_over_a_sub_tree(design_of: DesignOf) -> None:
    design = design_of(
        factors={"augmentation": AUGMENTATION},
        designs=[{"list": [{"augmentation": "strong", "data.augment.mixup": 0.2}]}],
    )
    assert design.arms[1].recipe.data.augment.mixup == 0.2


def test_linked_fields_move_together(design_of: DesignOf) -> None:
    linked = {"linked": {"shuffle.max_rate": [0.0, 0.3, 0.6], "model.drop_path": [0, 0.1, 0.2]}}
    design = design_of(factors={"strength": linked}, designs=[{"grid": ["strength"]}])
    assert [arm.label for arm in design.arms] == ["strength=0/0.0", "strength=0.1/0.3", "strength=0.2/0.6"]
    assert [(a.recipe.model.drop_path, a.recipe.shuffle.max_rate) for a in design.arms] == [
        (0, 0),
        (0.1, 0.3),
        (0.2, 0.6),
    ]
    switched = design_of(factors={"strength": linked}, designs=[{"leave_one_out": ["strength"]}])
    assert [arm.settings["strength"] for arm in switched.arms] == ["0.1/0.3", "0/0.0"]


def test_the_place_of_a_value_is_found_in_a_sub_tree_a_link_and_a_range(study_of: StudyOf) -> None:
    study = study_of(
        factors={
            "augmentation": AUGMENTATION,
            "strength": {"linked": {"shuffle.max_rate": [0.1, 1.3], "model.drop_path": [0, 0.1]}},
            "train.lr": {"linspace": [0.1, 0.2, 2]},
        },
        designs=[{"list": [{}]}],
    )
    settings: dict[str, Any] = {"augmentation": "strong", "strength": "0.1/1.3", "train.lr": 0.2}
    for field, place in {
        "data.augment.mixup": "(factors.augmentation.levels.1.set.data.augment.mixup)",
        "shuffle.max_rate": "(factors.strength.linked.shuffle.max_rate.1)",
        "train.lr": "(factors.train.lr.linspace)",
        "train.epochs": "tiny.yaml:5:17 (train.epochs)",
    }.items():
        assert place in where_set(study, field, settings)
    with pytest.raises(
        UserError, match=r"less than or equal to 1[^$]*\(factors\.strength\.linked\.shuffle\.max_rate\.1\)"
    ):
        check_recipe(study, settings)


def test_data_and_model_fields_are_factors_like_any_other(design_of: DesignOf) -> None:
    factors = {
        "data.label_fraction": [1.0, 0.1],
        "data.name": ["digits", "fashion_mnist"],
        "model.name": ["shufflemamba_micro", "vim_micro"],
        "model.args.depth": [2, 4],
        "models": [[], ["nets.py"]],
        "model.init_from": [None, "start.pt"],
    }
    named = {name: levels for name, levels in factors.items() if name != "model.init_from"}
    design = design_of(factors=named, designs=[{"one_at_a_time": list(named)}])
    assert [arm.label.split(", ")[i] for i, arm in enumerate(design.arms[1:])] == [
        "label_fraction=0.1", "data=fashion_mnist", "model=vim_micro", "depth=4", "models=[nets.py]",
    ]  # fmt: skip
    assert design.arms[4].recipe.model.args == {"embed_dim": 16, "depth": 4}
    assert design.arms[5].recipe.models == ("nets.py",)


def test_a_checkpoint_may_be_a_level(design_of: DesignOf, tmp_path: Path) -> None:
    (tmp_path / "start.pt").write_bytes(b"weights")
    design = design_of(
        factors={"model.init_from": [None, "start.pt"]}, designs=[{"leave_one_out": ["model.init_from"]}]
    )
    whole, without = design.arms
    assert whole.recipe.model.init_from is not None
    assert without.recipe.model.init_from is None
