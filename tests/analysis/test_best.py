"""Which arms are bold."""

from __future__ import annotations

from slws_lab.analysis import best

NOISE = [0.9, -1.3, 0.4, 1.1, -0.7]
WOBBLE = [0.02, -0.03, 0.01, 0.03, -0.02]


def arm(mean: float, scale: float = 1.0) -> list[float]:
    return [mean + noise + scale * wobble for noise, wobble in zip(NOISE, WOBBLE, strict=True)]


def ranks(table) -> list[int]:
    """Return the numbers of the bold arms, the baseline's being 0."""
    return [i for i, one in enumerate(table.design.arms) if one.id in best(table).bold]


def test_the_best_and_what_ties_with_it(plant) -> None:
    assert ranks(plant(arm(90), arm(92, 2), arm(92, -1), arm(89, 3), arm(91, 4))) == [1, 2]


def test_a_loss_is_best_below(plant) -> None:
    assert ranks(plant(arm(2), arm(1, 2), arm(3, 3), more="metric: {name: val/loss, goal: minimize}")) == [1]


def test_no_bold_when_more_than_half_tie(plant) -> None:
    table = plant(arm(90), arm(90, -1), arm(85, 2))
    assert len(best(table).arms) == 2 and best(table).judged == 3
    assert ranks(table) == []
    assert ranks(plant(arm(90), arm(90, -1), arm(85, 2), arm(84, 3))) == [0, 1]


def test_an_arm_with_the_very_same_values_ties(plant) -> None:
    assert ranks(plant(arm(90), arm(92, 2), arm(92, 2), arm(89, 3))) == [1, 2]


def test_one_arm_alone_is_not_the_best_of_anything(plant) -> None:
    assert ranks(plant(arm(90))) == []


def test_arms_with_too_few_runs_are_never_bold(plant) -> None:
    few = [99.0, 99.5, "failed", "failed", None]
    assert ranks(plant(arm(90), few, arm(92, 2), arm(91, 3))) == [2]
    assert best(plant([None] * 5, few)).arms == ()


def test_an_arm_without_common_seeds_is_not_judged(plant) -> None:
    table = plant([*arm(92)[:3], None, None], [None, None, *arm(91)[2:]], [*arm(90, 2)[:3], None, None])
    assert best(table).judged == 2 and ranks(table) == [0]


def test_holm_lets_ties_stand_that_a_single_test_would_break(plant) -> None:
    close = [v + d for v, d in zip(arm(90), [0.02, 0.05, 0.06, 0.01, 0.09], strict=True)]
    pair = plant(arm(90), close)
    assert ranks(pair) == [1]
    many = plant(arm(90), close, *(arm(90, scale) for scale in (1.1, 1.2, 1.3, 0.9)))
    assert len(best(many).arms) > 1


def test_arms_with_unequal_seeds_are_ranked_by_the_seeds_that_all_have(plant) -> None:
    easier = [80.0, 80.2, 80.1, 90.0, 90.1, 90.2]  # later seeds are easier, and only two arms have them
    table = plant(easier, [v + 0.01 * i for i, v in enumerate(easier)], [83.0, 83.1, 83.2, None, None, None], seeds="6")
    assert best(table).arms == (table.design.arms[2].id,)


def test_an_arm_that_is_worse_by_the_same_amount_at_every_seed_does_not_tie(plant) -> None:
    worse = [v - 4.0 for v in arm(92)]
    assert ranks(plant(arm(92), worse, arm(85, 2))) == [0]
    assert ranks(plant(worse, arm(92))) == [1]
    rounded = [v + 1e-13 for v in arm(92)]
    assert ranks(plant(arm(92), rounded, arm(85, 2), arm(84, 3))) == [0, 1]
