"""Loading studies and recipes. Loading executes nothing and creates nothing."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from slws_lab.errors import UserError, nearest
from slws_lab.spec import paths, stages
from slws_lab.spec.command import CommandRecipe
from slws_lab.spec.command_checks import read_command
from slws_lab.spec.kinds import AnyRecipe
from slws_lab.spec.metric import Metric
from slws_lab.spec.recipe import Recipe
from slws_lab.spec.resources import Resources
from slws_lab.spec.source import Source, read, validate
from slws_lab.spec.study import StudySpec

KINDS = ("train", "command")


@dataclass(frozen=True)
class Study:
    """A study as loaded. Its recipe is not validated alone: the study may set what the recipe leaves out."""

    spec: StudySpec
    root: Path
    source: Source
    recipe: Source

    @cached_property
    def command(self) -> CommandRecipe | None:
        """The recipe, if it is a command's; None for a training.

        Raises:
            UserError: Any mistake in it, with its place.
        """
        return read_command(self.recipe) if _kind(self.recipe) == "command" else None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the recipe that the study may set, but for the arguments of a model."""
        return paths.fields() if self.command is None else tuple(self.command.fields)

    @property
    def allowed_fields(self) -> str:
        """The fields in words."""
        return ", ".join(self.fields) + ("" if self.command else ", model.args.<argument>")

    def has_field(self, name: str) -> bool:
        """Say whether a dotted name is a field of the recipe that the study may set."""
        return paths.exists(name) if self.command is None else name in self.command.fields


def find_root(start: Path) -> Path:
    """Return the nearest folder at or above `start` that holds pyproject.toml or .slws, else the current folder."""
    return _project_around(start) or Path.cwd()


def _project_around(start: Path) -> Path | None:
    """Return the nearest folder at or above `start` that holds pyproject.toml or .slws; None if there is none."""
    around = (start, *start.parents)
    return next((one for one in around if (one / "pyproject.toml").is_file() or (one / ".slws").is_dir()), None)


def study_argument(path: Path) -> str:
    """Return what STUDY on the command line may be for a study's file: its name if `find_study` finds it by that, else its path."""
    named = find_root(Path.cwd()) / "studies" / f"{path.stem}.yaml"
    return path.stem if path.resolve() == named.resolve() else str(path)


def find_study(name: str) -> Path:
    """Return the path that STUDY on the command line means: a path, or a name under studies/.

    Raises:
        UserError: There is no such file.
    """
    given = Path(name)
    if given.suffix in (".yaml", ".yml") or "/" in name:
        return given
    folder = find_root(Path.cwd()) / "studies"
    found = folder / f"{name}.yaml"
    if re.fullmatch(r"[\w.-]{1,100}", name) and found.is_file():
        return found
    names = sorted(p.stem for p in folder.glob("*.yaml"))
    todo = nearest(name, names) or "give the path of a study file"
    raise UserError(f"no study '{name}'", where=str(folder), allowed=", ".join(names), todo=todo)


def load_study(path: Path) -> Study:
    """Load a study and the recipe that it names.

    Raises:
        UserError: Any mistake in the file, with its place; or a recipe outside the root.
    """
    source = read(path)
    if "kind" in source.data and "designs" not in source.data:
        raise UserError("this is a recipe, not a study", where=str(path), todo=f"slws train {path}")
    spec = validate(StudySpec, source)
    root = find_root(path.resolve().parent)
    recipe_path = path.parent / spec.recipe
    if not recipe_path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"the recipe {spec.recipe!r} lies outside the project", where=source.where(("recipe",)),
                        allowed=f"a path within {root}", todo=_to_hold(path.resolve(), recipe_path.resolve()))  # fmt: skip
    if not recipe_path.is_file():
        near = nearest(recipe_path.name, [p.name for p in recipe_path.parent.glob("*.yaml")])
        raise UserError(f"no recipe {spec.recipe!r}", where=source.where(("recipe",)),
                        allowed="a path relative to the study file", todo=near)  # fmt: skip
    return Study(spec, root, source, read(recipe_path))


def _to_hold(study: Path, recipe: Path) -> str:
    """Say how a study that is in no project comes to be in one together with its recipe; nothing if it is in one."""
    if _project_around(study.parent) is not None:
        return ""
    both = os.path.commonpath([study.parent, recipe.parent])
    return f"put an empty pyproject.toml into the folder that holds both, {both}, or give the command there"


def load_any_recipe(path: Path) -> AnyRecipe:
    """Load and validate a recipe of whichever kind.

    Raises:
        UserError: Any mistake in the file, with its place.
    """
    source = read(path)
    return read_command(source) if _kind(source) == "command" else load_recipe(path)


def load_recipe(path: Path) -> Recipe:
    """Load and validate a training's recipe.

    A checkpoint that it starts from need not be there: its digest is filled in when runs are made.

    Raises:
        UserError: Any mistake in the file, with its place; or it is a command's.
    """
    source = read(path)
    if _kind(source) == "command":
        raise UserError("the recipe is a command's: what it reads and trains only the command knows",
                        where=source.where(("kind",)), allowed="a recipe of `kind: train` here")  # fmt: skip
    recipe = validate(Recipe, source)
    try:
        stages.resolve(recipe)
    except UserError as error:
        raise error.at(source.where_field(error.where)) from None
    return recipe


def study_of_recipe(path: Path, seed: int, resources: Resources | None = None) -> Study:
    """Make a study of one run out of a recipe, so that a single training is recorded and mirrored like any other.

    Args:
        path: The recipe.
        seed: The run's seed.
        resources: What the run may use; None for the defaults.

    Raises:
        UserError: Any mistake in the recipe, with its place.
    """
    recipe = read(path)
    if "designs" in recipe.data:
        raise UserError("this is a study, not a recipe", where=str(path), todo=f"slws run {path}")
    command = read_command(recipe) if _kind(recipe) == "command" else None
    if command is None:
        validate(Recipe, recipe)
    metric = Metric.of("val/top1" if command is None else next(iter(command.metrics.names)))
    name = "train-" + re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem)[:60]
    spec = StudySpec.model_validate({
        "name": name, "question": f"One training of {path.name}", "recipe": path.name, "metric": metric,
        "designs": [{"list": [{}]}], "seeds": [seed], "resources": resources or Resources(),
    })  # fmt: skip
    return Study(spec, find_root(path.resolve().parent), recipe, recipe)


def _kind(recipe: Source) -> str:
    """Return which kind of recipe a file holds; `train` where it does not say, which the recipe's validation refuses.

    Raises:
        UserError: There is no such kind.
    """
    kind = recipe.data.get("kind", "train")
    if kind not in KINDS:
        raise UserError(f"{kind!r} is not allowed here", where=recipe.where(("kind",)), allowed=" or ".join(map(repr, KINDS)),
                        todo=nearest(str(kind), KINDS))  # fmt: skip
    return str(kind)
