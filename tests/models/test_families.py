"""Mamba-Reg, Vim and MambaMLP: sizes and keys of the official models, initialisation, and what each computes."""

from __future__ import annotations

import math

import pytest
import timm
import torch
import torch.nn.functional as F
from models.families import SMALL, build, golden_keys, small
from torch import Tensor, nn

from slws_lab.errors import UserError
from slws_lab.models import NAMES, MambaMLP, MambaReg, Vim

PARAMETERS = {
    "vim_tiny": 7_148_008,
    "vim_small": 25_796_584,
    "vim_base": 97_598_440,
    "mambareg_tiny": 9_264_232,
    "mambareg_small": 27_801_064,
    "mambareg_base": 99_301_096,
    "mambareg_large": 341_222_376,
    "mambamlp_base": 82_248_424,
    "mambamlp_large": 288_040_904,
    "mambamlp_huge": 644_471_272,
}
FOUR_DIRECTIONS = {"mambamlp_base": 85_031_656, "mambamlp_large": 297_035_720, "mambamlp_huge": 662_682_088}


def count(name: str, **overrides: object) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(name, **overrides).parameters())


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_and_keys_are_the_official_ones(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    actual = {key: "x".join(map(str, tensor.shape)) for key, tensor in model.state_dict().items()}
    assert actual == golden_keys(name.split("_", maxsplit=1)[0], name)


@pytest.mark.parametrize("name", FOUR_DIRECTIONS)
def test_four_directions_have_the_official_parameter_count(name: str) -> None:
    assert count(name, directions=4) == FOUR_DIRECTIONS[name]


def test_columns_have_the_official_keys() -> None:
    two, four = (set(small("mambamlp", directions=n, depth=1).state_dict()) for n in (2, 4))
    parts = (
        "conv1d{}.weight",
        "conv1d{}.bias",
        "x_proj{}.weight",
        "dt_proj{}.weight",
        "dt_proj{}.bias",
        "A{}_log",
        "D{}",
    )
    assert four - two == {"layers.0.mixer." + part.format(suffix) for part in parts for suffix in ("_c", "_c_b")}


@pytest.mark.parametrize("name", ["vim_tiny", "mambareg_small"])
def test_vim_and_mambareg_start_as_the_official_code_does(name: str) -> None:
    model = build(name, depth=4, img_size=64)
    embeddings = [model.pos_embed, model.cls_token]
    linears = [model.head]
    if isinstance(model, MambaReg):
        embeddings.append(model.pos_embed_cls)
        linears.append(model.neck)
    for drawn in (*embeddings, *(linear.weight for linear in linears)):
        assert drawn.std().item() == pytest.approx(0.02, rel=0.15)
    assert not model.head.bias.any()
    assert model.patch_embed.proj.weight.std().item() == pytest.approx(1 / math.sqrt(3 * 16 * 16), rel=0.05)
    assert not model.patch_embed.proj.bias.any()
    width = 2 * model.embed_dim
    for layer in model.layers:
        mixer = layer.mixer
        steps = F.softplus(mixer.dt_proj.bias)
        assert 1e-3 <= steps.min() < 2e-3
        assert 5e-2 < steps.max() <= 1e-1
        assert steps.log().mean().item() == pytest.approx(math.log(1e-2), abs=0.25)  # log-uniform: the middle is 1e-2
        assert not mixer.dt_proj_b.bias.any()
        default = {mixer.in_proj: model.embed_dim, mixer.x_proj: width, mixer.x_proj_b: width,
                   mixer.dt_proj: mixer.dt_rank, mixer.dt_proj_b: mixer.dt_rank}  # fmt: skip
        for linear, fan_in in default.items():
            assert 0.97 / math.sqrt(fan_in) < linear.weight.abs().max().item() <= 1 / math.sqrt(fan_in)
        bound = 1 / math.sqrt(width) / math.sqrt(model.depth)
        assert 0.99 * bound < mixer.out_proj.weight.abs().max().item() <= bound
        assert torch.equal(mixer.A_log, torch.arange(1.0, 17.0).log().expand(width, 16))


def test_mambamlp_starts_with_xavier_and_zero_biases_everywhere() -> None:
    model = build("mambamlp_base", embed_dim=192, depth=2, img_size=32, directions=4)
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert len(linears) == 2 * (2 + 2 * 4 + 3) + 1
    for linear in linears:
        bound = math.sqrt(6 / (linear.in_features + linear.out_features))
        assert 0.97 * bound < linear.weight.abs().max().item() <= bound
        assert linear.bias is None or not linear.bias.any()
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.15)


def test_class_tokens_stand_where_the_official_models_have_them() -> None:
    with torch.device("meta"):
        assert build("shufflemamba_tiny", depth=1).class_positions == (0,)
        assert build("mambamlp_base", depth=1).class_positions == (0,)
        assert build("vim_tiny", depth=1).class_positions == (98,)
        assert build("mambareg_base", depth=1).class_positions == tuple(range(15, 192, 16))
        assert build("mambareg_large", depth=1).class_positions == tuple(range(11, 192, 12))
        assert build("mambareg_base", depth=1, img_size=128).class_positions == tuple(range(4, 60, 5))


