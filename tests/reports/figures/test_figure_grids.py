"""The data of interaction plots and heat maps, against values computed by hand and against the tables."""

from __future__ import annotations

import math

import pytest

from slws_lab.analysis import effects, estimates
from slws_lab.reports.figures.data_grids import interactions, interactions_frame, maps, maps_frame

GRID = """
factors: {model.drop_path: [0.0, 0.1], train.smoothing: [0.0, 0.1]}
designs: [{grid: [model.drop_path, train.smoothing]}]
seeds: 4
"""
WIDE = GRID.replace("train.smoothing: [0.0, 0.1]", "train.smoothing: [0.0, 0.1, 0.2]")
THREE = """
factors: {model.drop_path: [0.0, 0.1], train.smoothing: [0.0, 0.1], train.lr: [0.001, 0.002, 0.004]}
designs: [{grid: [model.drop_path, train.smoothing, train.lr]}]
seeds: 3
"""


def value(settings: dict, seed: int) -> float:
    """80 at the baseline; drop path adds 1, smoothing 2, both together 4 + seed / 10."""
    drop, smooth = settings["model.drop_path"] > 0, settings["train.smoothing"] > 0
    return 80 + 10 * seed + drop + 2 * smooth + (1 + seed / 10) * (drop and smooth)


def test_the_cells_of_two_factors_and_their_interaction(plant) -> None:
    table = plant(GRID, value)
    (found,) = interactions(table)
    assert (found.x, found.line, found.n, found.others) == ("drop_path", "smoothing", 4, "")
    assert found.points[["x", "line"]].to_numpy().tolist() == [
        ["0.0", "0.0"],
        ["0.1", "0.0"],
        ["0.0", "0.1"],
        ["0.1", "0.1"],
    ]
    assert found.points["mean"].tolist() == pytest.approx([95.0, 96.0, 97.0, 99.15])
    half = 3.182446305 * math.sqrt(500 / 3) / 2  # of 80, 90, 100, 110
    assert found.points["low"][0] == pytest.approx(95 - half) and found.points["high"][0] == pytest.approx(95 + half)
    (interaction,) = (one for one in effects(table) if len(one.factors) == 2)
    assert found.interaction is not None and found.interaction.delta == interaction.delta == pytest.approx(1.15)


def test_the_longer_factor_is_the_axis_and_more_than_four_cells_have_no_single_interaction(plant) -> None:
    (found,) = interactions(plant(WIDE, value))
    assert (found.x, found.line, found.interaction) == ("smoothing", "drop_path", None)
    assert len(found.points) == 6


def test_a_mean_over_two_of_three_factors_counts_the_levels_of_the_third_alike(plant) -> None:
    table = plant(THREE, lambda settings, seed: value(settings, seed) + 1000 * settings["train.lr"])
    found = interactions(table)
    assert [(one.x, one.line) for one in found] == [
        ("drop_path", "smoothing"),
        ("lr", "drop_path"),
        ("lr", "smoothing"),
    ]
    assert found[0].points["mean"].tolist() == pytest.approx([90 + m + 7 / 3 for m in (0, 1, 2, 4.1)])
    assert found[1].others == "smoothing" and found[1].points["mean"][0] == pytest.approx(91 + 1)
    frame = interactions_frame(found)
    assert frame["panel"].tolist() == [1] * 4 + [2] * 6 + [3] * 6 and set(frame["n"]) == {3}


def test_a_grid_that_lacks_seeds_has_no_interaction_but_a_map(plant) -> None:
    table = plant(
        GRID, lambda s, seed: None if seed and s["model.drop_path"] and s["train.smoothing"] else value(s, seed)
    )
    assert interactions(table) == []
    (found,) = maps(table)
    assert found.cells["n"].tolist() == [4, 4, 4, 1]


def test_too_many_lines_are_left_to_the_map(plant) -> None:
    levels = [round(0.01 * i, 2) for i in range(7)]
    body = f"factors: {{model.drop_path: {levels}, train.smoothing: {levels}}}\ndesigns: [{{grid: [model.drop_path, train.smoothing]}}]\nseeds: 3"
    table = plant(body, value)
    assert interactions(table) == [] and maps(table)[0].shape == (7, 7)


def test_pairwise_blocks_have_an_interaction_for_each_pair(plant) -> None:
    body = THREE.replace("grid:", "pairwise:").replace("[0.001, 0.002, 0.004]", "[0.001, 0.002]")
    table = plant(body, value)
    found = interactions(table)
    assert [(one.x, one.line) for one in found] == [
        ("drop_path", "smoothing"),
        ("drop_path", "lr"),
        ("smoothing", "lr"),
    ]
    assert found[0].interaction is not None and found[0].interaction.delta == pytest.approx(1.1)
    assert maps(table) == []


def test_a_map_holds_the_means_of_the_arms_and_their_distance_to_the_baseline(plant) -> None:
    table = plant(GRID, lambda s, seed: None if s["model.drop_path"] and s["train.smoothing"] else value(s, seed))
    (found,) = maps(table)
    assert (found.row, found.column, found.panel, found.shape) == ("smoothing", "drop_path", "", (2, 2))
    known = {e.arm_id: e.mean for e in estimates(table)}
    assert (
        found.cells["mean"].tolist()[:3]
        == [known[arm_id] for arm_id in found.cells["arm_id"]][:3]
        == [95.0, 96.0, 97.0]
    )
    assert found.of("delta")[0] == [0.0, 1.0] and found.of("delta")[1][0] == 2.0
    assert math.isnan(found.of("mean")[1][1]) and found.cells["n"].tolist() == [4, 4, 4, 0]


def test_a_third_factor_gives_a_map_for_each_of_its_levels(plant) -> None:
    found = maps(plant(THREE, value))
    assert [one.panel for one in found] == ["smoothing=0.0", "smoothing=0.1"]
    assert {(one.row, one.column) for one in found} == {("drop_path", "lr")}
    frame = maps_frame(found)
    assert len(frame) == 12 and frame["given"].unique().tolist() == ["smoothing=0.0", "smoothing=0.1"]
