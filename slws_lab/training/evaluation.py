"""`python -m slws_lab.training.evaluation` evaluates weights on a split, test too: a question and its answer are JSON.

The lab tower asks so, in a process of its own, since it never imports torch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slws_lab import models
from slws_lab.data import DataSet, Loader, Split, normalize
from slws_lab.errors import SlwsError, UserError
from slws_lab.spec import DataSpec, Recipe
from slws_lab.training import build
from slws_lab.training.answering import Json, reply
from slws_lab.training.evaluate import BATCH
from slws_lab.training.numerics import Numerics, set_deterministic
from slws_lab.training.randomness import seed_globals
from slws_lab.training.scores import Predictions, summary

OWN = ("size", "channels", "mean", "std")  # what a recipe may leave to its data set

PARTS: tuple[Literal["model"], Literal["ema"]] = ("model", "ema")

Kind = Literal["last", "ema"]


@dataclass(frozen=True)
class Question:
    """What is evaluated, and on what.

    Attributes:
        recipe: Says model and data; without stages.
        root: The project's folder, to which paths in the recipe are relative.
        files: Files that hold weights.
        weights: Which of the weights in them: `last`, `ema`, or `both` where there are both.
        split: `val` or `test`.
        data: A data set in the place of the recipe's; None for the recipe's own.
        resolution: Pixels of the square images; None for those of the recipe.
        gpus: 0 or 1; None takes a GPU where there is one.
        threads: Intra-op threads on the CPU.
        workers: Processes that read images; 0 reads in this one.
        batch_size: Images a batch.
        scan: Name of the selective-scan back-end by type of device; `auto` for a type that is not in it.
        compiled: Whether the last weights run in compiled blocks, as they did in the training's own evaluations.
    """

    recipe: Recipe
    root: Path
    files: tuple[Path, ...]
    weights: str = "both"
    split: str = "test"
    data: DataSpec | None = None
    resolution: int | None = None
    gpus: int | None = None
    threads: int = 1
    workers: int = 0
    batch_size: int = BATCH
    scan: dict[str, str] = field(default_factory=dict)
    compiled: bool = False


def evaluate_weights(question: Question) -> Json:
    """Evaluate each of the weights that are asked for.

    Returns:
        What was evaluated where, and `weights`: by `last` and `ema` what `summary` returns and `source`, `resized`. Numbers that are
        not finite are None.

    Raises:
        UserError: Something that is asked for is not there, or does not fit.
        SlwsError: No image can be read, or the GPU's memory is too small.
    """
    device = _device(question.gpus)
    torch.set_num_threads(question.threads)
    set_deterministic()
    recipe = question.recipe
    dataset, notes = _dataset(question)
    split = _split(dataset, question.split)
    loader = Loader(split, build.eval_transform(recipe.data, dataset.size), device, workers=question.workers,
                    on_broken=recipe.data.on_broken)  # fmt: skip
    found = {}
    for kind, (weights, source) in _weights(question).items():
        model = _model(question, build.Shape.of(dataset), device)
        resized = _load(model, weights, source)
        if question.compiled and kind == "last":
            build.compile_blocks(model)
        numerics = Numerics(device, recipe.train.precision, dataset.mean, dataset.std)
        said = predict(model.to(device).eval(), loader, numerics, question.batch_size)
        names = [*dataset.class_names, *(f"output {i}" for i in range(dataset.num_classes, said.outputs))]
        found[kind] = {"source": source, "resized": resized} | summary(said, dataset.class_names)
    loader.close()
    return {
        "model": recipe.model.name, "params": sum(p.numel() for p in model.parameters()),
        "scan_backend": getattr(model, "scan_backend", ""), "precision": recipe.train.precision,
        "data": dataset.name, "data_fingerprint": dataset.fingerprint, "split": question.split, "samples": len(split),
        "classes": dataset.num_classes, "outputs": names, "size": dataset.size, "eval_crop": recipe.data.eval_crop,
        "broken": loader.broken, "notes": notes, "threads": question.threads, "batch_size": question.batch_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu", "weights": found,
    }  # fmt: skip


@torch.inference_mode()
def predict(model: nn.Module, samples: Loader, numerics: Numerics, batch_size: int) -> Predictions:
    """Run a model over every readable sample once, in their order.

    Args:
        model: In eval mode, on the numerics' device.
        samples: The split's samples, for that device.
        numerics: Normalisation and precision.
        batch_size: Images a batch.

    Raises:
        UserError: The model does not take these images, or has fewer outputs than there are classes.
        SlwsError: No image can be read, or the GPU's memory is too small.
    """
    order = torch.arange(len(samples))
    parts: list[tuple[Tensor, ...]] = []
    loss = torch.zeros((), dtype=torch.float64)
    seconds, outputs = 0.0, 0
    for batch in samples.batches(order, order.split(batch_size), 0):
        if not len(batch.labels):
            continue
        if not parts:
            outputs = _warm_up(model, batch.images, numerics)
            if outputs <= (largest := int(samples.split.labels.max())):
                raise UserError(
                    f"the model has {outputs} outputs, and the classes go up to number {largest}", where="model.args"
                )
        started = _now(numerics.device)
        logits = _logits(model, batch.images, numerics)
        seconds += _now(numerics.device) - started
        loss += F.cross_entropy(logits, batch.labels, reduction="sum").double().cpu()
        top = logits.topk(min(5, outputs), dim=1).indices
        confidence = logits.double().softmax(dim=1).amax(dim=1)
        parts.append((batch.labels, top[:, 0], (top == batch.labels[:, None]).any(dim=1), confidence))
    if not parts:
        raise SlwsError("no image of this split can be read\n  to do:   `slws data check RECIPE` names them")
    labels, predicted, in_top5, confidence = [torch.cat(part).cpu() for part in zip(*parts, strict=True)]
    count = len(labels)
    return Predictions(labels.numpy(), predicted.numpy(), in_top5.numpy(), confidence.numpy(), float(loss) / count,
                       count / seconds, outputs)  # fmt: skip


def answer(raw: Json) -> Json:
    """Answer a question of the lab's: the fields of `Question` as JSON has them."""
    typed = {
        "recipe": Recipe.model_validate(raw["recipe"]),
        "root": Path(raw["root"]),
        "files": tuple(map(Path, raw["files"])),
        "data": DataSpec.model_validate(raw["data"]) if raw["data"] else None,
    }
    return evaluate_weights(Question(**{**raw, **typed}))


