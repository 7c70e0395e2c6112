"""Expansion: blocks, `when`, `exclude`, `set`, `baseline`, duplicates, size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import RECIPE, make_project
from ruamel.yaml import YAML

from slws_lab.errors import UserError
from slws_lab.spec import Design, expand, load_study

BASE: dict[str, Any] = {
    "name": "s", "question": "q", "recipe": "../experiments/tiny.yaml", "seeds": 2,
    "factors": {"train.lr": [0.1, 0.2, 0.3], "train.epochs": [5, 6]}, "designs": [{"grid": ["train.lr", "train.epochs"]}],
}  # fmt: skip


def design_of(path: Path, **changes: Any) -> Design:
    folder = make_project(path)
    with folder.study.open("w") as file:
        YAML().dump({**BASE, **changes}, file)
    return expand(load_study(folder.study))


def test_a_grid_crosses_its_factors_in_order(tmp_path: Path) -> None:
    design = design_of(tmp_path)
    values = [(arm.recipe.train.lr, arm.recipe.train.epochs) for arm in design.arms]
    assert values == [(0.1, 5), (0.1, 6), (0.2, 5), (0.2, 6), (0.3, 5), (0.3, 6)]
    assert [run.seed for run in design.runs] == [0] * 6 + [1] * 6


def test_one_at_a_time_holds_the_baseline_and_each_other_level(tmp_path: Path) -> None:
    design = design_of(tmp_path, designs=[{"one_at_a_time": ["train.lr", "train.epochs"]}])
    values = [(arm.recipe.train.lr, arm.recipe.train.epochs) for arm in design.arms]
    assert values == [(0.1, 5), (0.2, 5), (0.3, 5), (0.1, 6)]
    assert [arm.is_baseline for arm in design.arms] == [True, False, False, False]


def test_a_list_changes_the_baseline_and_may_set_any_field(tmp_path: Path) -> None:
    design = design_of(tmp_path, designs=[{"list": [{"train.lr": 0.2}, {"train.smoothing": 0.3, "train.epochs": 6}]}])
    values = [(a.recipe.train.lr, a.recipe.train.epochs, a.recipe.train.smoothing) for a in design.arms]
    assert values == [(0.1, 5, 0.1), (0.2, 5, 0.1), (0.1, 6, 0.3)]


def test_blocks_unite_and_a_shared_arm_has_a_role_in_each(tmp_path: Path) -> None:
    design = design_of(tmp_path, designs=[{"grid": ["train.lr"]}, {"one_at_a_time": ["train.lr", "train.epochs"]}])
    assert len(design.arms) == 4
    assert [[role.block for role in arm.roles] for arm in design.arms] == [[0, 1], [0, 1], [0, 1], [1]]


def test_the_baseline_may_be_another_level(tmp_path: Path) -> None:
    design = design_of(tmp_path, baseline={"train.lr": 0.3}, designs=[{"one_at_a_time": ["train.epochs"]}])
    assert [(arm.recipe.train.lr, arm.recipe.train.epochs) for arm in design.arms] == [(0.3, 5), (0.3, 6)]


def test_set_reaches_every_run_and_a_factor_wins_over_it(tmp_path: Path) -> None:
    design = design_of(tmp_path, set={"train.smoothing": 0.0, "train.lr": 9.0})
    assert {arm.recipe.train.smoothing for arm in design.arms} == {0.0}
    assert {arm.recipe.train.lr for arm in design.arms} == {0.1, 0.2, 0.3}


def test_settings_that_mean_the_same_training_are_reported_and_run_once(tmp_path: Path) -> None:
    design = design_of(
        tmp_path,
        factors={"shuffle.schedule": ["linear", "none"], "shuffle.max_rate": [0.5, 0.1]},
        designs=[{"grid": ["shuffle.schedule", "shuffle.max_rate"]}],
    )
    assert len(design.arms) == 3
    (duplicate,) = design.duplicates
    assert duplicate.settings == {"shuffle.schedule": "none", "shuffle.max_rate": 0.1}
    assert design.arm(duplicate.arm).settings["shuffle.schedule"] == "none"
    assert len(set(design.run_ids.values())) == len(design.runs) == 6


def test_expansion_does_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    first = design_of(tmp_path / "a")
    second = design_of(tmp_path / "b", factors=dict(reversed(BASE["factors"].items())))
    assert [arm.id for arm in first.arms] == [arm.id for arm in second.arms]


def test_a_factor_that_another_factor_turns_off_goes_back_to_the_fields_own_default(tmp_path: Path) -> None:
    when = {"levels": [3.0, 5.0], "when": {"train.epochs": 6}}
    design = design_of(
        tmp_path,
        factors={"train.clip_grad": when, "train.epochs": [5, 6]},
        designs=[{"grid": ["train.epochs", "train.clip_grad"]}],
    )
    assert [arm.recipe.train.clip_grad for arm in design.arms] == [None, 3.0, 5.0]
    assert "clip_grad: 3.0" in RECIPE


def test_over_a_million_runs_are_refused_at_once(tmp_path: Path) -> None:
    many = list(range(1, 1001))
    with pytest.raises(UserError, match="10,000,000 runs"):
        design_of(
            tmp_path, factors={"train.epochs": many, "train.batch_size": many}, seeds=10,
            designs=[{"grid": ["train.epochs", "train.batch_size"]}],
        )  # fmt: skip


def test_labels_are_short_and_unique(tmp_path: Path) -> None:
    labels = [arm.label for arm in design_of(tmp_path).arms]
    assert labels[0] == "lr=0.1, epochs=5"
    assert len(set(labels)) == 6
