"""Confounded factors: found where arms change them together, and only there."""

from __future__ import annotations

import pytest

from slws_lab.analysis import confounded

FACTORS = """\
factors:
  train.lr: [0.001, 0.002, 0.003]
  train.weight_decay: [0.05, 0.1, 0.2]
  shuffle.schedule: [none, linear, constant]
  shuffle.max_rate: {levels: [0.3, 0.6], when: {shuffle.schedule: [linear, constant]}}
"""
SEEDS = "\nseeds: 1"


@pytest.mark.parametrize(
    ("designs", "expected"),
    [
        ("[{grid: [train.lr, train.weight_decay]}]", ()),
        ("[{one_at_a_time: [train.lr, train.weight_decay]}]", ()),
        ("[{grid: [shuffle.schedule, shuffle.max_rate]}]", ()),
        ("[{zip: [train.lr, train.weight_decay]}]", (("train.lr", "train.weight_decay"),)),
        ("[{zip: [train.lr, train.weight_decay]}, {one_at_a_time: [train.lr]}]", ()),
        ("[{list: [{}, {train.lr: 0.002, train.weight_decay: 0.1}]}]", (("train.lr", "train.weight_decay"),)),
    ],
    ids=["grid", "one at a time", "a factor that is off at a level", "zip", "zip with one varied alone too", "list"],
)  # fmt: skip
def test_factors_that_change_together_are_named(plant_by, designs: str, expected: tuple) -> None:
    assert confounded(plant_by(f"{FACTORS}designs: {designs}{SEEDS}", lambda *_: None).design) == expected


def test_a_half_fraction_confounds_three_factors_at_once(plant_by) -> None:
    half = "[{list: [{}, {train.lr: 0.002, train.weight_decay: 0.1}, {train.lr: 0.002, train.smoothing: 0.1}, " \
           "{train.weight_decay: 0.1, train.smoothing: 0.1}]}]"  # fmt: skip
    two = "factors: {train.lr: [0.001, 0.002], train.weight_decay: [0.05, 0.1], train.smoothing: [0.0, 0.1]}\n"
    assert confounded(plant_by(f"{two}designs: {half}{SEEDS}", lambda *_: None).design) == ()
    third = half.replace("}]}]", "}, {train.lr: 0.003}]}]").replace("{train.lr: 0.002, train.smoothing: 0.1}, ", "")
    found = confounded(
        plant_by(f"{two.replace('0.002]', '0.002, 0.003]')}designs: {third}{SEEDS}", lambda *_: None).design
    )
    assert found == (("train.lr", "train.weight_decay", "train.smoothing"),)


def test_controls_are_each_for_one_arm_and_confound_nothing(plant_by) -> None:
    body = """\
factors: {shuffle.schedule: [linear, reverse], shuffle.max_rate: [0.5]}
designs: [{grid: [shuffle.schedule, shuffle.max_rate], control: equal_mean_constant}]"""
    design = plant_by(body + SEEDS, lambda *_: None).design
    assert len(design.arms) > 2 and confounded(design) == ()
