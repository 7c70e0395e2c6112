"""Time whole training steps with the shuffle against none, interleaved; prints what it adds, with an interval.

OMP_NUM_THREADS=1 python benchmarks/shuffle_cost.py [--rounds 40] [--out benchmarks/results/NAME.md]

A round runs one step (forward, backward, AdamW) of every arm, in an order of its own, and compares each with the step
without the shuffle of the same round. Processor time counts, not the clock, since other programs may share the machine.
Where a step takes a second it still varies by more than the shuffle costs, so the shuffle's own work is timed as well:
around blocks of the same sizes that only hand their tokens on.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from scipy.stats import binom
from torch import Tensor, nn

from slws_lab.models import ShuffleMamba, ShuffleMambaConfig, VisionMamba
from slws_lab.scan import describe
from slws_lab.shuffle import attach, rates
from slws_lab.tracking.provenance import machine

BASELINE = "no shuffle"
IMAGES, CLASSES = 64, 10
MODELS = {
    "width 192, 6 layers, 65 tokens": ShuffleMambaConfig(192, 6, img_size=128, num_classes=CLASSES, scan="native"),
    "width 32, 6 layers, 10 tokens (shufflemamba_micro)": ShuffleMambaConfig(
        32, 6, d_state=8, img_size=8, patch_size=4, stride=2, in_chans=1, num_classes=CLASSES, scan="native"
    ),
}


def arms(model: VisionMamba | Stack) -> dict[str, Callable[[], AbstractContextManager[Any]]]:
    """Return what is done to a model for a step, by name; leaving the context undoes it."""
    shuffled = partial(attach, model, list(model.layers), generator=torch.Generator().manual_seed(0))
    depth = model.depth
    return {
        BASELINE: nullcontext,
        "attached, rate 0": partial(shuffled, [0.0] * depth),
        "linear, 0.5": partial(shuffled, rates("linear", 0.5, depth)),
        "every layer, 1.0": partial(shuffled, [1.0] * depth),
        "every layer, published form": partial(published, model),
    }


def published(model: VisionMamba | Stack) -> ExitStack:
    """Shuffle every layer by four gathers whose indices are as large as the tokens, as the official code does."""
    handles = ExitStack()
    for block in model.layers:
        index: list[Tensor] = []
        for handle in (
            block.register_forward_pre_hook(partial(_gather_in, index)),
            block.register_forward_hook(partial(_gather_out, index)),
        ):
            handles.callback(handle.remove)
    return handles


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


class HandsOn(nn.Module):
    """A block that does nothing, with a residual stream."""

    def forward(self, hidden: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return both streams; the hidden state is the residual of the first block."""
        return hidden, hidden if residual is None else residual


class Stack(nn.Module):
    """Such blocks in a row."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.layers = nn.ModuleList(HandsOn() for _ in range(depth))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last block's streams, (batch, length, width) like the input."""
        residual = None
        for layer in self.layers:
            hidden, residual = layer(hidden, residual)
        assert residual is not None
        return hidden, residual


def training_step(model: nn.Module, config: ShuffleMambaConfig) -> Callable[[], None]:
    """Return a whole step: forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    images, labels = torch.randn(IMAGES, *config.image_shape), torch.randint(CLASSES, (IMAGES,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def handing_on(stack: Stack, shape: tuple[int, int, int]) -> Callable[[], None]:
    """Return a forward and a backward of blocks that do nothing, so that only the shuffle works."""
    tokens, grad = torch.randn(shape, requires_grad=True), torch.randn(shape)

    def step() -> None:
        torch.autograd.grad(stack(tokens), tokens, (grad, grad))

    return step


def interleaved(
    model: VisionMamba | Stack, step: Callable[[], None], rounds: int, steps: int
) -> dict[str, list[float]]:
    """Return each arm's milliseconds of processor time a step, round by round; `steps` are timed together."""
    # one generator an arm over all rounds, so that a rate below 1 has its share of layers
    contexts, shuffler = arms(model), random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in contexts}
    for number in range(-2, rounds):
        for name in shuffler.sample(list(contexts), len(contexts)):
            with contexts[name]():
                started = time.process_time()
                for _ in repeat(None, steps):
                    step()
                spent = (time.process_time() - started) / steps * 1e3
            if number >= 0:  # the first rounds warm up
                times[name].append(spent)
    return times


