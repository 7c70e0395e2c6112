"""Trainings in two processes on the CPU: equal to one process, exact in evaluation, stopped and resumed."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_runs import Curve, Train, spec

from slws_lab.data import Loader
from slws_lab.spec import RunSpec
from slws_lab.training import Interrupted, RankError, build, ranks
from slws_lab.training.evaluate import evaluate
from slws_lab.training.numerics import Numerics
from slws_lab.training.world import World

PLAIN = {"data": {"augment": {}}, "shuffle": {"schedule": "none"}, "model": {"drop_path": 0.0}}


def shared(ranks: int, **train: object) -> RunSpec:
    """With shuffle, augmentation, mixup and drop path off, so that the ranks' own draws change nothing."""
    return spec(
        **{**PLAIN, "data": {"name": "digits", "augment": {}}}, train={"ranks": ranks, "ema_decay": None, **train}
    )


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ranks be forked from a process that has loaded torch already; the first test starts them anew, as a user's are."""
    multiprocessing.set_forkserver_preload(["slws_lab.training.ranks"])
    start = ranks.start_processes

    def start_warm(*arguments: Any, **options: Any) -> object:
        return start(*arguments, **options | {"start_method": "forkserver"})

    monkeypatch.setattr(ranks, "start_processes", start_warm)


def largest_difference(first: Path, second: Path) -> float:
    a, b = load_file(first / "last.safetensors"), load_file(second / "last.safetensors")
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_two_ranks_of_half_a_batch_equal_one_of_the_whole(run_tiny: Train, tmp_path: Path) -> None:
    one, alone = run_tiny(shared(1), "one")
    two, both = run_tiny(shared(2), "two ranks")  # in a folder with a space
    assert alone.keys() == both.keys()
    for epoch, metrics in alone.items():
        assert both[epoch] == pytest.approx(metrics, rel=1e-5)
    assert largest_difference(tmp_path / "one", tmp_path / "two ranks") < 1e-4
    assert (two.params, two.data_fingerprint, two.epochs) == (one.params, one.data_fingerprint, one.epochs)


@pytest.mark.usefixtures("warm")
def test_ranks_evaluate_one_network_also_where_each_has_seen_its_own_samples(run_tiny: Train, tmp_path: Path) -> None:
    """Batch norm keeps statistics of what a rank has seen: the recorded loss must be that of the weights that are kept."""
    run = shared(2, epochs=1)
    model = run.model.model_copy(update={"name": "test_resnet", "args": {}})
    run = run.model_copy(update={"model": model, "data": run.data.model_copy(update={"size": 32})})
    _, curve = run_tiny(run)
    dataset = build.build_data(run, tmp_path)
    kept = build.build_model(run, build.Shape.of(dataset), "chunked", tmp_path)
    kept.load_state_dict(load_file(tmp_path / "a" / "last.safetensors"))
    device = torch.device("cpu")
    val = Loader(dataset.splits["val"], build.eval_transform(run.data, dataset.size), device)
    found = evaluate(kept, val, Numerics(device, "fp32", dataset.mean, dataset.std), World())
    assert curve[1]["val/loss"] == pytest.approx(found["loss"], rel=1e-6)


@pytest.mark.usefixtures("warm")
def test_an_interrupted_training_of_two_ranks_ends_like_an_undisturbed_one(run_tiny: Train, tmp_path: Path) -> None:
    run, curve = spec(train={"ranks": 2, "epochs": 2}), Curve()
    _, undisturbed = run_tiny(run, "undisturbed")
    with pytest.raises(Interrupted):
        run_tiny(run, "stopped", lambda: len(curve) >= 1, curve)
    assert len(curve) == 1
    run_tiny(run, "stopped", curve=curve)
    assert curve == undisturbed
    assert largest_difference(tmp_path / "undisturbed", tmp_path / "stopped") == 0


@pytest.mark.usefixtures("warm")
def test_a_mistake_in_a_rank_is_told_as_the_first_cause(run_tiny: Train) -> None:
    with pytest.raises(RankError, match=r"rank \d: unknown data set"):
        run_tiny(spec(data={"name": "digitz"}, train={"ranks": 2}))
