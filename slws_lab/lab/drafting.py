"""Drafts of studies: a commented study file from a template, for a person to fill in."""

from __future__ import annotations

import json
import os
import re
from importlib import resources
from pathlib import Path
from string import Template
from textwrap import indent

from slws_lab.errors import UserError, nearest
from slws_lab.spec import AnyRecipe, Recipe, Study, expand, find_root, load_any_recipe, load_study, resolve_stages
from slws_lab.spec.search_checks import check_search
from slws_lab.tracking import write_text

RECIPE = "experiments/shufflemamba_micro_digits.yaml"  # in the root; where there is none, --recipe must name one
SMALLEST = """\
kind: train
model: {name: shufflemamba_micro}
data: {name: digits, val_fraction: 0.2}
train: {epochs: 10, batch_size: 64, lr: 8e-3, warmup_epochs: 1}
"""
TEMPLATES = ("probability", "schedules", "components", "sizes", "labels", "decay", "search")


def title(template: str) -> str:
    """Return what a template is for, in one line: its first comment."""
    return _text(template).partition("\n")[0].removeprefix("# ")


def draft(name: str, template: str | None, recipe: Path | None = None) -> Study:
    """Write `studies/NAME.yaml` in the root from a template, and return it as loaded.

    Args:
        name: Name of the study, and of its file without `.yaml`.
        template: One of `TEMPLATES`; None is refused with what each is for.
        recipe: Path of the recipe; None for the digits' (`RECIPE`) where the root has it.

    Raises:
        UserError: A name that is no plain file name, or taken; no such template; or a recipe that does not load, lies
            outside the root, or does not fit the template. Nothing is left behind.
    """
    if template not in TEMPLATES:
        raise UserError(f"no template '{template}'" if template else "a draft needs a template",
                        allowed="".join(f"\n    {one:12} {title(one)}" for one in TEMPLATES),
                        todo=nearest(template or "", TEMPLATES) or "choose one with --template")  # fmt: skip
    root = find_root(Path.cwd())
    path = _free(root, name)
    place = _place(root, recipe)
    relative = Path(os.path.relpath(place.resolve(), path.parent.resolve())).as_posix()
    values = {"name": json.dumps(name), "recipe": json.dumps(relative), "weights": _weights(load_any_recipe(place))}
    write_text(path, Template(_text(template)).substitute(values))
    try:
        study = load_study(path)
        if study.spec.search is None:
            expand(study)
        else:
            check_search(study)
    except UserError as error:
        path.unlink()
        raise UserError(f"template '{template}' does not fit this recipe: {error.given}", where=str(place),
                        allowed=error.allowed, todo=error.todo or "choose another recipe, or another template") from None  # fmt: skip
    return study


def _text(template: str) -> str:
    return resources.files("slws_lab.lab").joinpath("drafts", f"{template}.yaml").read_text(encoding="utf-8")


def _free(root: Path, name: str) -> Path:
    """Return the path of a study that is not there yet."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,79}", name, re.ASCII) or name.endswith((".yaml", ".yml")):
        raise UserError(f"'{name}' cannot name a study",
                        allowed="up to 80 letters, digits, and - _ . after the first; no folder, no .yaml")  # fmt: skip
    path = root / "studies" / f"{name}.yaml"
    if path.exists() or path.is_symlink():
        raise UserError(f"there is a study '{name}' already", where=str(path), todo="choose another name")
    return path


def _place(root: Path, recipe: Path | None) -> Path:
    """Return the path of the recipe, which must lie in the root."""
    if recipe is None and not (root / RECIPE).is_file():
        raise UserError(f"no {RECIPE} here, so there is no recipe to start from", where=str(root),
                        todo="name one: --recipe PATH; a whole one, to be saved in the project (as experiments/digits.yaml):\n"
                        + indent(SMALLEST.rstrip(), " " * 4))  # fmt: skip
    place = recipe or root / RECIPE
    if not place.resolve().is_relative_to(root.resolve()):
        raise UserError("the recipe lies outside the project", where=str(place), allowed=f"a path within {root}")
    return place


def _weights(recipe: AnyRecipe) -> str:
    """Return which weights the metric is of: the moving average where the recipe keeps one."""
    return "raw" if not isinstance(recipe, Recipe) or resolve_stages(recipe)[-1].train.ema_decay is None else "ema"
