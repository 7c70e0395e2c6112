"""The kernel's source at other vector widths: AVX2 and SSE here, ARM's NEON by a cross compiler under an emulator."""

from __future__ import annotations

import platform
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slws_lab.scan import compile, selective_scan

CROSS, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
NAMES = ("u", "delta", "A", "B", "C", "D", "delta_bias", "z")


def lacking(*programs: str) -> str:
    return ", ".join(name for name in programs if shutil.which(name) is None)


on_x86 = pytest.mark.skipif(
    platform.machine().lower() not in compile.X86 or bool(lacking("c++")), reason="needs an x86 machine and a compiler"
)
on_arm = pytest.mark.skipif(
    bool(lacking(CROSS, EMULATOR)),
    reason=f"not installed: {lacking(CROSS, EMULATOR)} (SLWS_TEST_SERVERS=1 installs them)",
)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(["c++", "-march=haswell"], marks=on_x86, id="AVX2"),
        pytest.param(["c++", "-march=x86-64"], marks=on_x86, id="SSE"),
        pytest.param([CROSS, "-static"], marks=[pytest.mark.arm, on_arm], id="NEON"),
    ],
)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs kernel_check.cpp, compiled quickly rather than well."""
    if request.param[1] == "-march=haswell" and " avx2 " not in f"{compile._processor()} ":
        pytest.skip("this processor has no AVX2")
    built = tmp_path_factory.mktemp("lanes") / "check"
    source = Path(__file__).with_name("kernel_check.cpp")
    flags = [flag for flag in compile.portable_flags("float") if flag not in ("-shared", "-fPIC", "-O3")]
    command = [*request.param, "-O1", *flags, f"-I{compile.SOURCE.parent}", str(source), "-o", str(built)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return [EMULATOR, str(built)] if request.param[0] == CROSS else [str(built)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [(2, 37, 11, 6), (1, 1, 3, 1)], ids=str)
def test_scan_and_convolution_are_right_at_this_width(
    program: list[str], size: tuple[int, ...], reverse: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    scan, grad_out = scan_inputs(size, dtype)
    conv, grad_y = conv_inputs(size, dtype)
    given = struct.pack("=7q", *size, reverse, 2, dtype == torch.bfloat16)
    order = ("u", "delta", "B", "C", "z", grad_out, "A", "D", "delta_bias")
    given += raw(*(scan[name] if isinstance(name, str) else name for name in order))
    given += raw(conv["x"], grad_y, conv["taps"], conv["bias"])
    answer = subprocess.run(program, input=given, capture_output=True, check=True, timeout=120).stdout

    exact, exact_conv = ({k: t.double().requires_grad_() for k, t in part.items()} for part in (scan, conv))
    y = selective_scan(**exact, reverse=reverse, backend="reference")  # type: ignore[arg-type]
    of_scan = dict(zip(exact, torch.autograd.grad(y, list(exact.values()), grad_out.double()), strict=True))
    mixed = convolved(**exact_conv, reverse=reverse)
    of_conv = dict(zip(exact_conv, torch.autograd.grad(mixed, list(exact_conv.values()), grad_y.double()), strict=True))
    expected = [("y", y, dtype), *((name, of_scan[name], dtype) for name in ("u", "delta", "B", "C", "z"))]
    expected += [(name, of_scan[name], torch.float32) for name in ("A", "D", "delta_bias")]
    expected += [("convolved", mixed, dtype), ("x", of_conv["x"], dtype)]
    expected += [(name, of_conv[name], torch.float32) for name in ("taps", "bias")]
    for name, whole, kind in expected:
        part = torch.frombuffer(bytearray(answer[: whole.numel() * kind.itemsize]), dtype=kind).view_as(whole)
        answer = answer[part.numel() * kind.itemsize :]
        near = 2e-6 if kind == torch.float32 else 2**-8  # half the last of bfloat16's 8 digits
        torch.testing.assert_close(
            part.double(), whole, rtol=near, atol=2e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert not answer


def scan_inputs(size: tuple[int, ...], dtype: torch.dtype) -> tuple[dict[str, Tensor], Tensor]:
    batch, length, width, state = size
    tokens, low = (batch, length, width), (batch, length, state)
    shapes = (tokens, tokens, (width, state), low, low, (width,), (width,), tokens)
    inputs = {name: torch.randn(shape) for name, shape in zip(NAMES, shapes, strict=True)}
    inputs["A"] = -inputs["A"].exp()
    weights = torch.randn(tokens).to(dtype)
    return {name: tensor.to(dtype) if tensor.dim() == 3 else tensor for name, tensor in inputs.items()}, weights


def conv_inputs(size: tuple[int, ...], dtype: torch.dtype) -> tuple[dict[str, Tensor], Tensor]:
    tokens, width = size[:3], size[2]
    return {"x": torch.randn(tokens).to(dtype), "taps": torch.randn(width, 4), "bias": torch.randn(width)}, torch.randn(
        tokens
    ).to(dtype)


def convolved(x: Tensor, taps: Tensor, bias: Tensor, reverse: bool) -> Tensor:
    x = x.flip(1) if reverse else x
    padded = F.pad(x.transpose(1, 2), (taps.shape[1] - 1, 0))
    y = F.silu(F.conv1d(padded, taps[:, None], bias, groups=len(taps))).transpose(1, 2)
    return y.flip(1) if reverse else y


def raw(*tensors: Tensor) -> bytes:
    return b"".join(tensor.contiguous().view(torch.uint8).numpy().tobytes() for tensor in tensors)
