"""Broken studies and recipes: one message each, with place and way out; exit code 2, no traceback, nothing created."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import RECIPE, STUDY, Folder, Slws, make_project

BROKEN_STUDIES: dict[str, tuple[str, str, list[str]]] = {
    # name: (text replaced in the study, replacement, what the message must say)
    "typo in a key": ("question:", "qestion:", ["unknown key 'qestion'", "tiny.yaml:2:1", "did you mean 'question'?"]),
    "typo in a nested key": ("weights: raw", "wieghts: raw", ["unknown key 'wieghts'", "tiny.yaml:9:26", "weights"]),
    "missing key": ("seeds: 3\n", "", ["`seeds` is missing", "add `seeds:`"]),
    "wrong type": ("seeds: 3", "seeds: three", ["'three'", "tiny.yaml:8:8 (seeds)"]),
    "number as text": ("margin: 1.0", 'margin: "1.0"', ["'1.0'", "valid number", "(comparisons.margin)"]),
    "true as number": ("margin: 1.0", "margin: true", ["True", "(comparisons.margin)"]),
    "no seeds": ("seeds: 3", "seeds: 0", ["between 1 and 1000000", "(seeds)"]),
    "seeds as needed, too few": ("seeds: 3", "seeds: {min: 2, max: 5}", ["greater than or equal to 3", "tiny.yaml:8:14"]),
    "seeds as needed with another correction": (
        "seeds: 3\nmetric: {name: val/top1, weights: raw}\ncomparisons: {margin: 1.0}",
        "seeds: {min: 3, max: 5}\ncomparisons: {correction: bh}", ["Holm's correction, not with bh", "tiny.yaml:9:27", "number of seeds"]),
    "a budget of nothing": ("seeds: 3", "seeds: 3\nbudget: {device_hours: 0}", ["greater than 0", "(budget.device_hours)"]),
    "negative seed": ("seeds: 3", "seeds: [0, -1]", ["greater than or equal to 0", "(seeds.1)"]),
    "seed twice": ("seeds: 3", "seeds: [1, 1]", ["a seed is given twice"]),
    "unknown level": ("[none, linear]", "[none, lineal]", ["'lineal' is not allowed", "5:28", "did you mean 'linear'?"]),
    "level twice": ("[none, linear]", "[none, none]", ["'none' is given twice"]),
    "empty factor": ("[none, linear]", "[]", ["at least 1 item", "(factors.shuffle.schedule)"]),
    "factor that is no field": ("  shuffle.schedule:", "  shuffle.shedule:", ["no field of a recipe", "did you mean 'shuffle.schedule'?"]),
    "seed as factor": ("  shuffle.schedule: [none, linear]", "  seed: [1, 2]", ["'seed' is no field", "`seeds:`"]),
    "duplicate key": ("seeds: 3", "seeds: 3\nseeds: 4", ['duplicate key "seeds"', "tiny.yaml:9:1"]),
    "not a number": ("margin: 1.0", "margin: .nan", ["nan is not a finite number", "(comparisons.margin)"]),
    "infinite": ("margin: 1.0", "margin: .inf", ["inf is not a finite number"]),
    "unknown design": ("- grid:", "- gird:", ["one of: `grid: [...]`", "(designs.0)"]),
    "design of an unknown factor": ("- grid: [shuffle.schedule]", "- grid: [shuffle.max_rate]", ["no factor of this study", "(designs.0.grid.0)"]),
    "when on an unknown factor": (
        "[none, linear]", "{levels: [none, linear], when: {train.lr: [1]}}", ["'train.lr' is no factor", "when.train.lr)"],
    ),
    "when on an unknown level": (
        "designs:", "  shuffle.max_rate: {levels: [0.1], when: {shuffle.schedule: cosine}}\ndesigns:", ["'cosine' is no level of factor"],
    ),
    "circle of whens": (
        "shuffle.schedule: [none, linear]\n",
        "shuffle.schedule: {levels: [none, linear], when: {train.lr: 1}}\n  train.lr: {levels: [1], when: {shuffle.schedule: none}}\n",
        ["in a circle", "->"],
    ),
    "baseline that is no level": ("seeds: 3", "seeds: 3\nbaseline: {shuffle.schedule: cosine}", ["'cosine' is no level", "'none', 'linear'"]),
    "exclude of the baseline": ("seeds: 3", "seeds: 3\nexclude: [{shuffle.schedule: none}]", ["takes out the baseline"]),
    "name that escapes": ("name: tiny", "name: ../../etc", ["'../../etc'", "(name)"]),
    "recipe that escapes": ("../experiments/tiny.yaml", "../../../../../../etc/passwd", ["outside the project", "(recipe)"]),
    "absent recipe": ("../experiments/tiny.yaml", "../experiments/tinny.yaml", ["no recipe", "did you mean 'tiny.yaml'?"]),
    "unknown metric": ("val/top1", "val/top2", ["'val/top2' is not allowed", "'val/top1'"]),
    "metric of the test split": ("val/top1", "test/top1", ["'test/top1' is not allowed"]),
    "goal against the metric": ("weights: raw}", "goal: minimize}", ["goes with goal: maximize"]),
    "moving average that is not there": (
        "weights: raw}",
        "weights: ema}\nset: {train.ema_decay: null}", ["there is none", "(metric.weights)"]),
    "python object": ("seeds: 3", "seeds: !!python/object/apply:os.system ['true']", ["tag", "is not allowed here", "tiny.yaml:8:8"]),
    "broken YAML": ("seeds: 3", "seeds: [3", ["tiny.yaml:"]),
    "alias of itself": ("seeds: 3", "seeds: &a [*a]", ["alias *a", "tiny.yaml:8:12"]),
    "nested deeply": ("seeds: 3", "seeds: " + "[" * 40 + "]" * 40, ["nested more than 20 deep"]),
    "a billion runs": (
        "shuffle.schedule: [none, linear]\ndesigns:\n  - grid: [shuffle.schedule]\nseeds: 3",
        f"train.epochs: {list(range(1, 1001))}\n  train.batch_size: {list(range(1, 1001))}\ndesigns:\n"
        "  - grid: [train.epochs, train.batch_size]\nseeds: 1000",
        ["1,000,000,000 runs", "at most 1,000,000"],
    ),
    "unknown reference": ("seeds: 3", "seeds: 3\nreport: {references: [slvs]}", ["slvs", "did you mean 'slws'?", "(report.references"]),
    "list that varies what is off": (
        "designs:\n  - grid: [shuffle.schedule]",
        "  shuffle.max_rate: {levels: [0.1], when: {shuffle.schedule: linear}}\ndesigns:\n  - list: [{shuffle.max_rate: 0.1}]",
        ["is off by its `when`", "(factors.shuffle.max_rate.when)"],
    ),
    "one at a time of what is off": (
        "designs:\n  - grid: [shuffle.schedule]",
        "  shuffle.max_rate: {levels: [0.1], when: {shuffle.schedule: linear}}\ndesigns:\n  - one_at_a_time: [shuffle.max_rate]",
        ["is off by its `when`"],
    ),
    "search": ("seeds: 3", "seeds: 3\nsearch: {trials: 3}", ["(search)"]),
}  # fmt: skip

BROKEN_RECIPES: dict[str, tuple[str, str, list[str]]] = {
    "typo in a key": ("epochs: 2", "epoch: 2", ["unknown key 'epoch'", "experiments/tiny.yaml:5:9 (train.epoch)", "did you mean 'epochs'?"]),
    "no kind": ("kind: train\n", "", ["`kind` is missing"]),
    "unknown kind": ("kind: train", "kind: tarin", ["'tarin' is not allowed", "'train'"]),
    "wrong type": ("epochs: 2", "epochs: 2.5", ["2.5", "(train.epochs)"]),
    "out of range": ("max_rate: 0.5", "max_rate: 1.5", ["1.5", "less than or equal to 1", "(shuffle.max_rate)"]),
    "parameter of another schedule": ("max_rate: 0.5", "max_rate: 0.5, k: 2", ["belongs to schedule last_k"]),
    "warm-up longer than the training": ("epochs: 2", "epochs: 2, warmup_epochs: 2", ["warmup_epochs (2) must be below epochs (2)"]),
    "model name that escapes": ("name: shufflemamba_micro", "name: ../../x", ["'../../x'", "(model.name)"]),
    "schedule without a rate": ("schedule: linear, max_rate: 0.5", "schedule: linear", ["schedule linear needs `max_rate`"]),
    "a date": ("smoothing: 0.1", "smoothing: 2026-01-01", ["quote it"]),
    "a list at the top": (RECIPE, "- kind: train\n", ["mapping"]),
}  # fmt: skip


def refuse(slws: Slws, project: Folder, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must be refused; return its message."""
    before = project.listing()
    code = slws(*arguments, cwd=project.path)
    printed = capsys.readouterr()
    assert code == 2, printed.err
    assert printed.out == ""
    assert printed.err.startswith("slws: ")
    assert printed.err.count("slws: ") == 1
    assert "Traceback" not in printed.err
    assert project.listing() == before
    return printed.err


