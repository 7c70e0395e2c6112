"""Controls: the constant schedule of equal mean, the same run as one written by hand, and what is compared with what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from slws_lab import shuffle
from slws_lab.errors import UserError
from slws_lab.spec import Arm, Design, ShuffleSpec, digest
from slws_lab.spec.controls import mean_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    DesignOf = Callable[..., Design]

SHAPES: list[dict[str, Any]] = [
    *({"schedule": name} for name in ("linear", "reverse", "cosine", "constant", "constant_skip_first", "step")),
    {"schedule": "step", "steps": 3},
    {"schedule": "last_k", "k": 1},
    {"schedule": "last_k", "k": 2},
]
CONTROL = {"control": "equal_mean_constant"}
SCHEDULES = {"shuffle.schedule": ["none", "linear", "reverse"]}
BLOCK = [{"grid": ["shuffle.schedule"], **CONTROL}]


def shuffle_of(arm: Arm) -> tuple[str, float]:
    return arm.recipe.shuffle.schedule, arm.recipe.shuffle.max_rate


def kinds(arm: Arm) -> list[str]:
    return [role.kind for role in arm.roles]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
def test_the_mean_is_that_of_the_layers_rates_at_every_depth(shape: dict[str, Any]) -> None:
    spec = ShuffleSpec(max_rate=0.7, **shape)
    for depth in range(max(spec.k or 0, spec.steps or 2, 2), 33):
        layers = shuffle.rates(spec.schedule, 0.7, depth, steps=spec.steps, k=spec.k)
        assert mean_rate(spec, depth) == pytest.approx(shuffle.mean_rate(layers), rel=1e-11)


@pytest.mark.parametrize("schedule", ["linear", "reverse", "cosine"])
def test_a_symmetric_schedule_needs_no_depth(schedule: str) -> None:
    spec = ShuffleSpec.model_validate({"schedule": schedule, "max_rate": 0.7})
    assert mean_rate(spec, None) == mean_rate(spec, 24) == 0.35
    assert mean_rate(spec, 1) == shuffle.mean_rate(shuffle.rates(schedule, 0.7, 1)) == 0.0


def test_listed_rates_have_a_mean_of_their_own() -> None:
    assert mean_rate(ShuffleSpec(schedule="custom", rates=(0.1, 0.2, 0.6)), None) == 0.3


def test_a_control_is_the_arm_that_one_would_write_by_hand(design_of: DesignOf) -> None:
    by_hand = design_of(designs=[{"list": [{"shuffle.schedule": "constant", "shuffle.max_rate": 0.25}]}]).arms[1]
    design = design_of(factors=SCHEDULES, designs=BLOCK)
    assert [shuffle_of(arm) for arm in design.arms] == [
        ("none", 0),
        ("linear", 0.5),
        ("reverse", 0.5),
        ("constant", 0.25),
    ]
    assert design.arms[3].id == digest(by_hand.recipe)


def test_each_schedule_is_compared_with_its_control_and_all_with_the_reference(design_of: DesignOf) -> None:
    none, linear, reverse, control = design_of(factors=SCHEDULES, designs=BLOCK).arms
    assert (kinds(none), kinds(linear), kinds(reverse), kinds(control)) == (
        ["baseline"], ["variant", "controlled"], ["variant", "controlled"], ["control"],
    )  # fmt: skip
    assert [role.reference for role in linear.roles + reverse.roles] == [none.id, control.id] * 2
    assert control.roles[0].reference == none.id


def test_a_scheduled_reference_is_not_compared_with_its_control_twice(design_of: DesignOf) -> None:
    linear, _, control = design_of(factors={"shuffle.schedule": ["linear", "none"]}, designs=BLOCK).arms
    assert (kinds(linear), kinds(control)) == (["baseline"], ["control"])


def test_a_control_that_is_there_already_is_not_run_again(design_of: DesignOf) -> None:
    factors = {"shuffle.schedule": ["none", "linear", "constant"], "shuffle.max_rate": [0.6, 0.3]}
    design = design_of(
        factors=factors,
        designs=[{"grid": list(factors), **CONTROL}],
        exclude=[{"shuffle.schedule": "none", "shuffle.max_rate": 0.3}],
    )
    by_shuffle = {shuffle_of(arm): arm for arm in design.arms}
    assert list(by_shuffle) == [
        ("none", 0),
        ("linear", 0.6),
        ("linear", 0.3),
        ("constant", 0.6),
        ("constant", 0.3),
        ("constant", 0.15),
    ]
    assert kinds(by_shuffle["constant", 0.3]) == ["variant"]
    assert by_shuffle["linear", 0.6].roles[1].reference == by_shuffle["constant", 0.3].id


def test_what_belongs_to_another_schedule_is_taken_from_the_control(design_of: DesignOf) -> None:
    recipe = {"shuffle.schedule": "last_k", "shuffle.k": 1}
    factors = {
        "schedule": {"levels": [{"name": "none", "set": {"shuffle.schedule": "none"}}, {"name": "last", "set": recipe}]}
    }
    design = design_of(factors=factors, designs=[{"grid": ["schedule"], **CONTROL}])
    control = design.arms[2].recipe.shuffle
    assert (control.schedule, control.max_rate, control.k) == ("constant", 0.25, None)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"factors": {"train.lr": [0.1, 0.2]}, "set": {"shuffle.schedule": "none"}, "designs": [{"grid": ["train.lr"], **CONTROL}]},
         ["nothing to control", "(designs.0.control)"]),
        ({"set": {"shuffle.schedule": "constant_skip_first", "model.args.depth": None}, "designs": [{"list": [{}], **CONTROL}]},
         ["depends on the number of layers", "model.args.depth", "(designs.0.control)"]),
    ],
)  # fmt: skip
def test_a_control_that_cannot_be_made_is_refused(keys: dict[str, Any], said: list[str], design_of: DesignOf) -> None:
    with pytest.raises(UserError) as refused:
        design_of(**keys)
    assert [part for part in said if part not in str(refused.value)] == []


def test_a_stage_with_a_shuffle_of_its_own_has_no_single_control(design_of: DesignOf) -> None:
    stages = "stages: [{name: a}, {name: b, set: {shuffle.max_rate: 0.1}}]\n"
    recipe = (
        "kind: train\nmodel: {name: shufflemamba_micro}\ndata: {name: digits}\n"
        "shuffle: {schedule: linear, max_rate: 0.5}\ntrain: {epochs: 2, batch_size: 64, lr: 8e-3}\n" + stages
    )
    with pytest.raises(UserError, match=r"a stage of the recipe sets shuffle\.max_rate"):
        design_of(recipe, designs=[{"list": [{}], **CONTROL}])
