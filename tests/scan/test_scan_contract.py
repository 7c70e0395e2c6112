"""The suite that every scan back-end passes; the reference is the meaning."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slws_lab.scan import ScanInputs, backends, describe, selective_scan, selective_scan_pair

NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
# batch, length, width, state
SIZES = [(2, 1, 5, 3), (3, 2, 1, 1), (1, 17, 5, 16), (2, 33, 5, 3), (2, 64, 1, 1), (3, 65, 3, 2)]
ABOUT = describe("cpu")
USABLE = [
    pytest.param(name, marks=[] if ABOUT[name].startswith("usable") else pytest.mark.skip(reason=ABOUT[name]))
    for name in backends()
]
FAST = [backend for backend in USABLE if backend.values != ("reference",)]

both_ways = pytest.mark.parametrize("reverse", [False, True])
every_backend = pytest.mark.parametrize("backend", USABLE)


def draw(size: tuple[int, int, int, int], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    batch, length, width, state = size
    make = torch.Generator().manual_seed(sum(size))
    shapes = {
        "u": (batch, length, width),
        "delta": (batch, length, width),
        "A": (width, state),
        "B": (batch, length, state),
        "C": (batch, length, state),
        "D": (width,),
        "z": (batch, length, width),
        "delta_bias": (width,),
    }
    tensors = {name: torch.randn(shape, generator=make, dtype=torch.float64) for name, shape in shapes.items()}
    tensors["A"] = -tensors["A"].exp()
    return {name: tensor.to(dtype).requires_grad_() for name, tensor in tensors.items()}


def output_and_gradients(tensors: dict[str, Tensor], **switches: object) -> tuple[Tensor, ...]:
    y = selective_scan(**tensors, **switches)  # type: ignore[arg-type]
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
    return (y, *torch.autograd.grad(y, list(tensors.values()), weights))


@pytest.mark.parametrize("backend", FAST)
@both_ways
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("absent", [(), ("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias")], ids=str)
def test_output_and_every_gradient_equal_the_reference(
    size: tuple[int, int, int, int], absent: tuple[str, ...], reverse: bool, backend: str
) -> None:
    tensors = {name: tensor for name, tensor in draw(size).items() if name not in absent}
    expected = output_and_gradients(tensors, reverse=reverse, backend="reference")
    actual = output_and_gradients(tensors, reverse=reverse, backend=backend)
    for name, left, right in zip(("y", *tensors), actual, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("backend", FAST)
def test_without_softplus_equals_the_reference(backend: str) -> None:
    tensors = draw((2, 19, 4, 3))
    with torch.no_grad():
        tensors["delta"].abs_()
        tensors["delta_bias"].abs_()
    expected = output_and_gradients(tensors, delta_softplus=False, backend="reference")
    actual = output_and_gradients(tensors, delta_softplus=False, backend=backend)
    for left, right in zip(actual, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-11)


def test_the_reference_follows_the_written_recurrence() -> None:
    u, dt, A, B, C = 2.0, [0.5, 0.25], -1.0, [3.0, 1.0], [1.0, 2.0]
    decay = torch.tensor(dt[1] * A, dtype=torch.float64).exp().item()
    h = [dt[0] * B[0] * u]
    h.append(decay * h[0] + dt[1] * B[1] * u)
    us, dts, Bs, Cs = (torch.tensor(v, dtype=torch.float64).view(1, 2, 1) for v in ([u, u], dt, B, C))
    rates = torch.full((1, 1), A, dtype=torch.float64)
    y = selective_scan(us, dts, rates, Bs, Cs, delta_softplus=False, backend="reference")
    assert y.flatten().tolist() == pytest.approx([C[0] * h[0], C[1] * h[1]], rel=1e-12)


@every_backend
@both_ways
def test_gradcheck(backend: str, reverse: bool) -> None:
    tensors = draw((2, 3, 2, 2))

    def run(*values: Tensor) -> Tensor:
        return selective_scan(*values, reverse=reverse, backend=backend)

    assert torch.autograd.gradcheck(run, tuple(tensors.values()))


@every_backend
def test_reverse_is_flip_scan_flip(backend: str) -> None:
    tensors = draw((2, 35, 3, 4))
    timed = ("u", "delta", "B", "C", "z")
    flipped = {name: tensor.flip(1) if name in timed else tensor for name, tensor in tensors.items()}
    expected = selective_scan(**flipped, backend=backend).flip(1)
    actual = selective_scan(**tensors, reverse=True, backend=backend)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-13)


@every_backend
def test_bfloat16_in_bfloat16_out_with_float32_inside(backend: str) -> None:
    half = draw((2, 40, 8, 4), torch.bfloat16)
    y, *gradients = output_and_gradients(half, backend=backend)
    assert y.dtype == torch.bfloat16
    assert all(gradient.dtype == torch.bfloat16 for gradient in gradients)
    exact = selective_scan(**{name: tensor.double() for name, tensor in half.items()}, backend="reference")
    torch.testing.assert_close(y.double(), exact, rtol=2**-8, atol=1e-3)  # one rounding, at the end


@every_backend
def test_autocast_does_not_lower_the_precision_inside(backend: str) -> None:
    tensors = draw((2, 40, 8, 4), torch.float32)
    plain = selective_scan(**tensors, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(selective_scan(**tensors, backend=backend), plain)


@every_backend
def test_same_inputs_give_the_same_bits_and_stay_as_they_are(backend: str) -> None:
    tensors = draw((5, 34, 6, 4), torch.float32)
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    first = output_and_gradients(tensors, backend=backend)
    second = output_and_gradients(tensors, backend=backend)
    assert all(torch.equal(left, right) for left, right in zip(first, second, strict=True))
    assert all(torch.equal(tensors[name], before[name]) for name in NAMES)


@every_backend
def test_two_graphs_alive_at_once_do_not_disturb_each_other(backend: str) -> None:
    first, second = draw((2, 34, 3, 2)), draw((3, 20, 3, 2))
    alone = torch.autograd.grad(selective_scan(**first, backend=backend).sum(), list(first.values()))
    y = selective_scan(**first, backend=backend)
    selective_scan(**second, backend=backend).sum().backward()
    together = torch.autograd.grad(y.sum(), list(first.values()))
    assert all(torch.equal(left, right) for left, right in zip(alone, together, strict=True))


@every_backend
def test_no_grad_and_inputs_that_need_no_gradient(backend: str) -> None:
    tensors = draw((2, 18, 3, 2))
    y = selective_scan(**tensors, backend=backend)
    with torch.no_grad():
        assert torch.equal(selective_scan(**tensors, backend=backend), y)
    frozen = {name: tensor.detach() for name, tensor in tensors.items()} | {"B": tensors["B"]}
    selective_scan(**frozen, backend=backend).sum().backward()
    torch.testing.assert_close(tensors["B"].grad, torch.autograd.grad(y.sum(), tensors["B"])[0])


@every_backend
def test_strided_inputs_are_read_as_what_they_show(backend: str) -> None:
    tensors = draw((2, 18, 4, 3))
    strided = {name: t.mT.contiguous().mT if t.dim() > 1 else t for name, t in tensors.items()}
    expected = output_and_gradients(tensors, backend=backend)
    for left, right in zip(output_and_gradients(strided, backend=backend), expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-13)


def pair_of_ways(dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    forth, back = draw((2, 21, 5, 3), dtype), draw((2, 21, 5, 3), dtype)
    z = forth.pop("z")
    del back["z"]
    return forth, {name: (0.9 * tensor).detach().requires_grad_() for name, tensor in back.items()}, z


@every_backend
@both_ways
@pytest.mark.parametrize("gated", [False, True])
def test_a_pair_is_both_directions_summed_and_gated_once(backend: str, reverse: bool, gated: bool) -> None:
    forth, back, z = pair_of_ways(torch.float64)
    gate, scale = (z, 0.5) if gated else (None, 1.0)
    ways = ScanInputs(**forth, reverse=reverse), ScanInputs(**back, reverse=not reverse)
    actual = selective_scan_pair(*ways, gate, scale, backend=backend)
    y = selective_scan(**forth, reverse=reverse, backend="reference")
    y = y + selective_scan(**back, reverse=not reverse, backend="reference")
    expected = y * 0.5 * F.silu(z) if gated else y
    leaves = [*forth.values(), *back.values(), *([z] if gated else [])]
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    found = [(total, *torch.autograd.grad(total, leaves, weights)) for total in (actual, expected)]
    for left, right in zip(*found, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-11)


@every_backend
def test_a_pair_in_bfloat16_keeps_its_type(backend: str) -> None:
    forth, back, z = pair_of_ways(torch.bfloat16)
    y = selective_scan_pair(ScanInputs(**forth), ScanInputs(**back, reverse=True), z, 0.5, backend=backend)
    assert y.dtype == torch.bfloat16


@pytest.mark.parametrize("backend", FAST)
def test_many_batch_blocks_give_the_reference(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slws_lab.scan.chunked.CPU_SLAB", 300)
    tensors = draw((7, 35, 3, 2))
    expected = output_and_gradients(tensors, backend="reference")
    for left, right in zip(output_and_gradients(tensors, backend=backend), expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-11)


def test_the_chunked_backward_is_once_differentiable() -> None:
    tensors = draw((1, 3, 2, 2))
    loss = selective_scan(**tensors, backend="chunked").square().sum()
    (gradient,) = torch.autograd.grad(loss, tensors["u"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
