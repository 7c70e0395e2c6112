"""The Triton kernels of the causal convolution with SiLU; the host side and its reasons are in `triton_conv`.

Steps are counted in causal order: step n is token n, or the n-th from the end where time runs backward.
"""

# mypy: ignore-errors
# ruff: noqa: PLR0913, PLR0917, RUF005 (Triton compiles only a part of Python; a kernel's arguments are what it is launched with)

from __future__ import annotations

import triton
import triton.language as tl

from slws_lab.scan.triton_kernels import put, row


@triton.jit
def forward(
    x,
    taps,
    bias,
    y,
    length,
    width,
    x_stride,
    TAPS: tl.constexpr,
    REVERSE: tl.constexpr,
    STEPS: tl.constexpr,
    CHANNELS: tl.constexpr,
    ACC: tl.constexpr,
):
    """Write y = SiLU(bias + sum of taps times the steps up to this one); a program has STEPS of one sample."""
    block, piece, sample = _place(width, tl.cdiv(length, STEPS), CHANNELS)
    n = piece * STEPS + tl.arange(0, STEPS)
    d = block * CHANNELS + tl.arange(0, CHANNELS)
    in_width = d < width
    x, y = x + sample * length * x_stride, y + sample * length * width
    total = tl.zeros((STEPS, CHANNELS), ACC) + row(bias, 0, 0, d, in_width, ACC)[None, :]
    for k in tl.static_range(TAPS):
        source = n - (TAPS - 1 - k)
        inside = ((source >= 0) & (source < length))[:, None] & in_width[None, :]
        read = row(x, _token(source, length, REVERSE)[:, None], x_stride, d[None, :], inside, ACC)
        total += row(taps, d, TAPS, k, in_width, ACC)[None, :] * read
    inside = (n < length)[:, None] & in_width[None, :]
    put(y, _token(n, length, REVERSE)[:, None], width, d[None, :], inside, total * tl.sigmoid(total))


@triton.jit
def backward(
    x,
    taps,
    bias,
    grad_y,
    grad_x,
    parts,
    length,
    width,
    x_stride,
    segment,
    TAPS: tl.constexpr,
    REVERSE: tl.constexpr,
    CHUNK: tl.constexpr,
    CHANNELS: tl.constexpr,
    ACC: tl.constexpr,
):
    """Write the gradient of x and the parts of those of taps and bias, (sample, segment, TAPS + 1, width), bias last.

    A program walks one segment of one sample, and TAPS - 1 steps more, whose gradients reach back into it.
    """
    segments = tl.cdiv(length, segment)
    block, piece, sample = _place(width, segments, CHANNELS)
    d = block * CHANNELS + tl.arange(0, CHANNELS)
    in_width = d < width
    first = piece * segment
    last = tl.minimum(first + segment, length)
    tokens = sample * length * width
    x, grad_y, grad_x = x + sample * length * x_stride, grad_y + tokens, grad_x + tokens
    weights = ()
    for k in tl.static_range(TAPS):
        weights = weights + (row(taps, d, TAPS, k, in_width, ACC),)
    shift = row(bias, 0, 0, d, in_width, ACC)
    zero = tl.zeros((CHANNELS,), ACC)
    # what one chunk hands to the next: gradients before SiLU of its last three steps, and sums over its steps
    before_3, before_2, before_1 = zero, zero, zero
    sum_0, sum_1, sum_2, sum_3, sum_bias = zero, zero, zero, zero, zero
    for chunk in range(tl.cdiv(last - first + TAPS - 1, CHUNK)):
        start = first + chunk * CHUNK
        xs, grads = (), ()
        for j in tl.static_range(CHUNK + TAPS - 1):
            n = start + j - (TAPS - 1)
            here = d < _end(width, n, 0, length)
            xs = xs + (row(x, _token(n, length, REVERSE), x_stride, d, here, ACC),)
        for j in tl.static_range(CHUNK):
            here = d < _end(width, start + j, 0, length)
            grads = grads + (row(grad_y, _token(start + j, length, REVERSE), width, d, here, ACC),)
        window = (before_3, before_2, before_1)
        for j in tl.static_range(CHUNK):
            total = shift
            for k in tl.static_range(TAPS):
                total += weights[k] * xs[j + k]
            share = tl.sigmoid(total)
            window = window + (grads[j] * share * (1.0 + total * (1.0 - share)),)
        for j in tl.static_range(CHUNK):
            m = start + j - (TAPS - 1)
            total = zero
            for k in tl.static_range(TAPS):
                total += weights[k] * window[j + 3 - k]
            put(grad_x, _token(m, length, REVERSE), width, d, d < _end(width, m, first, last), total)
            own = tl.where(start + j < last, window[j + 3], 0.0)
            sum_bias += own
            sum_0 += own * xs[j]
            sum_1 += own * xs[j + 1]
            if TAPS > 2:
                sum_2 += own * xs[j + 2]
            if TAPS > 3:
                sum_3 += own * xs[j + 3]
        before_3, before_2, before_1 = window[CHUNK], window[CHUNK + 1], window[CHUNK + 2]
    sums = (sum_0, sum_1, sum_2, sum_3)
    part = (sample * segments + piece) * (TAPS + 1)
    for k in tl.static_range(TAPS):
        put(parts, part + k, width, d, in_width, sums[k])
    put(parts, part + TAPS, width, d, in_width, sum_bias)


@triton.jit
def _end(width, n, first, last):
    """Return the width for a step from `first` to before `last`, else 0."""
    return width * ((n >= first) & (n < last)).to(tl.int32)


@triton.jit
def _place(width, pieces, CHANNELS: tl.constexpr):
    """Return a program's block of channels, piece of time and sample: neighbours read the same rows."""
    blocks = tl.cdiv(width, CHANNELS)
    rest = tl.program_id(0) // blocks
    return tl.program_id(0) % blocks, rest % pieces, (rest // pieces).to(tl.int64)


@triton.jit
def _token(n, length, REVERSE: tl.constexpr):
    """Return where step n stands in the sequence."""
    t = n
    if REVERSE:
        t = length - 1 - n
    return t
