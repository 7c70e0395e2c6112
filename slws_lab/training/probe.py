"""`python -m slws_lab.training.probe` trains a recipe for some seconds and says what an epoch of it takes. Nothing is left behind.

The lab tower asks so, in a process of its own for each recipe: a process's peak of memory is that of all that it has done.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from slws_lab.data import Loader
from slws_lab.spec import Recipe, Resources, resolve_stages
from slws_lab.training.answering import Json, end_with_asker, reply
from slws_lab.training.evaluate import BATCH, evaluate
from slws_lab.training.numerics import set_deterministic
from slws_lab.training.stage import Stage, peak_memory_mb
from slws_lab.training.surroundings import Progress, Surroundings
from slws_lab.training.world import World

WARM_UP = 5  # steps: by then compilers have compiled, and a CUDA graph is recorded
MIN_STEPS, MIN_S, MAX_S = 5, 1.0, 20.0
STRETCH_S = 0.05  # shorter steps are timed several together, so that a GPU is not waited for at each
EVALUATION_S = 2.0
WHOLE_EPOCHS = 2
ENDLESS = 100_000  # epochs


@dataclass(frozen=True)
class Question:
    """What is probed.

    Attributes:
        recipe: With all its stages.
        root: The project's folder, to which paths in the recipe are relative.
        resources: What a run may use.
        max_s: Seconds after which no further step is begun, all stages together; at least one step of each is measured.
    """

    recipe: Recipe
    root: Path
    resources: Resources
    max_s: float = MAX_S


class Enough(Exception):
    """All is seen that was to be measured; passing through a training, it leaves no checkpoint."""


class Watch:
    """Looks on at a training by what it asks and reports, and ends it when enough is seen.

    Args:
        device: Where it computes.
        world: Its processes; all end where rank 0, the only one that hears of epochs, has seen enough.
        max_s: Seconds after which it ends in any case, once a step is done.
        compiled: Whether the first step and an epoch's smaller last one are compiled before: that time does not count in `max_s`, and
            the warm-up lasts until both have been, if the second comes soon.

    Attributes:
        steps: Steps made, those of the warm-up too.
    """

    def __init__(self, device: torch.device, world: World, max_s: float, *, compiled: bool = False) -> None:
        self._device, self._world, self._max_s, self._compiled = device, world, max_s, compiled
        self._begun = self._warm_at = self._from = self._epoch_from = time.monotonic()
        self.steps = self._pending = 0
        self._warm = self._epoch_warm = False
        self._stretches: list[tuple[bool, int, float]] = []
        self._epochs: list[tuple[bool, float]] = []

    @property
    def stretches(self) -> list[tuple[int, float]]:
        """Steps and seconds of each stretch of steps after the warm-up, or of the last one where none came after."""
        warm = [stretch for stretch in self._stretches if stretch[0]]
        return [(steps, seconds) for _, steps, seconds in warm or self._stretches[-1:]]

    @property
    def epochs(self) -> list[float]:
        """Seconds of each whole epoch after the warm-up, evaluation included, or of the last one where none came after."""
        warm = [epoch for epoch in self._epochs if epoch[0]]
        return [seconds for _, seconds in warm or self._epochs[-1:]]

    def should_stop(self) -> bool:
        """Take the time before a step; never says yes, since a training that is asked to stop saves.

        Raises:
            Enough: In all ranks alike.
        """
        now = time.monotonic()
        if self.steps == 0:
            self._from = now
        elif self._pending and now - self._from >= STRETCH_S:
            now = self._now()
            self._stretches.append((self._warm, self._pending, now - self._from))
            self._look(now)
        if self._world.any(self._world.writes and self._enough(), self._device):
            raise Enough
        self.steps += 1
        self._pending += 1
        return False

    def report(self, epoch: int, metrics: dict[str, float]) -> None:
        """Take the time at an epoch's end; steps since the last look have no time of their own."""
        now = self._now()
        self._epochs.append((self._epoch_warm, now - self._epoch_from))
        self._look(now)
        self._epoch_from, self._epoch_warm = now, self._warm

    def _look(self, now: float) -> None:
        """Begin a stretch, and see whether the warm-up is over."""
        self._from, self._pending = now, 0
        ready = self.steps >= WARM_UP and (bool(self._epochs) or not self._compiled)
        warms = not self._warm and (ready or now - self._begun > self._max_s / 3)
        if self._compiled and (warms or self.steps == 1):
            self._begun = now
        if warms:
            self._warm, self._warm_at = True, now

    def _enough(self) -> bool:
        now, steps = time.monotonic(), sum(steps for steps, _ in self.stretches)
        if now - self._begun > self._max_s:
            return steps > 0 or bool(self.epochs)
        seen = steps >= MIN_STEPS or len(self.epochs) >= WHOLE_EPOCHS
        return self._warm and seen and now - self._warm_at >= MIN_S

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.monotonic()


def probe(question: Question) -> Json:
    """Measure what a run costs, in as many processes as it has ranks.

    Returns:
        `stages`, for each `epoch_s` (seconds an epoch with its evaluation: a low, the mean and a high figure) and `steps` (how many were
        made); `peak_memory_mb`, as in a run's metrics, of rank 0.

    Raises:
        UserError: As a training.
    """
    size = question.recipe.train.ranks
    with TemporaryDirectory(prefix="slws-probe-") as folder:
        if size == 1:
            return _measured(question, Path(folder), World())
        start_processes(_rank, (question, folder), size, start_method="spawn")
        found: Json = json.loads(Path(folder, "answer.json").read_text())
        return found


