"""Time whole training steps with the shuffle against none, step beside step; prints what it adds, with an interval.

OMP_NUM_THREADS=1 python benchmarks/shuffle_cost.py [--seconds 100] [--out benchmarks/results/NAME.md]

A step of an arm (forward, backward, AdamW) is timed next to a step without the shuffle, in random order, and the two are
compared; an arm has as many such pairs as fit the time. Each arm has a model of its own, all with the same weights.
Processor time counts, not the clock, since other programs may share the machine. Long steps still vary by more than the
shuffle costs, so the shuffle's own work is timed as well: around blocks of the same sizes that only hand their tokens on.
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slws_lab.models import ShuffleMamba, ShuffleMambaConfig
from slws_lab.scan import describe
from slws_lab.shuffle import attach, rates
from slws_lab.tracking.provenance import machine

Step = Callable[[], None]
PLAIN, COMPILED = "no shuffle", "compiled, no shuffle"
CLASSES = 10
OWN_SECONDS, OWN_STEPS = 12, 8
WIDE = ShuffleMambaConfig(192, 6, img_size=128, num_classes=CLASSES, scan="native")
MICRO = ShuffleMambaConfig(
    32, 6, d_state=8, img_size=8, patch_size=4, stride=2, in_chans=1, num_classes=CLASSES, scan="native"
)


@dataclass(frozen=True)
class Case:
    """A model, and how many images a step takes."""

    name: str
    config: ShuffleMambaConfig
    images: int


CASES = (
    Case("width 192, 6 layers, 65 tokens, 32 images", WIDE, 32),
    Case("width 32, 6 layers, 10 tokens (shufflemamba_micro), 64 images", MICRO, 64),
)


class HandsOn(nn.Module):
    """A block that does nothing, with a residual stream."""

    def forward(self, hidden: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return both streams; the hidden state is the residual of the first block."""
        return hidden, hidden if residual is None else residual


class Stack(nn.Module):
    """Such blocks in a row, which hand their tokens on as our models' layers do."""

    passes_tokens_on = "layers"

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(HandsOn() for _ in range(depth))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last block's streams, (batch, length, width) like the input."""
        residual = None
        for layer in self.layers:
            hidden, residual = layer(hidden, residual)
        assert residual is not None
        return hidden, residual


def arms(model: ShuffleMamba | Stack, size: tuple[int, int]) -> dict[str, tuple[nn.Module, Callable[[], object]]]:
    """Return each arm's copy of a model, and what is done before each of its steps.

    Args:
        model: Copied for each arm.
        size: Batch and length of its tokens.
    """
    depth, found = len(model.layers), {}
    linear = rates("linear", 0.5, depth)

    def nothing() -> None:
        """Do nothing."""

    found[PLAIN] = copy.deepcopy(model), nothing
    for name, own in (
        ("attached, rate 0", [0.0] * depth),
        ("linear, 0.5", linear),
        ("every layer, 1.0", [1.0] * depth),
    ):
        shuffled = copy.deepcopy(model)
        attach(shuffled, list(shuffled.layers), own, torch.Generator().manual_seed(0))
        found[name] = shuffled, nothing
    shuffled = copy.deepcopy(model)
    shuffle = attach(shuffled, list(shuffled.layers), linear, torch.Generator().manual_seed(0), static=size)
    found["static, linear, 0.5"] = shuffled, shuffle.redraw
    found["every layer, published form"] = copy.deepcopy(model), nothing
    published(found["every layer, published form"][0])
    return found


def compiled_arms(model: ShuffleMamba, size: tuple[int, int]) -> dict[str, tuple[nn.Module, Callable[[], object]]]:
    """Return the arms of a model that is compiled whole; arguments as for `arms`."""
    every = arms(model, size)
    shuffled, redraw = every["static, linear, 0.5"]
    plain, nothing = every[PLAIN]
    return {
        COMPILED: (torch.compile(plain, fullgraph=True), nothing),
        "compiled, static, linear, 0.5": (torch.compile(shuffled, fullgraph=True), redraw),
    }


def published(model: nn.Module) -> None:
    """Shuffle every layer by four gathers whose indices are as large as the tokens, as the official code does."""
    for block in model.layers:
        index: list[Tensor] = []
        block.register_forward_pre_hook(partial(_gather_in, index))
        block.register_forward_hook(partial(_gather_out, index))


