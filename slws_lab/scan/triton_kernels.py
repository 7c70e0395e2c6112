"""The Triton kernels of the selective scan: a program walks all time steps of some channels of one sample.

Tiles are (state, channel) and stay in registers; the host side and its reasons are in `triton_scan`. A *way* is what
one direction reads: u, delta, rates (state, width) in powers of 2, B, C, D, bias, the kept states, then the row strides
of u, delta, B and C. The second way runs against the first. Nothing is atomic: what is summed over samples or over
blocks of channels leaves as parts, for torch to sum in a fixed order.
"""

# mypy: ignore-errors
# ruff: noqa: PLR0913, PLR0917, PLR0915, RUF005, SIM102 (Triton compiles only a part of Python; what is a constant
# at compile time has an if of its own, and a kernel's arguments are what it is launched with)

from __future__ import annotations

import math

import triton
import triton.language as tl

LN_2 = tl.constexpr(math.log(2))


@triton.jit
def forward(
    ways,
    z,
    y,
    out,
    length,
    width,
    states,
    z_stride,
    SCALE: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    REVERSE: tl.constexpr,
    GATED: tl.constexpr,
    KEEP: tl.constexpr,
    WAYS: tl.constexpr,
    CHUNK: tl.constexpr,
    SPACING: tl.constexpr,
    CHANNELS: tl.constexpr,
    STATES: tl.constexpr,
    ACC: tl.constexpr,
):
    """Write out = (sum of y over the ways) SCALE SiLU(z); for backward (KEEP) the sum and the state at each SPACING."""
    block, sample = _place(width, CHANNELS)
    d = block * CHANNELS + tl.arange(0, CHANNELS)
    n = tl.arange(0, STATES)
    in_width, in_tile = d < width, (n < states)[:, None] & (d < width)[None, :]
    tile = n[:, None] * width + d[None, :]
    z, y, out = z + sample * length * z_stride, y + sample * length * width, out + sample * length * width
    for i in tl.static_range(WAYS):
        way = _of_sample(ways[i], sample, length)
        rates, skip, bias = _weights(way, tile, in_tile, d, in_width, ACC)
        kept = way[7] + sample * tl.cdiv(length, SPACING) * states * width
        h = tl.zeros((STATES, CHANNELS), ACC)
        if i > 0:
            tl.debug_barrier()  # the second way reads what the first wrote to y
        for chunk in range(tl.cdiv(length, CHUNK)):
            if KEEP:
                if chunk % (SPACING // CHUNK) == 0:
                    tl.store(kept + (chunk // (SPACING // CHUNK)) * states * width + tile, h, mask=in_tile)
            times, live = _times(chunk, length, (i > 0) != REVERSE, CHUNK)
            us, _, dts = _tokens(way, bias, times, live, d, width, SOFTPLUS, CHUNK, ACC)
            for j in tl.static_range(CHUNK):
                here = d < width * live[j]
                h = _step(h, rates, dts[j], us[j], row(way[3], times[j], way[10], n, n < states * live[j], ACC))
                C = row(way[4], times[j], way[11], n, n < states * live[j], ACC)
                total = tl.sum(h * C[:, None], 0) + skip * us[j]
                if i > 0:
                    total += row(y, times[j], width, d, here, ACC)
                if i < WAYS - 1 or (KEEP and GATED):
                    put(y, times[j], width, d, here, total)
                if i == WAYS - 1:
                    if GATED:
                        gate = row(z, times[j], z_stride, d, here, ACC)
                        total *= SCALE * gate * tl.sigmoid(gate)
                    put(out, times[j], width, d, here, total)


@triton.jit
def backward(
    ways,
    grads,
    z,
    y,
    grad_out,
    grad_z,
    length,
    width,
    states,
    z_stride,
    SCALE: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    REVERSE: tl.constexpr,
    GATED: tl.constexpr,
    WAYS: tl.constexpr,
    CHUNK: tl.constexpr,
    SPACING: tl.constexpr,
    CHANNELS: tl.constexpr,
    STATES: tl.constexpr,
    ACC: tl.constexpr,
):
    """Write the gradient of z and, for each way, those of u and delta and the parts of those of A, B, C, D and bias.

    Parts are (sample, state, width) of A, (block of channels, sample, length, state) of B and C, (sample, width) of D
    and bias.
    """
    block, sample = _place(width, CHANNELS)
    d = block * CHANNELS + tl.arange(0, CHANNELS)
    n = tl.arange(0, STATES)
    in_width, in_tile = d < width, (n < states)[:, None] & (d < width)[None, :]
    tile = n[:, None] * width + d[None, :]
    samples = tl.num_programs(0) // tl.cdiv(width, CHANNELS)
    tokens, part = sample * length * width, (block * samples + sample) * length * states
    z, y, grad_out, grad_z = z + sample * length * z_stride, y + tokens, grad_out + tokens, grad_z + tokens
    chunks = tl.cdiv(length, CHUNK)
    for i in tl.static_range(WAYS):
        way = _of_sample(ways[i], sample, length)
        rates, skip, bias = _weights(way, tile, in_tile, d, in_width, ACC)
        kept = way[7] + sample * tl.cdiv(length, SPACING) * states * width
        grad_u, grad_delta, grad_B, grad_C = (
            grads[i][0] + tokens,
            grads[i][1] + tokens,
            grads[i][2] + part,
            grads[i][3] + part,
        )
        grad_h = tl.zeros((STATES, CHANNELS), ACC)
        grad_A = tl.zeros((STATES, CHANNELS), ACC)
        grad_D = tl.zeros((CHANNELS,), ACC)
        grad_bias = tl.zeros((CHANNELS,), ACC)
        for later in range(chunks):
            chunk = chunks - 1 - later
            nearest = chunk // (SPACING // CHUNK)
            h = tl.load(kept + nearest * states * width + tile, mask=in_tile, other=0.0)
            for earlier in range(nearest * (SPACING // CHUNK), chunk):
                times, live = _times(earlier, length, (i > 0) != REVERSE, CHUNK)
                us, _, dts = _tokens(way, bias, times, live, d, width, SOFTPLUS, CHUNK, ACC)
                for j in tl.static_range(CHUNK):
                    h = _step(h, rates, dts[j], us[j], row(way[3], times[j], way[10], n, n < states, ACC))
            times, live = _times(chunk, length, (i > 0) != REVERSE, CHUNK)
            us, raws, dts = _tokens(way, bias, times, live, d, width, SOFTPLUS, CHUNK, ACC)
            track = (h,)  # the state before each step
            for j in tl.static_range(CHUNK - 1):
                h = _step(h, rates, dts[j], us[j], row(way[3], times[j], way[10], n, n < states * live[j], ACC))
                track = track + (h,)
            for j in tl.static_range(CHUNK - 1, -1, -1):
                here, in_state = d < width * live[j], n < states * live[j]
                u, dt, t = us[j], dts[j], times[j]
                grad_y = row(grad_out, t, width, d, here, ACC)
                if GATED:
                    gate = row(z, t, z_stride, d, here, ACC)
                    share = tl.sigmoid(gate)
                    grad_y *= SCALE
                    if i == 0:
                        slope = share * (1.0 + gate * (1.0 - share))
                        put(grad_z, t, width, d, here, grad_y * slope * row(y, t, width, d, here, ACC))
                    grad_y *= gate * share
                B = row(way[3], t, way[10], n, in_state, ACC)
                C = row(way[4], t, way[11], n, in_state, ACC)
                decay = tl.exp2(dt[None, :] * rates)
                after = decay * track[j] + (dt * u)[None, :] * B[:, None]
                grad_h += C[:, None] * grad_y[None, :]
                put(grad_B, t, states, n, in_state, tl.sum(grad_h * (dt * u)[None, :], 1))
                put(grad_C, t, states, n, in_state, tl.sum(after * grad_y[None, :], 1))
                grad_drive = tl.sum(grad_h * B[:, None], 0)
                grad_h *= decay
                grad_exponent = grad_h * track[j]
                grad_A += grad_exponent * dt[None, :]
                grad_dt = grad_drive * u + tl.sum(grad_exponent * rates, 0) * LN_2
                if SOFTPLUS:
                    grad_dt *= tl.sigmoid(raws[j])
                put(grad_u, t, width, d, here, grad_drive * dt + skip * grad_y)
                put(grad_delta, t, width, d, here, grad_dt)
                grad_D += grad_y * u
                grad_bias += tl.where(here, grad_dt, 0.0)
        tl.store(grads[i][4] + sample * states * width + tile, grad_A, mask=in_tile)
        put(grads[i][5], sample, width, d, in_width, grad_D)
        put(grads[i][6], sample, width, d, in_width, grad_bias)


@triton.jit
def _place(width, CHANNELS: tl.constexpr):
    """Return a program's block of channels and its sample: neighbours read the same rows, and share what is cached."""
    blocks = tl.cdiv(width, CHANNELS)
    return tl.program_id(0) % blocks, (tl.program_id(0) // blocks).to(tl.int64)


@triton.jit
def _of_sample(way, sample, length):
    """Return the way with u, delta, B and C at the sample's first row, from which 32-bit offsets reach every token."""
    first = sample * length
    u, delta = way[0] + first * way[8], way[1] + first * way[9]
    B, C = way[3] + first * way[10], way[4] + first * way[11]
    return u, delta, way[2], B, C, way[5], way[6], way[7], way[8], way[9], way[10], way[11]


@triton.jit
def _weights(way, tile, in_tile, d, in_width, ACC: tl.constexpr):
    """Return rates, (state, channel), D and bias, (channel,)."""
    rates = tl.load(way[2] + tile, mask=in_tile, other=0.0)
    return rates, row(way[5], 0, 0, d, in_width, ACC), row(way[6], 0, 0, d, in_width, ACC)


@triton.jit
def _times(chunk, length, REVERSE: tl.constexpr, CHUNK: tl.constexpr):
    """Return, for each step of a chunk, the place of its token and 1 inside the sequence, 0 past its end."""
    times, live = (), ()
    for j in tl.static_range(CHUNK):
        step = chunk * CHUNK + j
        t = step
        if REVERSE:
            t = length - 1 - step
        times = times + (t,)
        live = live + ((step < length).to(tl.int32),)
    return times, live


@triton.jit
def _tokens(way, bias, times, live, d, width, SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr, ACC: tl.constexpr):
    """Return u, delta + bias and dt, (channel,), of each step of a chunk; past the end u and dt are 0."""
    us, raws, dts = (), (), ()
    for j in tl.static_range(CHUNK):
        here = d < width * live[j]
        us = us + (row(way[0], times[j], way[8], d, here, ACC),)
        raw = row(way[1], times[j], way[9], d, here, ACC) + bias
        dt = raw
        if SOFTPLUS:
            dt = _softplus(raw)
        raws = raws + (raw,)
        dts = dts + (tl.where(here, dt, 0.0),)
    return us, raws, dts


@triton.jit
def _step(h, rates, dt, u, B):
    """Return the state after a step, (state, channel)."""
    return tl.exp2(dt[None, :] * rates) * h + (dt * u)[None, :] * B[:, None]


@triton.jit
def _softplus(x):
    e = tl.exp(-tl.abs(x))
    w = 1.0 + e
    # the last part is what rounding took from w: without it a small result has few right digits
    return tl.maximum(x, 0.0) + tl.log(w) + (e - (w - 1.0))


@triton.jit
def row(tensor, t, stride, columns, mask, ACC: tl.constexpr):
    """Return some columns of row t in the type of sums; 0 outside the mask."""
    return tl.load(tensor + t * stride + columns, mask=mask, other=0.0).to(ACC)


@triton.jit
def put(tensor, t, stride, columns, mask, values):
    """Write some columns of row t in the tensor's own type."""
    tl.store(tensor + t * stride + columns, values.to(tensor.dtype.element_ty), mask=mask)
