"""The tables of Shapley attribution: only where all arms are there, and one note where components are plainly meant."""

from __future__ import annotations

import numpy as np
import pytest

from slws_lab.analysis import shapley
from slws_lab.reports import TableView, wording
from slws_lab.reports.tables.attribution import shapley_views

FACTORS = (
    "factors: {model.drop_path: [0.0, 0.1], train.smoothing: [0.1, 0.0], train.clip_grad: [null, 1.0]}\nseeds: 4\n"
)
THREE = ["model.drop_path", "train.smoothing", "train.clip_grad"]


def value(settings: dict, seed: int) -> float:
    on = [bool(settings[name]) for name in THREE if name in settings]
    noise = np.random.default_rng([seed, *on]).normal(0, 0.2)
    return 80 + seed + 2 * on[0] + sum(on) + 3 * all(on) + noise


def column(view: TableView, name: str) -> list[str]:
    (i,) = [i for i, c in enumerate(view.columns) if c.name == name]
    return [row[i].text for row in view.rows]


def test_a_grid_of_components_has_contributions_and_their_sum(plant) -> None:
    table = plant(f"{FACTORS}designs: [{{grid: [{', '.join(THREE)}]}}]", value)
    (view,) = shapley_views(table)
    assert column(view, "component") == ["drop_path", "smoothing", "clip_grad", "all on − all off"]
    assert (column(view, "off"), column(view, "on")) == (["0.0", "0.0", "null", "all"], ["0.1", "0.1", "1.0", "all"])
    found = shapley(table, dict(zip(THREE, [(0.0, 0.1), (0.0, 0.1), (None, 1.0)], strict=True)))
    assert column(view, "p") == [wording.p_value(one.p) for one in found]
    deltas = [float(text.split(" ")[0].replace("−", "-")) for text in column(view, "Δ [95 % interval] (points)")]
    assert sum(deltas[:3]) == pytest.approx(deltas[3], abs=0.02)
    assert len(view.rows[0][0].run_ids) == 8 * 4
    assert "all 6 orders" in view.notes[0] and "Holm over 3 components" in view.notes[1]


@pytest.mark.parametrize("kind", ["leave_one_out", "build_up"])
def test_missing_arms_are_counted_where_components_are_meant(plant, kind: str) -> None:
    (view,) = shapley_views(plant(f"{FACTORS}designs: [{{{kind}: [{', '.join(THREE)}]}}]", value))
    assert not view.rows and len(view.notes) == 1
    assert "each of the 8 combinations of the 3 components, and 4 of them are missing" in view.notes[0]


def test_two_blocks_that_hold_all_arms_together_have_one_table(plant) -> None:
    two = ", ".join(THREE[:2])
    table = plant(f"{FACTORS}designs: [{{leave_one_out: [{two}]}}, {{build_up: [{two}]}}]", value)
    (view,) = shapley_views(table)
    assert len(table.design.arms) == 4 and len(view.rows) == 3
    assert "With two components it is the main effect." in view.notes[0]


def test_a_whole_grid_elsewhere_in_the_design_serves_too(plant) -> None:
    names = ", ".join(THREE)
    views = shapley_views(plant(f"{FACTORS}designs: [{{leave_one_out: [{names}]}}, {{grid: [{names}]}}]", value))
    assert [len(view.rows) for view in views] == [4]


def test_all_arms_but_too_few_seeds_say_so(plant) -> None:
    body = f"{FACTORS}designs: [{{leave_one_out: [{', '.join(THREE[:1])}]}}, {{leave_one_out: [{', '.join(THREE[:2])}]}}, {{build_up: [{', '.join(THREE[:2])}]}}]"
    (view,) = shapley_views(plant(body, lambda s, seed: value(s, seed) if seed < 2 else "failed"))
    assert "Shapley attribution needs 3 seeds that all 4 arms finished, not 2" in view.notes[0]


@pytest.mark.parametrize(
    ("factors", "more"),
    [
        ("train.lr: [0.001, 0.002], train.smoothing: [0.0, 0.1]", ""),
        ("model.drop_path: [0.0, 0.1, 0.2], train.smoothing: [0.0, 0.1]", ""),
        (
            "model.drop_path: [0.0, 0.1], train.smoothing: [0.0, 0.1]",
            "exclude: [{model.drop_path: 0.1, train.smoothing: 0.1}]",
        ),
    ],
)
def test_of_a_grid_that_is_not_of_components_or_not_whole_nothing_is_said(plant, factors: str, more: str) -> None:
    names = ", ".join(part.split(":")[0] for part in factors.split("], ")).replace("[", "")
    body = f"factors: {{{factors}}}\nseeds: 4\ndesigns: [{{grid: [{names}]}}]\n{more}"
    assert shapley_views(plant(body, lambda s, seed: 80.0 + seed)) == []


def test_too_many_components_are_counted(plant) -> None:
    fields = [*THREE, "data.augment.flip", "data.augment.erase", "data.augment.mixup", "data.augment.cutmix"]
    levels = ", ".join(f"{name}: [{'null' if name == THREE[2] else 0.0}, 0.5]" for name in fields)
    body = f"factors: {{{levels}}}\nseeds: 3\ndesigns: [{{leave_one_out: [{', '.join(fields)}]}}]"
    (view,) = shapley_views(plant(body, lambda s, seed: 80.0 + seed))
    assert view.notes == ("Not made: 7 components have 128 combinations; it is made for at most 6 components.",)
