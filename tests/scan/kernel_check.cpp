// Runs kernel.cpp on a machine without Python: sizes and inputs come in on standard input, results go out on standard output.
#include <cstdio>
#include <cstdlib>

#include "kernel.cpp"

namespace {

struct Sizes {
    Index batch, length, width, state, reverse, threads, bf16;
};

// (batch, length, channels) without gaps, float32 or bfloat16
struct Tensor {
    Sizes sizes;
    Index channels;
    std::vector<char> bytes;

    Tensor(const Sizes& s, Index channels)
        : sizes(s), channels(channels), bytes(s.batch * s.length * channels * (s.bf16 ? sizeof(uint16_t) : sizeof(real))) {}
    Rows rows() { return {bytes.data(), sizes.length * channels, channels, sizes.bf16}; }
    void take() {
        if (std::fread(bytes.data(), 1, bytes.size(), stdin) != bytes.size()) std::exit(2);
    }
    void give() const { std::fwrite(bytes.data(), 1, bytes.size(), stdout); }
};

std::vector<real> take(Index count) {
    std::vector<real> values(count);
    if (Index(std::fread(values.data(), sizeof(real), count, stdin)) != count) std::exit(2);
    return values;
}

void give(const std::vector<real>& values) { std::fwrite(values.data(), sizeof(real), values.size(), stdout); }

real* aligned(Index count) {
    return static_cast<real*>(std::aligned_alloc(64, ceil_div(count * sizeof(real), 64) * 64));
}

void scan(const Sizes& size) {
    Tensor u(size, size.width), delta = u, z = u, grad_out = u, out = u, grad_u = u, grad_delta = u, grad_z = u;
    Tensor B(size, size.state), C = B, grad_B = B, grad_C = B;
    for (Tensor* tensor : {&u, &delta, &B, &C, &z, &grad_out}) tensor->take();
    auto A = take(size.width * size.state), D = take(size.width), bias = take(size.width);
    std::vector<real> y(size.batch * size.length * size.width), grad_A(A.size()), grad_D(size.width), grad_bias(size.width);
    const Rows sum{y.data(), size.length * size.width, size.width, 0};
    Scan s{size.batch, size.length, size.width, size.state, 1, 1, 1.0,
           z.rows(), sum, out.rows(), grad_out.rows(), grad_z.rows(), {}, nullptr, {}};
    s.direction[0] = {u.rows(), delta.rows(), B.rows(), C.rows(), grad_u.rows(), grad_delta.rows(), grad_B.rows(),
                      grad_C.rows(), A.data(), D.data(), bias.data(), grad_A.data(), grad_D.data(), grad_bias.data(),
                      nullptr, size.reverse};
    s.threads = {size.threads, nullptr};
    const Index chunks = ceil_div(size.length, steps()), padded = ceil_div(size.width, lanes()) * lanes();
    s.direction[0].borders = aligned(size.batch * chunks * size.state * padded);
    s.work = aligned(std::max(scan_work_size(&s, 0), scan_work_size(&s, 1)));
    scan_forward(&s);
    scan_backward(&s);
    for (const Tensor* tensor : {&out, &grad_u, &grad_delta, &grad_B, &grad_C, &grad_z}) tensor->give();
    for (const auto* values : {&grad_A, &grad_D, &grad_bias}) give(*values);
}

void convolution(const Sizes& size) {
    Tensor x(size, size.width), grad_y = x, y = x, grad_x = x;
    for (Tensor* tensor : {&x, &grad_y}) tensor->take();
    auto taps = take(size.width * TAPS), bias = take(size.width);
    std::vector<real> grad_taps(taps.size()), grad_bias(size.width);
    Conv s{size.batch, size.length, size.width, size.reverse, x.rows(), y.rows(), grad_y.rows(), grad_x.rows(),
           taps.data(), bias.data(), grad_taps.data(), grad_bias.data(), nullptr, {size.threads, nullptr}};
    s.work = aligned(std::max(conv_work_size(&s, 0), conv_work_size(&s, 1)));
    conv_forward(&s);
    conv_backward(&s);
    y.give();
    grad_x.give();
    give(grad_taps);
    give(grad_bias);
}

}  // namespace

int main() {
    Sizes sizes;
    if (std::fread(&sizes, sizeof(sizes), 1, stdin) != 1) return 2;
    scan(sizes);
    convolution(sizes);
}
