"""The Triton kernels of the selective scan: a program walks all time steps of some channels of one sample.

Tiles are (state, channel) and stay in registers; the host side and its reasons are in `triton_scan`. A *way* is what
one direction reads: u, delta, rates (state, width) in powers of 2, B, C, D, bias, the kept states, then the row strides
of u, delta, B and C. The second way runs against the first. A step past the end of time reads the last token, and
leaves the state as it is. Nothing is atomic: what is summed over samples or over blocks of channels leaves as parts,
for torch to sum in a fixed order.
"""

# mypy: ignore-errors
# ruff: noqa: PLR0913, PLR0917, PLR0915, RUF005 (Triton compiles only a part of Python; a kernel's arguments are
# what it is launched with)

from __future__ import annotations

import math

import triton
import triton.language as tl

LN_2 = tl.constexpr(math.log(2))
LOG2_E = tl.constexpr(math.log2(math.e))


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
    WHOLE: tl.constexpr,
    ACC: tl.constexpr,
):
    """Write out = (sum of y over the ways) SCALE SiLU(z); for backward (KEEP) the sum and the state at each SPACING."""
    block, sample = _place(width, CHANNELS)
    d = block * CHANNELS + tl.arange(0, CHANNELS)
    n = tl.arange(0, STATES)
    in_width, in_states = _below(d, width, WHOLE), _below(n, states, WHOLE)
    in_tile = in_states[:, None] & in_width[None, :]
    # a lane gets two neighbouring channels, and with 64 of them all their states: sums over states stay in the lane
    tile = tl.max_contiguous(n[:, None] * width + d[None, :], (1, 2))
    z, y, out = z + sample * length * z_stride, y + sample * length * width, out + sample * length * width
    for i in tl.static_range(WAYS):
        way = _of_sample(ways[i], sample, length)
        rates, skip, bias = _weights(way, tile, in_tile, d, in_width, ACC)
        kept = way[7] + sample * tl.cdiv(length, SPACING) * states * width
        h = tl.zeros((STATES, CHANNELS), ACC)
        if i > 0:
            tl.debug_barrier()  # the second way reads what the first wrote to y
        for first in range(0, length, SPACING):
            if KEEP:
                tl.store(kept + first // SPACING * states * width + tile, h, mask=in_tile)
            for chunk in tl.range(first, tl.minimum(first + SPACING, length), CHUNK):
                for j in tl.static_range(CHUNK):
                    step = chunk + j
                    t, here = _token(step, length, (i > 0) != REVERSE), d < width * (step < length).to(tl.int32)
                    u, _, dt = _inputs(way, bias, t, d, in_width, step < length, SOFTPLUS, ACC)
                    B, C = row(way[3], t, way[10], n, in_states, ACC), row(way[4], t, way[11], n, in_states, ACC)
                    h = tl.exp2(dt[None, :] * rates) * h + (dt * u)[None, :] * B[:, None]
                    total = tl.sum(h * C[:, None], 0) + skip * u
                    if i > 0:
                        total += row(y, t, width, d, in_width, ACC)
                    if i < WAYS - 1 or (KEEP and GATED):
                        put(y, t, width, d, here, total)
                    if i == WAYS - 1:
                        if GATED:
                            gate = row(z, t, z_stride, d, in_width, ACC)
                            total *= SCALE * gate * _sigmoid(gate)
                        put(out, t, width, d, here, total)


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
    WHOLE: tl.constexpr,
    ACC: tl.constexpr,
):
    """Write the gradient of z and, for each way, those of u and delta and the parts of those of A, B, C, D and bias.

    Parts are (sample, state, width) of A, (block of channels, sample, length, state) of B and C, (sample, width) of D
    and bias. What has no states is computed on (CHUNK, CHANNELS) tiles.
    """
    block, sample = _place(width, CHANNELS)
    d = block * CHANNELS + tl.arange(0, CHANNELS)
    n, js = tl.arange(0, STATES), tl.arange(0, CHUNK)
    in_width, in_states = _below(d, width, WHOLE), _below(n, states, WHOLE)
    in_row, in_tile = in_width[None, :], in_states[:, None] & in_width[None, :]
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
        grad_D = tl.zeros((CHUNK, CHANNELS), ACC)
        grad_bias = tl.zeros((CHUNK, CHANNELS), ACC)
        for later in range(chunks):
            chunk = chunks - 1 - later
            nearest = chunk // (SPACING // CHUNK)
            h = tl.load(kept + nearest * states * width + tile, mask=in_tile, other=0.0)
            for earlier in range(nearest * (SPACING // CHUNK), chunk):
                steps = earlier * CHUNK + js[:, None]
                t = _token(steps, length, (i > 0) != REVERSE)
                u, _, dt = _inputs(way, bias[None, :], t, d[None, :], in_row, steps < length, SOFTPLUS, ACC)
                for j in tl.static_range(CHUNK):
                    token = _token(earlier * CHUNK + j, length, (i > 0) != REVERSE)
                    B = row(way[3], token, way[10], n, in_states, ACC)
                    h = tl.exp2(_pick(dt, j) * rates) * h + _pick(dt * u, j) * B[:, None]
            steps = chunk * CHUNK + js[:, None]
            t, inside = _token(steps, length, (i > 0) != REVERSE), in_row & (steps < length)
            u, raw, dt = _inputs(way, bias[None, :], t, d[None, :], in_row, steps < length, SOFTPLUS, ACC)
            drive = dt * u
            grad_y = tl.where(steps < length, row(grad_out, t, width, d[None, :], in_row, ACC), 0.0)
            if GATED:
                gate = row(z, t, z_stride, d[None, :], in_row, ACC)
                share = _sigmoid(gate)
                grad_y *= SCALE
                if i == 0:
                    slope = share * (1.0 + gate * (1.0 - share)) * row(y, t, width, d[None, :], in_row, ACC)
                    put(grad_z, t, width, d[None, :], inside, grad_y * slope)
                grad_y *= gate * share
            track, decays, Bs = (h,), (), ()  # the state before each step and after the last
            for j in tl.static_range(CHUNK):
                token = _token(chunk * CHUNK + j, length, (i > 0) != REVERSE)
                B, decay = row(way[3], token, way[10], n, in_states, ACC), tl.exp2(_pick(dt, j) * rates)
                h = decay * h + _pick(drive, j) * B[:, None]
                track, decays, Bs = track + (h,), decays + (decay,), Bs + (B,)
            grad_drive, grad_rate = tl.zeros_like(dt), tl.zeros_like(dt)
            sums_B, sums_C = tl.zeros((STATES, CHUNK), ACC), tl.zeros((STATES, CHUNK), ACC)
            for j in tl.static_range(CHUNK - 1, -1, -1):
                token = _token(chunk * CHUNK + j, length, (i > 0) != REVERSE)
                C, grad = row(way[4], token, way[11], n, in_states, ACC), _pick(grad_y, j)
                here, now = js[None, :] == j, js[:, None] == j
                grad_h += C[:, None] * grad
                sums_B = tl.where(here, tl.sum(grad_h * _pick(drive, j), 1)[:, None], sums_B)
                sums_C = tl.where(here, tl.sum(track[j + 1] * grad, 1)[:, None], sums_C)
                grad_drive = tl.where(now, tl.sum(grad_h * Bs[j][:, None], 0)[None, :], grad_drive)
                grad_h *= decays[j]
                grad_exponent = grad_h * track[j]
                grad_A += grad_exponent * _pick(dt, j)
                grad_rate = tl.where(now, tl.sum(grad_exponent * rates, 0)[None, :], grad_rate)
            in_steps = in_states[:, None] & (chunk * CHUNK + js < length)[None, :]
            put(grad_B, tl.trans(t), states, n[:, None], in_steps, sums_B)
            put(grad_C, tl.trans(t), states, n[:, None], in_steps, sums_C)
            grad_dt = grad_drive * u + grad_rate * LN_2
            if SOFTPLUS:
                grad_dt *= _sigmoid(raw)
            put(grad_u, t, width, d[None, :], inside, grad_drive * dt + skip[None, :] * grad_y)
            put(grad_delta, t, width, d[None, :], inside, grad_dt)
            grad_D += grad_y * u
            grad_bias += grad_dt
        tl.store(grads[i][4] + sample * states * width + tile, grad_A, mask=in_tile)
        put(grads[i][5], sample, width, d, in_width, tl.sum(grad_D, 0))
        put(grads[i][6], sample, width, d, in_width, tl.sum(grad_bias, 0))


@triton.jit
def _place(width, CHANNELS: tl.constexpr):
    """Return a program's block of channels and its sample: neighbours read the same rows, and share what is cached."""
    blocks = tl.cdiv(width, CHANNELS)
    return tl.program_id(0) % blocks, (tl.program_id(0) // blocks).to(tl.int64)


@triton.jit
def _below(indices, end, WHOLE: tl.constexpr):
    """Return a mask of the indices before the end; if a program has no others (WHOLE), one that costs nothing."""
    if WHOLE:
        return tl.full(indices.shape, 1, tl.int1)
    else:
        return indices < end


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
def _token(step, length, REVERSE: tl.constexpr):
    """Return the place of the token that a step reads; a step past the end reads that of the last."""
    t = tl.minimum(step, length - 1)
    if REVERSE:
        t = length - 1 - t
    return t


@triton.jit
def _inputs(way, bias, t, d, in_width, live, SOFTPLUS: tl.constexpr, ACC: tl.constexpr):
    """Return u, delta + bias and dt of some tokens; dt is 0 where no token is left."""
    u, raw = row(way[0], t, way[8], d, in_width, ACC), row(way[1], t, way[9], d, in_width, ACC) + bias
    dt = raw
    if SOFTPLUS:
        dt = _softplus(raw, ACC)
    return u, raw, tl.where(live, dt, 0.0)


@triton.jit
def _pick(tile, j: tl.constexpr):
    """Return row j of a (time, channel) tile, (1, channel).

    A gather makes Triton hold each row on other lanes of a warp, so that no lane computes what another has.
    """
    return tl.gather(tile, tl.full((1, tile.shape[1]), j, tl.int32), 0)


@triton.jit
def _softplus(x, ACC: tl.constexpr):
    e = tl.exp2(tl.abs(x) * -LOG2_E)
    if tl.float64 == ACC:
        w = 1.0 + e
        log = tl.log(w) + (e - (w - 1.0))  # the last part is what rounding took from w
    else:
        # log(1 + e) = 2 artanh(s) by a polynomial, fitted for e in [0, 1] to 5e-9 of the result: a third of the
        # instructions of tl.log, and a small result keeps its digits
        s = e / (2.0 + e)
        q = s * s
        log = s * (2.0 + q * (0.666664131 + q * (0.400216991 + q * (0.279991405 + q * 0.280244611))))
    return tl.maximum(x, 0.0) + log


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp2(x * -LOG2_E))


@triton.jit
def row(tensor, t, stride, columns, mask, ACC: tl.constexpr):
    """Return some columns of row t in the type of sums; 0 outside the mask."""
    return tl.load(tensor + t * stride + columns, mask=mask, other=0.0).to(ACC)


@triton.jit
def put(tensor, t, stride, columns, mask, values):
    """Write some columns of row t in the tensor's own type."""
    tl.store(tensor + t * stride + columns, values.to(tensor.dtype.element_ty), mask=mask)
