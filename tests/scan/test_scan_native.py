"""The compiled kernel: shapes, precision, threads, forks, and what torch demands of an operator."""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from slws_lab.scan import ScanInputs, kernel, native, selective_scan, selective_scan_pair

pytestmark = pytest.mark.skipif(
    bool(native.obstacle(torch.device("cpu"))), reason=f"no kernel here: {native.obstacle(torch.device('cpu'))}"
)
Size = tuple[int, int, int, int]  # batch, length, width, state


def draw(size: Size, dtype: torch.dtype, seed: int = 0) -> dict[str, Tensor]:
    batch, length, width, state = size
    make = torch.Generator().manual_seed(seed)
    tokens = (batch, length, width)
    shapes = {
        "u": tokens,
        "delta": tokens,
        "A": (width, state),
        "B": (batch, length, state),
        "C": (batch, length, state),
    }
    shapes |= {"D": (width,), "delta_bias": (width,)}
    tensors = {name: torch.randn(shape, generator=make, dtype=torch.float64) for name, shape in shapes.items()}
    tensors["A"] = -tensors["A"].exp()
    return {name: tensor.to(dtype).requires_grad_() for name, tensor in tensors.items()}


def results(tensors: dict[str, Tensor], backend: str = "native", reverse: bool = False) -> list[Tensor]:
    y = selective_scan(**tensors, backend=backend, reverse=reverse)  # type: ignore[arg-type]
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
    return [y, *torch.autograd.grad(y, list(tensors.values()), weights)]


@pytest.fixture
def thread_count() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "size", [(1, 1, 1, 1), (2, 5, 130, 7), (1, 3, 4, 256), (3, 40, 17, 33), (20, 17, 16, 4), (1, 49, 300, 5)], ids=str
)
def test_every_shape_gives_the_reference(size: Size, reverse: bool) -> None:
    tensors = draw(size, torch.float64)
    for left, right in zip(results(tensors, "native", reverse), results(tensors, "reference", reverse), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("size", [(2, 197, 40, 16), (1, 785, 24, 16), (17, 65, 35, 6)], ids=str)
def test_float32_is_as_exact_as_it_can_be(size: Size) -> None:
    single = draw(size, torch.float32)
    exact = results({name: tensor.detach().double().requires_grad_() for name, tensor in single.items()}, "reference")
    pairs = zip(results(single), exact, strict=True)
    errors = [float((a - b).detach().abs().max() / b.detach().abs().max()) for a, b in pairs]
    assert errors[0] < 3e-7
    assert max(errors[1:]) < 2e-6


def test_what_float32_cannot_hold_becomes_zero_or_infinity_as_in_the_reference() -> None:
    u, B = torch.ones(1, 4, 3), torch.ones(1, 4, 1)
    delta = torch.tensor([1e-3, 1.0, 200.0, 1e4]).view(1, 4, 1).expand(1, 4, 3).contiguous()
    A = torch.tensor([[-1.0], [-1e4], [30.0]])
    for softplus in (False, True):
        expected, actual = (
            selective_scan(u, delta, A, B, B, delta_softplus=softplus, backend=name) for name in ("reference", "native")
        )
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("size", [(1, 70, 300, 4), (20, 33, 48, 5)], ids=str)
def test_the_number_of_threads_changes_no_bit(size: Size, thread_count: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "WORTH_A_THREAD", 1)
    tensors = draw(size, torch.float32)
    found = []
    for own_threads in (False, True):
        monkeypatch.setattr(kernel, "_forked", own_threads)
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(results(tensors))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_works_with_threads_in_a_forked_process(thread_count: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "WORTH_A_THREAD", 1)
    torch.set_num_threads(2)
    tensors = draw((2, 20, 40, 4), torch.float32)
    expected = results(tensors)[0].detach()
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_send_output, args=(there, {name: t.detach() for name, t in tensors.items()}))
    child.start()
    there.close()
    answered = here.poll(60)
    child.kill() if not answered else child.join()
    assert answered
    assert here.recv() == expected.flatten().tolist()


def _send_output(pipe: multiprocessing.connection.Connection, tensors: dict[str, Tensor]) -> None:
    pipe.send(selective_scan(**tensors, backend="native").flatten().tolist())  # type: ignore[arg-type]


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("directions", [1, 2])
def test_torch_finds_nothing_wrong_with_the_operator(directions: int, gated: bool) -> None:
    ways = [ScanInputs(**draw((2, 18, 5, 3), torch.float64, seed)) for seed in range(directions)]
    tensors = [tensor for way in ways for tensor in native._tensors(way, torch.float64)]
    z = torch.randn(2, 18, 5, dtype=torch.float64, requires_grad=True) if gated else None
    torch.library.opcheck(native._scan_operator, (tensors, z, 0.5, True, True, True))


def test_torch_finds_nothing_wrong_with_the_operator_on_bfloat16() -> None:
    ways = [ScanInputs(**half(draw((2, 18, 5, 3), torch.float32, seed))) for seed in range(2)]
    tensors = [tensor.detach().requires_grad_() for way in ways for tensor in native._tensors(way, torch.float32)]
    assert [tensor.dtype for tensor in tensors[:3]] == [torch.bfloat16, torch.bfloat16, torch.float32]
    z = torch.randn(2, 18, 5).bfloat16().requires_grad_()
    checks = (
        "test_schema",
        "test_autograd_registration",
        "test_faketensor",
    )  # two runs of rounded numbers differ by a digit
    torch.library.opcheck(native._scan_operator, (tensors, z, 0.5, True, True, True), test_utils=checks)


