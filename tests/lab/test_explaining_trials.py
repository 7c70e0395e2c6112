"""`slws why` of a run that a search tried: which trial it is, and how that ended; a search that cannot be read is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import RECIPE, Folder, Here, make_project

from slws_lab.lab.explaining import why
from slws_lab.lab.project import Project
from slws_lab.search.book import Book

STUDY = """\
name: tiny
question: q
recipe: ../experiments/tiny.yaml
metric: {name: val/top1}
seeds: 1
search:
  space: {train.lr: {log: [1e-4, 1e-2]}}
  enqueue: [{train.lr: 1e-3}, {train.lr: 2e-3}]
  trials: 2
"""
AWAY = STUDY.replace("name: tiny", "name: away") + "  storage: $STORAGE_THAT_IS_AWAY\n"


def pruned(folder: Folder) -> str:
    """Draw both trials, prune the second one, and return its run, which is left without an end."""
    project = Project.open(str(folder.study))
    book = Book.of(project.study, project.workspace)
    book.begin()
    for value in (0.5, 0.1):
        trial = book.ask()
        assert trial is not None
        book.report(trial.number, {1: value, 2: value}, ask=False)
    book.prune(1)
    project = project.searched()
    arm = next(arm for arm in project.design.arms if arm.label == "trial 1")
    run = project.workspace.run(project.design.run_ids[arm.id, 0])
    run.create(arm.run(0))
    run.new_attempt()
    return run.run_id


def test_why_says_which_trial_a_run_was_and_how_it_ended(tmp_path: Path, run_here: Here) -> None:
    folder = make_project(tmp_path, study=STUDY)
    run_id = pruned(folder)
    assert "trial 1 of search 'tiny': pruned at 2\n" in run_here(folder, "why", run_id)
    told = json.loads(run_here(folder, "why", run_id, "--json"))
    assert told["trials"] == [{"search": "tiny", "trial": "1", "state": "pruned at 2"}]


def test_why_shows_values_as_a_recipe_writes_them(tmp_path: Path, run_here: Here) -> None:
    recipe = RECIPE.replace("depth: 2}", "depth: 2, gate: true}") + "models: [mine.py]\n"
    folder = make_project(tmp_path, study=STUDY, recipe=recipe)
    (folder.path / "mine.py").touch()
    shown = [line.split() for line in run_here(folder, "why", pruned(folder)).splitlines()]
    assert ["model.args.gate", "true"] in shown and ["models", "[mine.py]"] in shown


def test_a_search_that_cannot_be_read_is_named_and_hides_nothing(tmp_path: Path, run_here: Here) -> None:
    folder = make_project(tmp_path, study=STUDY)
    run_id = pruned(folder)
    (folder.path / "studies" / "away.yaml").write_text(AWAY)
    (folder.path / "studies" / "broken.yaml").write_text("search: [\n")
    said = run_here(folder, "why", run_id)
    assert "search 'away' cannot be looked at: the variable STORAGE_THAT_IS_AWAY is not set" in said
    assert "search 'broken' cannot be looked at:" in said and "trial 1 of search 'tiny': pruned at 2" in said


def test_without_a_search_that_has_begun_none_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_project(tmp_path)
    project = Project.open(str(folder.study))
    arm = project.design.arms[0]
    run_id = project.design.run_ids[arm.id, project.design.seeds[0]]
    project.workspace.run(run_id).create(arm.run(project.design.seeds[0]))
    (folder.path / "studies" / "search.yaml").write_text(STUDY)
    monkeypatch.setitem(sys.modules, "slws_lab.search.book", None)  # importing it would raise
    assert why(folder.path, project.workspace, run_id).tried == ()
