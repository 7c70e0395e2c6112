"""The probe: what it measures of a training, on a clock that moves only by the work done, and that it leaves nothing behind."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from training_runs import spec

from slws_lab.errors import UserError
from slws_lab.spec import Recipe, Resources
from slws_lab.training import probe, stage
from slws_lab.training.probe import Question
from slws_lab.training.world import World

STEPS, VAL, TRAIN = 9, 280, 1140  # of an epoch of the tiny recipe; samples of its splits
CPU = Resources(gpus=0)


@dataclass
class Clock:
    """Time that passes by steps and evaluated samples alone."""

    step_s: float
    sample_s: float = 0.0
    first_s: float = 0.0
    odd_s: float | None = None
    slow: dict[int, float] = field(default_factory=dict)
    now: float = 0.0
    steps: int = 0

    def monotonic(self) -> float:
        return self.now

    def taken(self) -> float:
        """Return what the step just made has taken."""
        if self.steps == 1:
            return self.first_s
        if self.steps in self.slow:
            return self.slow[self.steps]
        return self.odd_s if self.odd_s is not None and self.steps % 2 else self.step_s


def on_clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(self: Any, parts: Any, *, spare: bool) -> None:
        self.progress.step += 1
        self.progress.samples += 1
        clock.steps += 1
        clock.now += clock.taken()

    def evaluated(model: Any, samples: Any, *more: Any) -> dict[str, float]:
        clock.now += clock.sample_s * len(samples)
        return {"loss": 1.0, "top1": 0.0, "top5": 0.0}

    monkeypatch.setattr(probe, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(stage.Stage, "_step", step)
    for module in (probe, stage):
        monkeypatch.setattr(module, "evaluate", evaluated)


def recipe(**changes: Any) -> Recipe:
    run = spec(**changes)
    return Recipe.model_validate(run.model_dump(mode="json", exclude={"seed"}))


def probed(**changes: Any) -> dict[str, Any]:
    return probe.probe(Question(recipe(**changes), Path(), CPU))


def test_long_epochs_are_reckoned_from_steps_and_a_part_of_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(step_s=1.0, sample_s=0.01, first_s=1.0)
    on_clock(clock, monkeypatch)
    (one,) = probed()["stages"]
    expected = STEPS * 1.0 + 2 * VAL * 0.01  # with the moving average's evaluation
    assert one["epoch_s"] == pytest.approx([expected] * 3)
    assert one["steps"] == clock.steps == 11  # five to warm up; the last of an epoch has no time of its own
    (both,) = probed(train={"eval_train": True})["stages"]
    assert both["epoch_s"] == pytest.approx([expected + 2 * TRAIN * 0.01] * 3)


def test_short_epochs_are_measured_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(step_s=0.01, sample_s=0.0001, first_s=3.0)
    on_clock(clock, monkeypatch)
    (one,) = probed()["stages"]
    assert one["epoch_s"] == pytest.approx([STEPS * 0.01 + 2 * VAL * 0.0001] * 3)
    assert clock.now < 10


def test_epochs_of_one_short_step_do_not_take_all_the_time_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(step_s=0.001, sample_s=0.0001, first_s=0.001)
    on_clock(clock, monkeypatch)
    (one,) = probed(train={"batch_size": 2048})["stages"]
    assert one["epoch_s"] == pytest.approx([0.001 + 2 * VAL * 0.0001] * 3)
    assert clock.now < 2 * probe.MIN_S


def test_what_the_first_steps_take_longer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    on_clock(Clock(step_s=0.5, first_s=4.0), monkeypatch)
    (one,) = probed()["stages"]
    assert one["epoch_s"][1] == pytest.approx(STEPS * 0.5)


def test_what_compiling_takes_is_left_out_at_the_first_and_at_the_smaller_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(step_s=0.2, first_s=60.0, slow={STEPS: 30.0})
    on_clock(clock, monkeypatch)
    monkeypatch.setattr(stage.build, "compile_blocks", lambda model: None)
    (one,) = probed(train={"compile": True})["stages"]
    assert one["epoch_s"] == pytest.approx([STEPS * 0.2] * 3)
    assert one["steps"] >= probe.MIN_STEPS


def test_a_step_longer_than_the_probe_may_last_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(step_s=60.0, first_s=60.0)
    on_clock(clock, monkeypatch)
    (one,) = probed()["stages"]
    assert (clock.steps, one["steps"]) == (1, 1)
    assert one["epoch_s"] == pytest.approx([STEPS * 60.0] * 3)


def test_each_stage_is_measured_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    on_clock(Clock(step_s=1.0, first_s=1.0), monkeypatch)
    batches = [{"name": f"b{size}", "set": {"train.batch_size": size}} for size in (128, 256)]
    first, second = probed(stages=batches)["stages"]
    assert first["epoch_s"][1] == pytest.approx(STEPS)
    assert second["epoch_s"][1] == pytest.approx(5)


def test_the_range_is_that_of_the_middle_half_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    on_clock(Clock(step_s=0.1, odd_s=0.3, first_s=0.1), monkeypatch)
    low, likely, high = probed()["stages"][0]["epoch_s"]
    assert (low, high) == (pytest.approx(STEPS * 0.1), pytest.approx(STEPS * 0.3))
    assert STEPS * 0.15 < likely < STEPS * 0.25


def test_a_real_probe_leaves_no_file_and_moves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(probe, "MIN_S", 0.2)
    answer = probed(train={"epochs": 1})
    (one,) = answer["stages"]
    low, likely, high = one["epoch_s"]
    assert 0 < low <= likely <= high
    assert one["steps"] >= probe.MIN_STEPS
    assert answer["peak_memory_mb"] > 50
    assert not list(tmp_path.iterdir())


class Agreeing(World):
    """A rank to which the others say nothing."""

    def any(self, flag: bool, device: torch.device) -> bool:
        return flag


def test_only_rank_0_says_when_enough_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(step_s=1.0)
    monkeypatch.setattr(probe, "time", SimpleNamespace(monotonic=clock.monotonic))
    first, second = (probe.Watch(torch.device("cpu"), Agreeing(rank, 2), 20.0) for rank in (0, 1))
    with pytest.raises(probe.Enough):
        for _ in range(100):
            assert not second.should_stop()
            first.should_stop()
            clock.now += 1.0
    assert clock.now == 10.0


def test_rank_0_evaluates_its_whole_batches_only() -> None:
    assert probe._share(1000, 1) == 1000
    assert probe._share(1000, 2) == 512
    assert probe._share(100, 2) == 100


def test_a_recipe_that_cannot_be_trained_says_so_as_in_training() -> None:
    with pytest.raises(UserError, match="no model 'nothing'"):
        probed(model={"name": "nothing"})
