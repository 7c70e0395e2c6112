"""What arms cost, from the records of their runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slws_lab.analysis.costs import costs
from slws_lab.reports.tables.amounts import figure

STUDY = """
factors: {train.smoothing: [0.0, 0.1]}
designs: [{grid: [train.smoothing]}]
seeds: 4
"""


def test_each_cost_is_that_of_the_runs(planted) -> None:
    ends = {2: "failed", 3: "diverged"}
    made = planted(
        STUDY, lambda s, seed: ends.get(seed, 80.0) if s["train.smoothing"] else (80.0, {"seconds": 10.0 * (seed + 1)})
    )
    plain, smooth = costs(made.table)
    assert (plain.params, plain.flops, plain.lost_hours, plain.lost_attempts) == (2_000_000, 3e9, 0.0, 0)
    assert plain.device_hours == pytest.approx((10 + 20 + 30 + 40) / 3600) and plain.run_seconds == 25.0
    assert plain.images_per_s == 115.0 and plain.peak_memory_mb == 53.0
    assert smooth.device_hours == pytest.approx(
        (36 + 36 + 36) / 3600
    )  # that of the diverged run is told by its start and end
    assert smooth.lost_hours == pytest.approx(36 / 3600) and smooth.lost_attempts == 1
    assert smooth.images_per_s == 105.0  # of the finished runs alone
    ids = made.table.design.run_ids
    assert smooth.run_ids == tuple(ids[smooth.arm_id, seed] for seed in (0, 1, 3)) and smooth.failed_ids == (
        ids[smooth.arm_id, 2],
    )


def test_devices_and_further_attempts_count(planted) -> None:
    made = planted(STUDY.replace("seeds: 4", "seeds: 2\nset: {train.ranks: 2}"), lambda s, seed: 80.0)
    run_id = made.table.design.run_ids[made.table.design.arms[0].id, 1]
    again = replace(
        made.table, records={**made.table.records, run_id: replace(made.table.records[run_id], attempt=3, attempts=3)}
    )
    first, second = costs(again)
    assert first.device_hours == second.device_hours == pytest.approx(2 * 2 * 36 / 3600)
    assert (first.lost_attempts, second.lost_attempts) == (2, 0)


def test_what_no_run_says_is_not_known(planted) -> None:
    for plan in (lambda s, seed: None, lambda s, seed: "failed"):
        first, _ = costs(planted(STUDY, plan).table)
        assert (first.params, first.flops, first.device_hours, first.images_per_s, first.peak_memory_mb) == (None,) * 5
    first, _ = costs(planted(STUDY, lambda s, seed: (80.0, {"flops": None})).table)
    assert first.flops is None and first.params == 2_000_000


def test_figures_have_three_digits_and_no_power_of_ten() -> None:
    assert [figure(x) for x in (0, 0.0003217, 0.02, 1.5, 26, 97.6, 341, 1234.5, 9.995e6)] == [
        "0", "0.000322", "0.0200", "1.50", "26.0", "97.6", "341", "1,234", "9,995,000",
    ]  # fmt: skip
