"""How arms are named for people: by what they change of the baseline, so that long designs stay readable; and typed so on a command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import make_project

from slws_lab.analysis import ResultTable
from slws_lab.errors import UserError
from slws_lab.lab.planning import find_runs
from slws_lab.lab.project import Project
from slws_lab.reports import wording

FACTORS = """factors:
  shuffle.schedule: [none, linear]
  shuffle.max_rate: {levels: [0.3], when: {shuffle.schedule: linear}}
  train.lr: [0.1, 0.2]
seeds: 3
"""
AROUND_TWO = FACTORS + """designs:
  - grid: [shuffle.schedule, train.lr]
  - {grid: [shuffle.schedule], set: {train.epochs: 2}}
"""  # fmt: skip
Plant = Callable[..., ResultTable]


def test_arms_around_several_references_are_named_by_what_they_change_of_the_first(plant: Plant) -> None:
    design = plant(AROUND_TWO, lambda settings, seed: None).design
    names = [wording.arm_names(design)[arm.id] for arm in design.arms]
    changed = ["lr=0.2", "schedule=linear, max_rate=0.3", "schedule=linear, max_rate=0.3, lr=0.2"]
    assert sorted(names) == sorted(["baseline", *changed, "epochs=2", "schedule=linear, max_rate=0.3, epochs=2"])
    rows = wording.row_names(design)
    first = design.arms[0]
    assert rows == wording.arm_names(design) | {first.id: "schedule=none, lr=0.1"}


def test_references_that_their_roles_tell_apart_are_called_by_these(plant: Plant) -> None:
    blocks = "designs:\n  - grid: [train.lr]\n  - leave_one_out: [shuffle.schedule, model.drop_path]\n"
    factors = FACTORS.replace("seeds: 3", "  model.drop_path: [0.0, 0.1]\nseeds: 3")
    design = plant(factors + blocks, lambda settings, seed: None).design
    assert sorted(wording.arm_names(design).values()) == [
        "all on",
        "baseline",
        "drop_path=0.1",
        "lr=0.2",
        "schedule=linear, max_rate=0.3",
    ]


def test_only_what_all_names_start_from_is_called_the_baseline(plant: Plant) -> None:
    factors = FACTORS.replace("seeds: 3", "  model.drop_path: [0.0, 0.1]\nseeds: 3")
    blocks = "designs:\n  - leave_one_out: [shuffle.schedule, model.drop_path]\n  - grid: [train.lr]\n"
    design = plant(factors + blocks, lambda settings, seed: None).design
    names = wording.arm_names(design)
    usual = next(arm for arm in design.arms if any(role.kind == "baseline" for role in arm.roles))
    assert names[design.arms[0].id] == "all on" and names[usual.id] == "schedule=none, drop_path=0.0"
    assert "baseline" not in names.values()


def test_an_arm_is_found_by_the_name_that_tables_give_it(tmp_path: Path) -> None:
    head = "name: s\nquestion: q\nrecipe: ../experiments/tiny.yaml\n"
    project = Project.open(str(make_project(tmp_path, head + AROUND_TWO).study))
    names = wording.arm_names(project.design)
    for arm in project.design.arms:
        for named in (names[arm.id], arm.label, arm.id):
            runs, by_arm = find_runs(project, named)
            assert by_arm and {run.arm.id for run in runs} == {arm.id}
    with pytest.raises(UserError, match=r"no run or arm(.|\n)*lr=0.2"):
        find_runs(project, "lr=0.3")
