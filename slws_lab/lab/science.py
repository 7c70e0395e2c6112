"""Questions to the science tower, asked in a process of its own: the lab never imports torch."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slws_lab.command import prepare
from slws_lab.errors import SlwsError, UserError
from slws_lab.lab.project import Project
from slws_lab.spec import AnyRecipe, Arm, CommandRecipe, Recipe, where_set
from slws_lab.tracking import provenance, read_json, write_json

Asked = Callable[[Any], Any]


class ScienceError(SlwsError):
    """The science tower cannot answer: torch is missing or broken; the message holds the end of what it said."""


def ask(module: str, question: Any = None) -> Any:
    """Run `python -m slws_lab.<module>` with JSON on its standard input and return the JSON that it answers.

    `-P` keeps the current folder off the path: a checkout of another version there must not answer.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", f"slws_lab.{module}"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        ended = f"killed by signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise ScienceError(f"slws_lab.{module} failed ({ended}):\n" + "\n".join(done.stderr.strip().splitlines()[-5:]))
    return json.loads(done.stdout)


def outside_state(recipe: AnyRecipe, root: Path) -> str:
    """Return what tells whether the files that a recipe names have changed: its model files or a command's, and where its data lie.

    Of the data the folders' times down to the third level count, which move when a file comes or goes: not every file.
    """
    if isinstance(recipe, CommandRecipe):
        return repr(provenance.with_files({"modules": {}}, root, prepare.named_files(recipe, root))["modules"])
    made = provenance.with_files({"modules": {}}, root, recipe.models)
    data = root / Path(os.path.expandvars(recipe.data.path or ".")).expanduser() if recipe.data.path else None
    places = [data, *sorted(data.glob("*")), *sorted(p for p in data.glob("*/*/") if p.is_dir())] if data else []
    times = [(str(place), place.stat().st_mtime_ns) for place in places if place.exists()]
    return repr((made["modules"], times))


def check(project: Project, asked: Asked | None = None) -> dict[str, dict[str, Any]]:
    """Check the names that only the science tower knows, for all arms; the answer is kept per code and package versions.

    Of a command only the system knows any names: its program, its folder, the variables that it reads.

    Args:
        project: The study.
        asked: Asked first, if there is anything that is not known; None, and an answer of None, for a process of its own.

    Returns:
        Arm id -> `{"params", "data_fingerprint"}`, both None where nobody knows.

    Raises:
        UserError: A model, data set, argument or program that does not exist, with its place in the study or the recipe.
    """
    if project.study.command is not None:
        return _check_command(project, project.study.command)
    arms = {arm.canonical: arm for arm, _ in _trainings(project)}
    scan = project.study.spec.resources.scan
    outside = [outside_state(recipe, project.study.root) for _, recipe in _trainings(project)]
    state = repr((sorted(provenance.packages().items()), provenance.numeric_files_digest(), scan, sorted(set(outside))))
    path = project.workspace.cache / f"check-{hashlib.sha256(state.encode()).hexdigest()[:12]}.json"
    known: dict[str, dict[str, Any]] = read_json(path) or {}
    new = {text: arm for text, arm in arms.items() if text not in known}
    if new:
        recipes = [arm.recipe.model_dump(mode="json") for arm in new.values()]
        question = {"recipes": recipes, "root": str(project.study.root), "scan": scan}
        foreign = any(
            recipe["models"] for recipe in recipes
        )  # what a user's file does to a process must reach no other recipe's run
        answers = (asked(question) if asked and not foreign else None) or ask("training", question)
        alike = 1 < len(answers) == len(arms) and all(answer == answers[0] for answer in answers)
        for arm, answer in zip(new.values(), answers, strict=True):
            if "error" in answer:
                error = answer["error"]
                place = where_set(project.study, error["where"], arm.settings, alike=alike)
                raise UserError(error["given"], where=place, allowed=error["allowed"], todo=error["todo"])
        known |= dict(zip(new, answers, strict=True))
        project.workspace.make()
        write_json(path, known)
    return {arm.id: known[text] for text, arm in arms.items()}


def _trainings(project: Project) -> list[tuple[Arm, Recipe]]:
    return [(arm, arm.recipe) for arm in project.design.arms if isinstance(arm.recipe, Recipe)]


def _check_command(project: Project, recipe: CommandRecipe) -> dict[str, dict[str, Any]]:
    try:
        prepare.check(recipe, project.study.root)
    except UserError as error:
        raise error.at(project.study.recipe.where_field(error.where)) from None
    return {arm.id: {"params": None, "data_fingerprint": None} for arm in project.design.arms}
