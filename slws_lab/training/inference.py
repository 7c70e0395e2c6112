"""What a model costs at inference: FLOPs, parameters, and on one device latency and memory. Its weights are random; nothing is kept.

The lab tower asks so by `python -m slws_lab.training`, in a process of its own.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from slws_lab.errors import UserError
from slws_lab.scan import Backend, ScanInputs, port
from slws_lab.spec import Recipe, resolve_stages
from slws_lab.training import build
from slws_lab.training.answering import Json
from slws_lab.training.numerics import Numerics, set_deterministic
from slws_lab.training.randomness import generator, seed_globals

LOW, HIGH = 0.1, 0.9  # quantiles
FEWEST = 5  # repeats, however long they take
MB = 2**20

Call = Callable[[], object]
_COUNTED: dict[tuple[object, ...], int | None] = {}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Effort:
    """How long a call is repeated.

    Attributes:
        repeats: At least so many, and
        seconds: at least so long in all, but
        most_s: no further one after so long.
    """

    repeats: int
    seconds: float
    most_s: float


WARM_UP = Effort(
    repeats=5, seconds=0.3, most_s=5.0
)  # after a first call, in which kernels are compiled and libraries loaded
TIMED = Effort(repeats=100, seconds=1.0, most_s=20.0)


@dataclass(frozen=True)
class Question:
    """What is measured.

    Attributes:
        recipe: Says model, images and precision; of several stages the last.
        root: The project's folder, to which paths in the recipe are relative.
        scan: Name of the selective-scan back-end.
        gpus: 0 or 1; None takes a GPU where there is one.
        threads: Intra-op threads on the CPU.
        batch: Images a call.
    """

    recipe: Recipe
    root: Path
    scan: str = "auto"
    gpus: int | None = None
    threads: int = 1
    batch: int = 1


def measure(question: Question) -> Json:
    """Measure a recipe's model as its evaluations call it, with the recipe's precision, but never compiled.

    Returns:
        `params`, `flops` (of one image), `latency_ms` (median), `latency_low_ms` and `latency_high_ms` (the quantiles 0.1 and 0.9) of
        `repeats` calls, `inference_memory_mb` (2^20 bytes, see `peak_bytes`), `load` (how many cores others kept busy meanwhile), and
        what they were measured with: `device`, `threads`, `batch`, `image_size`, `scan`, `precision`.

    Raises:
        UserError: As a training; or a GPU is asked for, and there is none.
    """
    recipe = resolve_stages(question.recipe)[-1]
    device = _device(question.gpus)
    dataset = build.build_data(recipe, question.root)
    shape = build.Shape.of(dataset)
    flops = _flops(recipe, shape, question.root)
    seed_globals(0, "init")
    scan = build.resolve_scan(question.scan, device)
    model = build.build_model(recipe, shape, scan, question.root).to(device).eval()
    images = torch.randn(_images(shape, question.batch).shape, generator=generator(0, "sample")).to(device)
    call = partial(_forward, model, images, Numerics(device, recipe.train.precision, dataset.mean, dataset.std))
    with _intra_op(question.threads), torch.inference_mode():
        times, load = latency(call, device)
        peak = peak_bytes(call, device) + images.nbytes
    low, median, high = np.quantile(times, [LOW, 0.5, HIGH]).tolist()
    return {
        "params": sum(p.numel() for p in model.parameters()), "flops": flops,
        "latency_ms": median, "latency_low_ms": low, "latency_high_ms": high, "repeats": len(times), "load": load,
        "inference_memory_mb": peak / MB, "threads": question.threads, "batch": question.batch, "image_size": shape.size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "scan": getattr(model, "scan_backend", ""), "precision": recipe.train.precision,
    }  # fmt: skip


def measure_asked(asked: Json) -> Json:
    """Answer the lab's question: the fields of `Question`, but in JSON, and `gpu`, what CUDA is to see (empty for all)."""
    if gpu := asked.pop("gpu", ""):
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when CUDA starts, which it has not yet
    set_deterministic()
    typed = {"recipe": Recipe.model_validate(asked["recipe"]), "root": Path(asked["root"])}
    return measure(Question(**{**asked, **typed}))


def flops_of(recipe: Recipe, shape: build.Shape, root: Path) -> int | None:
    """Return the FLOPs of one image through a recipe's model, counted once a process; None where they cannot be counted, which is logged.

    Args:
        recipe: The recipe, of several stages the last.
        shape: What the data ask of the model.
        root: The project's folder.
    """
    model = recipe.model.model_dump_json(exclude={"drop_path", "init_from"})
    key = (model, recipe.models, shape, root)
    if key not in _COUNTED:
        try:
            _COUNTED[key] = _flops(recipe, shape, root)
        except (
            Exception
        ) as error:  # whatever a model does without numbers; its training has ended, and is none the worse
            log.warning("the FLOPs of %s cannot be counted: %s", recipe.model.name, error)
            _COUNTED[key] = None
    return _COUNTED[key]


