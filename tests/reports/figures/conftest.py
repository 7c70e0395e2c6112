"""Planted results with whole records: journals, costs and shuffle rates, from which every kind of figure can be drawn."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from slws_lab.analysis import ResultTable
from slws_lab.tracking import RunRecord

EPOCHS = 6


@pytest.fixture
def whole(plant: Callable[..., ResultTable]) -> Callable[..., ResultTable]:
    """Return a function that plants a study whose runs have curves, costs and shuffle rates, each of its own size."""

    def make(body: str) -> ResultTable:
        table = plant(body, lambda settings, seed: 80.0 + seed)
        arms = {run: table.design.arm(arm_id) for (arm_id, _), run in table.design.run_ids.items()}
        seeds = {run: seed for (_, seed), run in table.design.run_ids.items()}
        key = table.study.metric.key
        records = {run: _whole(one, arms[run], seeds[run], key) for run, one in table.records.items()}
        return replace(table, records=records)

    return make


def _whole(record: RunRecord, arm: Any, seed: int, key: str) -> RunRecord:
    size, noise = random.Random(arm.label).random(), random.Random(f"{arm.label}-{seed}").gauss(0, 0.02)
    spec = arm.recipe.shuffle
    top = 70 + 20 * size + seed / 3 + 10 * noise
    curves: dict[str, dict[int, float]] = {
        "train/loss": {}, "val/loss": {}, key: {}, "train/images_per_s": {}, "train/shuffle_rate": {},
    }  # fmt: skip
    for epoch in range(1, EPOCHS + 1):
        risen = 1 - math.exp(-epoch)
        course = {"constant": 1.0, "ramp_up": (epoch - 1) / (EPOCHS - 1), "ramp_down": 1 - (epoch - 1) / (EPOCHS - 1)}
        curves["train/loss"][epoch] = 2.3 - 2.0 * risen + noise
        curves["val/loss"][epoch] = 2.3 - 1.5 * risen + noise + 0.1 * size
        curves[key][epoch] = top * risen if key != "val/loss" else curves["val/loss"][epoch]
        curves["train/images_per_s"][epoch] = 500 + 400 * size
        curves["train/shuffle_rate"][epoch] = spec.max_rate * course[spec.over_time]
    rates = [] if spec.schedule == "none" else [spec.max_rate * layer / 3 for layer in range(4)]
    params = 7_000_000 if "tiny" in arm.recipe.model.name else 180_000
    result = {"epochs": EPOCHS, "seconds": 20 + 90 * size, "params": params, "shuffle_rates": rates}
    return replace(record, curves=curves, result=result)
