"""Each number of a paper's table equals what its own runs give when it is computed again from their records alone."""

from __future__ import annotations

import random
import re
from statistics import fmean, stdev

import pytest
from scipy.stats import sem, t

BODIES = {
    "components": """
factors: {train.smoothing: [0.0, 0.1], train.clip_grad: [null, 3.0], model.drop_path: [0.0, 0.1]}
designs:
  - leave_one_out: [train.smoothing, train.clip_grad, model.drop_path]
  - build_up: [model.drop_path, train.clip_grad, train.smoothing]
  - grid: [train.smoothing, model.drop_path]
""",
    "sweeps": """
factors:
  train.lr: [0.004, 0.001, 0.002]
  shuffle.schedule: [none, linear, constant]
  shuffle.max_rate: {levels: [0.3, 0.6], when: {shuffle.schedule: [linear, constant]}}
designs:
  - one_at_a_time: [train.lr, shuffle.schedule]
  - grid: [shuffle.schedule, shuffle.max_rate, train.lr]
""",
    "sizes": """
factors: {model.name: [shufflemamba_micro, shufflemamba_tiny, vim_tiny], shuffle.schedule: [none, linear]}
designs: [{grid: [model.name, shuffle.schedule]}]
""",
    "asked": """
factors: {train.smoothing: [0.0, 0.1], model.drop_path: [0.0, 0.1, 0.2]}
designs: [{grid: [train.smoothing, model.drop_path]}]
report:
  references: [vim]
  reproduces: [{key: vim, variant: B, arm: {train.smoothing: 0.1, model.drop_path: 0.2}}]
  tables:
    - {name: all, show: [n, delta, interval, verdict, p, params, flops, device_hours, images_per_s, peak_memory], metrics: [val/top1, train/images_per_s, val/loss]}
    - {name: across, columns: train.smoothing, show: [delta, interval]}
""",
}  # fmt: skip


def last(table, run_id: str, name: str) -> float:
    curve = table.records[run_id].curves[name]
    return curve[max(curve)]


def mean_sd(values: list[float], places: int) -> str:
    text = f"{fmean(values):.{places}f}" + (f" ± {stdev(values):.{places}f}" if len(values) > 1 else "")
    return text.replace("-", "−")


def delta(table, run_ids: tuple[str, ...], *, interval: bool) -> str:
    """Compute a difference of pairs: the first half are the arm's runs, the second its reference's, seed by seed."""
    half = len(run_ids) // 2
    pairs = zip(run_ids[:half], run_ids[half:], strict=True)
    found = [last(table, a, "val/top1") - last(table, b, "val/top1") for a, b in pairs]
    text = f"{fmean(found):+.2f}"
    if interval and len(found) >= 3 and max(found) - min(found) > 1e-9:
        half_width = t.ppf(0.975, len(found) - 1) * sem(found)
        text += f" [{fmean(found) - half_width:+.2f}, {fmean(found) + half_width:+.2f}]"
    return text.replace("-", "−")


@pytest.mark.parametrize("name", list(BODIES))
@pytest.mark.parametrize("draw", range(3))
def test_every_number_is_that_of_its_runs(planted, name, draw) -> None:
    chance = random.Random(f"{name}-{draw}")
    drawn: dict = {}

    def plan(settings, seed):
        key = (repr(settings), seed)
        if key not in drawn:
            small = "micro" in str(settings.get("model.name"))
            value = (
                80 + chance.gauss(0, 2)
                if draw == 0 or chance.random() > 0.15
                else chance.choice(["failed", None, "diverged"])
            )
            drawn[key] = (value, {"params": 1e5 if small else 7e6, "flops": 2.5e9, "seconds": chance.uniform(5, 500)})
        return drawn[key]

    made = planted(BODIES[name] + "seeds: 4", plan)
    checked = 0
    for view in made.views().values():
        for row in view.rows:
            for column, cell in zip(view.columns, row, strict=True):
                if not column.numeric or not cell.run_ids or cell.text in ("–", ""):
                    continue
                title = f"{column.over} {column.name}"
                expected = again(made.table, title, cell)
                if expected is not None:
                    assert (
                        cell.text.replace(",", "") == expected.replace(",", "")
                        if "device" in title
                        else cell.text == expected
                    ), title
                    checked += 1
    assert checked > 8


def again(table, title: str, cell) -> str | None:
    """Compute a cell's text from its runs; None where it is a cost, which is compared as a number."""
    done = [run_id for run_id in cell.run_ids if table.records[run_id].status == "finished"]
    short = title.strip()
    if "Δ" in title:
        return delta(table, cell.run_ids, interval="interval" in title)
    if short.startswith("gap"):
        return f"{fmean([last(table, i, 'val/top1') for i in done]) - 81.9:+.2f}".replace("-", "−")
    if short == "n":
        return str(len(done)) if len(done) == len(cell.run_ids) else f"{len(done)} of {len(cell.run_ids)}"
    for name, places in (("val/top1", 2), ("value", 2), ("val/loss", 4), ("train/images_per_s", 1)):
        if name in title:
            assert re.match(r"[\d.]+( ± [\d.]+)?$", cell.text)
            return mean_sd([last(table, i, "val/top1" if name == "value" else name) for i in done], places)
    if short != "adjusted p":
        assert float(cell.text.replace(",", "")) == pytest.approx(cost(table, short, cell.run_ids, done), rel=5e-3)
    return None


def cost(table, title: str, run_ids, done) -> float:
    """Compute a cost of an arm from its runs."""
    results = [table.records[run_id].result for run_id in run_ids]
    return {
        "params (M)": lambda: results[0]["params"] / 1e6,
        "FLOPs (G)": lambda: results[0]["flops"] / 1e9,
        "device-hours": lambda: sum(r.get("seconds") or r["finished"] - r["started"] for r in results) / 3600,
        "images/s": lambda: fmean([last(table, i, "train/images_per_s") for i in done]),
        "peak memory (MB)": lambda: max(last(table, i, "train/peak_memory_mb") for i in done),
    }[title]()