def _rank(rank: int, question: Question, folder: str) -> None:
    """Measure as one of the ranks; the entry point of a process."""
    end_with_asker()
    os.dup2(2, 1)  # gloo writes to standard output, where the answer goes
    world = World(rank, question.recipe.train.ranks)
    cuda = _device(question, world).type == "cuda"
    if cuda:
        torch.cuda.set_device(rank)
    store = dist.FileStore(str(Path(folder, "rendezvous")), world.size)  # type: ignore[attr-defined]
    dist.init_process_group("nccl" if cuda else "gloo", store=store, rank=rank, world_size=world.size)
    found = _measured(question, Path(folder), world)
    if world.writes:
        Path(folder, "answer.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def _measured(question: Question, folder: Path, world: World) -> Json:
    torch.set_num_threads(question.resources.threads)
    set_deterministic()
    device = _device(question, world)
    stages = resolve_stages(question.recipe)
    found = [
        _stage(stage, question, folder / str(i), world, question.max_s / len(stages)) for i, stage in enumerate(stages)
    ]
    return {"stages": found, "peak_memory_mb": peak_memory_mb(device)}


def _stage(recipe: Recipe, question: Question, folder: Path, world: World, max_s: float) -> dict[str, Any]:
    """Measure one stage; its epochs do not end and its shuffle is on in all of them, whatever the recipe says of when."""
    shuffle = recipe.shuffle.model_copy(update={"over_time": "constant", "off_last": 0})
    train = recipe.train.model_copy(update={"epochs": ENDLESS})
    recipe = recipe.model_copy(update={"shuffle": shuffle, "train": train})
    device, resources = _device(question, world), question.resources
    watch = Watch(device, world, max_s, compiled=train.compile)
    around = Surroundings(
        folder, device, watch.report, watch.should_stop, resources.scan, question.root, workers=resources.workers,
        resident=resources.resident, grad_checkpointing=resources.grad_checkpointing, cuda_graph=resources.cuda_graph,
        world=world,
    )  # fmt: skip
    stage = Stage(0, recipe, around, Progress(), None, None)
    with suppress(Enough):
        stage.run_epochs()
    epoch = _epoch_s(stage, watch)
    stage.close()
    return {"epoch_s": epoch, "steps": watch.steps}


def _epoch_s(stage: Stage, watch: Watch) -> list[float]:
    """Return what an epoch takes: quartiles and mean of whole ones if some have passed, else by its steps and an evaluation."""
    rank_0 = stage.world.writes  # the others have no times of epochs
    if stage.world.any(rank_0 and (len(watch.epochs) >= WHOLE_EPOCHS or not watch.stretches), stage.around.device):
        if not rank_0:
            return []
        return _spread(watch.epochs, sum(watch.epochs) / len(watch.epochs))
    mean = sum(seconds for _, seconds in watch.stretches) / sum(steps for steps, _ in watch.stretches)
    evaluation = sum(_evaluation_s(stage, samples, mean) for samples in stage.evaluated.values())
    steps = _spread([seconds / steps for steps, seconds in watch.stretches], mean)
    return [stage.steps * step + evaluation for step in steps]


def _spread(values: list[float], mean: float) -> list[float]:
    low, high = np.quantile(values, [0.25, 0.75]).tolist()
    return [min(low, mean), mean, max(high, mean)]


def _evaluation_s(stage: Stage, samples: Loader, step_s: float) -> float:
    """Return what an evaluation takes, by one of as many samples as a part of it has time for; the first is a warm-up."""
    world = stage.world
    affordable = int(EVALUATION_S / step_s * stage.spec.batch_size)  # a step takes longer than a forward
    taken = max(1, min(len(samples), affordable, 2 * BATCH * world.size))
    (taken,) = world.counts((taken if world.writes else 0,), stage.around.device)  # ranks do not measure the same
    part = Loader(samples.split.take(range(taken)), samples.transform, samples.device, workers=stage.around.workers,
                  resident=samples.resident, on_broken=samples.on_broken)  # fmt: skip
    seconds = 0.0
    for _ in range(2):
        started = time.monotonic()
        for model in (stage.model, *([stage.ema.module] if stage.ema else [])):
            evaluate(model, part, stage.numerics, world)
        seconds = time.monotonic() - started
    part.close()
    return seconds * _share(len(samples), world.size) / _share(taken, world.size)


def _share(samples: int, ranks: int) -> int:
    """Return how many samples rank 0 evaluates: whole batches."""
    return sum(len(batch) for batch in torch.arange(samples).split(BATCH)[::ranks])


def _device(question: Question, world: World) -> torch.device:
    wanted = question.resources.gpus != 0 and torch.cuda.is_available()
    return torch.device("cuda", world.rank) if wanted else torch.device("cpu")


def _answer(asked: Json) -> Json:
    return probe(Question(Recipe.model_validate(asked["recipe"]), Path(asked["root"]),
                          Resources.model_validate(asked["resources"])))  # fmt: skip


if __name__ == "__main__":
    reply(_answer)
