"""What a model costs at inference: FLOPs by hand formulas, latency, and memory that can be counted by hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from training_runs import spec

from slws_lab.errors import UserError
from slws_lab.training import inference
from slws_lab.training.inference import Effort, Question, count_flops, latency, measure, peak_bytes, scan_flops

CPU = torch.device("cpu")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat calls a few times only."""
    monkeypatch.setattr(inference, "WARM_UP", Effort(1, 0.0, 1.0))
    monkeypatch.setattr(inference, "TIMED", Effort(10, 0.0, 1.0))


def flops_of(model: nn.Module, *image: int) -> int:
    return count_flops(model.to("meta"), torch.empty(1, *image, device="meta"))


def test_flops_of_linear_layers_and_convolutions_are_twice_their_multiply_adds() -> None:
    assert flops_of(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), 3, 2, 2) == 2 * 12 * 5
    assert flops_of(nn.Conv2d(3, 8, kernel_size=3, padding=1), 3, 6, 6) == 2 * (6 * 6) * 8 * (3 * 3 * 3)
    assert flops_of(nn.Conv2d(8, 8, kernel_size=3, groups=8), 8, 6, 6) == 2 * (4 * 4) * 8 * (3 * 3)


def test_flops_of_a_transformer_hold_its_attention() -> None:
    width, tokens = 32, 5
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=4, patch_size=2, embed_dim=width, depth=1, num_heads=2, num_classes=0
    )
    patches = 2 * (tokens - 1) * width * (3 * 2 * 2)
    attention = 2 * 2 * tokens * tokens * width
    linear = 2 * tokens * width * width * (3 + 1 + 4 + 4)
    assert flops_of(model, 3, 4, 4) == patches + attention + linear


@pytest.mark.parametrize(("directions", "expand"), [(2, 2), (4, 1)], ids=["vim", "mambamlp"])
def test_flops_of_a_vision_mamba_are_those_of_its_parts(directions: int, expand: int) -> None:
    width, depth, states, patches, classes = 16, 3, 16, 9, 7
    inner, tokens, rank = expand * width, patches + 1, 1
    name, more = ("vim_tiny", {}) if directions == 2 else ("mambamlp_base", {"directions": 4})
    model = timm.create_model(
        name, img_size=12, patch_size=4, embed_dim=width, depth=depth, num_classes=classes, **more
    )
    direction = (
        2 * tokens * inner * 4  # the convolution's taps
        + 2 * tokens * inner * (rank + 2 * states)
        + 2 * tokens * rank * inner
        + 9 * tokens * inner * states
        + 2 * tokens * inner
    )
    mixer = 2 * tokens * width * 2 * inner + directions * direction + 2 * tokens * inner * width
    mlp = 0 if directions == 2 else 3 * 2 * tokens * width * (8 * width // 3)
    embedding, head = 2 * patches * width * (3 * 4 * 4), 2 * width * classes
    assert flops_of(model, 3, 12, 12) == embedding + depth * (mixer + mlp) + head


def test_counting_leaves_the_scan_as_it_was_even_where_it_fails() -> None:
    broken = nn.Linear(3, 3)
    with pytest.raises(RuntimeError):
        flops_of(broken, 1, 2, 2)
    model = timm.create_model("vim_tiny", img_size=8, patch_size=4, embed_dim=16, depth=1, num_classes=3).eval()
    images = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert model(images).abs().sum() > 0


def test_a_scan_without_a_skip_lacks_its_multiply_add() -> None:
    assert scan_flops(2, 5, 8, 16, skip=True) - scan_flops(2, 5, 8, 16, skip=False) == 2 * 2 * 5 * 8


def test_peak_memory_is_that_of_the_largest_pair_of_neighbouring_activations() -> None:
    model = nn.Sequential(nn.Linear(100, 4000), nn.ReLU(), nn.Linear(4000, 1000), nn.Linear(1000, 10)).eval()
    features = torch.zeros(1, 100)
    with torch.inference_mode():
        model(features)
        assert peak_bytes(partial(model, features), CPU) == 4 * (4000 + 4000)


def test_latencies_are_positive_and_as_many_as_asked_for(short: None) -> None:
    calls: list[int] = []
    times, load = latency(lambda: calls.append(1), CPU)
    assert len(times) == 10 < len(calls)
    assert min(times) > 0
    assert load >= 0


def test_a_slow_model_is_not_repeated_for_ever(monkeypatch: pytest.MonkeyPatch, short: None) -> None:
    monkeypatch.setattr(inference, "TIMED", Effort(10**6, 1e6, 0.0))
    times, _ = latency(lambda: sum(range(1000)), CPU)
    assert len(times) == inference.FEWEST


def test_a_recipes_figures_are_whole_and_its_quantiles_in_order(short: None) -> None:
    threads = torch.get_num_threads()
    found = measure(Question(spec(train={"precision": "bf16"}), Path(), gpus=0, threads=threads + 1, batch=2))
    assert 0 < found["latency_low_ms"] <= found["latency_ms"] <= found["latency_high_ms"]
    assert found["inference_memory_mb"] > 2 * 8 * 8 * 4 / 2**20
    assert (found["device"], found["threads"], found["batch"], found["image_size"]) == ("cpu", threads + 1, 2, 8)
    assert found["precision"] == "bf16"
    assert torch.get_num_threads() == threads


def test_only_the_architecture_and_the_images_decide_flops(short: None) -> None:
    def flops(**changes: object) -> int:
        return int(measure(Question(spec(**changes), Path(), gpus=0))["flops"])

    plain = flops()
    assert flops(model={"drop_path": 0.0}, shuffle={"schedule": "none"}) == plain
    assert flops(model={"args": {"embed_dim": 16, "depth": 6}}) > 1.9 * plain
    deeper_in_the_end = [{"name": "a"}, {"name": "b", "set": {"model.args.depth": 6}}]
    assert flops(stages=deeper_in_the_end) == flops(model={"args": {"embed_dim": 16, "depth": 6}})


def test_a_model_that_does_not_exist_and_a_gpu_that_is_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as unknown:
        measure(Question(spec(model={"name": "vim_tini"}), Path(), gpus=0))
    assert unknown.value.where == "model.name"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError) as missing:
        measure(Question(spec(), Path(), gpus=1))
    assert missing.value.where == "resources.gpus"
