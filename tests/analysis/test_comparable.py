"""The guard: undeclared differences are named with both values, declared ones and their consequences are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slws_lab.analysis import refuse_undeclared, undeclared
from slws_lab.errors import UserError

MADE = {
    "epochs": 2, "data_fingerprint": "aa", "device": "NVIDIA H100", "scan_backend": "triton", "threads": 1,
    "provenance": {"packages": {"torch": "2.6+cu126"}, "modules": {"slws_lab.models": "11", "slws_lab.scan": "22"}},
}  # fmt: skip
BASE, ARM = [90.0, 91.0, 92.0], [91.0, 92.5, 93.0]


def made(table, **changes):
    """Give every run the same record, and the arm's run with seed 1 the changes."""
    _, arm = (one.id for one in table.design.arms)
    odd = table.design.run_ids[arm, 1]
    provenance = MADE["provenance"] | changes.pop("provenance", {})
    records = {
        run_id: replace(record, result=MADE | ({**changes, "provenance": provenance} if run_id == odd else {}))
        for run_id, record in table.records.items()
    }
    return replace(table, records=records)


def test_runs_made_alike_are_comparable(plant) -> None:
    table = made(plant(BASE, ARM))
    assert undeclared(table) == ()
    refuse_undeclared(table)


@pytest.mark.parametrize(
    ("changes", "field", "values"),
    [
        ({"epochs": 1}, "epochs", ("1", "2")),
        ({"data_fingerprint": "bb"}, "data fingerprint", ("bb", "aa")),
        ({"device": "NVIDIA A100"}, "device", ("NVIDIA A100", "NVIDIA H100")),
        ({"scan_backend": "chunked"}, "scan back-end", ("chunked", "triton")),
        ({"threads": None}, "threads", ("not recorded", "1")),
        ({"provenance": {"packages": {"torch": "2.7+cu128"}}}, "torch", ("2.7+cu128", "2.6+cu126")),
        ({"provenance": {"modules": {"slws_lab.scan": "33", "mine.py": "44"}}}, "code of slws_lab.scan", ("33", "22")),
    ],
)
def test_an_undeclared_difference_is_named_with_both_values(plant, changes: dict, field: str, values: tuple) -> None:
    table = made(plant(BASE, ARM), **changes)
    (found,) = undeclared(table)
    assert (found.field, found.values, found.seeds) == (field, values, (1,))
    with pytest.raises(UserError, match=f"{field} .* against .* \\(seed 1\\)"):
        refuse_undeclared(table)


def test_a_run_without_a_value_is_not_compared(plant) -> None:
    assert undeclared(made(plant(BASE, [91.0, "failed", 93.0]), device="NVIDIA A100")) == ()


def test_what_follows_from_a_declared_factor_is_no_difference(plant_by) -> None:
    body = "factors: {data.val_fraction: [0.2, 0.3]}\ndesigns: [{grid: [data.val_fraction]}]\nseeds: 3"
    table = plant_by(body, lambda settings, seed: 90.0 + seed)
    assert undeclared(made(table, data_fingerprint="bb")) == ()
    assert [found.field for found in undeclared(made(table, epochs=1))] == ["epochs"]


def test_recipes_that_differ_beside_the_factors_are_found(plant) -> None:
    table = made(plant(BASE, ARM))
    base, arm = table.design.arms
    other = arm.recipe.model_copy(
        update={"train": arm.recipe.train.model_copy(update={"batch_size": 32, "precision": "bf16"})}
    )
    design = replace(table.design, arms=(base, replace(arm, recipe=other)))
    found = undeclared(replace(table, design=design, records=table.records | _records(table, design)))
    assert {(one.field, one.values[0]) for one in found} == {("train.batch_size", "32"), ("train.precision", "bf16")}
    assert all(one.seeds == (0, 1, 2) for one in found)


def _records(table, design) -> dict:
    """Return the records under the ids of the design's runs."""
    return {design.run_ids[arm.id, seed]: table.record(arm.id, seed) for arm in design.arms for seed in design.seeds}


def test_a_schedule_takes_its_rate_along(plant_by) -> None:
    body = (
        "factors: {shuffle.schedule: [linear, none]}\nset: {shuffle.max_rate: 0.5, shuffle.window: 4}\n"
        "designs: [{grid: [shuffle.schedule]}]\nseeds: 3"
    )
    table = plant_by(body, lambda settings, seed: 90.0 + seed)
    one, other = (arm.recipe.shuffle for arm in table.design.arms)
    assert (one.max_rate, other.max_rate, other.window) == (0.5, 0.0, None)
    assert undeclared(made(table)) == ()