def count_flops(model: nn.Module, images: Tensor) -> int:
    """Return the FLOPs of a forward in eval mode; a multiply-add counts as two, so where a paper prints multiply-adds this is the double.

    Counted are matrix products, attention and convolutions as torch's FlopCounterMode does, and selective scans by `scan_flops`. Not
    counted is what works element by element (norms, activations, gates, sums, pooling), nor kernels that a user's model calls itself.

    Args:
        model: On the meta device, so that nothing is computed and the back-end of the scan does not matter.
        images: (batch, channels, height, width), on the meta device.
    """
    with torch.no_grad(), _seen_scans() as scans, FlopCounterMode(display=False) as counter:
        model.eval()(images)
    return counter.get_total_flops() + sum(scans)


def scan_flops(batch: int, length: int, width: int, state: int, *, skip: bool) -> int:
    """Return the FLOPs of a selective scan in one direction: 9 batch length width state, and a multiply-add a channel for the skip.

    The 9 is that of a parallel scan, which joins twice as many pairs as a loop has steps; our kernels are loops and do less.

    Args:
        batch: Sequences.
        length: Tokens of each.
        width: Channels.
        state: States of each channel.
        skip: Whether D u is added.

    Source: an author of Mamba in https://github.com/state-spaces/mamba/issues/110; VMamba's code counts so too.
    """
    return batch * length * width * (9 * state + (2 if skip else 0))


def latency(call: Call, device: torch.device) -> tuple[list[float], float]:
    """Return what each of many calls takes after a warm-up, in ms, and how many cores other processes kept busy meanwhile.

    Each is waited for, so that on a GPU the time to launch its kernels counts too.
    """
    _time(call, device)
    _repeat(call, device, WARM_UP)
    started, busy, own = time.perf_counter(), _busy_s(), time.process_time()
    times = _repeat(call, device, TIMED)
    others = (_busy_s() - busy) - (time.process_time() - own)
    return times, max(0.0, others / (time.perf_counter() - started))


def peak_bytes(call: Call, device: torch.device) -> int:
    """Return how many bytes a call holds at most beyond what was there before it: its activations, and what kernels need beside them.

    Counted is what torch's allocators hand out; on a CPU the private buffers of libraries (oneDNN's, BLAS's) are not seen. With the
    images it is the figure that MCUFormer's budget bounds (arXiv 2310.16898), but of this machine's kernels.

    Args:
        call: One that has been made before, so that libraries have what they keep.
        device: Where it computes.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    assert seen.profiler is not None
    events = seen.profiler.kineto_results.events()
    changes = sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns())
    return max(itertools.accumulate((e.nbytes() for e in changes), initial=0))


def _flops(recipe: Recipe, shape: build.Shape, root: Path) -> int:
    with torch.device("meta"):
        return count_flops(build.build_model(recipe, shape, "chunked", root), _images(shape, 1))


def _forward(model: nn.Module, images: Tensor, numerics: Numerics) -> None:
    with numerics.autocast():
        model(images)


def _images(shape: build.Shape, batch: int) -> Tensor:
    return torch.empty(batch, shape.channels, shape.size, shape.size, device="meta")


def _device(gpus: int | None) -> torch.device:
    if gpus and not torch.cuda.is_available():
        raise UserError(
            "torch finds no GPU on this machine", where="resources.gpus", allowed="0", todo="`slws doctor` says more"
        )
    return torch.device("cuda" if gpus != 0 and torch.cuda.is_available() else "cpu")


@contextmanager
def _intra_op(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _seen_scans() -> Iterator[list[int]]:
    """Put a back-end in the place of all others that computes nothing and notes the FLOPs of each scan that it is asked for."""
    found: list[int] = []

    def note(inputs: ScanInputs) -> Tensor:
        batch, length, width = inputs.u.shape
        found.append(scan_flops(batch, length, width, inputs.A.shape[1], skip=inputs.D is not None))
        return torch.empty_like(inputs.u)

    resolve = port.resolve
    port.resolve = lambda *_: Backend("counted", "counts FLOPs", note)
    try:
        yield found
    finally:
        port.resolve = resolve


def _repeat(call: Call, device: torch.device, effort: Effort) -> list[float]:
    times: list[float] = []
    total = 0.0
    while len(times) < effort.repeats or total < effort.seconds * 1e3:
        if len(times) >= FEWEST and total > effort.most_s * 1e3:
            break
        times.append(_time(call, device))
        total += times[-1]
    return times


def _time(call: Call, device: torch.device) -> float:
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - started) * 1e3


def _busy_s() -> float:
    """Return the seconds that all cores together have computed since the system started."""
    times = psutil.cpu_times()._asdict()
    return float(sum(times.values()) - sum(times.get(name, 0.0) for name in ("idle", "iowait", "guest", "guest_nice")))
