"""Identity: pinned defaults, and what does and does not change an id."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import create_model

from slws_lab.spec import ModelSpec, Recipe, RunSpec, canonical, digest, flatten, identity, run_id
from slws_lab.spec.identity import run_ids
from slws_lab.spec.kinds import parse_recipe, run_of

MINIMAL: dict[str, Any] = {
    "kind": "train", "model": {"name": "m"}, "data": {"name": "d"}, "train": {"epochs": 2, "batch_size": 8}, "seed": 3,
}  # fmt: skip


def make(**changes: Any) -> RunSpec:
    return RunSpec.model_validate({**MINIMAL, **changes})


def test_a_known_run_has_its_golden_id() -> None:
    assert run_id(make()) == "m-s3-8ad2c45cc230"


def test_the_ids_of_many_seeds_are_those_of_each() -> None:
    command = parse_recipe({
        "kind": "command", "name": "c", "command": "x {a.b} {seed}", "metrics": {"stdout": "(?P<m>.)", "names": {"val/m": "m"}},
        "fields": {"a.b": {"type": "float", "value": 1e-5}, "idle": {"type": "int", "value": 1}},
    })  # fmt: skip
    training = Recipe.model_validate({name: value for name, value in MINIMAL.items() if name != "seed"})
    odd = training.model_copy(update={"model": ModelSpec(name="m", args={"a": '"seed":0,'})})
    for recipe in (command, training, odd):
        found = run_ids(recipe.title, canonical(recipe), (0, 3, 2**31 - 1))
        assert found == {s: run_id(run_of(recipe, s)) for s in (0, 3, 2**31 - 1)}


def test_every_default_is_pinned_at_its_present_value() -> None:
    """A changed default must stay pinned at its old value and come with a note; then this test says which."""
    required = {"kind", "model.name", "data.name", "train.epochs", "train.batch_size", "seed"}
    defaults = {key: value for key, value in flatten(make().model_dump(mode="json")).items() if key not in required}
    assert defaults == identity.pinned_defaults()


def test_only_what_differs_from_the_pinned_defaults_is_hashed() -> None:
    assert json.loads(canonical(make(train={"epochs": 2, "batch_size": 8, "lr": 2e-3}))) == {
        "identity": 1, "kind": "train", "model.name": "m", "data.name": "d", "train.epochs": 2, "train.batch_size": 8,
        "train.lr": 0.002, "seed": 3,
    }  # fmt: skip


def test_a_default_written_out_changes_no_id() -> None:
    assert run_id(make(train={"epochs": 2, "batch_size": 8, "lr": 1e-3, "clip_grad": None})) == run_id(make())


def test_a_new_pinned_field_changes_no_id_and_its_other_values_do(monkeypatch: pytest.MonkeyPatch) -> None:
    wider = create_model("Wider", __base__=RunSpec, mixup=(float, 0.0))
    pinned = {**identity.pinned_defaults(), "mixup": 0.0}
    monkeypatch.setattr(identity, "pinned_defaults", lambda: pinned)
    assert digest(wider.model_validate(MINIMAL)) == digest(make())
    assert digest(wider.model_validate({**MINIMAL, "mixup": 0.8})) != digest(make())


def test_a_changed_default_changes_the_id_because_the_old_value_stays_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(make())
    pinned = {**identity.pinned_defaults(), "train.lr": 5e-4}
    monkeypatch.setattr(identity, "pinned_defaults", lambda: pinned)
    assert digest(make()) != before


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"model": {"name": "m", "args": {"depth": 3}}},
        {"shuffle": {"schedule": "linear", "max_rate": 0.5}},
        {"data": {"name": "d", "augment": {"flip": 0.5}}},
    ],
)
def test_what_changes_numbers_changes_the_id(change: dict[str, Any]) -> None:
    assert digest(make(**change)) != digest(make())


def test_a_rate_without_a_schedule_means_nothing_and_changes_no_id() -> None:
    assert digest(make(shuffle={"schedule": "none", "max_rate": 0.7})) == digest(make())


def test_an_arm_and_its_runs_have_different_ids() -> None:
    recipe = Recipe.model_validate({key: value for key, value in MINIMAL.items() if key != "seed"})
    assert digest(recipe) != digest(RunSpec.of(recipe, 3))


def test_whole_numbers_and_floats_are_the_same_value() -> None:
    train = {"epochs": 2, "batch_size": 8}
    assert digest(make(train={**train, "clip_grad": 3})) == digest(make(train={**train, "clip_grad": 3.0}))
