"""Shuffle rates over the depth: printed values, edges, and what is refused."""

from __future__ import annotations

import math

import pytest

from slws_lab.errors import UserError
from slws_lab.shuffle import SCHEDULES, mean_rate, rates


def test_linear_is_the_published_allocation_of_the_framework_figure():
    assert rates("linear", 0.5, 6) == pytest.approx((0, 0.1, 0.2, 0.3, 0.4, 0.5), abs=1e-15)


def test_linear_ends_exactly_at_the_largest_rate_at_every_depth():
    for depth in range(2, 60):
        for schedule in ("linear", "cosine", "step"):
            shape = rates(schedule, 0.1, depth)
            assert shape[0] == 0.0
            assert shape[-1] == 0.1
            assert list(shape) == sorted(shape)


@pytest.mark.parametrize(
    ("schedule", "own", "expected"),
    [
        ("none", {}, (0, 0, 0, 0, 0)),
        ("constant", {}, (0.4, 0.4, 0.4, 0.4, 0.4)),
        ("constant_skip_first", {}, (0, 0.4, 0.4, 0.4, 0.4)),
        ("reverse", {}, (0.4, 0.3, 0.2, 0.1, 0)),
        ("cosine", {}, (0, 0.2 * (1 - math.sqrt(0.5)), 0.2, 0.2 * (1 + math.sqrt(0.5)), 0.4)),
        ("step", {}, (0, 0, 0, 0.4, 0.4)),
        ("step", {"steps": 2}, (0, 0, 0, 0.4, 0.4)),
        ("step", {"steps": 3}, (0, 0, 0.2, 0.2, 0.4)),
        ("step", {"steps": 5}, (0, 0.1, 0.2, 0.3, 0.4)),
        ("last_k", {"k": 2}, (0, 0, 0, 0.4, 0.4)),
        ("last_k", {"k": 5}, (0.4, 0.4, 0.4, 0.4, 0.4)),
        ("custom", {"custom": [0.1, 1, 0, 0.5, 0.25]}, (0.1, 1, 0, 0.5, 0.25)),
    ],
)
def test_shapes(schedule, own, expected):
    assert rates(schedule, 0.4, 5, **own) == pytest.approx(expected, abs=1e-15)


def test_step_halves_an_even_depth():
    assert rates("step", 0.3, 4) == (0.0, 0.0, 0.3, 0.3)


def test_a_single_layer_counts_as_the_first():
    own = {"last_k": {"k": 1}, "custom": {"custom": [0.7]}, "step": {"steps": 2}}
    alone = {schedule: rates(schedule, 0.5, 1, **own.get(schedule, {})) for schedule in SCHEDULES}
    assert alone == {
        "none": (0.0,),
        "linear": (0.0,),
        "constant": (0.5,),
        "constant_skip_first": (0.0,),
        "reverse": (0.0,),
        "cosine": (0.0,),
        "step": (0.0,),
        "last_k": (0.5,),
        "custom": (0.7,),
    }


def test_mean_rate_is_that_of_the_constant_control_arm():
    assert mean_rate(rates("linear", 0.5, 24)) == pytest.approx(0.25)
    assert mean_rate(rates("reverse", 0.5, 24)) == mean_rate(rates("linear", 0.5, 24))
    assert mean_rate(rates("constant", 0.25, 24)) == 0.25
    with pytest.raises(UserError):
        mean_rate(())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ((("linaer", 0.5, 4), {}), "did you mean 'linear'?"),
        ((("linear", 1.01, 4), {}), "max_rate = 1.01"),
        ((("linear", -0.1, 4), {}), "max_rate = -0.1"),
        ((("linear", math.nan, 4), {}), "max_rate = nan"),
        ((("linear", 0.5, 0), {}), "a depth of 0 layers"),
        ((("custom", 0.0, 3), {"custom": [0.1, 0.2]}), "2 rates"),
        ((("custom", 0.0, 3), {}), "no rates"),
        ((("custom", 0.0, 2), {"custom": [0.1, 1.2]}), "rate of layer 1 = 1.2"),
        ((("last_k", 0.5, 4), {}), "k = None"),
        ((("last_k", 0.5, 4), {"k": 5}), "k = 5"),
        ((("last_k", 0.5, 4), {"k": 0}), "k = 0"),
        ((("step", 0.5, 4), {"steps": 1}), "steps = 1"),
        ((("step", 0.5, 4), {"steps": 5}), "steps = 5"),
        ((("linear", 0.5, 4), {"k": 2}), "`k` with shuffle schedule linear"),
        ((("last_k", 0.5, 4), {"k": 2, "steps": 2}), "`steps` with shuffle schedule last_k"),
    ],
)
def test_mistakes_are_refused_by_name(call, message):
    args, own = call
    with pytest.raises(UserError) as caught:
        rates(*args, **own)
    assert message in str(caught.value)
