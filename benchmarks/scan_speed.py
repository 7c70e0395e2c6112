"""Time the selective scan's back-ends on the CPU against the implementations that others publish, in one run.

python benchmarks/scan_speed.py [--peers FOLDER] [--rounds 9] [--threads 2] [--out benchmarks/results/NAME.md]

The peers are installed beside the project, not into it; without the folder only the project's own back-ends are timed:

    pip install --target PEERS transformers
    pip install --target PEERS --no-deps mambapy
    cd PEERS && MAMBA_SKIP_CUDA_BUILD=TRUE pip download --no-deps --no-binary :all: --no-build-isolation mamba-ssm
"""

from __future__ import annotations

import argparse
import ast
import ctypes
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from slws_lab.models import BidirectionalMixer
from slws_lab.scan import describe, selective_scan
from slws_lab.tracking.provenance import machine

Shape = tuple[int, int, int, int]  # batch, length, width, state
Tensors = dict[str, Tensor]
Scan = Callable[[Tensors], Tensor]
SHAPES: list[Shape] = [(64, 65, 384, 16), (64, 197, 384, 16), (16, 197, 768, 16), (8, 785, 384, 16)]
QUADRATIC = (
    "mamba_ssm selective_scan_ref",
    "transformers, slow path",
)  # in their backward; timed at the first shape only
PATIENCE = 3.0  # seconds of one pass from which one measurement must do


def draw(shape: Shape, dtype: torch.dtype = torch.float32) -> Tensors:
    """Return the inputs of a scan with gate, skip and bias; A as a Mamba has it at the start, within some 10 percent."""
    batch, length, width, state = shape
    make = torch.Generator().manual_seed(0)
    tokens, low = (batch, length, width), (batch, length, state)
    shapes = {
        "u": tokens,
        "delta": tokens,
        "A": (width, state),
        "B": low,
        "C": low,
        "D": (width,),
        "z": tokens,
        "delta_bias": (width,),
    }
    tensors = {name: torch.randn(size, generator=make, dtype=torch.float64) for name, size in shapes.items()}
    tensors["A"] = -torch.arange(1, state + 1) * torch.exp(0.1 * tensors["A"])
    tensors["delta"] -= 2
    return {name: tensor.to(dtype).requires_grad_() for name, tensor in tensors.items()}


def training_pass(scan: Scan, tensors: Tensors) -> Callable[[], None]:
    """Return a call that runs forward and backward once."""
    grad = torch.randn(tensors["u"].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grad = grad.to(tensors["u"].dtype)
    return lambda: _drop(torch.autograd.grad(scan(tensors), list(tensors.values()), grad))


def _drop(_: object) -> None:
    pass


def own(name: str) -> Scan:
    return lambda t: selective_scan(**t, backend=name)  # type: ignore[arg-type]


def discretised(t: Tensors) -> tuple[Tensor, Tensor]:
    """Return exp(dt A) and dt B u, (batch, length, width, state), as the plain implementations hold them."""
    dt = F.softplus(t["delta"] + t["delta_bias"])
    return torch.exp(dt[..., None] * t["A"]), (dt * t["u"])[..., None] * t["B"][:, :, None]


def read_out(states: Tensor, t: Tensors) -> Tensor:
    y = (states @ t["C"][..., None]).squeeze(-1) + t["D"] * t["u"]
    return y * F.silu(t["z"])


def unbound_loop(t: Tensors) -> Tensor:
    """The fastest plain loop we know: all steps unbound at once, so that backward is linear in length."""
    decay, x = discretised(t)
    h, states = torch.zeros_like(x[:, 0]), []
    for a, b in zip(decay.unbind(1), x.unbind(1), strict=True):
        h = a * h + b
        states.append(h)
    return read_out(torch.stack(states, 1), t)


def peers(folder: Path) -> dict[str, Scan]:
    """Return what the folder holds of mambapy, mamba_ssm's reference function and transformers."""
    sys.path.append(str(folder))
    from mambapy.pscan import pscan  # type: ignore[import-not-found]
    from transformers.models.mamba.modeling_mamba import mamba_selective_scan  # type: ignore[import-not-found]

    reference = mamba_ssm_reference(folder)

    def transposed(t: Tensors) -> list[Tensor]:
        return [
            t[name].transpose(1, 2) if t[name].dim() == 3 else t[name]
            for name in ("u", "delta", "A", "B", "C", "D", "z")
        ]

    def by_transformers(t: Tensors) -> Tensor:
        return mamba_selective_scan(*transposed(t), delta_bias=t["delta_bias"], delta_softplus=True).transpose(1, 2)

    return {
        "mambapy pscan": lambda t: read_out(pscan(*discretised(t)), t),
        QUADRATIC[0]: lambda t: reference(*transposed(t), t["delta_bias"], True).transpose(1, 2),
        QUADRATIC[1]: by_transformers,
    }


def mamba_ssm_reference(folder: Path) -> Callable[..., Tensor]:
    """Return `selective_scan_ref` out of the sdist; its module cannot be imported without the CUDA extension."""
    with tarfile.open(next(folder.glob("mamba_ssm-*.tar.gz"))) as archive:
        name = next(n for n in archive.getnames() if n.endswith("ops/selective_scan_interface.py"))
        member = archive.extractfile(name)
        assert member is not None
        tree = ast.parse(member.read())
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "selective_scan_ref")
    names: dict[str, object] = {"torch": torch, "F": F, "rearrange": lambda x, pattern: x[:, None]}  # its one use: D
    exec(compile(ast.Module([function], []), name, "exec"), names)
    return names["selective_scan_ref"]  # type: ignore[return-value]


