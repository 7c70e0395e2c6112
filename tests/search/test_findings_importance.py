"""Importance finds the dimension that matters, knows conditions, and says when it knows nothing."""

from __future__ import annotations

import random
import warnings

import pytest

from slws_lab.analysis.searching import Axis
from slws_lab.search import importance
from slws_lab.search.importance import importances
from slws_lab.search.trial import Trial

AXES = (
    Axis("kind", "kind", levels=("p", "q", ["r", 1])),
    Axis("a.x", "x"),
    Axis("a.y", "y", (), 1e-3, 1.0, log=True),
    Axis("a.n", "n", (), 1, 9, whole=True),
)


def trials(count: int, value: str = "x", seed: int = 0) -> list[Trial]:
    """Return random trials whose value depends on one dimension."""
    found = []
    for i in range(count):
        draw = random.Random(f"{seed}-{i}")
        settings = {
            "kind": draw.choice(AXES[0].levels), "a.x": draw.random(), "a.y": 10 ** draw.uniform(-3, 0), "a.n": draw.randint(1, 9),
        }  # fmt: skip
        effect = {"x": -((settings["a.x"] - 0.3) ** 2), "kind": float(settings["kind"] == ["r", 1])}[value]
        found.append(Trial(i, settings, "complete", (effect + draw.gauss(0, 0.005), 1.0)))
    return found


@pytest.mark.parametrize(("value", "name"), [("x", "a.x"), ("kind", "kind")])
def test_both_methods_put_the_planted_dimension_first(value: str, name: str) -> None:
    for one in importances(trials(60, value), AXES, 0, "maximize"):
        assert next(iter(one.shares)) == name, one
        assert sum(one.shares.values()) == pytest.approx(1.0) and one.trials == 60


def test_the_goal_decides_what_the_best_have_in_common() -> None:
    turned = [Trial(t.number, t.settings, "complete", (-t.values[0],)) for t in trials(60)]
    large, small = importances(trials(60), AXES, 0, "maximize")[0], importances(turned, AXES, 0, "minimize")[0]
    assert large.shares == small.shares and large.best == small.best == 6


def test_of_few_trials_the_best_five_are_looked_at() -> None:
    assert [importances(trials(n), AXES, 0, "maximize")[0].best for n in (10, 60)] == [5, 6]


def test_a_conditional_dimension_counts_for_one_method_and_is_left_out_of_the_other_with_the_reason() -> None:
    made = [
        Trial(
            t.number,
            {k: v for k, v in t.settings.items() if k != "a.x" or t.settings["kind"] != "p"},
            "complete",
            t.values,
        )
        for t in trials(40)
    ]
    ped, fanova = importances(made, AXES, 0, "maximize")
    assert "a.x" in ped.shares and ped.left_out == {}
    assert fanova.left_out == {"a.x": "off in some trials, which fANOVA cannot take"} and "a.x" not in fanova.shares


def test_a_dimension_that_is_hardly_ever_on_is_left_out_with_the_reason() -> None:
    made = [
        Trial(t.number, {k: v for k, v in t.settings.items() if k != "a.x" or t.number == 3}, "complete", t.values)
        for t in trials(20)
    ]
    ped, _ = importances(made, AXES, 0, "maximize")
    assert ped.left_out == {"a.x": "on in 1 of 20 completed trials"} and "a.x" not in ped.shares


def test_dimensions_that_never_vary_are_left_out_with_the_reason() -> None:
    same = {"kind": "p", "a.y": 0.1}
    made = [Trial(t.number, {**t.settings, **same}, "complete", t.values) for t in trials(20)]
    ped, fanova = importances(made, AXES, 0, "maximize")
    assert fanova.left_out == dict.fromkeys(same, "the same in all completed trials") and set(fanova.shares) == {
        "a.x",
        "a.n",
    }
    assert next(iter(ped.shares)) == "a.x"
    still = [Trial(t.number, {**t.settings, **same, "a.n": 3}, "complete", t.values) for t in trials(20)]
    assert importances(still, AXES, 0, "maximize")[1].reason == "fewer than two dimensions vary in enough trials"


def test_pruned_and_failed_trials_do_not_count() -> None:
    made = trials(30)
    others = [Trial(30 + i, t.settings, "pruned" if i % 2 else "failed") for i, t in enumerate(trials(9, seed=1))]
    assert importances([*made, *others], AXES, 0, "maximize") == importances(made, AXES, 0, "maximize")


@pytest.mark.parametrize(
    ("made", "axes", "objective", "reason"),
    [
        (trials(9), AXES, 0, "10 completed trials are needed, not 9"),
        (trials(20), AXES, 1, "all completed trials have the same value"),
        (trials(20), AXES[:1], 0, "the space has one dimension, so there is nothing to weigh it against"),
    ],
)
def test_what_cannot_be_said_has_a_reason(
    made: list[Trial], axes: tuple[Axis, ...], objective: int, reason: str
) -> None:
    for one in importances(made, axes, objective, "maximize"):
        assert one.reason == reason and one.shares == {}


def test_nothing_is_printed_and_nothing_is_warned(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importances(trials(10), AXES, 0, "maximize")
    assert capfd.readouterr() == ("", "")


def test_of_very_many_trials_one_method_looks_at_an_even_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "MOST", 20)
    ped, fanova = importances(trials(50), AXES, 0, "maximize")
    assert (ped.trials, fanova.trials) == (50, 17)
