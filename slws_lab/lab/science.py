"""Questions to the science tower, asked in a process of its own: the lab never imports torch."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from slws_lab.errors import SlwsError, UserError
from slws_lab.lab.project import Project
from slws_lab.spec import Recipe, canonical, where_set
from slws_lab.tracking import provenance, read_json, write_json


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


def outside_state(recipe: Recipe, root: Path) -> str:
    """Return what tells whether the files that a recipe names have changed: its model files, and where its data lie.

    Of the data the folders' times down to the third level count, which move when a file comes or goes: not every file.
    """
    made = provenance.with_files({"modules": {}}, root, recipe.models)
    data = root / Path(os.path.expandvars(recipe.data.path or ".")).expanduser() if recipe.data.path else None
    places = [data, *sorted(data.glob("*")), *sorted(p for p in data.glob("*/*/") if p.is_dir())] if data else []
    times = [(str(place), place.stat().st_mtime_ns) for place in places if place.exists()]
    return repr((made["modules"], times))


def check(project: Project) -> dict[str, dict[str, Any]]:
    """Check the names that only the science tower knows, for all arms; the answer is kept per code and package versions.

    Returns:
        Arm id -> `{"params", "data_fingerprint"}`.

    Raises:
        UserError: A model, data set or argument that does not exist, with its place in the study or the recipe.
    """
    arms = {canonical(arm.recipe): arm for arm in project.design.arms}
    scan = project.study.spec.resources.scan
    outside = [outside_state(arm.recipe, project.study.root) for arm in project.design.arms]
    state = repr((sorted(provenance.packages().items()), provenance.numeric_files_digest(), scan, sorted(set(outside))))
    path = project.workspace.cache / f"check-{hashlib.sha256(state.encode()).hexdigest()[:12]}.json"
    known: dict[str, dict[str, Any]] = read_json(path) or {}
    new = {text: arm for text, arm in arms.items() if text not in known}
    if new:
        recipes = [arm.recipe.model_dump(mode="json") for arm in new.values()]
        answers = ask("training", {"recipes": recipes, "root": str(project.study.root), "scan": scan})
        for arm, answer in zip(new.values(), answers, strict=True):
            if "error" in answer:
                error = answer["error"]
                place = where_set(project.study, error["where"], arm.settings)
                raise UserError(error["given"], where=place, allowed=error["allowed"], todo=error["todo"])
        known |= dict(zip(new, answers, strict=True))
        write_json(path, known)
    return {arm.id: known[text] for text, arm in arms.items()}