def alternate(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Return milliseconds of each call, taken in turn after one warm-up; of slow ones fewer."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for i in range(rounds):
        for name, call in calls.items():
            wait_for_quiet()
            if i == 0 or times[name][-1] < 1000 * PATIENCE:
                times[name].append(1000 * _seconds(call))
    return times


def wait_for_quiet(longest: float = 2.0) -> None:
    """Return when no other process has computed for a moment, or after `longest` seconds."""
    deadline = time.monotonic() + longest
    while time.monotonic() < deadline:
        before = _busy_and_all()
        time.sleep(0.1)
        busy, total = (after - start for after, start in zip(_busy_and_all(), before, strict=True))
        if busy <= 0.1 * total:
            return


def _busy_and_all() -> tuple[int, int]:
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def spread(times: list[float]) -> str:
    low, high = min(times), max(times)
    return f"{median(times):.1f} ({low:.1f} to {high:.1f}, {len(times)})"


def scan_table(scans: dict[str, Scan], rounds: int) -> Iterator[str]:
    yield "| batch, length, width, state | implementation | ms: median (least to most, measurements) | times native | by the least |"
    yield "|---|---|---:|---:|---:|"
    for shape in SHAPES:
        chosen = {name: scan for name, scan in scans.items() if name not in QUADRATIC or shape == SHAPES[0]}
        tensors = draw(shape)
        times = alternate({name: training_pass(scan, tensors) for name, scan in chosen.items()}, rounds)
        for name, taken in times.items():
            ratios = [f"{measure(taken) / measure(times['native']):.1f}" for measure in (median, min)]
            yield f"| {shape} | {name} | {spread(taken)} | {' | '.join(ratios)} |"


def block_table(rounds: int) -> Iterator[str]:
    yield "| batch, length, embedding width | whole mixer, ms | its matrix products alone, ms | ratio | by the least | in bfloat16, ms |"
    yield "|---|---:|---:|---:|---:|---:|"
    for batch, length, width in ((64, 65, 192), (64, 197, 192), (16, 197, 384)):
        mixer = BidirectionalMixer(width, 16, "native")
        tokens = torch.randn(batch, length, width, requires_grad=True)
        products = [(mixer.in_proj, tokens)]
        products += [(getattr(mixer, f"x_proj{s}"), torch.randn(batch, length, 2 * width)) for s in ("", "_b")]
        products += [(getattr(mixer, f"dt_proj{s}"), torch.randn(batch, length, mixer.dt_rank)) for s in ("", "_b")]
        products += [(mixer.out_proj, torch.randn(batch, length, 2 * width))]
        parts = [_linear_pass(linear.weight, x) for linear, x in products]

        def whole(mixer: BidirectionalMixer = mixer, tokens: Tensor = tokens) -> None:
            mixer.zero_grad()
            mixer(tokens).backward(torch.ones_like(tokens))

        def half(mixer: BidirectionalMixer = mixer, tokens: Tensor = tokens) -> None:
            mixer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                mixed = mixer(tokens)
            mixed.backward(torch.ones_like(mixed))

        def matrix_products(parts: list[Callable[[], None]] = parts) -> None:
            for part in parts:
                part()

        times = alternate({"whole": whole, "products": matrix_products, "half": half}, rounds)
        ratios = [f"{measure(times['whole']) / measure(times['products']):.2f}" for measure in (median, min)]
        cells = [spread(times["whole"]), spread(times["products"]), *ratios, spread(times["half"])]
        yield f"| {(batch, length, width)} | {' | '.join(cells)} |"


def _linear_pass(weight: Tensor, x: Tensor) -> Callable[[], None]:
    x = x.detach().requires_grad_()
    grad = torch.randn(*x.shape[:2], len(weight))
    return lambda: _drop(torch.autograd.grad(F.linear(x, weight), (x, weight), grad))


def one_image_table(rounds: int, threads: int) -> Iterator[str]:
    yield "| threads | native at (1, 785, 768, 16), ms |"
    yield "|---:|---:|"
    call = training_pass(own("native"), draw((1, 785, 768, 16)))
    for count in (1, threads):
        torch.set_num_threads(count)
        yield f"| {count} | {spread(alternate({'native': call}, rounds)['native'])} |"


def error_table() -> Iterator[str]:
    yield "| batch, length, width, state | output | worst gradient |"
    yield "|---|---:|---:|"
    for shape in ((4, 65, 384, 16), (2, 197, 384, 16), (1, 785, 384, 16)):
        single = draw(shape)
        double = {name: tensor.detach().double().requires_grad_() for name, tensor in single.items()}
        found = [_results(own(name), tensors) for name, tensors in (("native", single), ("reference", double))]
        errors = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(*found, strict=True)]
        yield f"| {shape} | {errors[0]:.1e} | {max(errors[1:]):.1e} |"


