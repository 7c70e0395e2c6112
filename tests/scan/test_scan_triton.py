"""The Triton scan: on a GPU where there is one, else in Triton's interpreter.

Where there is no GPU, `test_triton_norm` runs this file in the interpreter, in the process that it starts for its own.

The interpreter is slow: it gets small, odd shapes. `TRITON_INTERPRET=1 pytest tests/scan/test_scan_contract.py -k triton`
runs the whole contract in it, which takes minutes.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slws_lab.scan import ScanInputs, reference, resolve, selective_scan, selective_scan_pair, triton_scan

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
Drawn = dict[str, Tensor]

needs_kernels = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(), reason="needs an NVIDIA GPU or TRITON_INTERPRET=1"
)


def draw(size: tuple[int, int, int, int], dtype: torch.dtype = torch.float64, absent: tuple[str, ...] = ()) -> Drawn:
    batch, length, width, state = size
    make = torch.Generator().manual_seed(sum(size))
    shapes = {name: (batch, length, width) for name in ("u", "delta", "z")}
    shapes |= {name: (batch, length, state) for name in ("B", "C")}
    shapes |= {"A": (width, state), "D": (width,), "delta_bias": (width,)}
    tensors = {name: torch.randn(shape, generator=make, dtype=torch.float64) for name, shape in shapes.items()}
    tensors["A"] = -tensors["A"].exp()
    return {name: t.to(DEVICE, dtype).requires_grad_() for name, t in tensors.items() if name not in absent}


def gradients(y: Tensor, tensors: list[Tensor]) -> list[Tensor]:
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [y, *torch.autograd.grad(y, tensors, weights.to(y))]


@needs_kernels
@pytest.mark.parametrize(
    ("size", "reverse", "absent"),
    [
        ((2, 1, 5, 3), False, ()),
        ((1, 9, 2, 1), True, ("z",)),
        ((1, 7, 70, 9), True, ()),  # two blocks of channels in forward, three in backward
        ((1, 5, 16, 4), True, ()),  # no block has more channels or states than there are
        ((1, 17, 3, 2), False, ("D", "delta_bias")),
        ((1, 2, 3, 200), False, ("D", "z", "delta_bias")),
    ],
    ids=str,
)
def test_output_and_every_gradient_equal_the_reference(
    size: tuple[int, int, int, int], reverse: bool, absent: tuple[str, ...]
) -> None:
    tensors = draw(size, absent=absent)
    names, leaves = list(tensors), list(tensors.values())
    expected = gradients(selective_scan(**tensors, reverse=reverse, backend="reference"), leaves)
    actual = gradients(selective_scan(**tensors, reverse=reverse, backend="triton"), leaves)
    for name, left, right in zip(("y", *names), actual, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}")


@needs_kernels
@pytest.mark.parametrize(("reverse", "gated"), [(False, True), (True, False)])
def test_a_pair_over_views_of_larger_tensors_equals_two_scans(reverse: bool, gated: bool) -> None:
    forth, back = draw((2, 9, 4, 3)), {name: 0.9 * t for name, t in draw((2, 9, 4, 3), absent=("z",)).items()}
    z = torch.cat([forth.pop("z")] * 2, 2)[..., 4:]
    both = torch.cat([forth["B"], forth["C"]], 2)
    views = forth | dict(zip("BC", both.split(3, 2), strict=True)) | {"u": forth["u"].mT.contiguous().mT}
    ways = ScanInputs(**views, reverse=reverse), ScanInputs(**back, reverse=not reverse)
    y = reference.scan(ways[0]) + reference.scan(ways[1])
    leaves = [*forth.values(), *back.values(), *([z] if gated else [])]
    expected = gradients(y * 0.3 * F.silu(z) if gated else y, leaves)
    gate = (z, 0.3) if gated else (None, 1.0)
    for left, right in zip(
        gradients(selective_scan_pair(*ways, *gate, backend="triton"), leaves), expected, strict=True
    ):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-11)


@needs_kernels
def test_without_softplus_equals_the_reference() -> None:
    tensors = draw((1, 6, 3, 2))
    tensors["delta"] = tensors["delta"].detach().abs().requires_grad_()
    found = [
        gradients(selective_scan(**tensors, delta_softplus=False, backend=name), list(tensors.values()))
        for name in ("triton", "reference")
    ]
    for left, right in zip(*found, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-11)


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_in_and_out_is_rounded_once_with_float32_inside(dtype: torch.dtype) -> None:
    half = draw((1, 12, 4, 4), dtype)
    y, *found = gradients(selective_scan(**half, backend="triton"), list(half.values()))
    assert {y.dtype, *(gradient.dtype for gradient in found)} == {dtype}
    exact = selective_scan(**{name: tensor.double() for name, tensor in half.items()}, backend="reference")
    # the interpreter cuts bfloat16 off where a GPU rounds
    cut = 2 if INTERPRETED and dtype == torch.bfloat16 else 1
    torch.testing.assert_close(y.double(), exact, rtol=cut * torch.finfo(dtype).eps / 2, atol=1e-5)


@needs_kernels
@pytest.mark.parametrize("delta", [-12.0, -0.3])
def test_steps_of_any_size_keep_their_digits_in_float32(delta: float) -> None:
    tensors = draw((1, 3, 2, 2), torch.float32)
    tensors["delta"] = torch.full((1, 3, 2), delta, device=DEVICE, requires_grad=True)
    doubles = {name: tensor.detach().double().requires_grad_() for name, tensor in tensors.items()}
    for each in (tensors, doubles):
        del each["D"], each["delta_bias"], each["z"]
    actual = gradients(selective_scan(**tensors, backend="triton"), list(tensors.values()))
    expected = gradients(selective_scan(**doubles, backend="reference"), list(doubles.values()))
    for left, right in zip(actual, expected, strict=True):
        torch.testing.assert_close(left.double(), right, rtol=2e-5, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_the_same_inputs_give_the_same_bits() -> None:
    tensors = draw((16, 197, 384, 16), torch.float32)
    first, second = (gradients(selective_scan(**tensors, backend="triton"), list(tensors.values())) for _ in range(2))
    assert all(torch.equal(left, right) for left, right in zip(first, second, strict=True))


@needs_kernels
def test_torch_finds_nothing_wrong_with_the_operator() -> None:
    tensors = draw((1, 1, 3, 2))
    z = tensors.pop("z")
    inputs = [tensors[name] for name in ("u", "delta", "A", "B", "C", "D", "delta_bias")]
    torch.library.opcheck(triton_scan._scan_operator, (inputs, z, 0.5, True, False, True))


@needs_kernels
def test_without_gradients_nothing_is_kept() -> None:
    tensors = draw((1, 9, 3, 2))
    with torch.no_grad():
        inputs = [tensors[name] for name in ("u", "delta", "A", "B", "C", "D", "delta_bias")]
        out, y, kept = triton_scan._scan_operator(inputs, tensors["z"], 1.0, True, False, False)
    assert y.numel() == kept.numel() == 0
    torch.testing.assert_close(out, selective_scan(**tensors, backend="triton").detach(), rtol=0, atol=0)


def test_too_many_states_are_refused() -> None:
    u, B = torch.ones(1, 1, 1), torch.ones(1, 1, 257)
    with pytest.raises(ValueError, match="256 states, got 257"):
        triton_scan.scan(ScanInputs(u, u, -torch.ones(1, 257), B, B))


def test_it_is_chosen_on_a_gpu_and_says_why_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert triton_scan.obstacle(torch.device("cpu")) == "it is for NVIDIA GPUs"
    if triton_scan.obstacle(gpu) == "":
        assert resolve("auto", "cuda").name in ("mamba_ssm", "triton")


def test_an_old_triton_and_a_missing_one_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, reason in (
        (SimpleNamespace(__version__="3.2.1"), "needs triton 3.3 or newer, found 3.2.1"),
        (None, ""),
    ):
        monkeypatch.setitem(sys.modules, "triton", module)
        triton_scan._obstacle_of_package.cache_clear()
        found = triton_scan.obstacle(torch.device("cuda"))
        assert reason in found and (module or "cannot be imported" in found)
    monkeypatch.undo()
    triton_scan._obstacle_of_package.cache_clear()


@pytest.mark.skipif(INTERPRETED or torch.cuda.is_available(), reason="needs Triton's compiler, and no GPU")
def test_the_kernels_compile_for_a_hopper_gpu_without_one_and_use_no_atomics(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the launch itself: arguments as the operators give them, for a pair with a gate in bfloat16."""
    pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    from slws_lab.scan import triton_kernels

    hopper = SimpleNamespace(
        get_current_device=lambda: 0,
        get_current_stream=lambda device=0: 0,
        get_current_target=lambda: GPUTarget("cuda", 90, 32),
    )
    monkeypatch.setattr(driver, "_active", hopper)
    compiled: list[str] = []
    for kind in ("forward", "backward"):
        monkeypatch.setattr(triton_kernels, kind, Compiled(getattr(triton_kernels, kind), compiled))
    for size in ("FORWARD_TILE", "BACKWARD_TILE"):
        monkeypatch.setattr(triton_scan, size, 32)  # small tiles compile fast
    monkeypatch.setattr(triton_scan, "CHUNK", 1)
    z = torch.zeros(2, 9, 16, dtype=torch.bfloat16)
    B = torch.zeros(2, 9, 4, dtype=torch.bfloat16)
    tensors = [z, z, torch.zeros(16, 4), B[..., :2], B[..., 2:], torch.zeros(16), torch.zeros(16)]
    tensors[2] = tensors[2][:, :2]
    _, y, kept = triton_scan._scan_operator(tensors * 2, z, 0.5, True, False, True)
    triton_scan._gradient_operator(z, y, kept, tensors * 2, z, 0.5, True, False)
    assert len(compiled) == 2
    for ptx in compiled:
        assert "ex2.approx" in ptx
        assert re.findall(r"\b(?:atom|red)\.", ptx) == []


class Compiled:
    """In the place of a kernel: its launch only compiles, and keeps the PTX."""

    def __init__(self, kernel: Any, compiled: list[str]) -> None:
        self.kernel, self.compiled = kernel, compiled

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*arguments: Any, **options: Any) -> None:
            self.compiled.append(self.kernel.warmup(*arguments, grid=grid, **options).asm["ptx"])

        return launch
