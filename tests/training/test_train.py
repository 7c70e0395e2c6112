"""Training end to end on the digits: learning, pairing, exact resume, divergence."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_runs import Curve, Train, spec

from slws_lab import scan
from slws_lab.training import Interrupted, Outdated, TrainResult
from slws_lab.training.step import Step


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return load_file(folder / f"{name}.safetensors")


def equal_weights(first: Path, second: Path) -> bool:
    for name in ("last", "ema"):
        a, b = weights(first, name), weights(second, name)
        if a.keys() != b.keys() or not all(torch.equal(a[key], b[key]) for key in a):
            return False
    return True


def same_result(first: TrainResult, second: TrainResult) -> bool:
    return first.epochs == second.epochs and first.data_fingerprint == second.data_fingerprint


def test_a_training_learns(run_tiny: Train) -> None:
    run = spec(train={"epochs": 4, "batch_size": 64, "lr": 8e-3}, data={"augment": {}}, shuffle={"schedule": "none"})
    result, curve = run_tiny(run)
    assert result.status == "finished"
    assert list(curve) == [1, 2, 3, 4]
    assert curve[4]["train/loss"] < curve[1]["train/loss"]
    assert curve[4]["val/top1"] > 35  # ten classes: chance is 10


def test_what_a_result_says(run_tiny: Train, tmp_path: Path) -> None:
    result, curve = run_tiny(spec())
    assert result.shuffle_rates == (0.0, 0.4, 0.8)
    assert result.scan_backend == scan.resolve("auto", "cpu").name
    assert result.data_fingerprint == "21a836d43d337820"
    assert result.params == sum(tensor.numel() for tensor in weights(tmp_path / "a").values())
    assert {name: result.metrics[name] for name in curve[2]} == curve[2]
    names = {"loss", "top1", "top5", "loss_ema", "top1_ema", "top5_ema"}
    assert set(curve[1]) == {"train/loss", "train/lr", "train/shuffle_rate"} | {f"val/{name}" for name in names}
    assert not (tmp_path / "a" / "resume.pt").exists()


def test_the_same_run_gives_the_same_bits(run_tiny: Train, tmp_path: Path) -> None:
    assert run_tiny(spec(), "a")[1] == run_tiny(spec(), "b")[1]
    assert equal_weights(tmp_path / "a", tmp_path / "b")


def test_another_seed_gives_other_bits(run_tiny: Train) -> None:
    assert run_tiny(spec(), "a")[1] != run_tiny(spec(seed=2), "b")[1]


def test_a_rate_of_zero_equals_no_shuffle_with_every_other_stream_on(run_tiny: Train, tmp_path: Path) -> None:
    _, without = run_tiny(spec(shuffle={"schedule": "none"}), "a")
    _, with_zero = run_tiny(spec(shuffle={"schedule": "linear", "max_rate": 0.0}), "b")
    _, with_some = run_tiny(spec(), "c")
    assert [metrics.pop("train/shuffle_rate") for metrics in with_zero.values()] == [0.0, 0.0]
    assert without == with_zero
    assert equal_weights(tmp_path / "a", tmp_path / "b")
    assert without != with_some


@pytest.mark.parametrize("stops_after", [3, 9, 11])
def test_a_resumed_run_ends_like_an_undisturbed_one(stops_after: int, run_tiny: Train, tmp_path: Path) -> None:
    """Nine steps an epoch: stopped within an epoch, at its end, and within the next one."""
    _, undisturbed = run_tiny(spec(), "undisturbed")
    steps, curve = itertools.count(), Curve()
    with pytest.raises(Interrupted):
        run_tiny(spec(), "resumed", lambda: next(steps) >= stops_after, curve)
    assert (tmp_path / "resumed" / "resume.pt").exists()
    run_tiny(spec(), "resumed", curve=curve)
    assert curve == undisturbed
    assert equal_weights(tmp_path / "undisturbed", tmp_path / "resumed")


def test_a_run_begun_with_another_scan_is_not_gone_on_with(run_tiny: Train) -> None:
    steps = itertools.count()
    with pytest.raises(Interrupted):
        run_tiny(spec(), "a", lambda: next(steps) >= 11, scan="reference")
    with pytest.raises(Outdated, match="the scan was reference when this run was begun, and is chunked now"):
        run_tiny(spec(), "a", scan="chunked")


def test_the_bad_step_is_known_after_a_resume_too(run_tiny: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    real, steps = Step.__call__, itertools.count(1)
    monkeypatch.setattr(
        Step, "__call__", lambda self, *batch: real(self, *batch) * (math.nan if next(steps) == 3 else 1.0)
    )
    asked = itertools.count()
    with pytest.raises(Interrupted):
        run_tiny(spec(), "a", lambda: next(asked) >= 6)
    assert run_tiny(spec(), "a")[0].cause == "train/loss became nan in epoch 1 at step 3"


def test_a_damaged_checkpoint_starts_over_to_the_same_end(run_tiny: Train, tmp_path: Path) -> None:
    _, undisturbed = run_tiny(spec(), "undisturbed")
    steps = itertools.count()
    with pytest.raises(Interrupted):
        run_tiny(spec(), "damaged", lambda: next(steps) >= 12)
    checkpoint = tmp_path / "damaged" / "resume.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:2000])
    assert run_tiny(spec(), "damaged")[1] == undisturbed


def test_divergence_is_a_result(run_tiny: Train) -> None:
    result, curve = run_tiny(spec(train={"lr": 1e30, "clip_grad": None}))
    assert result.status == "diverged"
    said = re.fullmatch(r"train/loss became nan in epoch (\d+) at step (\d+)", result.cause)
    assert said and int(said[1]) == result.epochs and 9 * (result.epochs - 1) < int(said[2]) <= 9 * result.epochs
    assert math.isnan(curve[result.epochs]["train/loss"])
    assert all(math.isfinite(value) for value in result.metrics.values())


@pytest.mark.parametrize("bad", [1, 7, 12])
def test_the_first_step_whose_loss_is_no_number_is_named(
    run_tiny: Train, bad: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, real = itertools.count(1), Step.__call__

    def planted(self: Step, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = real(self, images, targets)
        return loss * math.nan if next(steps) in (bad, bad + 1) else loss

    monkeypatch.setattr(Step, "__call__", planted)
    result, _ = run_tiny(spec())
    assert result.cause == f"train/loss became nan in epoch {1 + bad // 10} at step {bad}"


def test_the_learning_rate_warms_up_and_falls_to_its_end(run_tiny: Train) -> None:
    _, curve = run_tiny(spec(train={"epochs": 4, "warmup_epochs": 1, "lr": 1e-3, "min_lr": 1e-5}))
    rates = [curve[epoch]["train/lr"] for epoch in sorted(curve)]
    assert rates[0] == pytest.approx(1e-6 + (1e-3 - 1e-6) * 8 / 9)
    assert rates[1] > rates[2] > rates[3]
    assert rates[3] < 3e-5


def test_bfloat16_runs_and_differs(run_tiny: Train) -> None:
    _, exact = run_tiny(spec(train={"epochs": 1}), "a")
    _, rounded = run_tiny(spec(train={"epochs": 1, "precision": "bf16"}), "b")
    assert rounded[1]["train/loss"] != exact[1]["train/loss"]
    assert rounded[1]["train/loss"] == pytest.approx(exact[1]["train/loss"], rel=0.05)


def test_blocks_computed_again_in_the_backward_change_no_bit(run_tiny: Train, tmp_path: Path) -> None:
    """With shuffle and drop path on."""
    _, plain = run_tiny(spec(), "plain")
    _, again = run_tiny(spec(), "again", grad_checkpointing=True)
    assert again == plain
    assert equal_weights(tmp_path / "plain", tmp_path / "again")


def test_compiled_blocks_give_the_same_up_to_rounding(run_tiny: Train) -> None:
    """Val is one batch and there are two blocks: each size of batch and each kind of block is compiled anew, for seconds."""
    small = {"model": {"args": {"embed_dim": 16, "depth": 2}}, "data": {"val_fraction": 0.15}}
    _, plain = run_tiny(spec(**small, train={"epochs": 1}), "plain")
    _, compiled = run_tiny(spec(**small, train={"epochs": 1, "compile": True}), "compiled")
    assert compiled[1] == pytest.approx(plain[1], rel=1e-3)


@pytest.mark.parametrize(
    "switch", [{"permutation": "sample"}, {"window": 3}, {"class_token": False}, {"over_time": "ramp_up"}]
)
def test_each_switch_of_the_shuffle_is_another_training(switch: dict[str, object], run_tiny: Train) -> None:
    always = {"schedule": "constant", "max_rate": 1.0}
    _, plain = run_tiny(spec(shuffle=always, train={"epochs": 1}), "a")
    _, switched = run_tiny(spec(shuffle={**always, **switch}, train={"epochs": 1}), "b")
    assert switched[1]["train/loss"] != plain[1]["train/loss"]