@pytest.mark.parametrize("name", BROKEN_STUDIES)
def test_broken_study(name: str, tmp_path: Path, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, expected = BROKEN_STUDIES[name]
    assert old in STUDY
    project = make_project(tmp_path, study=STUDY.replace(old, new, 1))
    message = refuse(slws, project, capsys, "run", project.study)
    assert [part for part in expected if part not in message] == [], message


@pytest.mark.parametrize("name", BROKEN_RECIPES)
def test_broken_recipe(name: str, tmp_path: Path, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, expected = BROKEN_RECIPES[name]
    assert old in RECIPE
    project = make_project(tmp_path, recipe=RECIPE.replace(old, new, 1))
    for command in (["run", project.study], ["train", project.recipe]):
        message = refuse(slws, project, capsys, *command)
        assert [part for part in expected if part not in message] == [], message


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "empty"), (b"\x00\xff\xfe\x9c" * 50, "not a text file"), (b"\x01\x02", "YAML"), (b"7", "mapping")],
)
def test_files_that_are_no_yaml(
    content: bytes, expected: str, project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    project.study.write_bytes(content)
    assert expected in refuse(slws, project, capsys, "run", project.study)


@pytest.mark.parametrize("name", ["studies/tinny.yaml", "tinny", "../../../etc/passwd", "studies", "x" * 300])
def test_studies_that_are_not_there(name: str, project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    refuse(slws, project, capsys, "run", name)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("shufflemamba_micro,", "shufflemamba_mikro,", ["no model 'shufflemamba_mikro'", "(model.name)", "did you mean 'shufflemamba_micro'?"]),
        ("name: digits", "name: digit", ["'digit'", "did you mean 'digits'?", "(data.name)"]),
        ("{embed_dim: 16, depth: 2}", "{embed_dims: 16}", ["cannot be built", "embed_dims", "(model.args.embed_dims)"]),
    ],
)  # fmt: skip
def test_names_that_only_the_science_tower_knows(
    old: str, new: str, expected: list[str], tmp_path: Path, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in RECIPE
    project = make_project(tmp_path, recipe=RECIPE.replace(old, new, 1))
    message = refuse(slws, project, capsys, "run", project.study)
    assert [part for part in expected if part not in message] == [], message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--only", "shuffle.schedul=none"], "did you mean 'shuffle.schedule'?"),
        (["--only", "shuffle.schedule=lineal"], "did you mean 'linear'?"),
        (["--only", "seed"], "NAME=LEVEL"),
        (["--only", "seed=0", "--only", "seed=1"], "given twice"),
        (["--workspace", "pyproject.toml"], "not a folder"),
        (["--out", "pyproject.toml"], "not a folder"),
        (["--launcher", "slrum"], "no launcher 'slrum'"),
    ],
)
def test_options_that_fit_nothing(
    arguments: list[str], expected: str, project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refuse(slws, project, capsys, "run", project.study, *arguments)
