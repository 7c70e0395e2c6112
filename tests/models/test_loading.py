"""Weights from files: what is read, what is refused, what is fitted to another model, and what the report says."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from models.families import SMALL, build, small
from safetensors.torch import save_file
from torch import Tensor, nn

from slws_lab.errors import UserError
from slws_lab.models import LoadReport, VisionMamba, load_weights, read_weights

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def other(case: str, **overrides: Any) -> VisionMamba:
    """Build a model of a case with other weights than `small` gives it."""
    model = small(case, **overrides)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("case", SMALL)
def test_a_whole_state_dict_loads_completely(case: str, tmp_path: Path) -> None:
    source, target = other(case), small(case)
    report = load_weights(target, saved(tmp_path / "a.pth", source.state_dict()))
    assert report.complete
    assert report.used == tuple(source.state_dict())
    assert report.text() == f"{len(report.used)} tensors loaded from {tmp_path / 'a.pth'}"
    assert torch.equal(target.eval()(IMAGES), source.eval()(IMAGES))


@pytest.mark.parametrize(
    ("wrap", "prefer", "part"),
    [
        (lambda model, ema: model, "model", ""),
        (lambda model, ema: {"model": model, "model_ema": ema, "args": argparse.Namespace(lr=1.0), "epoch": 3}, "model", "model"),
        (lambda model, ema: {"model": model, "model_ema": ema, "best": torch.ones(1)}, "ema", "model_ema"),
        (lambda model, ema: {"state_dict": model, "state_dict_ema": ema, "optimizer": {}}, "ema", "state_dict_ema"),
        (lambda model, ema: {"model": {"state_dict": model}}, "ema", "model.state_dict"),
        (lambda model, ema: {f"module.{key}": value for key, value in model.items()}, "model", ""),
        (lambda model, ema: {"model": {f"_orig_mod.module.{key}": v for key, v in model.items()}}, "model", "model"),
    ],
)  # fmt: skip
def test_weights_are_found_however_they_are_wrapped(wrap: Any, prefer: Any, part: str, tmp_path: Path) -> None:
    model = {"head.bias": torch.arange(3.0), "layers.0.norm.weight": torch.ones(2)}
    ema = {key: value + 1 for key, value in model.items()}
    weights, where = read_weights(saved(tmp_path / "a.pt", wrap(model, ema)), prefer)
    assert where == part
    expected = ema if "ema" in part else model
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)


def test_our_own_safetensors_load(tmp_path: Path) -> None:
    source, target = other("vim"), small("vim")
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    assert load_weights(target, tmp_path / "weights.safetensors").complete
    assert torch.equal(target.pos_embed, source.pos_embed)


def test_a_file_that_holds_more_than_data_is_refused_by_name(tmp_path: Path) -> None:
    for archive in (True, False):
        path = tmp_path / f"{archive}.pt"
        torch.save({"model": {"a": torch.ones(1)}, "hook": Path("x")}, path, _use_new_zipfile_serialization=archive)
        with pytest.raises(UserError, match=r"pathlib\.[\w.]*PosixPath") as caught:
            read_weights(path)
        assert "argparse.Namespace" in caught.value.allowed
        assert caught.value.where == str(path)


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 cut off"])
def test_a_broken_file_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(tmp_path / name)


def test_files_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_weights(tmp_path / "none.pt")
    with pytest.raises(UserError, match="only: epoch"):
        read_weights(saved(tmp_path / "a.pt", {"epoch": 3}))
    with pytest.raises(UserError, match="only: list"):
        read_weights(saved(tmp_path / "b.pt", [torch.ones(1)]))


def test_weights_of_another_kind_of_model_are_refused() -> None:
    with pytest.raises(UserError, match=r"no key of this Vim is in it: blocks\.0\.weight"):
        load_weights(small("vim"), {"blocks.0.weight": torch.ones(1)})
    wider = other("vim", embed_dim=48).state_dict()
    target = small("vim")
    before = target.pos_embed.clone()
    with pytest.raises(UserError, match="cls_token is 1 x 1 x 48, the model's 1 x 1 x 32"):
        load_weights(target, wider)
    assert torch.equal(target.pos_embed, before)
    with pytest.raises(UserError, match=r"patch_embed.proj.weight is 32 x 1 x 4 x 4, the model's 32 x 3 x 4 x 4"):
        load_weights(target, other("vim", in_chans=1).state_dict())


def test_what_only_one_side_has_is_reported() -> None:
    weights = other("vim").state_dict()
    weights["decoder.weight"] = torch.ones(1)
    del weights["norm_f.weight"]
    report = load_weights(small("vim"), weights)
    assert (report.missing, report.unexpected) == (("norm_f.weight",), ("decoder.weight",))
    assert not report.complete
    assert "missing, so as they were: norm_f.weight" in report.text()
    assert "not in the model, so not used: decoder.weight" in report.text()


def test_a_head_of_other_classes_is_left_as_it_is() -> None:
    for case in SMALL:
        source, target = other(case, num_classes=5), small(case)
        before = target.head.weight.clone()
        report = load_weights(target, source.state_dict())
        assert report.skipped == dict.fromkeys(("head.weight", "head.bias"), "5 classes, the model has 10")
        assert "skipped: head.bias: 5 classes, the model has 10" in report.text()
        assert not report.complete
        assert torch.equal(target.head.weight, before)
        assert torch.equal(target.norm_f.weight, source.norm_f.weight)


def test_a_head_can_be_dropped() -> None:
    source, target = other("vim"), small("vim")
    before = target.head.weight.clone()
    report = load_weights(target, source.state_dict(), head="drop")
    assert set(report.skipped) == {"head.weight", "head.bias"}
    assert torch.equal(target.head.weight, before)


@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize("changed", [{"img_size": 48}, {"stride": 2, "patch_size": 4}])
def test_positions_are_fitted_to_other_sizes_and_strides(case: str, changed: dict[str, int]) -> None:
    source, target = other(case), small(case, **changed)
    report = load_weights(target, source.state_dict())
    assert report.resized == {"pos_embed": (tuple(source.pos_embed.shape), tuple(target.pos_embed.shape))}
    assert report.complete
    assert "resized: pos_embed from 1 x 6" in report.text()
    if source.pos_embed.shape[1] == 65:
        [old], [new] = source.class_positions, target.class_positions
        assert torch.equal(source.pos_embed[:, old], target.pos_embed[:, new])
    if "img_size" in changed:
        source.set_input_size(48)
        images = torch.randn(1, 3, 48, 48)
        assert torch.equal(source.eval()(images), target.eval()(images))


def test_patches_of_another_size_are_resampled() -> None:
    source, target = other("vim"), small("vim", img_size=64, patch_size=8)
    report = load_weights(target, source.state_dict())
    assert report.resized == {"patch_embed.proj.weight": ((32, 3, 4, 4), (32, 3, 8, 8))}
    images = torch.nn.functional.interpolate(IMAGES[:, :, :8, :8], scale_factor=8, mode="nearest")  # smooth at 4 px
    halves = torch.nn.functional.interpolate(IMAGES[:, :, :8, :8], scale_factor=4, mode="nearest")
    torch.testing.assert_close(target.patch_embed(images), source.patch_embed(halves), rtol=1e-3, atol=1e-3)


def test_positions_that_are_no_square_are_refused() -> None:
    weights = other("vim").state_dict()
    weights["pos_embed"] = weights["pos_embed"][:, :-3]
    with pytest.raises(UserError, match="62 rows"):
        load_weights(small("vim"), weights)


def test_two_directions_start_four() -> None:
    source, target = other("mambamlp"), small("mambamlp, 4 directions")
    report = load_weights(target, source.state_dict())
    assert report.started == tuple(
        key for key in target.state_dict() if "_c." in key or "_c_" in key or key.endswith("_c")
    )
    assert len(report.started) == 2 * 2 * 7
    assert not (report.missing or report.unexpected or report.skipped or report.complete)
    assert "started from the rows' forward scan: layers.0.mixer.A_c_log" in report.text()
    for old, new in zip(source.layers, target.layers, strict=True):
        state, loaded = old.mixer.state_dict(), new.mixer.state_dict()
        assert all(torch.equal(loaded[key], state[key]) for key in state)
        for suffix in ("_c", "_c_b"):
            for part in ("conv1d{}.weight", "conv1d{}.bias", "x_proj{}.weight", "dt_proj{}.bias", "A{}_log", "D{}"):
                assert torch.equal(loaded[part.format(suffix)], state[part.format("")])
    again = small("mambamlp, 4 directions")
    with torch.no_grad():
        target.layers[0].mixer.D_c_b.fill_(3.0)
    assert load_weights(again, target.state_dict()).complete
    assert torch.equal(again.layers[0].mixer.D_c_b, target.layers[0].mixer.D_c_b)


def test_an_official_checkpoint_of_another_resolution_loads_into_shufflemamba(tmp_path: Path) -> None:
    source = other("shufflemamba", img_size=16)
    content = {"model": {f"module.{key}": value for key, value in source.state_dict().items()}, "epoch": 299}
    target = small("shufflemamba")
    report = load_weights(target, saved(tmp_path / "best.pth", content))
    assert report.source == f"model of {tmp_path / 'best.pth'}"
    assert report.complete
    old = source.pos_embed[:, 1:].transpose(1, 2).reshape(1, 32, 4, 4)
    new = nn.functional.interpolate(old, (8, 8), mode="bicubic").flatten(2).transpose(1, 2)
    torch.testing.assert_close(target.pos_embed[:, 1:], new)


def test_timm_loads_a_checkpoint_by_path(tmp_path: Path) -> None:
    source = other("mambareg")
    path = saved(tmp_path / "a.pth", {"state_dict": source.state_dict()})
    name, overrides = SMALL["mambareg"]
    loaded = build(name, **overrides, depth=2, checkpoint_path=str(path))
    assert torch.equal(loaded.eval()(IMAGES), source.eval()(IMAGES))


def test_models_of_timm_load_too() -> None:
    tiny: dict[str, Any] = {"embed_dim": 24, "depth": 1, "num_heads": 2}
    source = timm.create_model("vit_tiny_patch16_224", **tiny, num_classes=5, img_size=64)
    target = timm.create_model("vit_tiny_patch16_224", **tiny, num_classes=7, img_size=96)
    report = load_weights(target, source.state_dict())
    assert report.resized == {"pos_embed": ((1, 17, 24), (1, 37, 24))}
    assert set(report.skipped) == {"head.weight", "head.bias"}
    assert torch.equal(target.pos_embed[:, 0], source.pos_embed[:, 0])
    first, second = (timm.create_model("resnet10t", num_classes=classes) for classes in (4, 6))
    report = load_weights(second, first.state_dict())
    assert set(report.skipped) == {"fc.weight", "fc.bias"}
    assert not report.missing
    assert isinstance(report, LoadReport)


def test_loaded_numbers_are_those_of_the_file_to_the_bit(tmp_path: Path) -> None:
    weights: dict[str, Tensor] = {key: value.double() * math.pi for key, value in small("vim").state_dict().items()}
    target = small("vim")
    load_weights(target, saved(tmp_path / "double.pt", weights))
    assert all(torch.equal(value, weights[key].float()) for key, value in target.state_dict().items())
