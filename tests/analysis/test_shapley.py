"""Shapley attribution by hand, by all orders, and its sum."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from slws_lab.analysis import shapley
from slws_lab.errors import UserError

FIELDS = {
    "model.drop_path": (0.0, 0.1),
    "train.smoothing": (0.0, 0.1),
    "data.augment.flip": (0.0, 0.5),
    "train.clip_grad": (None, 1.0),
}


def body(components: dict, more: str = "") -> str:
    levels = ", ".join(f"{name}: [{'null' if off is None else off}, {on}]" for name, (off, on) in components.items())
    return f"factors: {{{levels}}}\ndesigns: [{{grid: [{', '.join(components)}]}}]\nseeds: 4\n{more}"


def switched_on(settings: dict) -> tuple[bool, ...]:
    return tuple(settings[name] == FIELDS[name][1] for name in FIELDS if name in settings)


def first(count: int) -> dict:
    return dict(list(FIELDS.items())[:count])


def test_an_interaction_is_shared_equally(plant_by) -> None:
    def value(settings: dict, seed: int) -> float:
        a, b = switched_on(settings)
        return 90 + seed + a * (1 + 0.01 * seed) + 2 * b + 4 * a * b

    a, b, total = shapley(plant_by(body(first(2)), value), first(2))
    assert (a.delta, b.delta, total.delta) == pytest.approx((3.015, 4.0, 7.015))
    assert (a.name, total.name, a.family, total.family) == ("drop_path", "all on - all off", 1, 1)
    assert b.p is None and "no spread" in repr(b)


def table_and_values(plant_by, count: int):
    rng = np.random.default_rng(8)
    values = {
        (on, seed): 90 + rng.normal() for on in itertools.product((False, True), repeat=count) for seed in range(4)
    }
    return plant_by(body(first(count)), lambda settings, seed: values[switched_on(settings), seed]), values


@pytest.mark.parametrize("count", [1, 3, 4])
def test_contributions_are_means_over_all_orders_and_sum_to_the_total(plant_by, count: int) -> None:
    table, values = table_and_values(plant_by, count)
    *parts, total = shapley(table, first(count))
    gains = np.zeros((count, 4))
    orders = list(itertools.permutations(range(count)))
    for order, seed in itertools.product(orders, range(4)):
        on = [False] * count
        for component in order:
            before = values[tuple(on), seed]
            on[component] = True
            gains[component, seed] += (values[tuple(on), seed] - before) / len(orders)
    assert [part.delta for part in parts] == pytest.approx(list(gains.mean(1)))
    assert total.delta == pytest.approx(gains.sum(0).mean())
    half = [(part.high - part.low) / 2 for part in parts]
    assert half == pytest.approx(list(3.182446305284263 * gains.std(1, ddof=1) / 2))


def test_all_arms_are_needed_and_the_missing_are_named(plant_by) -> None:
    more = "exclude: [{model.drop_path: 0.1, train.smoothing: 0.1}]"
    with pytest.raises(UserError, match=r"1 of 4 arms is missing: \(drop_path=0.1, smoothing=0.1\)"):
        shapley(plant_by(body(first(2), more), lambda settings, seed: seed), first(2))


def test_more_than_six_components_are_refused(plant_by) -> None:
    with pytest.raises(UserError, match="7 components would need 128 arms"):
        shapley(plant_by(body(first(1)), lambda settings, seed: seed), dict.fromkeys("abcdefg", (0, 1)))
