"""What users of timm expect of a model, for all families: names, features, heads, groups, sizes, checkpointing."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from models.families import SMALL, build, small
from timm.data import resolve_input_data_config, resolve_model_data_config
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from slws_lab.errors import UserError
from slws_lab.models import NAMES, VisionMamba
from slws_lab.shuffle import attach, rates

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
cases = pytest.mark.parametrize("case", SMALL)


def test_timm_lists_every_name_and_knows_its_images() -> None:
    for family in ("shufflemamba", "mambareg", "vim", "mambamlp"):
        ours = [name for name in NAMES if name.startswith(f"{family}_")]
        assert set(ours) <= set(timm.list_models(f"{family}_*"))
        assert not set(ours) & set(timm.list_models(pretrained=True))
    assert set(timm.list_models("vim_*")) == {"vim_micro", "vim_tiny", "vim_small", "vim_base"}
    for name, shape, classes in (("vim_micro", (3, 32, 32), 10), ("shufflemamba_micro", (1, 8, 8), 10)):
        cfg = build(name).pretrained_cfg
        assert (tuple(cfg["input_size"]), cfg["num_classes"], cfg["architecture"]) == (shape, classes, name)
        assert len(cfg["mean"]) == len(cfg["std"]) == shape[0]
        assert (cfg["classifier"], cfg["first_conv"]) == ("head", "patch_embed.proj")
    with torch.device("meta"):
        assert resolve_model_data_config(build("mambareg_base", depth=1))["crop_pct"] == 1.0
    with pytest.raises(UserError, match="no pretrained weights of vim_tiny"):
        timm.create_model("vim_tiny", pretrained=True)


@cases
def test_feature_maps_are_what_the_next_layer_takes_in(case: str) -> None:
    model = small(case, depth=4).eval()
    streams: list[Tensor] = []
    handle = model.norm_f.register_forward_pre_hook(lambda _module, args: streams.append(args[0]))
    with torch.no_grad():
        for depth in (1, 2, 3, 4):  # a model cut after a layer ends with what that layer gives
            shorter = copy.deepcopy(model)
            shorter.prune_intermediate_layers([depth - 1], prune_head=False)
            shorter.forward_features(IMAGES)
        tokens, maps = model.forward_intermediates(IMAGES)
        handle.remove()
        patches = [i for i in range(model.num_tokens) if i not in model.class_positions]
        for stream, feature_map in zip(streams, maps, strict=False):
            assert torch.equal(feature_map, stream[:, patches].transpose(1, 2).reshape(2, 32, 8, 8))
        assert len(maps) == 4
        assert torch.equal(tokens, model.forward_features(IMAGES))
        both = model.forward_intermediates(IMAGES, [-1], return_prefix_tokens=True, norm=True, output_fmt="NLC")
        last, prefix = both[1][0]
        assert torch.equal(last, tokens[:, patches])
        assert torch.equal(prefix, tokens[:, list(model.class_positions)])
        few = model.forward_intermediates(IMAGES, [1], stop_early=True, intermediates_only=True)
        assert torch.equal(few[0], maps[1])
        named = model.forward_intermediates(IMAGES, 1, output_dict=True)
        assert set(named) == {"image_features", "image_intermediates"}
        assert torch.equal(named["image_intermediates"][0], maps[3])


@cases
def test_features_only_gives_maps_and_keeps_no_spare_layers(case: str) -> None:
    name, overrides = SMALL[case]
    net = build(name, **overrides, features_only=True, out_indices=(1, 3))
    maps = net(IMAGES)
    assert [tuple(found.shape) for found in maps] == [(2, 32, 8, 8)] * 2
    assert net.feature_info.channels() == [32, 32]
    assert net.feature_info.reduction() == [4, 4]
    assert len(net.model.layers) == 4
    sum(found.square().sum() for found in maps).backward()
    unused = {key for key, parameter in net.named_parameters() if parameter.grad is None}
    assert unused == set()
    expected = build(name, **overrides).eval().forward_intermediates(IMAGES, [1, 3], intermediates_only=True)
    assert all(torch.equal(*pair) for pair in zip(net.eval()(IMAGES), expected, strict=True))


@cases
def test_a_cut_model_drops_the_same_paths(case: str) -> None:
    model = small(case, depth=4, drop_path_rate=0.9).train()
    cut = copy.deepcopy(model)
    cut.prune_intermediate_layers([1])
    torch.manual_seed(1)
    expected = model.forward_intermediates(IMAGES, [1], intermediates_only=True)
    torch.manual_seed(1)
    assert torch.equal(cut.forward_intermediates(IMAGES, [1], intermediates_only=True)[0], expected[0])


@cases
def test_heads_can_be_read_replaced_and_left_out(case: str) -> None:
    model = small(case).eval()
    tokens = model.forward_features(IMAGES)
    assert tokens.shape == (2, model.num_tokens, model.num_features)
    features = model.forward_head(tokens, pre_logits=True)
    assert features.shape == (2, model.head_hidden_size)
    model.reset_classifier(3)
    assert model.get_classifier().out_features == model.num_classes == 3
    assert not model.head.bias.any()
    assert model(IMAGES).shape == (2, 3)
    model.reset_classifier(0)
    assert torch.equal(model(IMAGES), features)
    model.reset_classifier(4, global_pool="avg")
    patches = [i for i in range(model.num_tokens) if i not in model.class_positions]
    torch.testing.assert_close(model(IMAGES), model.head(tokens[:, patches].mean(1)))
    assert not any("neck" in key for key in model.state_dict())
    model.reset_classifier(4, global_pool="token")
    assert model(IMAGES).shape == (2, 4)
    model.reset_classifier(0, global_pool="")
    assert torch.equal(model(IMAGES), tokens)
    with pytest.raises(ValueError, match="max"):
        model.reset_classifier(4, global_pool="max")


def test_dropout_acts_on_what_the_head_reads_in_training() -> None:
    model = small("vim", drop_rate=0.5)
    tokens = model.forward_features(IMAGES)
    assert not torch.equal(model.forward_head(tokens), model.forward_head(tokens))
    assert torch.equal(model.forward_head(tokens, pre_logits=True), tokens[:, 32])
    assert torch.equal(model.eval().forward_head(tokens), model.head(tokens[:, 32]))


@cases
def test_layer_decay_knows_stem_layers_and_head(case: str) -> None:
    model = small(case, depth=3)
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    stem = {key for key, group in groups.items() if group == 0}
    assert stem == {key for key in groups if key.startswith(("pos_embed", "cls_token", "patch_embed"))}
    for key, group in groups.items():
        if key.startswith("layers."):
            assert group == int(key.split(".")[1]) + 1
    assert groups["norm_f.weight"] == 3
    assert groups["head.weight"] == groups["head.bias"] == 4
    scales = {group["lr_scale"] for group in param_groups_layer_decay(model, layer_decay=0.5)}
    assert scales == {0.5**4, 0.5**3, 0.5**2, 0.5, 1.0}


def test_embeddings_are_spared_from_weight_decay_in_all_families() -> None:
    for case in SMALL:
        model = small(case)
        embeddings = {name for name, _ in model.named_parameters() if "." not in name}
        assert model.no_weight_decay() == embeddings


@cases
@pytest.mark.parametrize("size", [64, (32, 64)])
def test_other_image_sizes_can_be_set(case: str, size: int | tuple[int, int]) -> None:
    model = small(case).eval()
    before, positions = model.pos_embed.detach().clone(), model.class_positions
    model.set_input_size(img_size=size)
    height, width = (size, size) if isinstance(size, int) else size
    rows, columns = height // 4, width // 4
    assert model.num_tokens == rows * columns + len(model.class_positions)
    assert model.class_positions == model.class_tokens_at(rows * columns)
    assert model(torch.randn(1, 3, height, width)).shape == (1, 10)
    assert resolve_input_data_config(model)["input_size"] == (3, height, width)
    assert model.pos_embed.requires_grad
    kept = list(positions) if before.shape[1] > 64 else []  # registers have a position embedding of their own
    patches = before[:, [i for i in range(before.shape[1]) if i not in kept]]
    square = patches.transpose(1, 2).reshape(1, 32, 8, 8)
    larger = nn.functional.interpolate(square, (rows, columns), mode="bicubic")
    after = list(model.class_positions) if kept else []
    now = model.pos_embed.detach()
    torch.testing.assert_close(now[:, after], before[:, kept])
    others = [i for i in range(now.shape[1]) if i not in after]
    torch.testing.assert_close(now[:, others], larger.flatten(2).transpose(1, 2))
    model.set_input_size(size)
    assert torch.equal(model.pos_embed, now)


@cases
def test_gradient_checkpointing_changes_no_gradient_with_shuffle_and_drop_path(case: str) -> None:
    plain, saving = gradients(case, False), gradients(case, True)
    assert plain.keys() == saving.keys()
    assert all(torch.equal(plain[key], saving[key]) for key in plain)


def gradients(case: str, checkpointing: bool) -> dict[str, Tensor]:
    model = small(case, depth=4, drop_path_rate=0.5).train()
    model.set_grad_checkpointing(checkpointing)
    shuffle = attach(model, model.layers, rates("constant", 0.7, 4), torch.Generator().manual_seed(3))
    calls = count_calls(model)
    for seed in (5, 6):  # the second forward moves the shuffle's draws on before its own backward
        torch.manual_seed(seed)
        model(IMAGES).square().sum().backward()
    assert any(shuffle.last_draw)
    assert len(calls) == 2 * 4 * (2 if checkpointing else 1)
    return {key: parameter.grad for key, parameter in model.named_parameters() if parameter.grad is not None}


def count_calls(model: VisionMamba) -> list[None]:
    """Return a list that grows by one whenever a mixer starts."""
    calls: list[None] = []
    for layer in model.layers:
        layer.mixer.register_forward_pre_hook(lambda *_: calls.append(None))
    return calls


def test_checkpointing_is_idle_where_nothing_is_differentiated() -> None:
    model = small("vim").eval()
    model.set_grad_checkpointing()
    with torch.no_grad():
        saving = model(IMAGES)
        model.set_grad_checkpointing(False)
        assert torch.equal(saving, model(IMAGES))
