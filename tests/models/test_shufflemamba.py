"""ShuffleMamba: sizes and keys of the official models, initialisation, residual stream, names and overrides."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from slws_lab.errors import UserError
from slws_lab.models import ShuffleMamba, drop_path_rates

GOLDEN_KEYS = Path(__file__).parents[1] / "golden" / "shufflemamba_state_dict_keys.csv"
PARAMETERS = {
    "shufflemamba_tiny": 7_148_008,
    "shufflemamba_small": 25_796_584,
    "shufflemamba_middle": 74_236_456,
    "shufflemamba_base": 97_598_440,
    "shufflemamba_large": 340_034_536,
    "shufflemamba_large40": 283_698_152,
}


def build(name: str = "shufflemamba_micro", **overrides: object) -> ShuffleMamba:
    torch.manual_seed(0)
    return timm.create_model(name, **overrides)


@pytest.fixture(scope="module")
def shells() -> dict[str, ShuffleMamba]:
    with torch.device("meta"):
        return {name: build(name) for name in PARAMETERS}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count(shells: dict[str, ShuffleMamba], name: str) -> None:
    assert sum(parameter.numel() for parameter in shells[name].parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_keys_and_shapes_are_the_official_ones(shells: dict[str, ShuffleMamba], name: str) -> None:
    expected = {}
    with GOLDEN_KEYS.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["model"] == name:
                for layer in range(int(row["repeated_to_layer"] or 0) + 1):
                    expected[row["key"].replace("layers.0.", f"layers.{layer}.")] = row["shape"]
    actual = {key: "x".join(map(str, tensor.shape)) for key, tensor in shells[name].state_dict().items()}
    assert actual == expected


def test_initialisation_is_the_official_one() -> None:
    model = build("shufflemamba_tiny", depth=4, img_size=32)
    assert not model.cls_token.any()
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.05)
    assert not model.patch_embed.proj.bias.any()
    for layer in model.layers:
        mixer = layer.mixer
        for bias in (mixer.dt_proj.bias, mixer.dt_proj_b.bias):
            assert not bias.any()
        for rates in (mixer.A_log, mixer.A_b_log):
            assert torch.equal(rates, torch.arange(1.0, 17.0).log().expand(384, 16))
        assert torch.equal(mixer.D, torch.ones(384))
        assert torch.equal(mixer.D_b, torch.ones(384))
        for projection in (mixer.in_proj, mixer.x_proj, mixer.x_proj_b, mixer.dt_proj, mixer.dt_proj_b):
            assert projection.weight.std().item() == pytest.approx(0.02, rel=0.05)
        bound = 1 / math.sqrt(384) / math.sqrt(model.depth)
        assert 0.99 * bound < mixer.out_proj.weight.abs().max().item() <= bound
        assert torch.equal(layer.norm.weight, torch.ones(192))
        conv_bound = 1 / math.sqrt(4)
        assert 0.98 * conv_bound < mixer.conv1d.weight.abs().max().item() <= conv_bound
    assert not model.head.bias.any()


def test_patches_start_from_lecun_normal() -> None:
    model = build(embed_dim=256, patch_size=4, in_chans=3)
    assert model.patch_embed.proj.weight.std().item() == pytest.approx(1 / math.sqrt(3 * 4 * 4), rel=0.05)


def test_drop_path_rates_act_on_the_layer_before() -> None:
    assert drop_path_rates(0.4, 5) == pytest.approx([0, 0, 0.1, 0.2, 0.3, 0.4])
    model = build(depth=5, drop_path_rate=0.4)
    built = [layer.drop_path.drop_prob for layer in model.layers] + [model.drop_path.drop_prob]
    assert built == pytest.approx([0, 0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_forward_is_the_written_residual_stream(layer_norm: bool) -> None:
    model = build(layer_norm=layer_norm, img_size=6, patch_size=2).double()
    images = torch.randn(3, 1, 6, 6, dtype=torch.float64)
    corners = [(row, column) for row in (0, 2, 4) for column in (0, 2, 4)]
    cut = torch.stack([images[:, 0, row : row + 2, column : column + 2].flatten(1) for row, column in corners], dim=1)
    patches = cut @ model.patch_embed.proj.weight.flatten(1).t()
    stream = torch.cat([model.cls_token.expand(3, 1, model.embed_dim), patches], dim=1) + model.pos_embed
    for layer in model.layers:
        stream = stream + layer.mixer(normalised(stream, layer_norm))
    logits = model.head(normalised(stream, layer_norm)[:, 0])
    torch.testing.assert_close(model(images), logits, rtol=1e-10, atol=1e-12)


def normalised(x: Tensor, layer_norm: bool) -> Tensor:
    if layer_norm:
        x = x - x.mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def test_block_returns_the_mixed_and_the_running_residual() -> None:
    block = build().layers[0]
    hidden, residual = torch.randn(2, 5, 32), torch.randn(2, 5, 32)
    first, kept = block(hidden)
    assert torch.equal(kept, hidden)
    assert torch.equal(first, block.mixer(block.norm(hidden)))
    _, summed = block(hidden, residual)
    assert torch.equal(summed, residual + hidden)


def test_the_residual_stays_float32_under_autocast() -> None:
    model = build()
    images = torch.randn(4, 1, 8, 8)
    seen: list[tuple[torch.dtype, torch.dtype]] = []
    for layer in model.layers:
        layer.register_forward_hook(lambda _module, _args, out: seen.append((out[0].dtype, out[1].dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        tokens = model.forward_features(images)
        logits = model.forward_head(tokens)
    assert seen == [(torch.bfloat16, torch.float32)] * model.depth
    assert tokens.dtype == torch.float32
    logits.float().square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    torch.testing.assert_close(logits.float(), model(images), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("name", [*PARAMETERS, "shufflemamba_micro"])
def test_every_name_trains(name: str) -> None:
    model = build(name, img_size=32, patch_size=16, embed_dim=32, depth=2, d_state=4, num_classes=5, in_chans=3)
    logits = model(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    # the class token comes first, so in the last layer its forward scan has no past that could fade
    still = {key for key, parameter in model.named_parameters() if not parameter.grad.any()}
    assert still == {"layers.1.mixer.A_log"}


def test_overrides_reach_the_model() -> None:
    image = {"img_size": 9, "patch_size": 3, "stride": 2, "in_chans": 2}
    model = build(**image, embed_dim=32, depth=3, d_state=5, num_classes=7, scan="reference")
    assert (model.num_tokens, model.embed_dim, model.depth, model.num_classes) == (17, 32, 3, 7)
    assert model.scan_backend == "reference" == model.layers[0].mixer.scan
    assert model.layers[0].mixer.A_log.shape == (64, 5)
    assert model(torch.randn(1, 2, 9, 9)).shape == (1, 7)


def test_auto_is_resolved_when_built() -> None:
    assert build().scan_backend != "auto"


def test_mistakes_are_refused() -> None:
    with pytest.raises(TypeError, match="embed_dims"):
        build(embed_dims=32)
    with pytest.raises(UserError, match="pretrained"):
        build(pretrained=True)
    with pytest.raises(UserError, match="did you mean 'chunked'"):
        build(scan="chunkde")
    with pytest.raises(ValueError, match=r"\(1, 8, 8\)"):
        build()(torch.randn(1, 1, 10, 10))


def test_the_head_can_be_left_out_and_replaced() -> None:
    model = build()
    images = torch.randn(2, 1, 8, 8)
    tokens = model.forward_features(images)
    assert tokens.shape == (2, 10, 32)
    assert torch.equal(model.forward_head(tokens, pre_logits=True), tokens[:, 0])
    model.reset_classifier(3)
    assert model.get_classifier().out_features == model.num_classes == 3
    assert model(images).shape == (2, 3)
    model.reset_classifier(0)
    assert torch.equal(model(images), tokens[:, 0])


def test_evaluation_is_deterministic_and_training_with_drop_path_is_not() -> None:
    model = build(drop_path_rate=0.5)
    images = torch.randn(8, 1, 8, 8)
    with torch.no_grad():
        assert not torch.equal(model(images), model(images))
        model.eval()
        assert torch.equal(model(images), model(images))


def test_embeddings_are_spared_from_weight_decay() -> None:
    assert build().no_weight_decay() == {"pos_embed", "cls_token"}
