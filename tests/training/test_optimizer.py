"""The learning rate over time, parameter groups, and mixing with soft targets."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

import slws_lab.models  # noqa: F401
from slws_lab.spec import AugmentSpec, TrainSpec
from slws_lab.training.optimizer import LearningRate, Objective, build_optimizer

STEPS = 4


def train_spec(**changes: Any) -> TrainSpec:
    base = {"epochs": 10, "batch_size": 64, "lr": 1.0, "min_lr": 0.1, "warmup_epochs": 2, "warmup_lr": 0.2}
    return TrainSpec.model_validate({**base, **changes})


def rates(**changes: Any) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=train_spec(**changes).peak_lr)
    rate = LearningRate(optimizer, train_spec(**changes), STEPS)
    found = []
    for step in range(10 * STEPS):
        rate.set(step)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def cosine(t: float, length: float) -> float:
    return 0.1 + 0.5 * (1.0 - 0.1) * (1 + math.cos(math.pi * t / length))


def test_the_sane_way_moves_every_step_and_begins_the_cosine_after_the_warm_up() -> None:
    found = rates()
    assert found[:8] == pytest.approx([0.2 + 0.8 * step / 8 for step in range(8)])
    assert found[8:] == pytest.approx([cosine(step - 8, 32) for step in range(8, 40)])


def test_the_official_way_moves_every_epoch_one_late_and_drops_where_the_warm_up_ends() -> None:
    found = rates(lr_update="epoch_late", cosine="from_start")
    epochs = [found[step] for step in range(0, 40, STEPS)]
    assert epochs == pytest.approx([0.2, 0.2, 0.6, *(cosine(epoch - 1, 10) for epoch in range(3, 10))])
    assert all(found[step] == epochs[step // STEPS] for step in range(40))
    assert rates(lr_update="epoch", cosine="from_start")[::STEPS][:3] == pytest.approx([0.2, 0.6, cosine(2, 10)])


def test_the_peak_is_scaled_to_the_batch_and_nothing_else_is() -> None:
    found = rates(lr_batch=512, batch_size=2048, warmup_epochs=2)
    assert found[8] == pytest.approx(4.0)
    assert found[0] == pytest.approx(0.2)
    assert found[-1] > 0.1


def groups(**changes: Any) -> dict[str, dict[str, Any]]:
    model = timm.create_model("shufflemamba_micro", depth=3, embed_dim=16)
    by_id = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(model, train_spec(weight_decay=0.1, **changes))
    return {
        by_id[id(p)]: {k: group.get(k) for k in ("weight_decay", "lr_scale")}
        for group in optimizer.param_groups
        for p in group["params"]
    }


def test_vectors_and_embeddings_are_not_decayed_and_A_log_is_unless_switched_off() -> None:
    official, without = groups(), groups(decay_A=False)
    decayed = {name for name, group in official.items() if group["weight_decay"]}
    assert not {"pos_embed", "cls_token", "norm_f.weight", "layers.0.mixer.D", "layers.0.mixer.dt_proj.bias"} & decayed
    A = {f"layers.{i}.mixer.{name}" for i in range(3) for name in ("A_log", "A_b_log")}
    assert decayed >= A | {"head.weight", "layers.2.mixer.in_proj.weight"}
    assert {name for name, group in without.items() if group["weight_decay"]} == decayed - A


def test_layer_decay_shrinks_the_rate_a_layer_from_the_head_down() -> None:
    found = groups(layer_decay=0.5)
    scales = [found[name]["lr_scale"] for name in ("head.weight", "layers.2.norm.weight", "layers.1.norm.weight",
                                                    "layers.0.norm.weight", "patch_embed.proj.weight")]  # fmt: skip
    assert scales == sorted(scales, reverse=True)
    assert scales[0] == 1.0
    assert [b / a for a, b in itertools.pairwise(scales)] == pytest.approx([0.5] * 4)


def test_without_mixing_the_targets_are_the_labels() -> None:
    objective = Objective(AugmentSpec(), 0.1, 5)
    images, labels = torch.rand(4, 1, 6, 6), torch.tensor([0, 1, 2, 3])
    same, targets = objective.mix(images, labels)
    assert same is images and targets is labels
    logits = torch.randn(4, 5)
    assert torch.equal(objective(logits, targets), nn.CrossEntropyLoss(label_smoothing=0.1)(logits, labels))


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_soft_targets_hold_the_shares_of_the_mixed_labels(mixup: float, cutmix: float) -> None:
    np.random.seed(3)
    labels = torch.arange(6)
    pure = torch.eye(6)[:, None, None, :].expand(6, 1, 8, 6).contiguous()  # sample i is 1 in column i only
    images, targets = Objective(AugmentSpec(mixup=mixup, cutmix=cutmix), 0.0, 6).mix(pure.clone(), labels)
    assert targets.sum(1) == pytest.approx(torch.ones(6))
    for i in range(6):
        assert set(targets[i].nonzero().flatten().tolist()) <= {i, 5 - i}
    assert not torch.equal(images, pure)


def test_of_an_odd_batch_the_last_sample_stays_and_its_label_is_smoothed() -> None:
    np.random.seed(0)
    images = torch.rand(5, 1, 4, 4)
    mixed, targets = Objective(AugmentSpec(mixup=0.8), 0.1, 10).mix(images.clone(), torch.arange(5))
    assert torch.equal(mixed[-1], images[-1])
    assert not torch.equal(mixed[0], images[0])
    assert targets[-1].tolist() == pytest.approx([0.91 if i == 4 else 0.01 for i in range(10)])
    assert targets.sum(1) == pytest.approx(torch.ones(5))


def test_a_batch_may_be_left_unmixed_by_chance() -> None:
    images = torch.rand(4, 1, 4, 4)
    same, targets = Objective(AugmentSpec(mixup=0.8, mix_prob=0.0), 0.0, 4).mix(images.clone(), torch.arange(4))
    assert torch.equal(same, images)
    assert torch.equal(targets, torch.eye(4))
