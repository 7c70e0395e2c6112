"""The factor of an epoch: its course over the training, its ends, and what is refused."""

from __future__ import annotations

import pytest

from slws_lab.errors import UserError
from slws_lab.shuffle import OVER_TIME, factor


def course(kind: str, epochs: int, off_last: int = 0) -> list[float]:
    return [factor(kind, epoch, epochs, off_last) for epoch in range(epochs)]


def test_the_courses_over_five_epochs():
    assert course("constant", 5) == [1, 1, 1, 1, 1]
    assert course("ramp_up", 5) == [0, 0.25, 0.5, 0.75, 1]
    assert course("ramp_down", 5) == [1, 0.75, 0.5, 0.25, 0]


def test_the_last_epochs_are_off_and_the_ramp_spans_the_others():
    assert course("constant", 5, 2) == [1, 1, 1, 0, 0]
    assert course("ramp_up", 5, 2) == [0, 0.5, 1, 0, 0]
    assert course("ramp_down", 5, 2) == [1, 0.5, 0, 0, 0]


@pytest.mark.parametrize("kind", OVER_TIME)
def test_every_course_stays_within_0_and_1_and_the_ramps_mirror_each_other(kind):
    for epochs in range(1, 40):
        for off_last in range(epochs + 1):
            values = course(kind, epochs, off_last)
            assert all(0 <= value <= 1 for value in values)
            assert values[epochs - off_last :] == [0] * off_last
            shuffled = values[: epochs - off_last]
            assert shuffled == sorted(shuffled, reverse=kind == "ramp_down")
    assert course("ramp_up", 9) == course("ramp_down", 9)[::-1]


def test_a_single_shuffled_epoch_counts_as_the_first():
    for epochs, off_last in ((1, 0), (3, 2)):
        first = [course(kind, epochs, off_last)[0] for kind in ("constant", "ramp_up", "ramp_down")]
        assert first == [1, 0, 1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("ramp-up", 0, 5), "did you mean 'ramp_up'"),
        (("constant", 0, 0), "0 epochs"),
        (("constant", 5, 5), "epoch 5 of 5"),
        (("constant", -1, 5), "epoch -1 of 5"),
        (("constant", 0, 5, 6), "last 6 of 5 epochs"),
        (("constant", 0, 5, -1), "last -1 of 5 epochs"),
    ],
)
def test_bad_values_are_refused_with_what_is_allowed(given, words):
    with pytest.raises(UserError, match=words) as caught:
        factor(*given)
    assert caught.value.allowed
