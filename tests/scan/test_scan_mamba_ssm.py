"""The adapters of mamba-ssm and causal-conv1d, on stand-ins of their CUDA extensions.

The stand-ins have the signatures of mamba-ssm 2.3.2.post1 and causal-conv1d 1.7.0, check what those check of layouts
and types, and compute by our reference. What only a GPU can tell, `benchmarks/gpu_check.sh` asks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slws_lab.errors import UserError
from slws_lab.scan import ScanInputs, describe, mamba_ssm, reference, resolve

Drawn = dict[str, Tensor]


def reference_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, *rest: Any) -> Tensor:
    """The reference over what mamba-ssm takes: (batch, width, length), B and C (batch, 1, state, length)."""
    D, z, bias, softplus = rest
    u, delta, B, C = (tensor.mT for tensor in (u, delta, B[:, 0], C[:, 0]))
    inputs = ScanInputs(u, delta, A, B, C, D, None if z is None else z.mT, bias, softplus)
    return reference.scan(inputs).mT


def gradients(compute: Callable[..., Tensor], tensors: list[Tensor], grad: Tensor) -> tuple[Tensor, ...]:
    """Autograd's answer, in a thread of its own since torch switches autograd off inside an operator."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: torch.autograd.grad(compute(*leaves), leaves, grad)).result()