def interval(values: list[float], level: float = 0.95) -> tuple[float, float]:
    """Return a distribution-free interval of the median: two order statistics."""
    ordered = sorted(values)
    outside = int(binom.ppf((1 - level) / 2, len(ordered), 0.5))
    lower = max(outside - 1, 0)
    return ordered[lower], ordered[len(ordered) - 1 - lower]


def table(times: dict[str, list[float]]) -> Iterator[str]:
    """Yield the lines of a table: each arm's time, and what it adds to the step without the shuffle."""
    yield "| arm | ms a step: median (least) | added, %: median [95 % interval] | added, %, by the least |"
    yield "|---|---:|---:|---:|"
    baseline = times[BASELINE]
    for name, found in times.items():
        added = [100 * (mine / plain - 1) for mine, plain in zip(found, baseline, strict=True)]
        low, high = interval(added)
        by_least = 100 * (min(found) / min(baseline) - 1)
        compared = " | ".join(("–", "–") if name == BASELINE else
                              (f"{median(added):+.2f} [{low:+.2f}, {high:+.2f}]", f"{by_least:+.2f}"))  # fmt: skip
        yield f"| {name} | {median(found):.1f} ({min(found):.1f}) | {compared} |"


def own_table(times: dict[str, list[float]], step: float) -> Iterator[str]:
    """Yield the lines of a table: the shuffle's own work, and its share of a step of so many milliseconds."""
    yield "| arm | own work, ms a step: median [95 % interval] | share of the step without the shuffle, % |"
    yield "|---|---:|---:|"
    for name, found in times.items():
        if name == BASELINE:
            continue
        own = [mine - nothing for mine, nothing in zip(found, times[BASELINE], strict=True)]
        low, high = interval(own)
        shares = (f"{100 * part / step:.2f}" for part in (median(own), low, high))
        yield f"| {name} | {median(own):.2f} [{low:.2f}, {high:.2f}] | {'{} [{}, {}]'.format(*shares)} |"


def report(rounds: int) -> Iterator[str]:
    """Yield the lines of the whole report."""
    yield "# What the shuffle costs on the CPU\n"
    yield f"Whole training steps (forward, backward, AdamW) of a ShuffleMamba on {IMAGES} images, float32, native scan,"
    yield f"{torch.get_num_threads()} thread, {machine()['processor']}, torch {torch.__version__}; {rounds} rounds, arms interleaved,"
    yield "processor time. What is added is compared within a round; the interval is that of the median. The second table of"
    yield "each size times the shuffle around blocks that only hand their tokens on."
    yield f"The native scan is {describe()['native']}."
    yield f"Load average at the start {os.getloadavg()[0]:.1f}, at the end on the last line."
    for (name, config), steps in zip(MODELS.items(), (1, 20), strict=True):
        yield f"\n## {name[0].upper()}{name[1:]}\n"
        torch.manual_seed(0)
        model = ShuffleMamba(config)
        times = interleaved(model, training_step(model, config), rounds, steps)
        yield from table(times)
        yield ""
        stack = Stack(config.depth)
        own = interleaved(stack, handing_on(stack, (IMAGES, model.num_tokens, config.embed_dim)), rounds, 8 * steps)
        yield from own_table(own, median(times[BASELINE]))
    yield f"\nLoad average at the end {os.getloadavg()[0]:.1f}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for line in report(options.rounds):
        print(line, flush=True)
        lines.append(line)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
