"""Stages: resolved to whole recipes, told apart in the id, refused where a value would change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import RECIPE, STUDY, make_project
from ruamel.yaml import YAML

from slws_lab.errors import UserError
from slws_lab.spec import Recipe, digest, expand, load_study, resolve_stages, total_epochs

BASE: dict[str, Any] = YAML(typ="safe", pure=True).load(RECIPE)
TWO = [
    {"name": "a", "set": {"train.epochs": 3}},
    {"name": "b", "set": {"data.size": 16, "train.lr": 1e-4}, "start": "ema"},
]


def recipe(*stages: dict[str, Any], **changes: Any) -> Recipe:
    return Recipe.model_validate({**BASE, **changes, "stages": list(stages)})


def test_each_stage_is_a_whole_recipe_with_its_own_values() -> None:
    first, second = resolve_stages(recipe(*TWO))
    assert (first.train.epochs, first.data.size, first.train.lr) == (3, None, 8e-3)
    assert (second.train.epochs, second.data.size, second.train.lr) == (2, 16, 1e-4)
    assert not first.stages and first.model == second.model
    assert total_epochs(recipe(*TWO)) == 5
    assert resolve_stages(recipe()) == (recipe(),)


def test_what_a_stage_changes_is_in_the_id_and_its_name_is_not() -> None:
    one = digest(recipe(*TWO))
    assert digest(recipe({**TWO[0], "name": "other"}, TWO[1])) == one
    assert digest(recipe({"name": "a", "set": {"train.epochs": 4}}, TWO[1])) != one
    assert digest(recipe(TWO[0], {**TWO[1], "start": "last"})) != one
    assert digest(recipe()) != one


def test_the_same_value_written_otherwise_is_the_same_id() -> None:
    def clip(value: float) -> str:
        return digest(recipe({"name": "a", "set": {"train.clip_grad": value}}))

    assert clip(2) == clip(2.0) != clip(3.0)


@pytest.mark.parametrize(
    ("stages", "where", "said"),
    [
        ([{"name": "a", "set": {"data.name": "digits"}}], "stages.0.set.data.name", "all stages share"),
        ([{"name": "a", "set": {"train.ranks": 2}}], "stages.0.set.train.ranks", "all stages share"),
        ([{"name": "a", "set": {"train.epoch": 2}}], "stages.0.set.train.epoch", "no field"),
        ([{"name": "a", "set": {"train.epochs": "two"}}], "stages.0.set.train.epochs", "integer"),
        ([{"name": "a", "set": {"train.warmup_epochs": 9}}], "stages.0.set", "must be below epochs"),
        ([{"name": "a"}, {"name": "a"}], "stages", "same name"),
        (
            [{"name": "a", "set": {"train.ema_decay": None}}, {"name": "b", "start": "ema"}],
            "stages.1.start",
            "no moving average",
        ),
    ],
)
def test_what_a_stage_cannot_be_is_refused_with_its_place(stages: list[dict[str, Any]], where: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        resolve_stages(recipe(*stages))
    assert raised.value.where == where


def test_a_stage_that_switches_the_shuffle_on_needs_a_rate() -> None:
    off = {"shuffle": {"schedule": "none"}}
    with pytest.raises(UserError, match=r"needs `shuffle\.max_rate`"):
        resolve_stages(recipe({"name": "a", "set": {"shuffle.schedule": "linear"}}, **off))
    given = {"name": "a", "set": {"shuffle.schedule": "linear", "shuffle.max_rate": 0.3}}
    assert resolve_stages(recipe(given, **off))[0].shuffle.max_rate == 0.3


def test_a_study_that_varies_what_every_stage_sets_is_refused(tmp_path: Path) -> None:
    stages = "stages:\n  - {name: a, set: {train.epochs: 1}}\n  - {name: b, set: {train.epochs: 1}}\n"
    factors = "factors:\n  train.epochs: [1, 2]\n  shuffle.schedule: [none, linear]"
    study = STUDY.replace("factors:\n  shuffle.schedule: [none, linear]", factors)
    folder = make_project(tmp_path / "p", study, RECIPE + stages)
    with pytest.raises(UserError, match=r"'train.epochs' would change nothing"):
        expand(load_study(folder.study))


def test_a_mistake_in_a_stage_is_told_with_its_line(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "p", STUDY, RECIPE + "stages:\n  - name: a\n    set:\n      train.epoch: 1\n")
    with pytest.raises(UserError) as raised:
        expand(load_study(folder.study))
    assert "tiny.yaml:9:20 (stages.0.set.train.epoch)" in raised.value.where


def test_a_checkpoint_is_in_the_id_by_its_content_and_must_be_there(tmp_path: Path) -> None:
    text = RECIPE.replace("drop_path: 0.1", "drop_path: 0.1, init_from: start.pth")
    folder = make_project(tmp_path / "p", STUDY, text)
    with pytest.raises(UserError, match=r"cannot read the checkpoint .*No such file") as raised:
        expand(load_study(folder.study))
    assert "experiments/tiny.yaml:2:" in raised.value.where
    ids = []
    for content in (b"one", b"two"):
        (folder.path / "start.pth").write_bytes(content)
        ids.append(expand(load_study(folder.study)).arms[0].id)
    assert len(set(ids)) == 2
    folder.recipe.write_text(text.replace("start.pth", "./start.pth"))
    assert expand(load_study(folder.study)).arms[0].id == ids[1]
