"""Data sets: reading one through to see whether it is sound, and fetching a small one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slws_lab.errors import SlwsError, UserError
from slws_lab.lab.project import Project
from slws_lab.lab.science import ask
from slws_lab.spec import Recipe, Study, find_root, load_recipe, resolve_stages, study_of_recipe
from slws_lab.spec.source import read

LEAKS = {"train", "test"}


@dataclass(frozen=True)
class DataCheck:
    """What is in a recipe's data set.

    Attributes:
        found: As `training.data_check.check` returns it.
        broken: Images that cannot be read, in all splits.
        leaked: Images of test that stand in train too.
    """

    found: dict[str, Any]
    broken: int
    leaked: int

    @property
    def sound(self) -> bool:
        """Whether every image can be read, and none of test is in train."""
        return not (self.broken or self.leaked)


@dataclass(frozen=True)
class RecipeFile:
    """A recipe as the last of its stages trains it, and how to say where a field of it stands.

    Attributes:
        recipe: The last stage, a recipe without stages.
        study: The study that it is of, or that one training of it would be.
    """

    recipe: Recipe
    study: Study

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.study.root

    @classmethod
    def open(cls, path: Path) -> RecipeFile:
        """Load a recipe. A checkpoint that it starts from need not be there.

        Raises:
            UserError: Any mistake in it, with its place.
        """
        study = study_of_recipe(path, seed=0)
        return cls(resolve_stages(load_recipe(path))[-1], study)

    @classmethod
    def of_study(cls, name: str) -> RecipeFile:
        """Return the recipe of a study's baseline.

        Args:
            name: Path of the study, or its name under studies/.

        Raises:
            UserError: Any mistake in it, with its place; or it runs a command, whose data nobody knows.
        """
        project = Project.open(name)
        arms = project.design.arms
        recipe = next((arm for arm in arms if any(role.kind == "baseline" for role in arm.roles)), arms[0]).recipe
        if not isinstance(recipe, Recipe):
            raise UserError("the study runs a command, which reads its data by itself", where=name)
        return cls(resolve_stages(recipe)[-1], project.study)

    def where(self, field: str) -> str:
        """Say where a field of the recipe stands."""
        return self.study.recipe.where_field(field)


def check_data(source: str, workers: int = 0) -> DataCheck:
    """Read every image of a data set once, and look for broken and repeated ones.

    Args:
        source: Path of a recipe; or of a study, or its name under studies/, whose baseline's data are read.
        workers: Processes that read; 0 reads in one.

    Raises:
        UserError: A mistake in the recipe or study, or the data are not as data must be.
    """
    path = Path(source)
    alone = path.is_file() and "recipe" not in read(path).data
    file = RecipeFile.open(path) if alone else RecipeFile.of_study(source)
    question = {"recipe": file.recipe.model_dump(mode="json"), "root": str(file.root), "workers": workers}
    found = answer_of("training.data_check", question, file)
    broken = sum(len(split["broken"]) for split in found["splits"].values())
    leaked = sum(pair["images"] for pair in found["shared"] if set(pair["splits"]) == LEAKS)
    return DataCheck(found, broken, leaked)


def download(name: str, folder: Path | None = None) -> Path:
    """Fetch a small data set and return the folder in which it is.

    Args:
        name: cifar10, cifar100 or fashion_mnist.
        folder: Where it goes; None means `data` in the project's folder.

    Raises:
        UserError: No such set.
        SlwsError: It cannot be fetched.
    """
    place = folder_at(folder or find_root(Path.cwd()) / "data")
    answer_of("training.data_check", {"download": name, "folder": str(place)})
    return place


def folder_at(path: Path) -> Path:
    """Return an absolute path that is a folder, or may become one.

    Raises:
        UserError: It, or something above it, is a file; or no folder can have that name.
    """
    absolute = path.absolute()
    try:
        files = [part for part in (absolute, *absolute.parents) if part.exists() and not part.is_dir()]
    except (OSError, ValueError) as error:
        raise UserError(f"no folder can have this name: {error}", todo="name another") from None
    if files:
        raise UserError("this is a file, not a folder", where=str(files[0]), todo="name a folder")
    return absolute


def answer_of(module: str, question: dict[str, Any], recipe: RecipeFile | None = None) -> dict[str, Any]:
    """Ask the science tower, and raise what stood in the way of an answer.

    Args:
        module: The module to ask, e.g. `training.evaluation`.
        question: What it understands.
        recipe: Where the recipe in the question stands; None if it is none that a person wrote.

    Raises:
        UserError: A mistake of the user's, with its place in the recipe where it has one.
        SlwsError: It cannot be done here.
    """
    answer: dict[str, Any] = ask(module, question)
    if "failed" in answer:
        raise SlwsError(answer["failed"])
    if "error" in answer:
        error = UserError(**answer["error"])
        in_recipe = error.where.split(".")[0] in Recipe.model_fields
        raise error.at(recipe.where(error.where)) if recipe and in_recipe else error
    return answer
