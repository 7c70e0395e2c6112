"""The kinds of recipes and runs: a training by this package, or a command of the user's. All that tells them apart by their form."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from slws_lab.spec.command import CommandRecipe, CommandRun
from slws_lab.spec.recipe import Recipe, RunSpec

AnyRecipe = Recipe | CommandRecipe
AnyRun = RunSpec | CommandRun

RECIPES: TypeAdapter[AnyRecipe] = TypeAdapter(Annotated[AnyRecipe, Field(discriminator="kind")])
RUNS: TypeAdapter[AnyRun] = TypeAdapter(Annotated[AnyRun, Field(discriminator="kind")])


def parse_recipe(tree: Any) -> AnyRecipe:
    """Return the recipe that a plain tree holds, e.g. a record's.

    Raises:
        ValidationError: It holds none.
    """
    return RECIPES.validate_python(tree)


def parse_run(tree: Any) -> AnyRun:
    """Return the run that a plain tree holds. See `parse_recipe`."""
    return RUNS.validate_python(tree)


def run_of(recipe: AnyRecipe, seed: int) -> AnyRun:
    """Join a recipe and a seed."""
    return CommandRun.of(recipe, seed) if isinstance(recipe, CommandRecipe) else RunSpec.of(recipe, seed)
