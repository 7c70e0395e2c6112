"""Evaluating a run, or a file of weights, on a split of a data set: the one verb that looks at test."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from slws_lab.errors import UserError, nearest
from slws_lab.lab.data_checking import RecipeFile, answer_of
from slws_lab.lab.explaining import Explanation, why
from slws_lab.lab.project import here
from slws_lab.spec import CommandRun, DataSpec, Recipe, resolve_stages
from slws_lab.tracking import FINAL, write_json, write_text

SPLITS = ("test", "val")
WEIGHTS = ("both", "ema", "last")
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")


@dataclass(frozen=True)
class Options:
    """How an evaluation is made.

    Attributes:
        split: `test` or `val`.
        data: `NAME` or `NAME:PATH` in place of the recipe's data set; None is the recipe's.
        resolution: Pixels of the square images; None is the recipe's.
        crop: Side of the centre crop as a share of the resized image's; None is the recipe's.
        weights: `last`, `ema`, or `both` where there are both.
        threads: Threads on the CPU; None is what the run had, 1 for a file.
        gpus: 0 or 1; None takes a GPU where there is one.
        batch_size: Images a batch.
        workers: Processes that read images; 0 reads in one.
    """

    split: str = "test"
    data: str | None = None
    resolution: int | None = None
    crop: float | None = None
    weights: str = "both"
    threads: int | None = None
    gpus: int | None = None
    batch_size: int = 256
    workers: int = 0


def evaluate_run(
    name: str, options: Options, workspace: Path | None = None, root: Path | None = None
) -> dict[str, Any]:
    """Evaluate the weights of the attempt of a run that counts.

    Args:
        name: The run's id, or the start of it.
        options: How.
        workspace: Folder of run folders; None takes the default one.
        root: The project's folder, to which paths in recipes are relative; None looks for it from the current one.

    Returns:
        As `training.evaluation.evaluate_weights`, and `run_id` and `attempt`.

    Raises:
        UserError: No such run, it has no weights, or they do not fit what is asked.
    """
    own, place = here(workspace)
    root = root or own
    _check(options)
    if _is_file(Path(name)) or name.endswith(SUFFIXES):
        raise UserError(
            f"'{name}' is a file, which does not say what its weights belong to",
            todo=f"slws eval {name} --recipe RECIPE",
        )
    run = why(root, place, name)
    if isinstance(run.run, CommandRun):
        raise UserError(f"'{name}' is a run of a command, and what it left as weights only the command can read",
                        allowed="a run of a recipe of `kind: train`")  # fmt: skip
    recipe, result = resolve_stages(run.run)[-1], run.record.result
    # as the run was trained, so that the figures of its val split come out again to the last digit
    made = {
        "files": [str(path) for path in _weights(run)], "threads": options.threads or result["threads"], "compiled": recipe.train.compile,
        "scan": {"cpu" if result["device"] == "cpu" else "cuda": result.get("scan_backend") or "auto"},
    }  # fmt: skip
    found = answer_of("training.evaluation", _question(recipe, root, options) | made)
    notes = [*found["notes"], *run.stale]
    if options.data is None and result.get("data_fingerprint") != found["data_fingerprint"]:
        notes.append(f"the data were {result.get('data_fingerprint')} in training, are {found['data_fingerprint']}")
    return found | {"run_id": run.record.run_id, "attempt": run.record.attempt, "notes": notes}


def evaluate_file(checkpoint: Path, recipe: Path, options: Options) -> dict[str, Any]:
    """Evaluate a file of weights, ours or an official one.

    Args:
        checkpoint: The file.
        recipe: Path of the recipe that says which model and data; its last stage counts.
        options: How.

    Returns:
        As `training.evaluation.evaluate_weights`, and `checkpoint` and `recipe`.

    Raises:
        UserError: A mistake in the recipe, no weights in the file, or they do not fit what is asked.
    """
    _check(options)
    file = RecipeFile.open(recipe)
    if not _is_file(checkpoint):
        raise UserError("no such file of weights", where=str(checkpoint), todo="a run is named without --recipe")
    made = {"files": [str(checkpoint.absolute())], "threads": options.threads or 1, "compiled": False, "scan": {}}
    found = answer_of("training.evaluation", _question(file.recipe, file.root, options) | made, file)
    return found | {"checkpoint": str(checkpoint), "recipe": str(recipe)}


def write_evaluation(found: dict[str, Any], folder: Path) -> list[Path]:
    """Write evaluation.json, per_class.csv and confusion.csv (a row a true class, a column an output) and return their paths."""
    paths = [folder / name for name in ("evaluation.json", "per_class.csv", "confusion.csv")]
    per_class = [{"weights": kind, **row} for kind, one in found["weights"].items() for row in one["per_class"]]
    confusion = [
        [kind, name, *row]
        for kind in found["weights"]
        for name, row in zip(found["outputs"], confusion_matrix(found, kind), strict=False)
    ]
    write_json(paths[0], found)
    write_text(paths[1], _csv(list(per_class[0]), [list(row.values()) for row in per_class]))
    write_text(paths[2], _csv(["weights", "class", *found["outputs"]], confusion))
    return paths


def confusion_matrix(found: dict[str, Any], kind: str) -> list[list[int]]:
    """Return samples by true class (rows) and output (columns), of an evaluation's `last` or `ema` weights."""
    rows = [[0] * len(found["outputs"]) for _ in range(found["classes"])]
    for true, output, count in found["weights"][kind]["confusion"]:
        rows[true][output] = count
    return rows


