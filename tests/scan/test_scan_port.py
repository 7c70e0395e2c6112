"""What the scan port refuses, and how a back-end is chosen."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from slws_lab.errors import UserError
from slws_lab.scan import (
    Backend,
    ScanInputs,
    backends,
    describe,
    port,
    resolve,
    selective_scan,
    selective_scan_pair,
)


def shapes() -> dict[str, torch.Tensor]:
    return {
        "u": torch.randn(2, 3, 4),
        "delta": torch.randn(2, 3, 4),
        "A": -torch.rand(4, 5),
        "B": torch.randn(2, 3, 5),
        "C": torch.randn(2, 3, 5),
    }


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("u", torch.randn(3, 4)),
        ("u", torch.randn(0, 3, 4)),
        ("A", torch.randn(5)),
        ("A", torch.randn(5, 4)),
        ("delta", torch.randn(2, 4, 3)),
        ("B", torch.randn(2, 3, 4)),
        ("C", torch.randn(2, 5, 3)),
        ("D", torch.randn(5)),
        ("z", torch.randn(2, 3)),
        ("delta_bias", torch.randn(4, 1)),
        ("delta", torch.ones(2, 3, 4, dtype=torch.int64)),
        ("B", torch.ones(2, 3, 5, device="meta")),
    ],
)
def test_a_wrong_tensor_is_named(name: str, wrong: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=rf"^{name} "):
        selective_scan(**(shapes() | {name: wrong}))


def test_integer_u_is_refused() -> None:
    with pytest.raises(ValueError, match="u must be floating point"):
        selective_scan(**(shapes() | {"u": torch.ones(2, 3, 4, dtype=torch.int64)}))


@pytest.mark.parametrize(
    ("changed", "z", "scale", "message"),
    [
        ({"reverse": False}, None, 1.0, "opposite"),
        ({"z": torch.randn(2, 3, 4)}, None, 1.0, "no gate of its own"),
        ({"delta_softplus": False}, None, 1.0, "same delta_softplus"),
        ({"A": -torch.rand(4, 6), "B": torch.randn(2, 3, 6), "C": torch.randn(2, 3, 6)}, None, 1.0, "differ"),
        ({}, None, 0.5, "scale belongs to the gate"),
        ({}, torch.randn(2, 3, 5), 0.5, "z must be like u"),
        ({}, torch.ones(2, 3, 4, dtype=torch.int64), 0.5, "z must be like u"),
    ],
)
def test_a_pair_that_does_not_fit_is_refused(
    changed: dict[str, object], z: torch.Tensor | None, scale: float, message: str
) -> None:
    forth, back = ScanInputs(**shapes()), ScanInputs(**(shapes() | {"reverse": True} | changed))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        selective_scan_pair(forth, back, z, scale)


def test_an_unknown_backend_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"(?s)chunkd.*auto, .*chunked.*did you mean 'chunked'"):
        resolve("chunkd")
    with pytest.raises(UserError):
        selective_scan(**shapes(), backend="nothing")


def test_auto_takes_the_first_that_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    usable = [name for name, line in describe("cpu").items() if line.startswith("usable")]
    assert resolve("auto", "cpu").name == usable[0]
    best = resolve("auto", "cpu")
    blocked = dataclasses.replace(best, obstacle=lambda device: "no compiler found")
    monkeypatch.setitem(port._BACKENDS, best.name, blocked)
    assert resolve("auto", "cpu").name == usable[1]
    with pytest.raises(UserError, match="no compiler found"):
        resolve(best.name, "cpu")
    assert describe("cpu")[best.name] == "not usable on cpu: no compiler found"


def test_describe_lists_every_backend() -> None:
    lines = describe("cpu")
    assert tuple(lines) == backends()
    assert lines["reference"].startswith("usable on cpu: ")


def test_a_backend_is_frozen() -> None:
    backend = resolve("reference")
    assert isinstance(backend, Backend)
    with pytest.raises(dataclasses.FrozenInstanceError):
        backend.name = "other"  # type: ignore[misc]
