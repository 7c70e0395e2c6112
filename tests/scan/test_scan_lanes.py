"""The kernel's source at other vector widths: AVX2 and SSE here, ARM's NEON by a cross compiler under an emulator."""

from __future__ import annotations

import platform
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import torch

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


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [(2, 37, 11, 6), (1, 1, 3, 1)], ids=str)
def test_the_kernel_gives_the_reference_at_this_width(program: list[str], size: tuple[int, ...], reverse: bool) -> None:
    batch, length, width, state = size
    torch.manual_seed(0)
    tokens, low = (batch, length, width), (batch, length, state)
    shapes = (tokens, tokens, (width, state), low, low, (width,), (width,), tokens)
    inputs = {name: torch.randn(shape) for name, shape in zip(NAMES, shapes, strict=True)}
    inputs["A"] = -inputs["A"].exp()
    weights = torch.randn(tokens)
    given = struct.pack("=6q", *size, reverse, 2) + b"".join(t.numpy().tobytes() for t in (*inputs.values(), weights))
    answer = subprocess.run(program, input=given, capture_output=True, check=True, timeout=120).stdout
    actual = torch.frombuffer(bytearray(answer), dtype=torch.float32)
    exact = {name: tensor.double().requires_grad_() for name, tensor in inputs.items()}
    y = selective_scan(**exact, reverse=reverse, backend="reference")  # type: ignore[arg-type]
    expected = (y, *torch.autograd.grad(y, list(exact.values()), weights.double()))
    for name, part, whole in zip(("y", *NAMES), actual.split([t.numel() for t in expected]), expected, strict=True):
        torch.testing.assert_close(
            part.view_as(whole).double(), whole, rtol=2e-6, atol=2e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