def _results(scan: Scan, tensors: Tensors) -> list[Tensor]:
    y = scan(tensors)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, list(tensors.values()), grad)]


def memory_table(names: list[str], arguments: list[str]) -> Iterator[str]:
    yield "| implementation | peak memory over the inputs at (64, 65, 384, 16), MB |"
    yield "|---|---:|"
    for name in names:
        command = [sys.executable, __file__, *arguments, "--memory", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        yield f"| {name} | {done.stdout.strip()} |"


def peak_memory(scan: Scan) -> float:
    """Return by how many MB this process grows at most in one pass, output and gradients included."""
    training_pass(scan, draw((1, 4, 32, 2)))()
    call = training_pass(scan, draw(SHAPES[0]))
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not serve the pass
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    call()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def report(scans: dict[str, Scan], options: argparse.Namespace) -> Iterator[str]:
    yield f"# The selective scan on the CPU, {time.strftime('%B %Y')}\n"
    versions = [f"torch {torch.__version__}"]
    versions += [f"{name} {version(name)}" for name in ("mambapy", "transformers") if options.peers]
    processor = machine()["processor"]
    yield f"Forward and backward with gate, skip and softplus, float32, {options.threads} threads, {processor}, {', '.join(versions)};"
    yield "alternating in one process, medians, each waiting up to 2 s for a quiet machine."
    yield f"Load average at the start {os.getloadavg()[0]:.1f}, at the end on the last line."
    yield f"The native scan is {describe('cpu')['native']}."
    yield "Implementations whose backward is quadratic in length (each step's gradient fills a tensor of all steps:"
    yield f"{' and '.join(QUADRATIC)}) are timed at the first shape only.\n"
    yield from scan_table(scans, options.rounds)
    yield "\n## The whole bidirectional mixer\n"
    yield from block_table(options.rounds)
    yield "\n## One image\n"
    yield from one_image_table(options.rounds, options.threads)
    yield "\n## Largest error against float64, over the largest value\n"
    yield from error_table()
    yield "\n## Memory\n"
    peers_folder = ["--peers", str(options.peers)] if options.peers else []
    yield from memory_table(list(scans), ["--threads", str(options.threads), *peers_folder])
    size = 4 * 4 * 64 * 65 * 384 / 1e6
    yield f"\nOf it {size:.0f} MB are the output and the gradients of u, delta and z."
    yield f"Load average at the end {os.getloadavg()[0]:.1f}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scans = {name: own(name) for name in ("native", "chunked")} | {"plain loop over unbound steps": unbound_loop}
    scans |= peers(options.peers) if options.peers else {}
    if options.memory:
        print(f"{peak_memory(scans[options.memory]):.0f}")
        return
    lines = []
    for line in report(scans, options):
        print(line, flush=True)
        lines.append(line)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
