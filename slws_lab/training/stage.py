"""One stage of a training at work: epochs of steps on one data set at one size, from given weights."""

from __future__ import annotations

import logging
import math
import resource
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from itertools import islice
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from slws_lab import shuffle
from slws_lab.data import Augment, Batch, Loader, SampleTransform, epoch_order, normalize
from slws_lab.spec import DataSpec, Recipe
from slws_lab.training import build, graph
from slws_lab.training.evaluate import evaluate
from slws_lab.training.numerics import Numerics
from slws_lab.training.optimizer import LearningRate, Objective, build_optimizer, load_moments
from slws_lab.training.randomness import generator, key, seed_globals
from slws_lab.training.step import Step
from slws_lab.training.surroundings import Interrupted, Outdated, Progress, Surroundings

CHECKPOINT_SHARE = 0.02
CHECKPOINT_MIN_S = 2.0
CHECKPOINT_RETRY_S = 60.0

log = logging.getLogger(__name__)


class Stage:
    """A stage of a training.

    Args:
        seed: The run's seed.
        recipe: What this stage trains.
        around: What the training gets from the outside.
        progress: Where the training stands; kept up to date.
        state: Checkpoint of this stage to go on from.
        weights: Weights of the stage before, which this one starts from; without both the recipe says.
    """

    def __init__(
        self,
        seed: int,
        recipe: Recipe,
        around: Surroundings,
        progress: Progress,
        state: dict[str, Any] | None,
        weights: dict[str, Tensor] | None,
    ) -> None:
        self.seed, self.recipe, self.spec, self.around, self.progress = seed, recipe, recipe.train, around, progress
        self.world = around.world
        self.dataset = build.build_data(recipe, around.root)
        if state is not None and state["data"] != self.dataset.fingerprint:
            raise Outdated(
                f"the data were {state['data']} when this run was begun, and are {self.dataset.fingerprint} now"
            )
        seed_globals(seed, "init")
        self.model = self._model(state, weights)
        self.scan = str(getattr(self.model, "scan_backend", ""))
        if state is not None and state["scan"] != self.scan:
            raise Outdated(f"the scan was {state['scan']} when this run was begun, and is {self.scan} now")
        # The average is copied before the shuffle's hooks are there: it never trains, so it never shuffles.
        self.ema = ModelEmaV3(self.model, decay=self.spec.ema_decay) if self.spec.ema_decay else None
        if self.ema is not None and state is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.draws = torch.Generator(device="cpu")
        self.recorded = not (obstacle := graph.obstacle(recipe, around, self.model))
        if around.cuda_graph and obstacle:
            log.info("no CUDA graph: %s", obstacle)
        self.rates, self.shuffle = self._attach_shuffle()
        self.numerics = Numerics(around.device, self.spec.precision, self.dataset.mean, self.dataset.std)
        self.loaders = {
            "train": self._loader("train", build.train_transform),
            "val": self._loader("val", build.eval_transform),
        }
        # Evaluated beside val where the recipe asks for it: the training images, but cropped and scaled as those of val.
        self.evaluated = {"val": self.loaders["val"]}
        if self.spec.eval_train:
            self.evaluated["train"] = self._loader("train", build.eval_transform)
        augment = recipe.data.augment
        self.augment = Augment(augment.crop, augment.flip, augment.erase, erase_mode=augment.erase_mode)
        self.optimizer = build_optimizer(self.model, self.spec, self.recorded)
        full = recipe.data.equal == "steps"
        self.epoch_length = self.dataset.full_train if full else len(self.loaders["train"])
        self.steps = math.ceil(self.epoch_length / self.spec.batch_size)
        # AdamW's kernel for GPUs reads rates of its own type from there, the one for CPUs any.
        wide = torch.float32 if around.device.type == "cuda" else torch.float64
        memory = torch.zeros(len(self.optimizer.param_groups), dtype=wide, device=around.device)
        self.rate = LearningRate(self.optimizer, self.spec, self.steps, memory)
        self.outputs = int(recipe.model.args.get("num_classes", self.dataset.num_classes) or 0)
        self.objective = Objective(augment, self.spec.smoothing, self.outputs)
        self.saved_at, self.save_wait = time.monotonic(), CHECKPOINT_MIN_S
        self.counted = time.monotonic()
        self.loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device=around.device)
        self.step_losses = torch.zeros(self.steps, dtype=torch.float64, device=around.device)
        if state is not None:
            load_moments(self.optimizer, state["optimizer"])
        self.net = self._prepared()
        self.eager = Step(
            self.net, self.model, self.objective, self.optimizer, self.numerics, self.spec.clip_grad, self.ema
        )
        self.whole_step: Callable[[Tensor, Tensor], Tensor] = self.eager
        if self.recorded:
            recorder = graph.RECORDERS[around.device.type]()
            self.whole_step = graph.Recorded(self.eager, recorder, self.spec.batch_size)
        if state is None and progress.stage > 0:
            self._save()  # so that what the stages before have cost is not lost with this one's first epoch

    def run_epochs(self) -> dict[str, float]:
        """Train what is left of the stage and return the last epoch's metrics; it ends early when it diverges."""
        metrics: dict[str, float] = {}
        for epoch in range(self.progress.step // self.steps, self.spec.epochs):
            self.counted = time.monotonic()
            metrics = self._train_epoch(epoch)
            if math.isfinite(metrics["train/loss"]):
                metrics |= self._evaluate()
            self._note_broken()
            if self.progress.broken:
                metrics["data/broken"] = float(len(self.progress.broken))
            self._count_time()
            metrics["train/seconds"] = self.progress.seconds
            if self.world.writes:
                self.around.report(self.progress.epochs_before + epoch + 1, metrics)
            if not math.isfinite(metrics.get("val/loss", math.nan)):
                break
            left = epoch + 1 < self.spec.epochs  # after the last one nothing of this stage is left to resume
            if left and self._due(0.0):
                self._save()
        return metrics

    def weights(self, which: str) -> dict[str, Tensor]:
        """Return a copy on the CPU of the weights that a following stage starts from: `last`, or `ema` where there is one."""
        assert which == "last" or self.ema is not None, "resolving the stages has refused this"
        model = self.ema.module if which == "ema" and self.ema is not None else self.model
        return {name: tensor.to("cpu", copy=True) for name, tensor in model.state_dict().items()}

    def close(self) -> None:
        """End the processes that read, and let go of what a following stage must not have beside its own in memory."""
        for loader in (*self.loaders.values(), *self.evaluated.values()):
            loader.close()
        if self.shuffle is not None:
            self.shuffle.remove()  # its hooks and the model hold each other

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        started, first = time.monotonic(), self.progress.step - epoch * self.steps
        scale = self._set_shuffle(epoch)
        self.net.train()
        seen = 0
        with closing(self._batches(epoch, first)) as batches:  # so that no reading process outlives a stop
            for step, parts in zip(range(first, self.steps), batches, strict=True):
                self._save_if_asked()
                size = min(self.spec.batch_size, self.epoch_length - step * self.spec.batch_size)
                self._step(parts, spare=self.world.rank >= size)
                seen += size
        if not self.progress.samples:
            raise OSError("no image of the train split can be read")
        mean_loss = float(self.loss_sum) / self.progress.samples
        if not math.isfinite(mean_loss):
            self._note_bad_step(epoch)
        self.loss_sum.zero_()
        self.progress.samples = 0
        return {
            "train/loss": mean_loss,
            "train/lr": self.rate.latest,
            **({"train/stage": self.progress.stage + 1.0} if self.progress.stages > 1 else {}),
            **({"train/shuffle_rate": max(self.rates) * scale} if self.rates else {}),
            "train/images_per_s": seen / (time.monotonic() - started),
            "train/peak_memory_mb": peak_memory_mb(self.around.device),
        }

    def _batches(self, epoch: int, first: int) -> Generator[list[Batch]]:
        """Yield, for each step from `first`, the parts of the batch that this rank takes one after another."""
        number = self.progress.epochs_before + epoch
        order = epoch_order(len(self.loaders["train"]), generator(self.seed, "order", number),
                            self.recipe.data.augment.repeats, self.epoch_length)  # fmt: skip
        parts = self.spec.accumulate
        slots = [
            part
            for batch in torch.arange(len(order)).split(self.spec.batch_size)[first:]
            for part in self._share(batch)
        ]
        with closing(self.loaders["train"].batches(order, slots, key(self.seed, "sample", number))) as batches:
            while group := list(islice(batches, parts)):
                yield group

    def _share(self, batch: Tensor) -> list[Tensor]:
        """Return this rank's slots of a batch in `accumulate` parts, some of which may be empty in an epoch's last batch.

        A rank for which nothing is left takes a spare sample of no weight, since all ranks must add their gradients.
        """
        mine = batch[self.world.rank :: self.world.size]
        mine = mine if len(mine) else batch[:1]
        return list(mine.tensor_split(self.spec.accumulate))

    def _step(self, parts: list[Batch], *, spare: bool) -> None:
        """Take one step of the optimiser on all ranks' parts of a batch; each sample counts the same, wherever it is."""
        step = self.progress.steps_before + self.progress.step
        self.rate.set(self.progress.step)
        used = [(number, part) for number, part in enumerate(parts) if len(part.labels)]
        mine = 0 if spare else sum(len(part.labels) for _, part in used)
        (total,) = self.world.counts((mine,), self.around.device)
        self.progress.step += 1
        if not total:  # none of the batch's images can be read: a step without an update
            return
        if not used:  # none of this rank's: it adds its gradients all the same, of no weight
            used, spare = [(0, self._blank())], True
        self.progress.samples += total
        if self.world.size == 1 and len(used) == 1:
            ((number, part),) = used
            self._add_loss(self.whole_step(*self._ready(part, (step, 0, number))).double() * total)
            return
        losses = torch.zeros((), dtype=torch.float64, device=self.around.device)
        self.eager.begin()
        for number, part in used:
            weight = 0.0 if spare else len(part.labels) * self.world.size / total
            batch = self._ready(part, (step, self.world.rank, number))
            with self._alone(number < used[-1][0]):
                loss = self.eager.add_gradients(*batch, weight)
            losses += 0.0 if spare else loss.double() * len(part.labels)
        self.eager.update()
        self._add_loss(self.world.sum(losses))

    def _add_loss(self, loss: Tensor) -> None:
        """Note a step's loss, summed over its samples, without waiting for it."""
        self.loss_sum += loss
        self.step_losses[(self.progress.step - 1) % self.steps] = loss

    def _note_bad_step(self, epoch: int) -> None:
        """Note the first step whose loss was not finite, counted over all stages, if it is not known from before a resume."""
        bad = (~self.step_losses.isfinite()).nonzero()
        if self.progress.bad_step is None and len(bad):
            self.progress.bad_step = self.progress.steps_before + epoch * self.steps + int(bad[0]) + 1

    def _blank(self) -> Batch:
        shape = (1, self.dataset.channels, self.dataset.size, self.dataset.size)
        images = torch.zeros(shape, dtype=torch.uint8, device=self.around.device)
        return Batch(
            images, torch.zeros(1, dtype=torch.int64, device=self.around.device), torch.zeros(1, dtype=torch.int64)
        )

    def _ready(self, part: Batch, place: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
        """Return a part's images and targets as the model gets them; all draws of what follows are made, or their generators set."""
        images = normalize(part.images, self.numerics.mean, self.numerics.std)
        images = self.augment(images, generator(self.seed, "augment", *place))
        seed_globals(self.seed, "global", *place)
        images, targets = self.objective.mix(images, part.labels)
        self.draws.manual_seed(key(self.seed, "shuffle", *place))
        if self.shuffle is not None and self.recorded:
            self.shuffle.redraw()
        return images, targets

    def _alone(self, alone: bool) -> AbstractContextManager[object]:
        """Return the context of a backward; ranks add up their gradients once, at the last part."""
        return self.net.no_sync() if isinstance(self.net, DistributedDataParallel) and alone else nullcontext()

    def _evaluate(self) -> dict[str, float]:
        """Return what is measured of each split after an epoch; `train/loss` stays the mean over the epoch's steps."""
        models = {"": self.model, **({"_ema": self.ema.module} if self.ema else {})}
        self.world.align(*models.values())
        return {
            f"{split}/{name}{weights}": value
            for split, samples in self.evaluated.items()
            for weights, model in models.items()
            for name, value in evaluate(model, samples, self.numerics, self.world).items()
            if (split, name) != ("train", "loss")
        }

    def _note_broken(self) -> None:
        """Take over from the loaders which images could not be read, over all ranks."""
        if self.recipe.data.on_broken == "skip":
            for split, loader in (*self.loaders.items(), *self.evaluated.items()):
                named = {f"{split}/{sample_id}": cause for sample_id, cause in loader.broken.items()}
                self.progress.broken |= self.world.merge(named)

    def _set_shuffle(self, epoch: int) -> float:
        """Set the share of the shuffle's rates that holds in an epoch of this stage, and return it."""
        if self.shuffle is None:
            return 0.0
        spec = self.recipe.shuffle
        self.shuffle.scale = shuffle.factor(spec.over_time, epoch, self.spec.epochs, spec.off_last)
        return self.shuffle.scale

    def _model(self, state: dict[str, Any] | None, weights: dict[str, Tensor] | None) -> nn.Module:
        scan = build.resolve_scan(self.around.scan, self.around.device)
        model = build.build_model(self.recipe, build.Shape.of(self.dataset), scan, self.around.root)
        if state is not None:
            model.load_state_dict(state["model"])
        elif weights is not None:
            said = f"stage {self.progress.stage + 1}: {build.carry_weights(model, weights)}"
            self.progress.started_from = f"{self.progress.started_from}\n{said}".strip()
            log.info("%s", said)
        else:
            self.progress.started_from = build.start_weights(model, self.recipe, self.around.root)
            log.info("%s", self.progress.started_from or "weights drawn afresh")
        return model.to(self.around.device)

    def _attach_shuffle(self) -> tuple[tuple[float, ...], shuffle.LayerShuffle | None]:
        spec = self.recipe.shuffle
        if spec.schedule == "none":
            return (), None
        blocks = build.token_blocks(self.model)
        rates = build.layer_rates(spec, len(blocks))
        exempt = () if spec.class_token else build.class_positions(self.model)
        tokens: Any = getattr(self.model, "num_tokens", None)
        static = (self.spec.batch_size, tokens) if self.recorded else None
        return rates, shuffle.attach(self.model, blocks, rates, self.draws, permutation=spec.permutation,
                                     window=spec.window, exempt=exempt, static=static)  # fmt: skip

    def _loader(self, split: str, make: Callable[[DataSpec, int], SampleTransform]) -> Loader:
        spec = self.recipe.data
        return Loader(self.dataset.splits[split], make(spec, self.dataset.size), self.around.device,
                      workers=self.around.workers, resident=self.around.resident, on_broken=spec.on_broken)  # fmt: skip

    def _prepared(self) -> nn.Module:
        """Return what is called in training: the model, checkpointed, compiled and shared by ranks as asked."""
        if self.around.grad_checkpointing:
            build.checkpoint_blocks(self.model)
        if self.spec.compile:
            build.compile_blocks(self.model)
        if self.world.size == 1:
            return self.model
        devices = [self.around.device.index] if self.around.device.type == "cuda" else None
        return DistributedDataParallel(self.model, device_ids=devices)

    def _save_if_asked(self) -> None:
        """Save between two steps where any rank is to stop, and then end, or where rank 0 finds that it is time."""
        due = self.world.writes and self._due(self.around.save_every_s)
        stop, save = self.world.counts((int(self.around.should_stop()), int(due)), self.around.device)
        if stop or save:
            self._count_time()
            self._note_broken()
            self._save()
            self.counted = time.monotonic()
        if stop:
            raise Interrupted

    def _due(self, every_s: float) -> bool:
        """Say whether to save: so seldom that saving takes a small share of the time, whatever the model's size."""
        return time.monotonic() - self.saved_at >= max(every_s, self.save_wait)

    def _save(self) -> None:
        """Write a checkpoint; where the disk refuses, the one before stands and the training goes on."""
        if not self.world.writes:
            return
        started = time.monotonic()
        self.progress.loss_sum = float(self.loss_sum)
        if not math.isfinite(self.progress.loss_sum):
            self._note_bad_step((self.progress.step - 1) // self.steps)
        try:
            self.around.shelf.save({
                "model": self.model.state_dict(),
                "ema": self.ema.module.state_dict() if self.ema else None,
                "optimizer": self.optimizer.state_dict(),
                "progress": asdict(self.progress),
                "epochs": self.progress.epochs_before + self.progress.step // self.steps,
                "data": self.dataset.fingerprint,
                "scan": self.scan,
            })  # fmt: skip
            self.save_wait = max(CHECKPOINT_MIN_S, (time.monotonic() - started) / CHECKPOINT_SHARE)
        except OSError as error:
            if self.around.shelf.lost():
                raise
            log.warning("no checkpoint could be written (%s); the training goes on, and tries again later", error)
            self.save_wait = CHECKPOINT_RETRY_S
        self.saved_at = time.monotonic()

    def _count_time(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self.counted
        self.counted = now


def peak_memory_mb(device: torch.device) -> float:
    """Return the device's peak in this run on a GPU, the process's largest resident size so far on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
