"""The chunked scan as an operator, which torch.compile takes instead of the autograd function."""

from __future__ import annotations

import pytest
import torch

from slws_lab.scan import chunked


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 5, 33])
def test_torch_finds_nothing_wrong_with_the_operator(length: int, reverse: bool) -> None:
    torch.manual_seed(0)
    shapes = [(2, length, 3), (2, length, 3), (3, 4), (2, length, 4), (2, length, 4)]
    inputs = [torch.rand(shape, dtype=torch.float64).requires_grad_() for shape in shapes]
    torch.library.opcheck(chunked._recurrence_operator, (*inputs, reverse))


@pytest.mark.parametrize("reverse", [False, True])
def test_the_operator_is_the_function(reverse: bool) -> None:
    torch.manual_seed(1)
    shapes = [(2, 20, 3), (2, 20, 3), (3, 4), (2, 20, 4), (2, 20, 4)]
    first = [torch.rand(shape).requires_grad_() for shape in shapes]
    second = [tensor.detach().clone().requires_grad_() for tensor in first]
    y = chunked._Recurrence.apply(*first, reverse)
    other, _ = chunked._recurrence_operator(*second, reverse)
    assert torch.equal(y, other)
    y.square().sum().backward()
    other.square().sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(first, second, strict=True))