def half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a layer under autocast gives to the scan: tokens in bfloat16, weights in float32."""
    tokens = ("u", "delta", "B", "C")
    return {
        name: (t.detach().bfloat16() if name in tokens else t.detach()).requires_grad_() for name, t in tensors.items()
    }


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("size", [(2, 40, 17, 3), (1, 33, 48, 16), (3, 1, 1, 1)], ids=str)
def test_bfloat16_is_read_and_written_as_it_is_and_all_between_is_float32(size: Size, gated: bool) -> None:
    ways = [half(draw(size, torch.float32, seed)) for seed in range(2)]
    z = torch.randn(size[:3]).bfloat16().requires_grad_() if gated else None
    weights = torch.randn(size[:3]).bfloat16()

    def run(ways: list[dict[str, Tensor]], z: Tensor | None) -> list[Tensor]:
        forth, back = ScanInputs(**ways[0]), ScanInputs(**ways[1], reverse=True)
        y = selective_scan_pair(forth, back, z, 0.5 if gated else 1.0, backend="native")
        leaves = [*ways[0].values(), *ways[1].values(), *([] if z is None else [z])]
        return [y, *torch.autograd.grad(y, leaves, weights.to(y.dtype))]

    def widened(tensor: Tensor) -> Tensor:
        return tensor.detach().float().requires_grad_()

    found = run(ways, z)
    exact = run([{k: widened(t) for k, t in way.items()} for way in ways], None if z is None else widened(z))
    types = [torch.bfloat16, *(t.dtype for way in ways for t in way.values()), *([] if z is None else [torch.bfloat16])]
    assert [tensor.dtype for tensor in found] == types
    for rounded, whole in zip(found, exact, strict=True):
        if rounded.dtype == torch.bfloat16:
            assert torch.equal(rounded, whole.bfloat16())
        else:
            torch.testing.assert_close(rounded, whole, rtol=1e-5, atol=1e-5)


def test_what_bfloat16_cannot_hold_stays_what_it_is() -> None:
    u = torch.tensor([float("nan"), float("inf"), -float("inf"), 3.4e38, 1e-40, -0.0]).bfloat16().view(1, 1, 6)
    B = torch.zeros(1, 1, 1).bfloat16()
    D = torch.ones(6)
    y = selective_scan(u, torch.zeros_like(u), -torch.ones(6, 1), B, B, D, backend="native")
    expected = selective_scan(u, torch.zeros_like(u), -torch.ones(6, 1), B, B, D, backend="reference")
    torch.testing.assert_close(y, expected, rtol=0, atol=0, equal_nan=True)


def test_gradcheck_of_a_gated_pair() -> None:
    forth, back = (draw((1, 3, 2, 2), torch.float64, seed) for seed in (0, 1))
    z = torch.randn(1, 3, 2, dtype=torch.float64, requires_grad=True)

    def run(z: Tensor, *values: Tensor) -> Tensor:
        half = len(values) // 2
        ways = dict(zip(forth, values[:half], strict=True)), dict(zip(back, values[half:], strict=True))
        return selective_scan_pair(ScanInputs(**ways[0]), ScanInputs(**ways[1], reverse=True), z, 0.5, backend="native")

    assert torch.autograd.gradcheck(run, (z, *forth.values(), *back.values()))


def test_compiled_code_calls_the_operator_and_gives_the_same() -> None:
    tensors = draw((2, 18, 5, 3), torch.float32)
    expected = results(tensors)
    whole = torch.compile(lambda **t: selective_scan(**t, backend="native"), backend="aot_eager", fullgraph=True)
    y = whole(**tensors)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
    actual = [y, *torch.autograd.grad(y, list(tensors.values()), weights)]
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


def test_backward_can_be_differentiated_once_only() -> None:
    tensors = draw((1, 3, 2, 2), torch.float64)
    loss = selective_scan(**tensors, backend="native").square().sum()  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(loss, tensors["u"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_nothing_is_kept_for_a_backward_that_will_not_come() -> None:
    ways = native._tensors(ScanInputs(**draw((2, 40, 5, 3), torch.float32)), torch.float32)
    out, y, borders = native._forward(ways, None, 1.0, True, False, keep=False)
    assert out.shape == (2, 40, 5)
    assert (y.numel(), borders.numel()) == (0, 0)


def test_python_and_the_kernel_see_the_same_structures() -> None:
    for dtype in kernel.REALS:
        built = kernel.load(dtype)
        assert (built.scan_bytes(), built.conv_bytes()) == (ctypes.sizeof(kernel.Scan), ctypes.sizeof(kernel.Conv))


def test_another_device_is_refused_with_the_reason() -> None:
    assert native.obstacle(torch.device("meta")) == "it is for the CPU"


@pytest.mark.parametrize("narrow", [(), (0,), (1,), (0, 1)], ids=str)
def test_each_direction_of_a_pair_may_have_types_of_its_own(narrow: tuple[int, ...]) -> None:
    ways = [half(draw((2, 40, 20, 40), torch.float32, seed)) for seed in range(2)]
    for number, way in enumerate(ways):
        way |= {name: way[name].detach().float() for name in ("u", "delta", *(() if number in narrow else ("B", "C")))}
    forth, back = ScanInputs(**ways[0]), ScanInputs(**ways[1], reverse=True)
    expected = selective_scan_pair(forth, back, backend="reference")
    torch.testing.assert_close(selective_scan_pair(forth, back, backend="native"), expected, rtol=1e-4, atol=1e-4)