class Scan(ModuleType):
    """Stands in for selective_scan_cuda."""

    @staticmethod
    def check(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, *rest: Tensor | None) -> None:
        D, z, bias = rest
        assert u.dtype == delta.dtype == B.dtype == C.dtype != torch.float64
        assert all(tensor.stride(-1) == 1 for tensor in (u, delta, B, C, z) if tensor is not None)
        assert all(tensor.dtype == torch.float32 for tensor in (A, D, bias) if tensor is not None)
        assert z is None or z.dtype == u.dtype

    def fwd(self, u, delta, A, B, C, D, z, bias, softplus):  # type: ignore[no-untyped-def]
        """fwd(arg0: torch.Tensor, arg1: torch.Tensor, arg2: torch.Tensor, arg3: torch.Tensor, arg4: torch.Tensor,
        arg5: Optional, arg6: Optional, arg7: Optional, arg8: bool) -> list[torch.Tensor]"""
        self.check(u, delta, A, B, C, D, z, bias)
        states = A.new_zeros(u.shape[0], u.shape[1], -(-u.shape[2] // 2048), 2 * A.shape[1])
        ungated = reference_scan(u, delta, A, B, C, D, None, bias, softplus).contiguous()
        if z is None:
            return [ungated, states]
        return [ungated, states, reference_scan(u, delta, A, B, C, D, z, bias, softplus).contiguous()]

    def bwd(self, u, delta, A, B, C, D, z, bias, dout, x, out, dz, softplus, recompute):  # type: ignore[no-untyped-def]
        """bwd(arg0: torch.Tensor, arg1: torch.Tensor, arg2: torch.Tensor, arg3: torch.Tensor, arg4: torch.Tensor,
        arg5: Optional, arg6: Optional, arg7: Optional, arg8: torch.Tensor, arg9: Optional, arg10: Optional,
        arg11: Optional, arg12: bool, arg13: bool) -> list[torch.Tensor]"""
        self.check(u, delta, A, B, C, D, z, bias)
        assert dout.dtype == u.dtype and dout.stride(-1) == 1 and dz is None and recompute is False
        assert x.shape == (*u.shape[:2], -(-u.shape[2] // 2048), 2 * A.shape[1])
        assert (out is None) == (z is None)
        tensors = (u, delta, A, B, C, D, z, bias)
        present = [tensor for tensor in tensors if tensor is not None]

        def compute(*values: Tensor) -> Tensor:
            given = iter(values)
            return reference_scan(*(None if tensor is None else next(given) for tensor in tensors), softplus)

        found = iter(gradients(compute, present, dout))
        grads = [None if tensor is None else next(found) for tensor in tensors]
        gated = [] if z is None else [grads[6]]
        return [*grads[:6], grads[7], *gated]


class Convolution(ModuleType):
    """Stands in for causal_conv1d_cuda."""

    @staticmethod
    def check(x: Tensor, *like: Tensor) -> None:
        last = x.stride(1) == 1 and x.stride(2) > 1
        assert last or x.stride(2) == 1
        for tensor in (x, *like):
            assert tensor.dtype == x.dtype != torch.float64
            assert not last or (tensor.stride(1) == 1 and x.shape[1] % 8 == 0)
            assert not last or (tensor.stride(2) % 8 == 0 and tensor.stride(0) % 8 == 0)

    def compute(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        padded = F.pad(x.to(weight.dtype), (weight.shape[1] - 1, 0))
        return F.silu(F.conv1d(padded, weight[:, None], bias, groups=len(weight))).to(x.dtype)

    def causal_conv1d_fwd(self, x, weight, bias, seq_idx, initial, out, final, silu):  # type: ignore[no-untyped-def]
        """causal_conv1d_fwd(arg0: torch.Tensor, arg1: torch.Tensor, arg2: Optional, arg3: Optional, arg4: Optional,
        arg5: torch.Tensor, arg6: Optional, arg7: bool) -> None"""
        assert seq_idx is initial is final is None and silu is True and weight.dtype == bias.dtype
        self.check(x)
        assert out.stride() == x.stride()
        out.copy_(self.compute(x, weight, bias))

    def causal_conv1d_bwd(  # type: ignore[no-untyped-def]
        self, x, weight, bias, dout, seq_idx, initial, dfinal, dx, dweight, dbias, dinitial, silu
    ):  # fmt: skip
        """causal_conv1d_bwd(arg0: torch.Tensor, arg1: torch.Tensor, arg2: Optional, arg3: torch.Tensor, arg4: Optional,
        arg5: Optional, arg6: Optional, arg7: torch.Tensor, arg8: torch.Tensor, arg9: Optional, arg10: Optional,
        arg11: bool) -> None"""
        assert seq_idx is initial is dfinal is dinitial is None and silu is True
        self.check(x, dout, dx)
        assert dweight.dtype == dbias.dtype == torch.float32
        assert not dweight.any() and not dbias.any()  # the extension adds to what is there
        grads = gradients(self.compute, [x, weight, bias], dout)
        for room, grad in zip((dx, dweight, dbias), grads, strict=True):
            room.copy_(grad)


@pytest.fixture(autouse=True)
def extensions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both stand-ins importable, nothing remembered of other tests."""
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", Scan("selective_scan_cuda"))
    monkeypatch.setitem(sys.modules, "causal_conv1d_cuda", Convolution("causal_conv1d_cuda"))
    mamba_ssm._extension.cache_clear()
    yield
    mamba_ssm._extension.cache_clear()


def draw(absent: tuple[str, ...] = (), dtype: torch.dtype = torch.float32) -> Drawn:
    make = torch.Generator().manual_seed(0)
    shapes = {name: (2, 7, 5) for name in ("u", "delta", "z")} | {name: (2, 7, 3) for name in ("B", "C")}
    shapes |= {"A": (5, 3), "D": (5,), "delta_bias": (5,)}
    tensors = {name: torch.randn(shape, generator=make) for name, shape in shapes.items() if name not in absent}
    tensors["A"] = -tensors["A"].exp()
    return {name: tensor.to(dtype).requires_grad_() for name, tensor in tensors.items()}


def output_and_gradients(y: Tensor, tensors: Drawn) -> list[Tensor]:
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return [y, *torch.autograd.grad(y, list(tensors.values()), weights)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("absent", [(), ("z",), ("D", "delta_bias")], ids=str)
def test_the_scan_and_its_gradients_equal_the_reference(absent: tuple[str, ...], reverse: bool) -> None:
    tensors = draw(absent)
    inputs = ScanInputs(**tensors, reverse=reverse)
    expected = output_and_gradients(reference.scan(inputs), tensors)
    actual = output_and_gradients(mamba_ssm.scan(inputs), tensors)
    for name, left, right in zip(("y", *tensors), actual, expected, strict=True):
        torch.testing.assert_close(left, right, msg=lambda text, name=name: f"{name}: {text}")


def test_the_scan_without_softplus_equals_the_reference() -> None:
    tensors = draw(("delta_bias",))
    inputs = ScanInputs(**(tensors | {"delta": tensors["delta"].abs()}), delta_softplus=False)
    torch.testing.assert_close(mamba_ssm.scan(inputs), reference.scan(inputs))


def test_types_may_be_mixed_and_each_gradient_has_the_type_of_its_own() -> None:
    tensors = draw(dtype=torch.bfloat16) | {name: draw()[name] for name in ("A", "D", "delta", "delta_bias")}
    y, *gradients = output_and_gradients(mamba_ssm.scan(ScanInputs(**tensors)), tensors)
    assert y.dtype == torch.bfloat16
    assert [gradient.dtype for gradient in gradients] == [tensor.dtype for tensor in tensors.values()]


def test_torch_finds_nothing_wrong_with_the_operators() -> None:
    u, delta, z = (torch.randn(2, 5, 7).requires_grad_() for _ in range(3))
    B, C = (torch.randn(2, 1, 3, 7).requires_grad_() for _ in range(2))
    A, D, bias = (torch.rand(shape).neg().requires_grad_() for shape in ((5, 3), (5,), (5,)))
    torch.library.opcheck(mamba_ssm._scan_operator, (u, delta, A, B, C, D, z, bias, True))
    torch.library.opcheck(mamba_ssm._scan_operator, (u, delta, A, B, C, None, None, bias, True))
    torch.library.opcheck(mamba_ssm._conv_operator, (u, torch.randn(5, 4).requires_grad_(), bias))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("width", [5, 8])
@pytest.mark.parametrize("length", [1, 9])
def test_the_convolution_and_its_gradients_are_torchs(length: int, width: int, reverse: bool) -> None:
    make = torch.Generator().manual_seed(length)
    shapes = {"x": (2, length, width), "taps": (width, 4), "bias": (width,)}
    tensors = {name: torch.randn(shape, generator=make).requires_grad_() for name, shape in shapes.items()}
    x, taps, bias = tensors.values()
    ordered = x.flip(1) if reverse else x
    y = F.silu(F.conv1d(F.pad(ordered.mT, (3, 0)), taps[:, None], bias, groups=width)).mT
    expected = output_and_gradients(y.flip(1) if reverse else y, tensors)
    actual = output_and_gradients(mamba_ssm.conv_silu(x, taps, bias, reverse), tensors)
    for left, right in zip(actual, expected, strict=True):
        torch.testing.assert_close(left, right)


def test_float64_and_many_states_are_refused() -> None:
    with pytest.raises(UserError, match="not in float64"):
        mamba_ssm.scan(ScanInputs(**draw(dtype=torch.float64)))
    u, B = torch.ones(1, 1, 1), torch.ones(1, 1, 257)
    with pytest.raises(ValueError, match="256 states"):
        mamba_ssm.scan(ScanInputs(u, u, -torch.ones(1, 257), B, B))


def test_an_extension_with_another_signature_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Newer(Scan):
        def fwd(self, *arguments):  # type: ignore[no-untyped-def]
            "fwd(arg0: torch.Tensor, arg1: torch.Tensor) -> list[torch.Tensor]"

    monkeypatch.setitem(sys.modules, "selective_scan_cuda", Newer("selective_scan_cuda"))
    reason = mamba_ssm.obstacle(torch.device("cuda"))
    assert reason.startswith("selective_scan_cuda.fwd takes 2 arguments, but mamba-ssm 2.2 to 2.3.2.post1 take 9")
    with pytest.raises(UserError, match="takes 2 arguments"):
        mamba_ssm.scan(ScanInputs(**draw()))


def test_a_missing_and_a_broken_extension_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    assert mamba_ssm.obstacle(gpu) == mamba_ssm.conv_obstacle(gpu) == ""
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", None)
    mamba_ssm._extension.cache_clear()
    assert "is not installed" in mamba_ssm.obstacle(gpu)

    def broken(name: str) -> ModuleType:
        raise ImportError("undefined symbol: _ZN3c104cuda")

    monkeypatch.setattr("importlib.import_module", broken)
    mamba_ssm._extension.cache_clear()
    assert "another torch or CUDA: undefined symbol" in mamba_ssm.obstacle(gpu)


def test_auto_takes_it_on_a_gpu_only() -> None:
    assert resolve("auto", "cuda").name == "mamba_ssm"
    assert "it is for NVIDIA GPUs" in describe("cpu")["mamba_ssm"]