def _gather_in(index: list[Tensor], _: nn.Module, args: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    tokens = args[0]
    assert tokens is not None
    order = torch.randperm(tokens.shape[1]).repeat(len(tokens), 1)
    index[:] = [each[..., None].expand(tokens.shape) for each in (order, order.argsort(dim=1))]
    return _gathered(args, index[0])


def _gather_out(index: list[Tensor], _: nn.Module, __: object, output: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    return _gathered(output, index[1])


def _gathered(streams: tuple[Tensor | None, ...], index: Tensor) -> tuple[Tensor | None, ...]:
    return tuple(None if stream is None else torch.gather(stream, 1, index) for stream in streams)


def training_step(model: nn.Module, before: Callable[[], object], case: Case) -> Step:
    """Return a whole step: the draws where they are made beforehand, forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    images, labels = torch.randn(case.images, *case.config.image_shape), torch.randint(CLASSES, (case.images,))

    def step() -> None:
        before()
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def handing_on(stack: nn.Module, before: Callable[[], object], shape: tuple[int, int, int]) -> Step:
    """Return a forward and a backward of blocks that do nothing, so that only the shuffle works."""
    tokens, grad = torch.randn(shape, requires_grad=True), torch.randn(shape)

    def step() -> None:
        before()
        torch.autograd.grad(stack(tokens), tokens, (grad, grad))

    return step


def spent(step: Step, steps: int = 1) -> float:
    """Return the milliseconds of processor time of a step."""
    started = time.process_time()
    for _ in repeat(None, steps):
        step()
    return (time.process_time() - started) / steps * 1e3


def paired(
    steps: dict[str, Step], baselines: dict[str, str], seconds: float, together: int = 1
) -> dict[str, np.ndarray]:
    """Time steps of each arm beside steps of its baseline until the time is over.

    Args:
        steps: A step of each arm.
        baselines: To which arm each other one is compared.
        seconds: For all.
        together: How many steps are timed together.

    Returns:
        (pairs, 2) for each arm: milliseconds of its baseline's step, and of its own.
    """
    shuffler, found = random.Random(0), {name: [] for name in baselines}
    for step in steps.values():  # warm up; what is compiled is compiled here
        for _ in range(3):
            step()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for name in shuffler.sample(list(baselines), len(baselines)):
            pair, times = [baselines[name], name], {}
            for each in shuffler.sample(pair, 2):
                times[each] = spent(steps[each], together)
            found[name].append([times[each] for each in pair])
    return {name: np.array(pairs) for name, pairs in found.items()}


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return a bootstrap interval of the median."""
    draws = np.random.default_rng(0).choice(values, (4000, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def table(pairs: dict[str, np.ndarray], baselines: dict[str, str]) -> Iterator[str]:
    """Yield the lines of a table: what each arm adds to the step of its baseline."""
    yield "| arm | compared to | pairs | ms a step, of both: median | added, %: median of the pairs [95 % interval] |"
    yield "|---|---|---:|---:|---:|"
    for name, times in pairs.items():
        added = 100 * (times[:, 1] / times[:, 0] - 1)
        low, high = interval(added)
        both = " and ".join(f"{each:.1f}" for each in np.median(times, axis=0))
        yield f"| {name} | {baselines[name]} | {len(times)} | {both} | {np.median(added):+.2f} [{low:+.2f}, {high:+.2f}] |"


def own_table(pairs: dict[str, np.ndarray], step: float) -> Iterator[str]:
    """Yield the lines of a table: the shuffle's own work, and its share of a step of so many milliseconds."""
    yield "| arm | own work, ms a step: median [95 % interval] | share of the step without the shuffle, % |"
    yield "|---|---:|---:|"
    for name, times in pairs.items():
        own = times[:, 1] - times[:, 0]
        low, high = interval(own)
        shares = (f"{100 * part / step:.2f}" for part in (float(np.median(own)), low, high))
        yield f"| {name} | {np.median(own):.3f} [{low:.3f}, {high:.3f}] | {'{} [{}, {}]'.format(*shares)} |"


def of_case(case: Case, seconds: float) -> Iterator[str]:
    """Yield the lines of a case: whole steps, then the shuffle's own work."""
    torch.manual_seed(0)
    model = ShuffleMamba(case.config)
    size = (case.images, model.num_tokens)
    found = arms(model, size)
    baselines = dict.fromkeys([name for name in found if name != PLAIN], PLAIN)
    if shutil.which("c++") or shutil.which("g++"):
        more = compiled_arms(model, size)
        found |= more
        baselines |= dict.fromkeys([name for name in more if name != COMPILED], COMPILED)
    else:
        yield "There is no C++ compiler here, so nothing is compiled.\n"
    pairs = paired({name: training_step(*arm, case) for name, arm in found.items()}, baselines, seconds)
    yield from table(pairs, baselines)
    yield ""
    shape = (*size, case.config.embed_dim)
    handed = {name: handing_on(*arm, shape) for name, arm in arms(Stack(case.config.depth), size).items()}
    own = paired(handed, dict.fromkeys([name for name in handed if name != PLAIN], PLAIN), OWN_SECONDS, OWN_STEPS)
    yield from own_table(own, median(pairs["linear, 0.5"][:, 0]))


def report(seconds: float) -> Iterator[str]:
    """Yield the lines of the whole report."""
    yield "# What the shuffle costs on the CPU\n"
    yield "Whole training steps (forward, backward, AdamW) of a ShuffleMamba, float32, native scan, a step beside a step without the"
    yield f"shuffle in random order, {torch.get_num_threads()} thread, {machine()['processor']}, torch {torch.__version__}, processor time."
    yield "What is added is compared within a pair; the interval is a bootstrap of the median. The second table of each size times the"
    yield "shuffle around blocks that only hand their tokens on. The static form makes its draws in the step too."
    yield f"The native scan is {describe()['native']}."
    yield f"Load average at the start {os.getloadavg()[0]:.1f}, at the end on the last line."
    for case in CASES:
        yield f"\n## {case.name[0].upper()}{case.name[1:]}\n"
        yield from of_case(case, seconds)
    yield f"\nLoad average at the end {os.getloadavg()[0]:.1f}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=100, help="for the whole steps of each of the two sizes")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for line in report(options.seconds):
        print(line, flush=True)
        lines.append(line)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