def _check(options: Options) -> None:
    for name, allowed in (("split", SPLITS), ("weights", WEIGHTS)):
        given = getattr(options, name)
        if given not in allowed:
            raise UserError(f"--{name} {given}", allowed=", ".join(allowed), todo=nearest(given, allowed))
    if options.crop is not None and not 0 < options.crop <= 1:
        raise UserError(f"--crop {options.crop}", allowed="a share above 0, at most 1")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _weights(run: Explanation) -> list[Path]:
    """Return the files of weights of the attempt that counts."""
    record = run.record
    if record.status not in FINAL:
        raise UserError(f"{record.run_id} has no result: it is {record.status}" + (f" ({record.cause})" if record.cause else ""),
                        todo="run its study first, or name another run")  # fmt: skip
    attempt = next(attempt for attempt in run.attempts if attempt.number == record.attempt)
    paths = [attempt.checkpoint / f"{name}.safetensors" for name in ("last", "ema")]
    there = [path for path in paths if path.is_file()]
    if paths[0] not in there:
        raise UserError(f"the weights of {record.run_id} are gone", where=str(attempt.checkpoint),
                        todo="`slws clean --weights` removes them; `slws rerun STUDY RUN --replace` makes them again")  # fmt: skip
    return there


def _question(recipe: Recipe, root: Path, options: Options) -> dict[str, Any]:
    """Return what is asked of the science tower, but for the weights."""
    data = recipe.data
    if options.crop is not None:
        data = data.model_copy(update={"eval_crop": options.crop})
    spec = recipe.model_copy(update={"data": data}).model_dump(mode="json", include=set(Recipe.model_fields))
    asked = {name: value for name, value in asdict(options).items() if name not in ("crop", "data", "threads")}
    return asked | {"recipe": spec, "root": str(root), "data": _data(data, options.data)}


def _data(own: DataSpec, given: str | None) -> dict[str, Any] | None:
    """Return the data set that `--data` names, in all else as the recipe's own."""
    if given is None:
        return None
    name, _, path = given.partition(":")
    absolute = str(Path.cwd() / Path(os.path.expandvars(path)).expanduser()) if path else None
    fields = own.model_dump(mode="json") | {"name": name, "path": absolute}
    try:
        return DataSpec.model_validate(fields).model_dump(mode="json")
    except ValidationError as error:
        raise UserError(f"--data {given}: {error.errors()[0]['msg']}",
                        allowed="NAME or NAME:PATH, e.g. image_folder:/data/imagenet") from None  # fmt: skip


def _csv(header: list[str], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
