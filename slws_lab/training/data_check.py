"""`python -m slws_lab.training.data_check` reads a recipe's data once, or fetches a set: a question and its answer are JSON.

The lab tower asks so, in a process of its own, since it never imports torch.
"""

from __future__ import annotations

from pathlib import Path

from slws_lab import data
from slws_lab.errors import SlwsError, UserError
from slws_lab.spec import Recipe
from slws_lab.training import build
from slws_lab.training.answering import Json, reply


def check(recipe: Recipe, root: Path, workers: int) -> Json:
    """Read every image of a recipe's data set and return what was found.

    Args:
        recipe: The recipe.
        root: The project's folder, to which `data.path` is relative.
        workers: Processes that read; 0 reads in this one.

    Returns:
        As `data.examine`.

    Raises:
        UserError: No such data set, or it is not as a data set must be.
    """
    try:
        return data.examine(build.request(recipe, root), workers)
    except UserError as error:
        raise build.of_data(error) from None


def download(name: str, folder: Path) -> Json:
    """Fetch a small data set into a folder.

    Raises:
        UserError: No such set.
        SlwsError: It cannot be fetched.
    """
    try:
        data.download(name, folder)
    except UserError as error:
        if error.__cause__ is None:
            raise
        raise SlwsError(str(error)) from error  # what the network does is no mistake of the user's
    return {"name": name, "folder": str(folder)}


def answer(question: Json) -> Json:
    """Answer a question of the lab's: `download` and `folder`, or `recipe`, `root` and `workers`."""
    if "download" in question:
        return download(question["download"], Path(question["folder"]))
    return check(Recipe.model_validate(question["recipe"]), Path(question["root"]), question["workers"])


if __name__ == "__main__":
    reply(answer)
