// The selective scan and the causal convolution for CPUs: C++17 without torch's headers, called through ctypes.
//
// A `vec` holds neighbouring channels; all arithmetic over time and state is element by element on it. The unit of work is
// a *tile*: one image and BLOCK vectors of channels, over the whole sequence. A tile walks through time in chunks of STEPS;
// within a chunk it takes GROUP states and WIDE vectors at a time, whose recurrences stay in registers. The states at the
// chunks' borders are kept for the backward pass, which recomputes the others. Tiles depend on the shape alone and their
// sums are added in one order, so results do not depend on the number of threads. The same source built with REAL=double
// is what gradients are checked with.

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#ifndef REAL
#define REAL float
#endif

namespace {

using real = REAL;
using Index = int64_t;
using integer = std::conditional_t<sizeof(real) == 4, int32_t, int64_t>;

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;  // SSE, NEON and whatever else
#endif
#if defined(__AVX__) && !defined(__AVX512F__)
constexpr int GROUP = 2;  // AVX has 16 registers, AVX-512 and NEON have 32
#else
constexpr int GROUP = 4;
#endif
constexpr int WIDE = 2;
constexpr int STEPS = 32;
constexpr int LANES = VECTOR_BYTES / sizeof(real);
constexpr bool DOUBLE = sizeof(real) == 8;
constexpr real LOG2_E = real(1.4426950408889634), LN_2 = real(0.6931471805599453);
constexpr real LINEAR_FROM = 20;  // softplus(x) is x from here, as in torch

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef real unaligned_vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));
typedef integer ivec __attribute__((vector_size(VECTOR_BYTES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
typedef uint16_t unaligned_halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

// The last vector of a row may hold fewer channels than lanes; apart, lest whole vectors too go through the stack
template <class V, class T> __attribute__((noinline)) V load_some(const T* from, Index count) {
    V v{};
    std::memcpy(&v, from, count * sizeof(T));
    return v;
}

template <class V, class T> __attribute__((noinline)) void store_some(T* to, V v, Index count) {
    std::memcpy(to, &v, count * sizeof(T));
}

inline vec load(const real* from, Index count) {
    return count >= LANES ? *reinterpret_cast<const unaligned_vec*>(from) : load_some<vec>(from, count);
}

inline void store(real* to, vec v, Index count) {
    if (count >= LANES) *reinterpret_cast<unaligned_vec*>(to) = v;
    else store_some(to, v, count);
}

// bfloat16: the upper half of a float32
inline vec load(const uint16_t* from, Index count) {
    const halves h = count >= LANES ? *reinterpret_cast<const unaligned_halves*>(from) : load_some<halves>(from, count);
    return (vec)(__builtin_convertvector(h, ivec) << 16);
}

inline void store(uint16_t* to, vec v, Index count) {
    const ivec bits = (ivec)v, nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const halves h = __builtin_convertvector(v == v ? nearest : ivec{} + 0x7fc0, halves);
    if (count >= LANES) *reinterpret_cast<unaligned_halves*>(to) = h;
    else store_some(to, h, count);
}

// Split a and b into lanes of even and of odd number, and add: sums of neighbours, a's before b's
template <int... lane> inline vec add_neighbours(vec a, vec b, std::integer_sequence<int, lane...>) {
#ifdef __clang__
    return __builtin_shufflevector(a, b, 2 * lane...) + __builtin_shufflevector(a, b, 2 * lane + 1 ...);
#else
    return __builtin_shuffle(a, b, ivec{2 * lane...}) + __builtin_shuffle(a, b, ivec{2 * lane + 1 ...});
#endif
}

// Store the sums over lanes of `count` vectors, a power of 2
template <int count> inline void store_totals(const vec* from, real* to) {
    if constexpr (count > LANES) {
        store_totals<count / 2>(from, to);
        store_totals<count / 2>(from + count / 2, to + count / 2);
    } else {
        constexpr auto lanes = std::make_integer_sequence<int, LANES>{};
        vec sums[count];
        std::copy(from, from + count, sums);
        for (int left = LANES, vectors = count; left > 1; left /= 2) {
            const int pairs = std::max(vectors / 2, 1);
            for (int i = 0; i < pairs; i++) sums[i] = add_neighbours(sums[2 * i], sums[vectors > 1 ? 2 * i + 1 : 0], lanes);
            vectors = pairs;
        }
        std::memcpy(to, sums, count * sizeof(real));
    }
}

// 2^f - 1 over f for |f| <= 1/2: least largest relative error in 2^f, 9e-8, among polynomials of this degree
inline vec exp2_slope(vec f) {
    vec p = real(1.326472051e-3) * f + real(9.671513604e-3);
    p = p * f + real(5.550733770e-2);
    p = p * f + real(2.402224207e-1);
    return p * f + real(6.931469776e-1);
}

// 2^(whole + f), whole a whole number, |f| <= 1/2
inline vec exp2_parts(vec whole, vec f) {
    vec p = exp2_slope(f) * f + real(1);
#if defined(__AVX512F__)
    if constexpr (!DOUBLE) return (vec)_mm512_scalef_ps((__m512)p, (__m512)whole);
#endif
    const vec least = vec{} - 126, most = vec{} + 128;  // at 128 the exponent's bits become those of infinity
    whole = whole < least ? least : whole;
    whole = whole > most ? most : whole;
    return (vec)((ivec)p + (__builtin_convertvector(whole, ivec) << 23));
}

inline vec round_to_whole(vec x) {
    const vec shift = vec{} + real(12582912);  // 1.5 * 2^23: adding it leaves no room for a fraction
    return (x + shift) - shift;
}

// each lane by the C library: only the float64 build, which is for checks, can afford it
template <class F> inline vec lanewise(vec x, F f) {
    for (int lane = 0; lane < LANES; lane++) x[lane] = f(x[lane]);
    return x;
}

inline vec exp2_of_product(vec x, vec y) {
    if constexpr (DOUBLE) return lanewise(x * y, [](real v) { return std::exp2(v); });
#if defined(__AVX512F__)
    vec product = x * y;
    vec whole = (vec)_mm512_roundscale_ps((__m512)product, 8);
    return exp2_parts(whole, product - whole);
#else
    vec product = x * y;
    const vec least = vec{} - 127, most = vec{} + 129;
    product = product < least ? least : product;
    product = product > most ? most : product;
    vec whole = round_to_whole(product);
    return exp2_parts(whole, product - whole);
#endif
}

inline vec exponential(vec x) {
    if constexpr (DOUBLE) return lanewise(x, [](real v) { return std::exp(v); });
    return exp2_of_product(x, vec{} + LOG2_E);
}

// 1 / x for 1 <= x <= 2
inline vec inverse(vec x) {
#if defined(__AVX512F__)
    if constexpr (!DOUBLE) {
        const vec guess = (vec)_mm512_rcp14_ps((__m512)x);
        return guess + guess * (1 - x * guess);
    }
#endif
    return real(1) / x;
}

inline vec absolute(vec x) { return x > 0 ? x : -x; }

// 1 / (1 + exp(-x)), given exp(-|x|)
inline vec sigmoid(vec x, vec t) {
    const vec share = inverse(1 + t);
    return x > 0 ? share : t * share;
}

inline vec sigmoid(vec x) { return sigmoid(x, exponential(-absolute(x))); }

// log(1 + t) for 0 <= t <= 1 as 2 atanh(t / (2 + t)), whose argument is at most 1/3; a polynomial in t loses a digit
inline vec log1p_of_unit(vec t) {
    if constexpr (DOUBLE) return lanewise(t, [](real v) { return std::log1p(v); });
    vec s = t / (real(2) + t), q = s * s, p = vec{} + real(2) / 15;
    for (int odd = 13; odd > 0; odd -= 2) p = p * q + real(2) / odd;
    return p * s;
}

struct Softplus {
    vec value, slope;

    explicit Softplus(vec x) {
        const vec t = exponential(-absolute(x));
        value = x > LINEAR_FROM ? x : (x > 0 ? x : vec{}) + log1p_of_unit(t);
        slope = x > LINEAR_FROM ? vec{} + 1 : sigmoid(x, t);
    }
};

Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }

}  // namespace

extern "C" {

// (batch, length, channels) in memory: the last axis is dense, the others have these strides, in elements
struct Rows {
    void* data;
    Index batch, row;
    Index bf16;  // whether the elements are bfloat16, not real

    Index at(Index b, Index t) const { return b * batch + t * row; }
};

struct Direction {
    Rows u, delta, B, C, grad_u, grad_delta, grad_B, grad_C;
    const real *A, *D, *bias;  // (width, state), (width), (width)
    real *grad_A, *grad_D, *grad_bias;
    real* borders;  // (batch, chunks, state, padded width): states before each chunk; null where none are kept
    Index reverse;
};

// GOMP_parallel of the OpenMP runtime that torch has loaded, so that both share one set of threads; null without one
typedef void (*Fork)(void (*)(void*), void*, unsigned, unsigned);

struct Threads {
    Index count;
    Fork fork;
};

struct Scan {
    Index batch, length, width, state, softplus, directions;
    double scale;  // of the gate
    Rows z, y, out, grad_out, grad_z;  // y is the sum before the gate; without a gate (z.data null) y is the output
    Direction direction[2];
    real* work;
    Threads threads;
};

struct Conv {
    Index batch, length, width, reverse;
    Rows x, y, grad_y, grad_x;
    const real *taps, *bias;  // (width, TAPS), (width)
    real *grad_taps, *grad_bias;
    real* work;
    Threads threads;
};
}

namespace {

inline vec load(const Rows& rows, Index at, Index count) {
    if constexpr (!DOUBLE)
        if (rows.bf16) return load(static_cast<const uint16_t*>(rows.data) + at, count);
    return load(static_cast<const real*>(rows.data) + at, count);
}

inline void store(const Rows& rows, Index at, vec v, Index count) {
    if constexpr (!DOUBLE)
        if (rows.bf16) return store(static_cast<uint16_t*>(rows.data) + at, v, count);
    store(static_cast<real*>(rows.data) + at, v, count);
}

// Copy a row of `count` elements
inline void load_row(const Rows& rows, Index at, Index count, real* to) {
    for (Index j = 0; j < count; j += LANES) store(to + j, load(rows, at + j, count - j), count - j);
}

inline void store_row(const Rows& rows, Index at, Index count, const real* from) {
    for (Index j = 0; j < count; j += LANES) store(rows, at + j, load(from + j, count - j), count - j);
}

// Run work(item, seat) for every item; a seat is a number below the threads' count that one thread at a time has
template <class Work> void parallel(Index items, const Threads& threads, Work work) {
    struct Team {
        std::atomic<Index> next{0}, seats{0};
        Index items;
        Work* work;
    } team;
    team.items = items;
    team.work = &work;
    auto body = [](void* data) {
        Team& team = *static_cast<Team*>(data);
        const Index seat = team.seats++;
        for (Index item; (item = team.next++) < team.items;) (*team.work)(item, seat);
    };
    const Index count = std::min(threads.count, items);
    if (count <= 1) return body(&team);
    if (threads.fork) return threads.fork(body, &team, unsigned(count), 0);
    std::vector<std::thread> others;
    try {
        for (Index i = 1; i < count; i++) others.emplace_back(body, &team);
    } catch (const std::system_error&) {  // no more threads to be had: those that there are do all the items
    }
    body(&team);
    for (auto& other : others) other.join();
}

// How a scan is cut: depends on the shape only, never on the threads
struct Tiling {
    Index vectors, block, blocks, chunks;

    explicit Tiling(const Scan& s) {
        vectors = ceil_div(s.width, LANES);
        const Index wide = 8, narrow = 4, many = 16;  // wide tiles share sums over channels, narrow ones give all threads work
        block = s.batch * ceil_div(vectors, wide) >= many ? wide : narrow;
        blocks = ceil_div(vectors, block);
        chunks = ceil_div(s.length, Index(STEPS));
    }
    Index padded() const { return vectors * LANES; }
    Index tiles(const Scan& s) const { return s.batch * blocks; }
};

// Hands out parts of the memory that the caller gave, each at a vector's border
struct Arena {
    real* next;

    template <class T = vec> T* take(Index count) {
        T* part = reinterpret_cast<T*>(next);
        next += ceil_div(count * Index(sizeof(T)), VECTOR_BYTES) * LANES;
        return part;
    }
};

// What one thread needs for a tile; the first axis of the per-chunk arrays is the vector of channels
struct Scratch {
    real *B, *C;                        // (STEPS, state), of a chunk of bfloat16
    vec *dt, *x, *y;                    // (block, STEPS): step size, dt u, output
    vec *h;                             // (state, block)
    vec *slope;                         // (block, STEPS): of the step size by what softplus reads
    vec *grad_y, *grad_x, *grad_dt;     // (block, STEPS); grad_dt lacks a factor ln 2
    vec *grad_h, *grad_rate;            // (state, block)
    vec *grad_D, *grad_bias;            // (block)
    vec *decays, *before, *sums;        // of one group, one chunk: (STEPS, GROUP, WIDE) twice, (STEPS, GROUP, B and C)

    Scratch(Arena& arena, const Scan& s, const Tiling& tiling, bool backward) {
        const Index chunk = tiling.block * STEPS, states = s.state * tiling.block;
        const Direction &first = s.direction[0], &last = s.direction[s.directions - 1];
        B = arena.take<real>(first.B.bf16 || last.B.bf16 ? STEPS * s.state : 0);
        C = arena.take<real>(first.C.bf16 || last.C.bf16 ? STEPS * s.state : 0);
        dt = arena.take(chunk);
        x = arena.take(chunk);
        y = arena.take(backward ? 0 : chunk);
        h = arena.take(backward ? 0 : states);
        slope = arena.take(backward ? chunk : 0);
        grad_y = arena.take(backward ? chunk : 0);
        grad_x = arena.take(backward ? chunk : 0);
        grad_dt = arena.take(backward ? chunk : 0);
        grad_h = arena.take(backward ? states : 0);
        grad_rate = arena.take(backward ? states : 0);
        grad_D = arena.take(backward ? tiling.block : 0);
        grad_bias = arena.take(backward ? tiling.block : 0);
        decays = arena.take(backward ? STEPS * GROUP * WIDE : 0);
        before = arena.take(backward ? STEPS * GROUP * WIDE : 0);
        sums = arena.take(backward ? STEPS * GROUP * 2 : 0);
    }
};

// What all threads share. rates are A log2(e), (state, padded width); the parts are sums of one tile or one image
struct Shared {
    real *rates[2], *parts_BC[2], *parts_A[2];

    Shared(Arena& arena, const Scan& s, const Tiling& tiling, bool backward) {
        for (Index d = 0; d < s.directions; d++) {
            rates[d] = arena.take<real>(s.state * tiling.padded());
            parts_BC[d] = arena.take<real>(backward ? tiling.tiles(s) * s.length * 2 * s.state : 0);
            parts_A[d] = arena.take<real>(backward ? s.batch * (s.state + 2) * tiling.padded() : 0);
        }
    }
};

// Rows of B or C in order of the scan: as they lie in memory, or widened
struct Weights {
    const real* first;
    Index step;

    const real* at(Index i) const { return first + i * step; }
};

struct Chunk {
    Index first, steps;  // in order of the scan
    Weights B, C;
};

class Tile {
public:
    Tile(const Scan& s, const Tiling& tiling, const Shared& shared, const Scratch& scratch, Index number)
        : s(s), tiling(tiling), shared(shared), w(scratch), number(number), image(number / tiling.blocks),
          start(number % tiling.blocks * tiling.block), block(std::min(tiling.block, tiling.vectors - start)) {}

    void forward() {
        for (Index d = 0; d < s.directions; d++) {
            const Direction& way = s.direction[d];
            streams = {{{&way.u, STEPS}, {&way.delta, STEPS}, {&s.y, 0}, {&s.z, 0}, {&s.out, 0}}};
            std::fill(w.h, w.h + s.state * block, vec{});
            for (Index chunk = 0; chunk < tiling.chunks; chunk++) {
                const Chunk span = chunk_at(d, chunk);
                prepare(d, span, false);
                if (s.direction[d].borders) keep_borders(d, chunk);
                each_group([&](auto group, auto wide, Index n, Index v) {
                    advance<group.value, wide.value>(d, span, n, v);
                });
                finish_forward(d, span);
            }
        }
    }

    void backward() {
        for (Index d = 0; d < s.directions; d++) {
            const Direction& way = s.direction[d];
            streams = {{{&way.u, -STEPS}, {&way.delta, -STEPS}, {&s.grad_out, -STEPS}, {&s.z, -STEPS}, {&s.y, -STEPS},
                        {&s.grad_z, -STEPS}, {&way.grad_u, 0}, {&way.grad_delta, 0}}};
            std::fill(w.grad_h, w.grad_h + s.state * block, vec{});
            std::fill(w.grad_rate, w.grad_rate + s.state * block, vec{});
            std::fill(w.grad_D, w.grad_D + block, vec{});
            std::fill(w.grad_bias, w.grad_bias + block, vec{});
            for (Index chunk = tiling.chunks; chunk-- > 0;) {
                const Chunk span = chunk_at(d, chunk);
                prepare(d, span, true);
                each_group([&](auto group, auto wide, Index n, Index v) {
                    retreat<group.value, wide.value>(d, span, chunk, n, v);
                    if (v + wide.value == block) add_up<group.value>(d, span, n);
                });
                finish_backward(d, span);
            }
            keep_parts(d);
        }
    }

private:
    const Scan& s;
    const Tiling& tiling;
    const Shared& shared;
    const Scratch& w;
    const Index number, image, start, block;
    struct Stream {
        const Rows* rows = nullptr;
        Index ahead = 0;
    };
    std::array<Stream, 8> streams;  // what to ask memory for, and how many steps before its use

    // Ask for one group's share of the streams while its arithmetic goes on (inline, since gcc takes a function that only
    // prefetches for one without effect and drops its calls)
    template <int wide> __attribute__((always_inline)) void fetch(Index d, Index step, Index n, Index v) const {
        const Index groups = ceil_div(s.state, GROUP);
        for (Index k = n / GROUP; k < Index(streams.size()); k += groups) {
            const Index wanted = step + streams[k].ahead;
            if (!streams[k].rows || !streams[k].rows->data || wanted < 0 || wanted >= s.length) continue;
            const Rows& rows = *streams[k].rows;
            const Index size = rows.bf16 ? sizeof(uint16_t) : sizeof(real);
            const char* from = static_cast<const char*>(rows.data) + (rows.at(image, token(d, wanted)) + channel(v)) * size;
            for (int i = 0; i < wide; i++) __builtin_prefetch(from + i * LANES * size, 0, 2);
        }
    }

    Chunk chunk_at(Index d, Index chunk) const {
        const Direction& way = s.direction[d];
        const Index first = chunk * STEPS, steps = std::min(Index(STEPS), s.length - first);
        return {first, steps, weights(d, way.B, first, steps, w.B), weights(d, way.C, first, steps, w.C)};
    }
    Weights weights(Index d, const Rows& rows, Index first, Index steps, real* widened) const {
        if (!rows.bf16) {
            const real* row = static_cast<const real*>(rows.data) + rows.at(image, token(d, first));
            return {row, s.direction[d].reverse ? -rows.row : rows.row};
        }
        for (Index i = 0; i < steps; i++) load_row(rows, rows.at(image, token(d, first + i)), s.state, widened + i * s.state);
        return {widened, s.state};
    }
    Index token(Index d, Index step) const { return s.direction[d].reverse ? s.length - 1 - step : step; }
    Index channel(Index v) const { return (start + v) * LANES; }
    Index lanes(Index v) const { return s.width - channel(v); }
    vec read(const Rows& rows, Index t, Index v) const { return load(rows, rows.at(image, t) + channel(v), lanes(v)); }
    void write(const Rows& rows, Index t, Index v, vec value) const {
        store(rows, rows.at(image, t) + channel(v), value, lanes(v));
    }
    vec read(const real* values, Index v) const { return load(values + channel(v), lanes(v)); }
    const vec* rates(Index d, Index n, Index v) const {
        return reinterpret_cast<const vec*>(shared.rates[d] + n * tiling.padded() + channel(v));
    }
    vec* border(Index d, Index chunk, Index n, Index v) const {
        const Index row = (image * tiling.chunks + chunk) * s.state + n;
        return reinterpret_cast<vec*>(s.direction[d].borders + row * tiling.padded() + channel(v));
    }

    template <class Visit> void each_group(Visit visit) const {
        Index n = 0;
        for (; n + GROUP <= s.state; n += GROUP) each_width<GROUP>(visit, n);
        for (; n < s.state; n++) each_width<1>(visit, n);
    }
    template <int group, class Visit> void each_width(Visit& visit, Index n) const {
        Index v = 0;
        for (; v + WIDE <= block; v += WIDE)
            visit(std::integral_constant<int, group>{}, std::integral_constant<int, WIDE>{}, n, v);
        for (; v < block; v++) visit(std::integral_constant<int, group>{}, std::integral_constant<int, 1>{}, n, v);
    }

    // Fill dt, x and, for one kind of pass each, y with D u or grad_y with the gradient before the gate
    void prepare(Index d, Chunk span, bool backward) const {
        const Direction& way = s.direction[d];
        for (Index i = 0; i < span.steps; i++) {
            const Index t = token(d, span.first + i);
            for (Index v = 0; v < block; v++) {
                const Index at = v * STEPS + i;
                const vec u = read(way.u, t, v), raw = read(way.delta, t, v) + read(way.bias, v);
                const Softplus step(raw);
                const vec dt = s.softplus ? step.value : raw;
                w.dt[at] = dt;
                w.x[at] = dt * u;
                if (backward) {
                    w.slope[at] = s.softplus ? step.slope : vec{} + 1;
                    w.grad_y[at] = before_gate(t, v, d == 0);
                    w.grad_x[at] = w.grad_dt[at] = vec{};
                    w.grad_D[v] += w.grad_y[at] * u;
                } else {
                    w.y[at] = read(way.D, v) * u;
                }
            }
        }
    }

    vec before_gate(Index t, Index v, bool store_grad_z) const {
        const vec grad = read(s.grad_out, t, v);
        if (!s.z.data) return grad;
        const vec z = read(s.z, t, v), open = sigmoid(z), scaled = grad * real(s.scale);
        if (store_grad_z) write(s.grad_z, t, v, scaled * read(s.y, t, v) * open * (1 + z * (1 - open)));
        return scaled * z * open;
    }

    void finish_forward(Index d, Chunk span) const {
        const bool gate = s.z.data && d + 1 == s.directions;
        for (Index i = 0; i < span.steps; i++) {
            const Index t = token(d, span.first + i);
            for (Index v = 0; v < block; v++) {
                vec y = w.y[v * STEPS + i];
                if (d) y += read(s.y, t, v);
                const vec z = gate ? read(s.z, t, v) : y;  // before y is stored, at what may be the same place of another page
                write(s.y, t, v, y);
                if (!gate) continue;
                write(s.out, t, v, y * (real(s.scale) * z * sigmoid(z)));
            }
        }
    }

    void finish_backward(Index d, Chunk span) const {
        const Direction& way = s.direction[d];
        for (Index i = 0; i < span.steps; i++) {
            const Index t = token(d, span.first + i);
            for (Index v = 0; v < block; v++) {
                const Index at = v * STEPS + i;
                const vec grad_dt = (w.grad_x[at] * read(way.u, t, v) + w.grad_dt[at] * LN_2) * w.slope[at];
                write(way.grad_delta, t, v, grad_dt);
                write(way.grad_u, t, v, w.grad_x[at] * w.dt[at] + read(way.D, v) * w.grad_y[at]);
                w.grad_bias[v] += grad_dt;
            }
        }
    }

    void keep_borders(Index d, Index chunk) const {
        for (Index n = 0; n < s.state; n++) std::copy(w.h + n * block, w.h + (n + 1) * block, border(d, chunk, n, 0));
    }

    // Take a group's states through a chunk and add C h to y
    template <int group, int wide> void advance(Index d, Chunk span, Index n, Index v) const {
        vec h[group][wide], rate[group][wide];
        for (int g = 0; g < group; g++)
            for (int k = 0; k < wide; k++) {
                h[g][k] = w.h[(n + g) * block + v + k];
                rate[g][k] = rates(d, n + g, v)[k];
            }
        for (Index i = 0; i < span.steps; i++) {
            const real *B = span.B.at(i) + n, *C = span.C.at(i) + n;
            fetch<wide>(d, span.first + i, n, v);
            for (int k = 0; k < wide; k++) {
                const Index at = (v + k) * STEPS + i;
                const vec dt = w.dt[at], x = w.x[at];
                vec y = w.y[at];
#pragma GCC unroll 4
                for (int g = 0; g < group; g++) {
                    h[g][k] = exp2_of_product(dt, rate[g][k]) * h[g][k] + x * B[g];
                    y += h[g][k] * C[g];
                }
                w.y[at] = y;
            }
        }
        for (int g = 0; g < group; g++)
            for (int k = 0; k < wide; k++) w.h[(n + g) * block + v + k] = h[g][k];
    }

    // Recompute a group's states in a chunk, then go back through it with the gradients
    template <int group, int wide> void retreat(Index d, Chunk span, Index chunk, Index n, Index v) const {
        const bool first = v == 0;  // of those whose sums over channels are added up
        vec h[group][wide], rate[group][wide];
        for (int g = 0; g < group; g++)
            for (int k = 0; k < wide; k++) {
                h[g][k] = border(d, chunk, n + g, v)[k];
                rate[g][k] = rates(d, n + g, v)[k];
            }
        for (Index i = 0; i < span.steps; i++) {
            const real* B = span.B.at(i) + n;
            fetch<wide>(d, span.first + i, n, v);
            vec *decays = w.decays + i * group * wide, *before = w.before + i * group * wide, *sums = w.sums + i * 2 * group;
            vec dt[wide], x[wide], grad_y[wide];
            for (int k = 0; k < wide; k++) {
                const Index at = (v + k) * STEPS + i;
                dt[k] = w.dt[at];
                x[k] = w.x[at];
                grad_y[k] = w.grad_y[at];
            }
#pragma GCC unroll 4
            for (int g = 0; g < group; g++) {
                vec sum = first ? vec{} : sums[group + g];
                for (int k = 0; k < wide; k++) {
                    const vec decay = exp2_of_product(dt[k], rate[g][k]);
                    decays[g * wide + k] = decay;
                    before[g * wide + k] = h[g][k];
                    h[g][k] = decay * h[g][k] + x[k] * B[g];
                    sum += grad_y[k] * h[g][k];
                }
                sums[group + g] = sum;
            }
        }
        vec grad_h[group][wide], grad_rate[group][wide];
        for (int g = 0; g < group; g++)
            for (int k = 0; k < wide; k++) {
                grad_h[g][k] = w.grad_h[(n + g) * block + v + k];
                grad_rate[g][k] = w.grad_rate[(n + g) * block + v + k];
            }
        for (Index i = span.steps; i-- > 0;) {
            const real *B = span.B.at(i) + n, *C = span.C.at(i) + n;
            const vec *decays = w.decays + i * group * wide, *before = w.before + i * group * wide;
            vec* sums = w.sums + i * 2 * group;
            vec dt[wide], x[wide], grad_y[wide], grad_x[wide], grad_dt[wide];
            for (int k = 0; k < wide; k++) {
                const Index at = (v + k) * STEPS + i;
                dt[k] = w.dt[at];
                x[k] = w.x[at];
                grad_y[k] = w.grad_y[at];
                grad_x[k] = w.grad_x[at];
                grad_dt[k] = w.grad_dt[at];
            }
#pragma GCC unroll 4
            for (int g = 0; g < group; g++) {
                vec sum = first ? vec{} : sums[g];
                for (int k = 0; k < wide; k++) {
                    const vec grad = grad_h[g][k] + grad_y[k] * C[g];
                    sum += grad * x[k];
                    grad_x[k] += grad * B[g];
                    grad_h[g][k] = grad * decays[g * wide + k];
                    const vec grad_exponent = grad_h[g][k] * before[g * wide + k];
                    grad_rate[g][k] += grad_exponent * dt[k];
                    grad_dt[k] += grad_exponent * rate[g][k];
                }
                sums[g] = sum;
            }
            for (int k = 0; k < wide; k++) {
                w.grad_x[(v + k) * STEPS + i] = grad_x[k];
                w.grad_dt[(v + k) * STEPS + i] = grad_dt[k];
            }
        }
        for (int g = 0; g < group; g++)
            for (int k = 0; k < wide; k++) {
                w.grad_h[(n + g) * block + v + k] = grad_h[g][k];
                w.grad_rate[(n + g) * block + v + k] = grad_rate[g][k];
            }
    }

    // Sum the gradients of B and C over this tile's channels
    template <int group> void add_up(Index d, Chunk span, Index n) const {
        for (Index i = 0; i < span.steps; i++) {
            real* part = shared.parts_BC[d] + (number * s.length + token(d, span.first + i)) * 2 * s.state + n;
            real totals[2 * group];
            store_totals<2 * group>(w.sums + i * 2 * group, totals);
            std::copy(totals, totals + group, part);
            std::copy(totals + group, totals + 2 * group, part + s.state);
        }
    }

    void keep_parts(Index d) const {
        real* parts = shared.parts_A[d] + image * (s.state + 2) * tiling.padded() + channel(0);
        const auto row = [&](Index n) { return reinterpret_cast<vec*>(parts + n * tiling.padded()); };
        for (Index n = 0; n < s.state; n++) std::copy(w.grad_rate + n * block, w.grad_rate + (n + 1) * block, row(n));
        std::copy(w.grad_D, w.grad_D + block, row(s.state));
        std::copy(w.grad_bias, w.grad_bias + block, row(s.state + 1));
    }
};

void add_parts(const Scan& s, const Tiling& tiling, const Shared& shared) {
    const Index of_B = s.directions * s.batch, rows = s.state + 2, padded = tiling.padded();
    parallel(of_B + s.directions * rows, s.threads, [&](Index item, Index) {
        if (item < of_B) {
            const Index d = item / s.batch, image = item % s.batch, size = s.length * 2 * s.state;
            const Direction& way = s.direction[d];
            real* sum = shared.parts_BC[d] + image * tiling.blocks * size;
            for (Index k = 1; k < tiling.blocks; k++)
                for (Index j = 0; j < size; j++) sum[j] += sum[k * size + j];
            for (Index t = 0; t < s.length; t++, sum += 2 * s.state) {
                store_row(way.grad_B, way.grad_B.at(image, t), s.state, sum);
                store_row(way.grad_C, way.grad_C.at(image, t), s.state, sum + s.state);
            }
        } else {
            const Index d = (item - of_B) / rows, n = (item - of_B) % rows;
            const Direction& way = s.direction[d];
            real* sum = shared.parts_A[d] + n * padded;
            for (Index image = 1; image < s.batch; image++)
                for (Index j = 0; j < s.width; j++) sum[j] += sum[image * rows * padded + j];
            if (n == s.state) std::copy(sum, sum + s.width, way.grad_D);
            else if (n > s.state) std::copy(sum, sum + s.width, way.grad_bias);
            else for (Index j = 0; j < s.width; j++) way.grad_A[j * s.state + n] = sum[j];
        }
    });
}

void run(const Scan& s, bool backward) {
    const Tiling tiling(s);
    Arena arena{s.work};
    const Shared shared(arena, s, tiling, backward);
    for (Index d = 0; d < s.directions; d++)
        for (Index n = 0; n < s.state; n++)
            for (Index j = 0; j < tiling.padded(); j++)
                shared.rates[d][n * tiling.padded() + j] = j < s.width ? s.direction[d].A[j * s.state + n] * LOG2_E : 0;
    std::vector<Scratch> seats;
    for (Index i = 0; i < s.threads.count; i++) seats.emplace_back(arena, s, tiling, backward);
    parallel(tiling.tiles(s), s.threads, [&](Index item, Index seat) {
        Tile tile(s, tiling, shared, seats[seat], item);
        backward ? tile.backward() : tile.forward();
    });
    if (backward) add_parts(s, tiling, shared);
}

constexpr int TAPS = 4;

// Make room for the next step; not std::copy, which would keep the window in memory instead of registers
inline void move_on(vec* window) {
#pragma GCC unroll 4
    for (int k = 1; k < TAPS; k++) window[k - 1] = window[k];
}

struct ConvTiling {
    static constexpr Index BLOCK = 8;
    Index vectors, blocks;

    explicit ConvTiling(const Conv& s) : vectors(ceil_div(s.width, LANES)), blocks(ceil_div(vectors, BLOCK)) {}
    Index padded() const { return vectors * LANES; }
};

// What all threads share: taps (TAPS, padded width) and the sums of one image each (batch, TAPS and bias, padded width)
struct ConvShared {
    real *taps, *parts;

    ConvShared(Arena& arena, const Conv& s, const ConvTiling& tiling, bool backward) {
        taps = arena.take<real>(TAPS * tiling.padded());
        parts = arena.take<real>(backward ? s.batch * (TAPS + 1) * tiling.padded() : 0);
    }
};

class ConvTile {
public:
    ConvTile(const Conv& s, const ConvTiling& tiling, const ConvShared& shared, Index number)
        : s(s), tiling(tiling), shared(shared), image(number / tiling.blocks), start(number % tiling.blocks * tiling.BLOCK),
          block(std::min(tiling.BLOCK, tiling.vectors - start)) {}

    void forward() const {
        for (Index first = 0; first < s.length; first += STEPS)
            for (Index v = 0; v < block; v++) forward(first, std::min(first + STEPS, s.length), v);
    }

    void backward() const {
        Sums sums[ConvTiling::BLOCK] = {};
        for (Index first = 0; first < s.length; first += STEPS)
            for (Index v = 0; v < block; v++) backward(first, std::min(first + STEPS, s.length), v, sums[v]);
        for (Index v = 0; v < block; v++) {
            for (Index i = s.length; i < s.length + TAPS - 1; i++) grad_x(i, v, sums[v], taps(v), vec{});
            real* parts = shared.parts + image * (TAPS + 1) * tiling.padded() + channel(v);
            for (int k = 0; k < TAPS; k++) std::memcpy(parts + k * tiling.padded(), &sums[v].taps[k], VECTOR_BYTES);
            std::memcpy(parts + TAPS * tiling.padded(), &sums[v].bias, VECTOR_BYTES);
        }
    }

private:
    struct Taps {
        vec of[TAPS], bias;
    };
    struct Sums {
        vec taps[TAPS], bias, recent[TAPS];  // recent: gradients before SiLU of the last steps, oldest first
    };
    const Conv& s;
    const ConvTiling& tiling;
    const ConvShared& shared;
    const Index image, start, block;

    Index token(Index step) const { return s.reverse ? s.length - 1 - step : step; }
    Index channel(Index v) const { return (start + v) * LANES; }
    vec read(const Rows& rows, Index step, Index v) const {
        return step < 0 ? vec{} : load(rows, rows.at(image, token(step)) + channel(v), s.width - channel(v));
    }
    void write(const Rows& rows, Index step, Index v, vec value) const {
        store(rows, rows.at(image, token(step)) + channel(v), value, s.width - channel(v));
    }
    Taps taps(Index v) const {
        Taps taps;
        for (int k = 0; k < TAPS; k++) taps.of[k] = load(shared.taps + k * tiling.padded() + channel(v), LANES);
        taps.bias = load(s.bias + channel(v), s.width - channel(v));
        return taps;
    }

    void forward(Index first, Index end, Index v) const {
        const Taps w = taps(v);
        vec x[TAPS];
        for (int k = 1; k < TAPS; k++) x[k] = read(s.x, first - TAPS + k, v);
        for (Index i = first; i < end; i++) {
            move_on(x);
            x[TAPS - 1] = read(s.x, i, v);
            vec sum = w.bias;
            for (int k = 0; k < TAPS; k++) sum += w.of[k] * x[k];
            write(s.y, i, v, sum * sigmoid(sum));
        }
    }

    void backward(Index first, Index end, Index v, Sums& kept) const {
        const Taps w = taps(v);
        Sums sums = kept;
        vec x[TAPS];
        for (int k = 1; k < TAPS; k++) x[k] = read(s.x, first - TAPS + k, v);
        for (Index i = first; i < end; i++) {
            move_on(x);
            x[TAPS - 1] = read(s.x, i, v);
            vec sum = w.bias;
            for (int k = 0; k < TAPS; k++) sum += w.of[k] * x[k];
            const vec open = sigmoid(sum), grad = read(s.grad_y, i, v) * open * (1 + sum * (1 - open));
            for (int k = 0; k < TAPS; k++) sums.taps[k] += grad * x[k];
            sums.bias += grad;
            grad_x(i, v, sums, w, grad);
        }
        kept = sums;
    }

    // With step i's gradient the gradient of the input TAPS - 1 steps before is complete
    void grad_x(Index i, Index v, Sums& sums, const Taps& w, vec grad) const {
        move_on(sums.recent);
        sums.recent[TAPS - 1] = grad;
        const Index done = i - (TAPS - 1);
        if (done < 0) return;
        vec sum{};
        for (int k = 0; k < TAPS; k++) sum += w.of[TAPS - 1 - k] * sums.recent[k];
        write(s.grad_x, done, v, sum);
    }
};

void run(const Conv& s, bool backward) {
    const ConvTiling tiling(s);
    Arena arena{s.work};
    const ConvShared shared(arena, s, tiling, backward);
    const Index padded = tiling.padded(), rows = TAPS + 1;
    for (Index k = 0; k < TAPS; k++)
        for (Index j = 0; j < padded; j++) shared.taps[k * padded + j] = j < s.width ? s.taps[j * TAPS + k] : 0;
    parallel(s.batch * tiling.blocks, s.threads, [&](Index item, Index) {
        const ConvTile tile(s, tiling, shared, item);
        backward ? tile.backward() : tile.forward();
    });
    if (!backward) return;
    for (Index image = 1; image < s.batch; image++)
        for (Index j = 0; j < rows * padded; j++) shared.parts[j] += shared.parts[image * rows * padded + j];
    for (Index j = 0; j < s.width; j++) {
        for (Index k = 0; k < TAPS; k++) s.grad_taps[j * TAPS + k] = shared.parts[k * padded + j];
        s.grad_bias[j] = shared.parts[TAPS * padded + j];
    }
}

}  // namespace

extern "C" {

// What the caller's view of the structures is checked against
int scan_bytes() { return sizeof(Scan); }

int conv_bytes() { return sizeof(Conv); }

int steps() { return STEPS; }

int lanes() { return LANES; }

// Elements of `work`
Index scan_work_size(const Scan* s, Index backward) {
    const Tiling tiling(*s);
    Arena arena{nullptr};
    Shared(arena, *s, tiling, backward);
    for (Index i = 0; i < s->threads.count; i++) Scratch(arena, *s, tiling, backward);
    return arena.next - static_cast<real*>(nullptr);
}

Index conv_work_size(const Conv* s, Index backward) {
    Arena arena{nullptr};
    ConvShared(arena, *s, ConvTiling(*s), backward);
    return arena.next - static_cast<real*>(nullptr);
}

void scan_forward(const Scan* s) { run(*s, false); }

void scan_backward(const Scan* s) { run(*s, true); }

void conv_forward(const Conv* s) { run(*s, false); }

void conv_backward(const Conv* s) { run(*s, true); }
}
