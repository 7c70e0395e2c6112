"""The Triton kernels of the residual sum and its norm; the host side and its reasons are in `triton_norm`.

A tile is (ROWS, COLUMNS) with all of a row; CENTRED is LayerNorm, which subtracts the mean and adds a bias.
"""

# mypy: ignore-errors
# ruff: noqa: PLR0913, PLR0917 (a kernel's arguments are what it is launched with)

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def forward(
    hidden,
    residual,
    weight,
    bias,
    normalised,
    total,
    rows,
    width,
    EPS: tl.constexpr,
    CENTRED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ACC: tl.constexpr,
):
    """Write the sum of hidden and residual, and its norm."""
    column = tl.arange(0, COLUMNS)
    place, inside = _tile(tl.program_id(0) * ROWS, column, rows, width, ROWS)
    x = _read(hidden, place, inside, ACC) + _read(residual, place, inside, ACC)
    standard, _ = _standardised(x, inside, width, EPS, CENTRED)
    y = standard * _read(weight, column, column < width, ACC)[None, :]
    if CENTRED:
        y += _read(bias, column, column < width, ACC)[None, :]
    tl.store(total + place, x, mask=inside)
    tl.store(normalised + place, y.to(normalised.dtype.element_ty), mask=inside)


@triton.jit
def backward(
    grad_normalised,
    grad_total,
    total,
    weight,
    grad_residual,
    grad_hidden,
    weight_parts,
    bias_parts,
    rows,
    width,
    EPS: tl.constexpr,
    CENTRED: tl.constexpr,
    NARROW: tl.constexpr,
    TILES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ACC: tl.constexpr,
):
    """Write the gradient of the residual, the same in hidden's type if that is NARROW, and parts of those of the weights.

    Parts are (program, width); a program has TILES tiles, one below the other.
    """
    column = tl.arange(0, COLUMNS)
    weights = _read(weight, column, column < width, ACC)[None, :]
    of_weight = tl.zeros((ROWS, COLUMNS), ACC)
    of_bias = tl.zeros((ROWS, COLUMNS), ACC)
    for i in range(TILES):
        place, inside = _tile((tl.program_id(0) * TILES + i) * ROWS, column, rows, width, ROWS)
        x = _read(total, place, inside, ACC)
        grad_y = _read(grad_normalised, place, inside, ACC)
        through = _read(grad_total, place, inside, ACC)
        standard, scale = _standardised(x, inside, width, EPS, CENTRED)
        of_weight += grad_y * standard
        grad = grad_y * weights
        slope = grad - standard * (tl.sum(grad * standard, 1) / width)[:, None]
        if CENTRED:
            of_bias += grad_y
            slope -= (tl.sum(grad, 1) / width)[:, None]
        through += slope * scale[:, None]
        tl.store(grad_residual + place, through, mask=inside)
        if NARROW:
            tl.store(grad_hidden + place, through.to(grad_hidden.dtype.element_ty), mask=inside)
    part = tl.program_id(0) * width + column
    tl.store(weight_parts + part, tl.sum(of_weight, 0), mask=column < width)
    if CENTRED:
        tl.store(bias_parts + part, tl.sum(of_bias, 0), mask=column < width)


@triton.jit
def _tile(first, column, rows, width, ROWS: tl.constexpr):
    """Return where the elements of a tile stand and which of them are there."""
    row = first + tl.arange(0, ROWS)
    place = row.to(tl.int64)[:, None] * width + column[None, :]
    return place, (row < rows)[:, None] & (column < width)[None, :]


@triton.jit
def _read(tensor, place, inside, ACC: tl.constexpr):
    return tl.load(tensor + place, mask=inside, other=0.0).to(ACC)


@triton.jit
def _standardised(x, inside, width, EPS: tl.constexpr, CENTRED: tl.constexpr):
    """Return rows with a mean square of 1, and what each was multiplied by; 0 outside."""
    if CENTRED:
        x = tl.where(inside, x - (tl.sum(x, 1) / width)[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, 1) / width + EPS)
    return x * scale[:, None], scale