def _device(gpus: int | None) -> torch.device:
    if gpus and not torch.cuda.is_available():
        raise UserError(
            "torch finds no GPU on this machine", where="--gpus", allowed="0", todo="`slws doctor` says more"
        )
    return torch.device("cuda" if gpus != 0 and torch.cuda.is_available() else "cpu")


def _dataset(question: Question) -> tuple[DataSet, list[str]]:
    """Return the data set, and what the reader must know of it."""
    recipe, other = question.recipe, question.data
    if other is None:
        return build.build_data(_sized(recipe, question.resolution), question.root), []
    notes: list[str] = []
    trained: DataSet | None = None
    try:
        trained = build.build_data(recipe, question.root)
        # A model sees other images as it saw its own: as large, and normalised alike.
        other = other.model_copy(update={name: getattr(trained, name) for name in OWN})
    except UserError as error:
        left = [f"data.{name}" for name in OWN if getattr(recipe.data, name) is None]
        if left and other.name != recipe.data.name:
            raise UserError(f"the recipe leaves {', '.join(left)} to its data set '{recipe.data.name}', which is not here: {error.given}",
                            where=error.where, todo="set them in the recipe, or bring the data set here") from None  # fmt: skip
        notes.append(f"class names are not compared, since the recipe's own data set is not here: {error.given}")
    in_place = recipe.model_copy(update={"data": other})
    try:
        dataset = build.build_data(_sized(in_place, question.resolution), question.root)
    except UserError as error:
        raise error.at("--data") from None
    if trained is not None and trained.class_names != dataset.class_names:
        raise _other_classes(trained, dataset)
    return dataset, notes


def _other_classes(trained: DataSet, dataset: DataSet) -> UserError:
    def some(names: tuple[str, ...]) -> str:
        return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")

    return UserError(
        f"{dataset.name} has {dataset.num_classes} classes ({some(dataset.class_names)}) that are not those of the recipe's data set",
        where="--data", allowed=f"the {trained.num_classes} classes of {trained.name} in their order: {some(trained.class_names)}",
        todo="if only the names differ: give the weights' file, and as --recipe a copy of the recipe with this data set",
    )  # fmt: skip


