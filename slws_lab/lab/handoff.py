"""From a search to an ablation: the study file between its baseline and a setting that it found, ready to run."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slws_lab.errors import UserError
from slws_lab.lab.ordering import steps_in_order
from slws_lab.lab.project import open_workspace
from slws_lab.search.trial import Trial, best
from slws_lab.spec import SearchSpec, Study, expand, find_study, load_study
from slws_lab.spec.ablation import Origin, ablation_yaml
from slws_lab.spec.metric import Metric
from slws_lab.spec.objectives import AnyObjective, Score, goal_of
from slws_lab.tracking import write_text

SUFFIX = "-ablation"


@dataclass(frozen=True)
class Wanted:
    """What is to be taken apart, and where it is written.

    Attributes:
        name: Name of the study, and of its file without `.yaml`; None for `<search>-ablation`.
        trial: Number of the trial; None for the best.
        seeds: How many fresh seeds.
        out: Folder of the file; None for the search's own.
    """

    name: str | None = None
    trial: int | None = None
    seeds: int = 5
    out: Path | None = None


def from_search(name: str, wanted: Wanted, workspace: Path | None = None) -> tuple[Study, Trial]:
    """Write the ablation between a search's baseline and one of its trials, and return it as loaded, with the trial.

    Args:
        name: The search, by path or name.
        wanted: Which trial, and where to.
        workspace: Where the search is kept; None for the default.

    Raises:
        UserError: It is no search, has nothing to take apart, or the file is there already. Nothing is left behind.
    """
    from slws_lab.search.book import Book  # Optuna takes long to load

    study = load_study(find_study(name))
    _search(study)
    return write_ablation(study, Book.of(study, open_workspace(study.root, workspace)).trials(), wanted)


def write_ablation(study: Study, trials: Sequence[Trial], wanted: Wanted) -> tuple[Study, Trial]:
    """Write the ablation of one of a search's trials, and return it as loaded, with the trial.

    Args:
        study: A study with `search:`, as loaded.
        trials: All its trials.
        wanted: Which trial, and where to.

    Raises:
        UserError: As `from_search`.
    """
    path = _free(study, wanted)
    trial = _chosen(study, trials, wanted.trial)
    order, by = steps_in_order(study, trials, trial)
    own = path.parent.resolve() == study.source.path.parent.resolve()
    recipe = study.spec.recipe if own else os.path.relpath(study.recipe.path.resolve(), path.parent.resolve())
    values = {
        _word(objective, study.spec.metric): value
        for objective, value in zip(_search(study).objectives, trial.values, strict=True)
    }
    origin = Origin(path.stem, trial.number, trial.settings, values, sum(one.eligible for one in trials), order, by,
                    Path(recipe).as_posix(), _word_in_file(study.root, path))  # fmt: skip
    write_text(path, ablation_yaml(study, origin, wanted.seeds))
    try:
        made = load_study(path)
        expand(made)
    except UserError as error:
        path.unlink()
        raise UserError(f"no ablation of trial {trial.number}: {error.given}", where=error.where, allowed=error.allowed,
                        todo=error.todo or "name another trial with --trial") from None  # fmt: skip
    return made, trial


def _word_in_file(root: Path, path: Path) -> str:
    """Return a study as commands in a file of its project name it, wherever they are given: its name under studies/, else its path."""
    place = path.resolve()
    if place.parent == (root / "studies").resolve():
        return path.stem
    return place.relative_to(root.resolve()).as_posix()


def _search(study: Study) -> SearchSpec:
    if study.spec.search is None:
        raise UserError(f"study '{study.spec.name}' is no search", where=str(study.source.path), allowed="a study with `search:`",
                        todo="`slws study new` drafts a study without one")  # fmt: skip
    return study.spec.search


def _free(study: Study, wanted: Wanted) -> Path:
    """Return the path of a file that is not there yet."""
    name = wanted.name or study.spec.name + SUFFIX
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,79}", name, re.ASCII) or name.endswith((".yaml", ".yml")):
        raise UserError(f"'{name}' cannot name a study", todo="give a name: slws study from-search SEARCH NAME",
                        allowed="up to 80 letters, digits, and - _ . after the first; no folder, no .yaml")  # fmt: skip
    folder = wanted.out or study.source.path.parent
    if not folder.resolve().is_relative_to(study.root.resolve()):
        raise UserError(
            "a study lies in the project of its recipe", where=str(folder), allowed=f"a folder within {study.root}"
        )
    path = folder / f"{name}.yaml"
    if path.exists() or path.is_symlink():
        raise UserError(f"there is a study '{name}' already", where=str(path),
                        todo=f"choose another name: slws study from-search {study.spec.name} NAME")  # fmt: skip
    return path


def _chosen(study: Study, trials: Sequence[Trial], number: int | None) -> Trial:
    """Return the trial to take apart: the one with this number, else the best."""
    search, complete = _search(study), {trial.number: trial for trial in trials if trial.state == "complete"}
    if not complete:
        raise UserError(f"the search '{study.spec.name}' has no completed trial yet", where=str(study.source.path),
                        todo=f"slws run {study.spec.name}")  # fmt: skip
    if number is None:
        if len(search.objectives) > 1:
            raise UserError("of several objectives nobody says which trial is best", where=study.source.where(("search", "objectives")),
                            allowed=_numbers(list(complete)), todo="name one with --trial")  # fmt: skip
        found = best(trials, goal_of(search.objectives[0], study.spec.metric))
        if not found:
            raise UserError("no completed trial keeps to all constraints", where=study.source.where(("search", "constraints")),
                            allowed=_numbers(list(complete)), todo="name one with --trial")  # fmt: skip
        return found[0]
    if number not in complete:
        states = {trial.number: trial.state for trial in trials}
        what = f"it is {states[number]}" if number in states else "there is none of that number"
        raise UserError(
            f"trial {number} cannot be taken apart: {what}", where="--trial", allowed=_numbers(list(complete))
        )
    return complete[number]


def _numbers(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:20]))
    return f"a completed trial: {shown}" + (", ..." if len(numbers) > 20 else "")


def _word(objective: AnyObjective, metric: Metric) -> str:
    return (objective.of or metric).key if isinstance(objective, Score) else objective.name
