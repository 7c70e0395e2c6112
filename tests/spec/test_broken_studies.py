"""Broken studies of the richer language: each gets one message, with what was given and its place in the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import make_project

from slws_lab.errors import UserError
from slws_lab.spec import expand, load_study

HEAD = "name: s\nquestion: q\nrecipe: ../experiments/tiny.yaml\n"
SCHEDULE = "factors:\n  shuffle.schedule: [none, linear]\n"
GRID = "designs: [{grid: [shuffle.schedule]}]\n"
SEEDS = "seeds: 3\n"
LIST = "designs: [{list: [{}]}]\n" + SEEDS

# The text after the head (which has 3 lines), and what the message must say.
BROKEN: dict[str, tuple[str, list[str]]] = {
    "a circle of whens": (
        "factors:\n  train.lr: {levels: [1], when: {train.eps: 1}}\n  train.eps: {levels: [1], when: {train.lr: 1}}\n" + LIST,
        ["in a circle by `when`: train.", "->", "tiny.yaml:5:", ".when)"],
    ),
    "an empty factor": ("factors:\n  train.lr: []\n" + LIST, ["at least 1 item", "tiny.yaml:5:13 (factors.train.lr)"]),
    "a factor without levels": ("factors:\n  train.lr: {}\n" + LIST, ["by one of levels, linspace, logspace, range, linked, not by none"]),
    "a factor with two kinds of levels": (
        "factors:\n  train.lr: {levels: [1], range: [1, 2, 1]}\n" + LIST, ["not by levels and range", "tiny.yaml:5:13"],
    ),
    "a baseline that is no level": (
        SCHEDULE + "baseline: {shuffle.schedule: cosine}\n" + LIST, ["'cosine' is no level", "tiny.yaml:6:30 (baseline.shuffle.schedule)", "'none', 'linear'"],
    ),
    "a step without its reference": (
        "factors:\n  train.smoothing: [0, 0.1]\n  train.clip_grad: [null, 3.0]\n"
        "designs: [{build_up: [train.smoothing, train.clip_grad], exclude: [{train.smoothing: 0.1, train.clip_grad: null}]}]\n" + SEEDS,
        ["step 2: adds train.clip_grad has no reference", "left out", "tiny.yaml:7:11 (designs.0)"],
    ),
    "all on left out": (
        "factors:\n  train.smoothing: [0, 0.1]\ndesigns: [{leave_one_out: [train.smoothing]}]\nexclude: [{train.smoothing: 0.1}]\n" + SEEDS,
        ["`exclude` takes out the arm with all on", "tiny.yaml:7:10 (exclude)"],
    ),
    "a billion cells": (
        "factors:\n  train.epochs: {range: [1, 1000, 1]}\n  train.batch_size: {range: [1, 1000, 1]}\n  data.size: {range: [1, 1000, 1]}\n"
        "designs: [{grid: [train.epochs, train.batch_size, data.size]}]\nseeds: 1\n",
        ["1,000,000,000 runs", "at most 1,000,000", "(designs)"],
    ),
    "a billion levels": ("factors:\n  train.epochs: {range: [0, 1e9, 1]}\n" + LIST, ["1,000,000,001 levels", "tiny.yaml:5:17"]),
    "a billion pairs": (
        "factors:\n  train.epochs: {range: [1, 9000, 1]}\n  train.batch_size: {range: [1, 9000, 1]}\ndesigns: [{pairwise: [train.epochs, train.batch_size]}]\n" + SEEDS,
        ["243,000,000 runs"],
    ),
    "no seeds": (SCHEDULE + GRID + "seeds: 0\n", ["between 1 and 1000000", "tiny.yaml:7:8 (seeds)"]),
    "fewer first seeds than a verdict needs": (SCHEDULE + GRID + "seeds: {min: 0, max: 9}\n", ["greater than or equal to 3", "tiny.yaml:7:14 (seeds.min)"]),
    "seeds that end before they begin": (SCHEDULE + GRID + "seeds: {min: 5, max: 4}\n", ["min (5) must be below max (4)", "(seeds)"]),
    "a block of more seeds than the study has": (
        SCHEDULE + "designs:\n  - grid: [shuffle.schedule]\n    seeds: 4\n" + SEEDS,
        ["the block asks for 4 seeds, and the study has 3", "tiny.yaml:8:12 (designs.0.seeds)"],
    ),
    "a block of no seeds": (
        SCHEDULE + "designs:\n  - grid: [shuffle.schedule]\n    seeds: 0\n" + SEEDS, ["greater than or equal to 1", "tiny.yaml:8:12"],
    ),
    "a block whose seeds are true": (
        SCHEDULE + "designs:\n  - grid: [shuffle.schedule]\n    seeds: true\n" + SEEDS, ["one number n, for the first n of the study's seeds", "tiny.yaml:8:12"],
    ),
    "a block with a list of seeds": (
        SCHEDULE + "designs:\n  - grid: [shuffle.schedule]\n    seeds: [0, 1]\n" + SEEDS, ["one number n, for the first n of the study's seeds", "tiny.yaml:8:12"],
    ),
    "a block's seeds beside seeds as needed": (
        SCHEDULE + "designs:\n  - grid: [shuffle.schedule]\n    seeds: 3\nseeds: {min: 3, max: 5}\n",
        ["goes with a number or a list of seeds, not with seeds as needed", "tiny.yaml:8:12 (designs.0.seeds)"],
    ),
    "a block's seeds beside a search": (
        "search: {space: {train.lr: {float: [0.1, 1.0]}}, trials: 2}\ndesigns:\n  - list: [{}]\n    seeds: 2\n" + SEEDS,
        ["there is no `designs:` beside it", "(designs)"],
    ),
    "seeds until something else": (SCHEDULE + GRID + "seeds: {min: 3, max: 4, until: tired}\n", ["'tired'", "(seeds.until)"]),
    "an unknown metric": (SCHEDULE + GRID + SEEDS + "metric: {name: val/f1}\n", ["'val/f1' is not allowed", "tiny.yaml:8:16 (metric.name)"]),
    "an unknown correction": (SCHEDULE + GRID + SEEDS + "comparisons: {correction: tukey}\n", ["'tukey'", "'holm' or 'bh'", "(comparisons.correction)"]),
    "a budget of nothing": (SCHEDULE + GRID + SEEDS + "budget: {device_hours: 0}\n", ["greater than 0", "(budget.device_hours)"]),
    "a component without off": (
        "factors:\n  train.lr: [0.1, 0.2]\ndesigns: [{leave_one_out: [train.lr]}]\n" + SEEDS,
        ["factor 'train.lr' has no level that means off", "tiny.yaml:6:28 (designs.0.leave_one_out.0)", "add `off:`"],
    ),
    "a component with two levels of off": (
        "factors:\n  train.clip_grad: [null, 0, 1]\ndesigns: [{build_up: [train.clip_grad]}]\n" + SEEDS, ["2 levels that mean off", "(designs.0.build_up.0)"],
    ),
    "an off that is no level": (
        "factors:\n  train.lr: {levels: [0.1, 0.2], off: 0.3}\n" + LIST, ["0.3 is no level of factor 'train.lr'", "tiny.yaml:5:39 (factors.train.lr.off)"],
    ),
    "a component that changes nothing": (
        "factors:\n  shuffle.max_rate: [0.0, 0.5]\n  shuffle.schedule: [none, linear]\nset: {train.epochs: 2}\n"
        "baseline: {shuffle.schedule: none}\ndesigns: [{build_up: [shuffle.max_rate]}]\n" + SEEDS,
        ["switching 'shuffle.max_rate' changes nothing", "tiny.yaml:9:22 (designs.0.build_up)"],
    ),
    "a step that is off by its when": (
        SCHEDULE + "  shuffle.max_rate: {levels: [0, 0.5], when: {shuffle.schedule: linear}}\n"
        "designs: [{build_up: [shuffle.max_rate, shuffle.schedule]}]\n" + SEEDS,
        ["`build_up` varies 'shuffle.max_rate', which is off by its `when` in step 1"],
    ),
    "zip of unequal lengths": (
        "factors:\n  train.lr: [1, 2]\n  train.eps: [1, 2, 3]\ndesigns: [{zip: [train.lr, train.eps]}]\n" + SEEDS,
        ["2 of train.lr, 3 of train.eps", "tiny.yaml:7:17 (designs.0.zip)"],
    ),
    "zip of unequal lists": ("designs: [{zip: {train.lr: [1, 2], train.eps: [1]}}]\n" + SEEDS, ["2 of train.lr, 1 of train.eps", "(designs.0.zip)"]),
    "zip of an unknown field": ("designs: [{zip: {train.lrr: [1]}}]\n" + SEEDS, ["'train.lrr' is no field", "did you mean 'train.lr'?", "tiny.yaml:4:18"]),
    "zip of text": ("designs: [{zip: train.lr}]\n" + SEEDS, ["zip is a list of factors, or a mapping", "(designs.0.zip)"]),
    "linked lists of unequal lengths": (
        "factors:\n  both: {linked: {train.lr: [1, 2], train.eps: [1]}}\n" + LIST, ["2 of train.lr, 1 of train.eps", "tiny.yaml:5:9 (factors.both)"],
    ),
    "a linked field that is none": ("factors:\n  both: {linked: {train.lrr: [1]}}\n" + LIST, ["'train.lrr' is no field", "tiny.yaml:5:19 (factors.both.linked.train.lrr)"]),
    "a sub-tree with an unknown field": (
        "factors:\n  aug: [{name: strong, set: {data.augment.mixupp: 1}}]\n" + LIST,
        ["'data.augment.mixupp' is no field", "tiny.yaml:5:30 (factors.aug.0.set.data.augment.mixupp)", "did you mean 'data.augment.mixup'?"],
    ),
    "a sub-tree with an unknown key": ("factors:\n  aug: [{nam: strong}]\n" + LIST, ["unknown key 'nam'", "tiny.yaml:5:10", "did you mean 'name'?"]),
    "a sub-tree with a value that does not fit": (
        "factors:\n  aug: [{name: strong, set: {data.augment.flip: 3}}]\ndesigns: [{grid: [aug]}]\n" + SEEDS, ["less than or equal to 1", "set.data.augment.flip)"],
    ),
    "a sub-tree under a field's name": ("factors:\n  train.lr: [{name: a}]\n" + LIST, ["'train.lr' is a field", "needs another name", "tiny.yaml:5:3"]),
    "a sub-tree called seed": ("factors:\n  seed: [{name: a}]\n" + LIST, ["'seed' has a meaning of its own"]),
    "a word without sub-trees": ("factors:\n  augmentation: [1, 2]\n" + LIST, ["'augmentation' is no field of a recipe"]),
    "a name given twice": ("factors:\n  aug: [{name: a}, {name: a}]\n" + LIST, ["level 'a' is given twice", "(factors.aug)"]),
    "names beside values": ("factors:\n  train.lr: [0.1, {name: a}]\n" + LIST, ["levels are values, or all of them"]),
    "a level that a sub-tree has not": (
        "factors:\n  aug: [{name: a}, {name: b}]\ndesigns: [{list: [{aug: c}]}]\n" + SEEDS, ["'c' is no level of factor 'aug'", "(designs.0.list.0.aug)"],
    ),
    "two factors for one field": (
        "factors:\n  aug: [{name: a, set: {train.lr: 0.1}}]\n  train.lr: [0.2]\n" + LIST, ["factors 'aug' and 'train.lr' both set train.lr", "tiny.yaml:6:3"],
    ),
    "a mapping where a value belongs": ("set: {train.lr: {a: 1}}\n" + LIST, ["a value here is a number, text", "tiny.yaml:4:17 (set.train.lr)"]),
    "a level that is nested": ("factors:\n  train.betas: [[0.9, [1]]]\n" + LIST, ["a value here is a number, text", "tiny.yaml:5:17 (factors.train.betas.0)"]),
    "a range that leads nowhere": ("factors:\n  train.lr: {range: [1, 2, -1]}\n" + LIST, ["steps of -1 do not lead from 1 to 2"]),
    "a range of two numbers": ("factors:\n  train.lr: {linspace: [1, 2]}\n" + LIST, ["at least 3 items", "tiny.yaml:5:24 (factors.train.lr.linspace)"]),
    "a logspace from 0": ("factors:\n  train.lr: {logspace: [0, 1, 3]}\n" + LIST, ["both ends must be above 0"]),
    "a linspace of one": ("factors:\n  train.lr: {linspace: [0, 1, 1]}\n" + LIST, ["at least 2"]),
    "a control without a schedule": (
        "factors:\n  train.lr: [0.1, 0.2]\nset: {shuffle.schedule: none}\ndesigns: [{grid: [train.lr], control: equal_mean_constant}]\n" + SEEDS,
        ["`control` has nothing to control", "tiny.yaml:7:39 (designs.0.control)"],
    ),
    "an unknown control": (SCHEDULE + "designs: [{grid: [shuffle.schedule], control: placebo}]\n" + SEEDS, ["'placebo'", "'equal_mean_constant'"]),
    "a block that sets what it varies": (
        SCHEDULE + "designs: [{grid: [shuffle.schedule], set: {shuffle.schedule: linear}}]\n" + SEEDS, ["both varies and sets 'shuffle.schedule'", "tiny.yaml:6:44"],
    ),
    "a block's when on an unknown level": (
        SCHEDULE + "designs: [{grid: [shuffle.schedule], when: {shuffle.schedule: cosine}}]\n" + SEEDS, ["'cosine' is no level", "(designs.0.when.shuffle.schedule)"],
    ),
    "a block's exclude of an unknown factor": (
        SCHEDULE + "designs: [{grid: [shuffle.schedule], exclude: [{train.lr: 1}]}]\n" + SEEDS, ["'train.lr' is no factor", "(designs.0.exclude.0.train.lr)"],
    ),
    "a block of two designs": (SCHEDULE + "designs: [{grid: [shuffle.schedule], zip: [shuffle.schedule]}]\n" + SEEDS, ["unknown key 'zip'", "tiny.yaml:6:38"]),
    "pairs of one": (SCHEDULE + "designs: [{pairwise: [shuffle.schedule]}]\n" + SEEDS, ["at least 2 items", "(designs.0.pairwise)"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_study_gets_one_message_with_its_place(name: str, tmp_path: Path) -> None:
    text, expected = BROKEN[name]
    project = make_project(tmp_path, study=HEAD + text)
    with pytest.raises(UserError) as refused:
        expand(load_study(project.study))
    message = str(refused.value)
    assert [part for part in expected if part not in message] == [], message
    assert f"where:   {project.study}:" in message


def test_a_recipe_outside_of_where_a_study_in_no_project_is_loaded_is_told_how_both_come_into_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_project(tmp_path / "mine")
    (folder.path / "pyproject.toml").unlink()
    monkeypatch.chdir(folder.study.parent)
    with pytest.raises(UserError) as refused:
        load_study(Path("tiny.yaml"))
    assert refused.value.todo == (
        f"put an empty pyproject.toml into the folder that holds both, {folder.path}, or give the command there"
    )
    monkeypatch.chdir(folder.path)
    assert load_study(folder.study).root == folder.path
    (folder.study.parent / "pyproject.toml").touch()
    with pytest.raises(UserError, match="outside the project") as refused:
        load_study(folder.study)
    assert refused.value.todo == "", "it is in a project, whose other files may be where they should"