def entered(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tokens that entered the first layer, and the patches alone."""
    seen: list[Tensor] = []
    handle = model.layers[0].register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    model(images)
    handle.remove()
    return seen[0], model.patch_embed(images)


def test_vim_reads_its_class_token_in_the_middle() -> None:
    model = small("vim").eval()
    images = torch.randn(2, 3, 32, 32)
    tokens, patches = entered(model, images)
    order = [*range(32), None, *range(32, 64)]
    rows = [model.cls_token[0, 0].expand(2, -1) if i is None else patches[:, i] for i in order]
    torch.testing.assert_close(tokens, torch.stack(rows, dim=1) + model.pos_embed)
    features = model.forward_features(images)
    torch.testing.assert_close(model(images), model.head(features[:, 32]))


def test_mambareg_spreads_registers_and_reads_them_together() -> None:
    model = small("mambareg").eval()
    images = torch.randn(2, 3, 32, 32)
    tokens, patches = entered(model, images)
    at = [12, 25, 38, 51]
    assert tokens.shape == (2, 68, 32)
    torch.testing.assert_close(tokens[:, at], (model.cls_token + model.pos_embed_cls).expand(2, -1, -1))
    others = [i for i in range(68) if i not in at]
    torch.testing.assert_close(tokens[:, others], patches + model.pos_embed)
    registers = model.forward_features(images)[:, at]
    narrowed = (registers @ model.neck.weight.t()).reshape(2, 4 * 16)
    normalised = narrowed / (narrowed.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(model.forward_head(model.forward_features(images), pre_logits=True), normalised)
    torch.testing.assert_close(model(images), model.head(normalised))


def test_mambamlp_is_ordinary_residual_blocks_with_a_mean_of_patches() -> None:
    model = small("mambamlp").double().eval()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    stream, _ = entered(model, images)

    def normalised(x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    for layer in model.layers:
        stream = stream + layer.mixer(normalised(stream))
        x, mlp = normalised(stream), layer.mlp
        gated = F.silu(F.linear(x, mlp.w1.weight, mlp.w1.bias)) * F.linear(x, mlp.w2.weight, mlp.w2.bias)
        stream = stream + F.linear(gated, mlp.w3.weight, mlp.w3.bias)
    torch.testing.assert_close(model(images), model.head(normalised(stream)[:, 1:].mean(1)), rtol=1e-10, atol=1e-12)


def test_directions_are_halved_summed_or_averaged_by_family() -> None:
    scales = {case: small(case).layers[0].mixer.scale for case in SMALL}
    assert scales == {"shufflemamba": 0.5, "vim": 0.5, "mambareg": 0.5, "mambareg without neck": 0.5, "mambamlp": 1.0,
                      "mambamlp, 4 directions": 0.25}  # fmt: skip


def test_drop_path_follows_one_rule_in_all_families() -> None:
    for case in SMALL:
        model = small(case, depth=5, drop_path_rate=0.4)
        assert [layer.drop_path.drop_prob for layer in model.layers] == pytest.approx([0, 0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_family_trains_at_32_px(case: str, precision: str) -> None:
    check_gradients(case, 32, precision)


@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_family_trains_at_224_px(case: str, precision: str) -> None:
    check_gradients(case, 224, precision, patch_size=16, stride=16, embed_dim=16, d_state=2)


def check_gradients(case: str, size: int, precision: str, **overrides: object) -> None:
    model = small(case, img_size=size, num_classes=5, **overrides)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        logits = model(torch.randn(2, 3, size, size))
    assert logits.shape == (2, 5)
    logits.float().square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    still = {key for key, parameter in model.named_parameters() if not parameter.grad.any()}
    # a token that comes first has no past: where only it is read, its last forward scan has nothing that could fade
    assert all(key.startswith("layers.1.mixer.A_") for key in still)


def test_overrides_reach_every_family() -> None:
    shape = {"img_size": 9, "patch_size": 3, "stride": 2, "in_chans": 2, "num_classes": 7}
    for case in SMALL:
        model = small(case, **shape, embed_dim=48, depth=3, d_state=5, scan="reference")
        assert (model.embed_dim, model.depth, model.num_classes, model.scan_backend) == (48, 3, 7, "reference")
        assert model.num_tokens == 16 + len(model.class_positions)
        assert model.layers[2].mixer.A_log.shape[1] == 5
        assert model(torch.randn(1, 2, 9, 9)).shape == (1, 7)
    assert len(small("mambareg", num_registers=7).class_positions) == 7


def test_nonsense_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="2 or 4"):
        build("mambamlp_micro", directions=3)
    with pytest.raises(UserError, match="reduce"):
        build("mambareg_micro", reduce=0)
    with pytest.raises(UserError, match="depth 0"):
        build("vim_micro", depth=0)
    with pytest.raises(UserError, match="patch"):
        build("vim_micro", img_size=2)
    with pytest.raises(UserError, match="'token', 'avg'"):
        build("vim_micro", global_pool="max")
    with pytest.raises(TypeError, match="directions"):
        build("vim_micro", directions=4)


def test_names_belong_to_their_families() -> None:
    assert {name.split("_")[0] for name in NAMES} == {"shufflemamba", "mambareg", "vim", "mambamlp"}
    for name, family in (("vim_micro", Vim), ("mambareg_micro", MambaReg), ("mambamlp_micro", MambaMLP)):
        assert name in NAMES
        assert type(build(name)) is family


@pytest.mark.parametrize("name", ["vim_micro", "shufflemamba_micro", "mambareg_micro", "mambamlp_micro"])
def test_a_model_turned_to_bfloat16_takes_and_gives_it(name: str) -> None:
    model = timm.create_model(name, in_chans=3, img_size=32).to(torch.bfloat16)
    logits = model(torch.rand(2, 3, 32, 32, dtype=torch.bfloat16))
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()
