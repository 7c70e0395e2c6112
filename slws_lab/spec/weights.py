"""The digest of the checkpoint file that a recipe starts from, which stands for the file in the run's id."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from slws_lab.errors import UserError
from slws_lab.spec.recipe import Recipe


def fill_digest(recipe: Recipe, root: Path) -> Recipe:
    """Return the recipe with the digest of its `model.init_from`.

    Args:
        recipe: A recipe as read; without `init_from` it comes back as it is.
        root: The project's folder, to which the path is relative.

    Raises:
        UserError: There is no such file, or the digest that is given is not its own.
    """
    given = recipe.model.init_from
    if given is None:
        return recipe
    found = digest_of(root / Path(given.path).expanduser())
    if given.sha256 not in (None, found):
        raise UserError(f"the file '{given.path}' has another content than the recipe says (sha256 {found})",
                        where="model.init_from", todo="take the right file, or leave sha256 out")  # fmt: skip
    model = recipe.model.model_copy(update={"init_from": given.model_copy(update={"sha256": found})})
    return recipe.model_copy(update={"model": model})


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex.

    Raises:
        UserError: It cannot be read.
    """
    try:
        stat = path.stat()
        return _digest(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise UserError(f"cannot read the checkpoint '{path}': {error.strerror}", where="model.init_from",
                        todo="give a path relative to the project's folder") from None  # fmt: skip


@cache
def _digest(path: Path, size: int, modified: int) -> str:
    """Size and time are parts of the key, so that a file is read once and again when it has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
