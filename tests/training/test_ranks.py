"""Trainings in two processes on the CPU: equal to one process, exact in evaluation, stopped and resumed, killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file
from training_runs import Curve, Train, spec

from slws_lab.spec import RunSpec
from slws_lab.training import Interrupted, RankError

PLAIN = {"data": {"augment": {}}, "shuffle": {"schedule": "none"}, "model": {"drop_path": 0.0}}


def shared(ranks: int, **train: object) -> RunSpec:
    """With shuffle, augmentation, mixup and drop path off, so that the ranks' own draws change nothing."""
    return spec(
        **{**PLAIN, "data": {"name": "digits", "augment": {}}}, train={"ranks": ranks, "ema_decay": None, **train}
    )


def largest_difference(first: Path, second: Path) -> float:
    a, b = load_file(first / "last.safetensors"), load_file(second / "last.safetensors")
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_two_ranks_of_half_a_batch_equal_one_of_the_whole(run_tiny: Train, tmp_path: Path) -> None:
    one, alone = run_tiny(shared(1), "one")
    two, both = run_tiny(shared(2), "two")
    assert alone.keys() == both.keys()
    for epoch, metrics in alone.items():
        assert both[epoch] == pytest.approx(metrics, rel=1e-5)
    assert largest_difference(tmp_path / "one", tmp_path / "two") < 1e-4
    assert (two.params, two.data_fingerprint, two.epochs) == (one.params, one.data_fingerprint, one.epochs)


def test_an_interrupted_training_of_two_ranks_ends_like_an_undisturbed_one(run_tiny: Train, tmp_path: Path) -> None:
    run, curve = spec(train={"ranks": 2, "epochs": 2}), Curve()
    _, undisturbed = run_tiny(run, "undisturbed")
    with pytest.raises(Interrupted):
        run_tiny(run, "stopped", lambda: len(curve) >= 1, curve)
    assert len(curve) == 1
    run_tiny(run, "stopped", curve=curve)
    assert curve == undisturbed
    assert largest_difference(tmp_path / "undisturbed", tmp_path / "stopped") == 0


def test_a_mistake_in_a_rank_is_told_as_the_first_cause(run_tiny: Train) -> None:
    with pytest.raises(RankError, match=r"rank \d: UserError: unknown data set"):
        run_tiny(spec(data={"name": "digitz"}, train={"ranks": 2}))
