"""Data sets: reading one through to see whether it is sound, and fetching a small one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slws_lab.errors import SlwsError, UserError
from slws_lab.lab.science import ask
from slws_lab.spec import Recipe, find_root, load_recipe, resolve_stages, study_of_recipe

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
        path: Its file.
        root: The project's folder.
    """

    recipe: Recipe
    path: Path
    root: Path

    @classmethod
    def open(cls, path: Path) -> RecipeFile:
        """Load a recipe. A checkpoint that it starts from need not be there.

        Raises:
            UserError: Any mistake in it, with its place.
        """
        root = study_of_recipe(path, seed=0).root
        return cls(resolve_stages(load_recipe(path))[-1], path, root)

    def where(self, field: str) -> str:
        """Say where a field of the recipe stands."""
        return study_of_recipe(self.path, seed=0).recipe.where_field(field)


def check_data(recipe: Path, workers: int = 0) -> DataCheck:
    """Read every image of a recipe's data set once, and look for broken and repeated ones.

    Args:
        recipe: Path of the recipe.
        workers: Processes that read; 0 reads in one.

    Raises:
        UserError: A mistake in the recipe, or the data are not as data must be.
    """
    file = RecipeFile.open(recipe)
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
