// Runs kernel.cpp on a machine without Python: sizes and inputs come in on standard input, results go out on standard output.
#include <cstdio>
#include <cstdlib>

#include "kernel.cpp"

namespace {

std::vector<real> take(Index count) {
    std::vector<real> values(count);
    if (Index(std::fread(values.data(), sizeof(real), count, stdin)) != count) std::exit(2);
    return values;
}

void give(const std::vector<real>& values) { std::fwrite(values.data(), sizeof(real), values.size(), stdout); }

}  // namespace

int main() {
    Index sizes[6];  // batch, length, width, state, reverse, threads
    if (std::fread(sizes, sizeof(Index), 6, stdin) != 6) return 2;
    const auto [batch, length, width, state, reverse, threads] = sizes;
    const Index tokens = batch * length * width, low = batch * length * state;
    auto u = take(tokens), delta = take(tokens), A = take(width * state), B = take(low), C = take(low), D = take(width),
         bias = take(width), z = take(tokens), grad_out = take(tokens);
    std::vector<real> out(tokens), y(tokens), grad_u(tokens), grad_delta(tokens), grad_A(width * state), grad_B(low),
        grad_C(low), grad_D(width), grad_bias(width), grad_z(tokens);
    const auto wide = [&](std::vector<real>& v) { return Rows{v.data(), length * width, width}; };
    const auto narrow = [&](std::vector<real>& v) { return Rows{v.data(), length * state, state}; };
    Scan s{batch, length, width, state, 1, 1, 1.0, wide(z), wide(y), wide(out), wide(grad_out), wide(grad_z), {}, nullptr, {}};
    s.direction[0] = {wide(u), wide(delta), narrow(B), narrow(C), wide(grad_u), wide(grad_delta), narrow(grad_B),
                      narrow(grad_C), A.data(), D.data(), bias.data(), grad_A.data(), grad_D.data(), grad_bias.data(),
                      nullptr, reverse};
    s.threads = {threads, nullptr};
    const Index chunks = ceil_div(length, steps()), padded = ceil_div(width, lanes()) * lanes();
    const auto aligned = [](Index count) {
        return static_cast<real*>(std::aligned_alloc(64, ceil_div(count * sizeof(real), 64) * 64));
    };
    s.direction[0].borders = aligned(batch * chunks * state * padded);
    s.work = aligned(std::max(scan_work_size(&s, 0), scan_work_size(&s, 1)));
    scan_forward(&s);
    scan_backward(&s);
    for (const auto* values : {&out, &grad_u, &grad_delta, &grad_A, &grad_B, &grad_C, &grad_D, &grad_bias, &grad_z}) give(*values);
}
