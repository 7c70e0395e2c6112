"""The fused residual sum and norm against torch's own code, alone and in a model, and how the kernels compile.

The kernels run on a GPU where there is one, else in Triton's interpreter, in a process of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import slws_lab.models
from slws_lab.models.layers import LayerNorm, RMSNorm, add_norm
from slws_lab.scan import triton_conv, triton_norm
from slws_lab.shuffle import attach

KERNELS_LOADED_WITH_MODELS = {"slws_lab.scan.triton_conv_kernels", "slws_lab.scan.triton_norm_kernels"} & set(
    sys.modules
)
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
NORMS = [RMSNorm, LayerNorm]

needs_kernels = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(), reason="needs an NVIDIA GPU or TRITON_INTERPRET=1"
)


@pytest.mark.skipif(INTERPRETED or torch.cuda.is_available(), reason="the tests below run in this process")
def test_norm_convolution_and_scan_pass_in_the_interpreter() -> None:
    pytest.importorskip("triton")
    scan = Path(__file__).parents[1] / "scan"
    files = [__file__, scan / "test_triton_conv.py", scan / "test_scan_triton.py"]
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-rs", *map(str, files)]
    done = subprocess.run(
        command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "needs an NVIDIA GPU or TRITON_INTERPRET=1" not in done.stdout


@pytest.mark.skipif(not INTERPRETED, reason="needs a process that has imported the models and nothing else")
def test_models_are_imported_without_the_kernels() -> None:
    assert slws_lab.models.NAMES and not KERNELS_LOADED_WITH_MODELS


def draw(
    shape: tuple[int, ...], kind: type[nn.Module], hidden: torch.dtype, wide: torch.dtype
) -> tuple[list[Tensor], nn.Module]:
    """Return hidden and residual, and a norm whose weights are drawn too; the residual has a mean that is not 0."""
    make = torch.Generator().manual_seed(shape[-1])
    norm = kind(shape[-1], eps=1e-5)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=make))
    streams = [torch.randn(shape, generator=make, dtype=torch.float64) + mean for mean in (0, 3)]
    dtypes = (hidden, wide)
    return [t.to(DEVICE, d).requires_grad_() for t, d in zip(streams, dtypes, strict=True)], norm.to(DEVICE, wide)


def run(streams: list[Tensor], norm: nn.Module, scan: str) -> list[Tensor]:
    """Return the norm, the sum, and the gradients of both streams and the weights."""
    found = add_norm(*streams, norm, scan)
    make = torch.Generator().manual_seed(1)
    grads = [torch.randn(y.shape, generator=make, dtype=torch.float64).to(y) for y in found]
    return [*found, *torch.autograd.grad(found, [*streams, *norm.parameters()], grads)]


@needs_kernels
@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 5), (2, 9, 33), (1, 2, 600)], ids=str)
def test_outputs_and_every_gradient_equal_torch(shape: tuple[int, ...], kind: type[nn.Module]) -> None:
    streams, norm = draw(shape, kind, torch.float64, torch.float64)
    for left, right in zip(run(streams, norm, "triton"), run(streams, norm, "chunked"), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-12)


@needs_kernels
@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("hidden", [torch.float32, torch.bfloat16])
def test_a_float32_residual_is_summed_to_the_bit(hidden: torch.dtype, kind: type[nn.Module]) -> None:
    streams, norm = draw((2, 9, 33), kind, hidden, torch.float32)
    actual, expected = run(streams, norm, "triton"), run(streams, norm, "chunked")
    assert torch.equal(actual[1], expected[1])
    assert [tensor.dtype for tensor in actual] == [tensor.dtype for tensor in expected]
    for left, right in zip(actual, expected, strict=True):
        # the interpreter cuts bfloat16 off where a GPU rounds
        rtol = torch.finfo(torch.bfloat16).eps if left.dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(left, right, rtol=rtol, atol=1e-5)


@needs_kernels
def test_under_autocast_and_in_a_bfloat16_model_the_norm_has_the_type_that_the_mixer_reads() -> None:
    streams, norm = draw((2, 3, 8), RMSNorm, torch.bfloat16, torch.float32)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        normalised, total = add_norm(*streams, norm, "triton")
    exact, _ = add_norm(*streams, norm, "chunked")
    assert (normalised.dtype, total.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(normalised.float(), exact, rtol=2**-7, atol=1e-5)
    assert add_norm(*streams, norm.bfloat16(), "triton")[0].dtype == torch.bfloat16


@needs_kernels
@pytest.mark.parametrize("bias", [False, True])
def test_torch_finds_nothing_wrong_with_the_operator(bias: bool) -> None:
    streams, norm = draw((1, 2, 3), LayerNorm, torch.float32, torch.float64)
    arguments = (*streams, norm.weight, norm.bias if bias else None, 1e-5, torch.float32)
    torch.library.opcheck(triton_norm._norm_operator, arguments)


@needs_kernels
def test_a_shuffled_and_checkpointed_model_trains_as_with_torch_operations() -> None:
    found = []
    for scan in ("triton", "chunked"):
        torch.manual_seed(0)
        model = timm.create_model("shufflemamba_micro", scan=scan, embed_dim=4, depth=2, d_state=1, img_size=4, patch_size=2, stride=2, drop_path_rate=0.5)  # fmt: skip
        model.to(DEVICE, torch.float64).set_grad_checkpointing(scan == "triton")
        attach(model, model.layers, [0, 1], torch.Generator().manual_seed(5))
        images = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64).to(DEVICE)
        torch.manual_seed(7)  # of drop path
        logits = model(images)
        logits.square().sum().backward()
        found.append([logits, *(parameter.grad for parameter in model.parameters())])
    for left, right in zip(*found, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_the_same_inputs_give_the_same_bits() -> None:
    streams, norm = draw((16, 197, 384), RMSNorm, torch.bfloat16, torch.float32)
    first, second = (run(streams, norm, "triton") for _ in range(2))
    assert all(torch.equal(left, right) for left, right in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", NORMS)
def test_without_a_kernel_it_is_the_sum_and_the_norm_to_the_bit(kind: type[nn.Module]) -> None:
    norm, hidden, residual = kind(5), torch.randn(2, 3, 5).bfloat16(), torch.randn(2, 3, 5)
    for scan in ("native", "chunked"):
        normalised, total = add_norm(hidden, residual, norm, scan)
        assert torch.equal(total, residual + hidden.float())
        assert torch.equal(normalised, norm(total))
        normalised, total = add_norm(hidden, None, norm, scan)
        assert torch.equal(total, hidden.float())
        assert torch.equal(normalised, norm(total))


def test_what_does_not_fit_is_refused() -> None:
    hidden, residual, weight = torch.ones(2, 3), torch.ones(2, 3), torch.ones(3)
    for wrong in (
        (hidden, residual[:1], weight),
        (hidden, residual.bfloat16(), weight),
        (hidden, residual, weight[:2]),
    ):
        with pytest.raises(ValueError, match="do not fit residual"):
            triton_norm.add_norm(*wrong, None, 1e-5, torch.float32)
    wide = torch.ones(1, triton_norm.MOST_COLUMNS + 1)
    with pytest.raises(ValueError, match="up to 8192 channels"):
        triton_norm.add_norm(wide, wide, wide[0], None, 1e-5, torch.float32)


@pytest.mark.skipif(INTERPRETED or torch.cuda.is_available(), reason="needs Triton's compiler, and no GPU")
def test_convolution_and_norm_compile_for_a_hopper_gpu_without_one_and_use_no_atomics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All but the launch itself: arguments as the operators give them, in bfloat16."""
    pytest.importorskip("triton")
    from slws_lab.scan import triton_conv_kernels, triton_norm_kernels

    compiled = compile_only(monkeypatch, [triton_conv_kernels, triton_norm_kernels])
    hidden, residual, weight = torch.zeros(2, 9, 32, dtype=torch.bfloat16), torch.zeros(2, 9, 32), torch.zeros(32)
    x, taps = torch.zeros(2, 9, 64, dtype=torch.bfloat16)[..., 32:], torch.zeros(32, 4)
    triton_conv._forward(x, taps, weight, True)
    triton_conv._backward(hidden, x, taps, weight, True)
    for bias in (None, weight):
        triton_norm._forward(hidden, residual, weight, bias, 1e-5, torch.bfloat16)
        triton_norm._backward(hidden, residual, residual, weight, bias, 1e-5, torch.bfloat16)
    assert len(compiled) == 6
    for ptx in compiled:
        assert "ld.global" in ptx
        assert re.findall(r"\b(?:atom|red)\.", ptx) == []


def compile_only(monkeypatch: pytest.MonkeyPatch, modules: list[ModuleType]) -> list[str]:
    """Let launches of the modules' kernels only compile for an H100 or H200; the list fills with their PTX."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    hopper = SimpleNamespace(
        get_current_device=lambda: 0,
        get_current_stream=lambda device=0: 0,
        get_current_target=lambda: GPUTarget("cuda", 90, 32),
    )
    monkeypatch.setattr(driver, "_active", hopper)
    compiled: list[str] = []

    class Compiling:
        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            def launch(*arguments: Any, **options: Any) -> None:
                compiled.append(self.kernel.warmup(*arguments, grid=grid, **options).asm["ptx"])

            return launch

    for module in modules:
        for name in ("forward", "backward"):
            monkeypatch.setattr(module, name, Compiling(getattr(module, name)))
    return compiled
