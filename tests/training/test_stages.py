"""Stages: a chain of trainings in one run, at toy size, with other resolution, augmentation and drop path in each."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_runs import Curve, Train, spec

from slws_lab.spec import RunSpec
from slws_lab.training import Interrupted

CHAIN: list[dict[str, Any]] = [
    {"name": "small", "set": {"train.epochs": 2, "data.augment.repeats": 3}},
    {"name": "large", "set": {"data.size": 16, "model.drop_path": 0.4, "train.lr": 1e-3}},
    {
        "name": "polish",
        "set": {
            "data.size": 16,
            "data.augment.crop": 0,
            "data.augment.erase": 0.0,
            "train.lr": 1e-5,
            "train.min_lr": 1e-5,
        },
        "start": "ema",
    },
]


def chain(**changes: Any) -> RunSpec:
    return spec(**{"train": {"epochs": 1, "ema_decay": 0.9}, "stages": CHAIN, **changes})


def test_three_stages_are_one_run_at_growing_resolution(run_tiny: Train, tmp_path: Path) -> None:
    result, curve = run_tiny(chain())
    assert list(curve) == [1, 2, 3, 4]
    assert (result.status, result.epochs) == ("finished", 4)
    assert [curve[epoch]["train/stage"] for epoch in curve] == [1, 1, 2, 3]
    assert curve[4]["train/lr"] == 1e-5
    weights = load_file(tmp_path / "a" / "last.safetensors")
    assert weights["pos_embed"].shape[1] == 1 + 7 * 7  # 16 px in 4 px patches of stride 2; 8 px gave 1 + 3 * 3
    assert result.params == sum(tensor.numel() for tensor in weights.values())


def test_a_stage_starts_from_the_weights_of_the_one_before(run_tiny: Train, tmp_path: Path) -> None:
    """A last stage that hardly learns ends where the one before it ended: at its average, or at its last weights."""
    still = {"train.lr": 1e-12, "train.min_lr": 0.0, "train.warmup_lr": 0.0}
    for start in ("ema", "last"):
        stages = [{"name": "a"}, {"name": "b", "set": still, "start": start}]
        run_tiny(chain(stages=stages), start)
    run_tiny(chain(stages=[]), "alone")
    for start in ("ema", "last"):
        ended, begun = (
            load_file(tmp_path / start / "last.safetensors"),
            load_file(tmp_path / "alone" / f"{start}.safetensors"),
        )
        assert max(float((ended[name] - begun[name]).abs().max()) for name in ended) < 1e-9


def test_a_chain_interrupted_in_each_stage_ends_like_an_undisturbed_one(run_tiny: Train, tmp_path: Path) -> None:
    """Nine steps an epoch, 18 + 9 + 9 in all: stopped within an epoch of each stage."""
    _, undisturbed = run_tiny(chain(), "undisturbed")
    curve = Curve()
    for steps in (5, 18, 7):
        left = iter([False] * steps)
        with pytest.raises(Interrupted):
            run_tiny(chain(), "resumed", partial(next, left, True), curve)
    run_tiny(chain(), "resumed", curve=curve)
    assert curve == undisturbed
    a, b = (load_file(tmp_path / name / "last.safetensors") for name in ("undisturbed", "resumed"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_shuffle_over_time_records_its_rate_each_epoch(run_tiny: Train) -> None:
    shuffle = {"schedule": "linear", "max_rate": 0.8, "over_time": "ramp_up", "off_last": 1}
    _, curve = run_tiny(spec(shuffle=shuffle, train={"epochs": 4}))
    assert [curve[epoch]["train/shuffle_rate"] for epoch in curve] == pytest.approx([0.0, 0.4, 0.8, 0.0])
