"""The baseline of a search where the recipe alone is not whole; and messages in the words of a search."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import make_project

from slws_lab.errors import UserError
from slws_lab.spec import Study, load_study
from slws_lab.spec.search_checks import check_search
from slws_lab.spec.trials import with_trials

HEAD = "name: tiny\nquestion: q\nrecipe: ../experiments/tiny.yaml\nmetric: {name: val/top1}\nseeds: 2\n"
MISTAKE = "set: {train.epochs: 1, train.warmup_epochs: 1}\n"


def study_of(folder: Path, keys: str) -> Study:
    return load_study(make_project(folder, study=HEAD + keys).study)


def test_a_mistake_of_the_recipe_is_told_as_in_an_ordinary_study(tmp_path: Path) -> None:
    study = study_of(tmp_path, MISTAKE + "search: {space: {data.augment.flip: {float: [0, 0.3]}}, trials: 2}\n")
    with pytest.raises(UserError, match=r"warmup_epochs \(1\) must be below epochs \(1\)"):
        check_search(study)


@pytest.mark.parametrize(
    ("dimension", "usual"),
    [("data.augment.flip: {float: [0, 0.5]}", 0.0), ("train.ema_decay: [null, 0.9]", None)],
)  # fmt: skip
def test_where_the_recipe_is_not_whole_the_baseline_has_the_fields_own_default(
    dimension: str, usual: object, tmp_path: Path
) -> None:
    study = study_of(tmp_path, f"{MISTAKE}search: {{space: {{{dimension}}}, trials: 2}}\n")
    study.recipe.data["train"].pop("ema_decay", None)
    assert list(with_trials(study, []).spec.baseline.values()) == [usual]


def test_a_field_without_a_default_is_still_asked_for(tmp_path: Path) -> None:
    study = study_of(tmp_path, MISTAKE + "search: {space: {train.batch_size: [16, 32]}, trials: 2}\n")
    del study.recipe.data["train"]["batch_size"]
    with pytest.raises(UserError, match=r"the baseline has no value of 'train.batch_size'"):
        with_trials(study, [])


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("{shuffle.shedule: [linear]}", "'shuffle.shedule' is no dimension of this search"),
        ("{shuffle.schedule: [cosine]}", "'cosine' is no level of dimension 'shuffle.schedule'"),
        ("{train.eps: [1e-8]}", "dimensions depend on each other in a circle"),
    ],
)
def test_a_search_speaks_of_dimensions(when: str, said: str, tmp_path: Path) -> None:
    space = (
        f"shuffle.schedule: [none, linear], shuffle.max_rate: {{levels: [0.1, 0.5], when: {when}}}, "
        "train.eps: {levels: [1e-8, 1e-7], when: {shuffle.max_rate: 0.1}}"
    )
    with pytest.raises(UserError, match=said):
        check_search(study_of(tmp_path, f"search: {{space: {{{space}}}, trials: 2}}\n"))