def _sized(recipe: Recipe, resolution: int | None) -> Recipe:
    if resolution is None:
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"size": resolution})})


def _split(dataset: DataSet, name: str) -> Split:
    split = dataset.splits[name]
    if not len(split):
        raise UserError(f"data set {dataset.name} has no {name} split", where="--split", allowed="val",
                        todo="`--split val`; or a recipe with `data: {val: cut}`, for which a given val is the test split")  # fmt: skip
    return split


def _model(question: Question, shape: build.Shape, device: torch.device) -> nn.Module:
    """Return the model with weights of its own, all of which are to be replaced."""
    recipe, size = question.recipe, question.resolution
    if size is not None and "img_size" in recipe.model.args:
        args = recipe.model.args | {"img_size": size}
        recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"args": args})})
    scan = build.resolve_scan(question.scan.get(device.type, "auto"), device)
    seed_globals(0, "init")
    try:
        model = build.build_model(recipe, shape, scan, question.root)
    except UserError as error:
        raise (error if size is None or error.where != "model.args" else error.at("--resolution")) from None
    if size is not None:
        _check_patches(model, size)
    return model


def _check_patches(model: nn.Module, size: int) -> None:
    """Refuse a resolution whose last pixels no patch would see."""
    patches = getattr(getattr(model, "patch_embed", None), "proj", None)
    if isinstance(patches, nn.Conv2d) and (size - patches.kernel_size[0]) % patches.stride[0]:
        patch, step = patches.kernel_size[0], patches.stride[0]
        below = patch + (size - patch) // step * step
        raise UserError(f"images of {size} px are no whole number of patches ({patch} px, one every {step})", where="--resolution",
                        todo=f"take {below} or {below + step}")  # fmt: skip


def _weights(question: Question) -> dict[Kind, tuple[dict[str, Tensor], str]]:
    """Return the weights that are asked for, and where they were."""
    found: dict[Kind, tuple[dict[str, Tensor], str]] = {}
    for path in question.files:
        for prefer in PARTS:
            weights, part = models.read_weights(path, prefer)
            kind: Kind = "ema" if "ema" in part or (not part and path.stem == "ema") else "last"
            found.setdefault(kind, (weights, f"{part} of {path}" if part else str(path)))
            if not part:  # the file is nothing but one set of weights
                break
    chosen = {kind: one for kind, one in found.items() if question.weights in (kind, "both")}
    if not chosen:
        raise UserError(f"there are no `{question.weights}` weights, only `{', '.join(found)}`", where=str(question.files[0]),
                        todo="leave --weights out")  # fmt: skip
    return chosen


def _load(model: nn.Module, weights: dict[str, Tensor], source: str) -> list[str]:
    """Load weights, all or none, and say which were resized."""
    try:
        report = models.load_weights(model, weights)
    except UserError as error:
        raise error.at(source) from None
    if not report.complete:
        lines = report.text().splitlines()[1 + len(report.resized) :]
        raise UserError(f"the weights do not fit the model: {'; '.join(lines)}", where=source,
                        todo="take the recipe that they were trained with, and a data set with its classes")  # fmt: skip
    return list(report.resized)


def _warm_up(model: nn.Module, images: Tensor, numerics: Numerics) -> int:
    """Run a first batch, which is slower than the others, and return the number of outputs."""
    try:
        return _logits(model, images, numerics).shape[1]
    except torch.OutOfMemoryError:
        raise SlwsError(
            f"a batch of {len(images)} images needs more memory than the GPU has\n  to do:   a smaller --batch-size"
        ) from None
    except Exception as error:  # whatever a model does with images that it cannot take
        first = str(error).strip().split("\n", 1)[0]
        raise UserError(
            f"the model does not take images of {images.shape[-1]} px: {first}", where="model.args"
        ) from error


def _logits(model: nn.Module, images: Tensor, numerics: Numerics) -> Tensor:
    with numerics.autocast():
        return model(normalize(images, numerics.mean, numerics.std)).float()


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    reply(answer)
