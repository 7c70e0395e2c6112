"""Recipes of `kind: command`: what a mistake in them or in their studies says, what their ids hash, and what studies make of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, make_project
from jsonschema import Draft202012Validator

from slws_lab.errors import UserError
from slws_lab.spec import (
    CommandRecipe,
    CommandRun,
    Design,
    canonical,
    digest,
    expand,
    json_schema,
    load_any_recipe,
    load_recipe,
    load_study,
    parse_run,
    run_id,
    study_of_recipe,
    total_epochs,
)  # fmt: skip
from slws_lab.spec.shape import shape
from slws_lab.spec.source import read

RECIPE = """\
kind: command
name: vim
command: python main.py --model {model.name} {shuffle.max_rate:--ssr} {amp:--amp} --epochs {train.epochs} --seed {seed} --output_dir {run.dir}
fields:
  model.name: {type: str, value: vim_tiny, choices: [vim_tiny, vim_small]}
  shuffle.schedule: {type: str, value: none}
  shuffle.max_rate: {type: float, value: null, min: 0, max: 1}
  train.epochs: {type: int, value: 300, min: 1, shape: false}
  amp: {type: bool, value: false}
metrics: {file: log.txt, step: epoch, counts_from: 0, names: {val/top1: test_acc1, val/loss: test_loss}}
epochs: train.epochs
"""
STUDY = """\
name: tiny
question: q
recipe: ../experiments/tiny.yaml
factors:
  shuffle.schedule: [none, linear]
  shuffle.max_rate: {levels: [0.1, 0.5], when: {shuffle.schedule: linear}}
designs: [{grid: [shuffle.schedule, shuffle.max_rate]}]
seeds: 2
"""
# name: (what is replaced in the recipe, by what, the whole message without its folder)
RECIPE_MISTAKES = {
    "a misspelt placeholder": ("{model.name} {shuffle", "{model.nmae} {shuffle", [
        "'{model.nmae}' stands for nothing", "where:   tiny.yaml:3:10 (command)",
        "allowed: {model.name}, {shuffle.schedule}, {shuffle.max_rate}, {train.epochs}, {amp}, {seed}, {run.dir}, {run.id}, {threads}, "
        "{ranks}, {device}, {python}", "to do:   did you mean 'model.name'?"]),
    "a brace without its partner": ("{seed}", "{seed", [
        "'{seed' has a brace without its partner; one that is meant as such is doubled", "where:   tiny.yaml:3:10 (command)"]),
    "a format": ("{seed}", "{seed:d}", [
        "'{seed:d}' is no placeholder: one is {name} or {name:--option}", "where:   tiny.yaml:3:10 (command)"]),
    "an open quote": ("python main.py", "python 'main.py", [
        "\"python 'main.py --model {model.name} {shuffle.max_rate:--ssr} {amp:--amp} --epochs {train.epochs} --seed {seed} --output_dir {run.dir}\": cannot be "
        "split into arguments: no closing quotation", "where:   tiny.yaml:3:10 (command)"]),
    "a list with a bare placeholder": ("command: python main.py --model {model.name} {shuffle.max_rate:--ssr} {amp:--amp} --epochs {train.epochs} --seed {seed} "
                                       "--output_dir {run.dir}", "command: [python, {seed}]", [
        "an argument is text, and {seed} is none: put it into quotes", "where:   tiny.yaml:3:10 (command)"]),
    "a null that stands bare": ("{shuffle.max_rate:--ssr}", "--ssr={shuffle.max_rate}", [
        "'shuffle.max_rate' is null, and the command holds {shuffle.max_rate}, which needs a value",
        "where:   tiny.yaml:7:42 (fields.shuffle.max_rate.value)",
        "to do:   give it a value, or write {shuffle.max_rate:--option}, which is left out then"]),
    "a value of another type": ("value: 300", "value: 300.5", [
        "300.5 is no value of 'train.epochs'", "where:   tiny.yaml:8:36 (fields.train.epochs.value)", "allowed: a whole number at least 1"]),
    "a value outside its choices": ("value: vim_tiny", "value: vim_tyni", [
        "'vim_tyni' is no value of 'model.name'", "where:   tiny.yaml:5:34 (fields.model.name.value)", "allowed: vim_tiny, vim_small",
        "to do:   did you mean 'vim_tiny'?"]),
    "an unknown type": ("type: bool", "type: boolean", [
        "'boolean' is not allowed here", "where:   tiny.yaml:9:15 (fields.amp.type)", "allowed: 'int', 'float', 'str' or 'bool'",
        "to do:   did you mean 'bool'?"]),
    "a field with a name that is taken": ("  amp:", "  seed:", [
        "'seed' has a meaning of its own and cannot name a field", "where:   tiny.yaml:9:3 (fields.seed)", "to do:   choose another name"]),
    "epochs that are no field": ("epochs: train.epochs", "epochs: epochs", [
        "'epochs' is no field of type int", "where:   tiny.yaml:11:9 (epochs)", "allowed: a number, or one of: train.epochs",
        "to do:   did you mean 'train.epochs'?"]),
    "two places of metrics": ("file: log.txt,", "file: log.txt, stdout: '(?P<a>x)',", [
        "metrics come from `file` or from `stdout`, not from both", "where:   tiny.yaml:10:10 (metrics)"]),
    "a pattern without the group": ("file: log.txt,", "stdout: 'Acc (?P<acc>.*)',", [
        "no pattern of `stdout` has a group (?P<test_acc1>...)", "where:   tiny.yaml:10:10 (metrics)"]),
    "a pattern that is none": ("file: log.txt,", "stdout: '(',", [
        "'(': no regular expression: missing ), unterminated subpattern at position 0", "where:   tiny.yaml:10:19 (metrics.stdout)"]),
    "counted values of a printing command that goes on": (
        "file: log.txt, step: epoch, counts_from: 0,", "stdout: '(?P<test_acc1>x) (?P<test_loss>x)',", [
        "with `resume`, what is printed needs `step:`: what a command that goes on gives cannot be counted", "where:   tiny.yaml:10:10 (metrics)",
        "to do:   name the key or group that holds the step, e.g. `step: epoch`"]),
    "counted values of a file of a command that goes on": ("step: epoch, counts_from: 0,", "", [
        "with `resume`, the file needs `step:`: what a command that goes on gives cannot be counted", "where:   tiny.yaml:10:10 (metrics)",
        "to do:   name the key or group that holds the step, e.g. `step: epoch`"]),
    "an unknown key": ("epochs: train", "epoch: train", [
        "unknown key 'epoch'", "where:   tiny.yaml:11:1 (epoch)",
        "allowed: kind, name, shell, command, fields, metrics, epochs, resume, keep, cwd, env, ranks", "to do:   did you mean 'epochs'?"]),
    "an unknown kind": ("kind: command", "kind: comand", [
        "'comand' is not allowed here", "where:   tiny.yaml:1:7 (kind)", "allowed: 'train' or 'command'", "to do:   did you mean 'command'?"]),
}  # fmt: skip
FIELDS = "model.name, shuffle.schedule, shuffle.max_rate, train.epochs, amp"
STUDY_MISTAKES = {
    "a factor that is not declared": ("  shuffle.schedule: [none", "  shuffle.shedule: [none", [
        "'shuffle.shedule' is no field of this recipe", "where:   tiny.yaml:5:3 (factors.shuffle.shedule)", f"allowed: {FIELDS}",
        "to do:   did you mean 'shuffle.schedule'?"]),
    "a field that only a training has": ("seeds: 2", "set: {workers: 2}\nseeds: 2", [
        "'workers' is no field of this recipe", "where:   tiny.yaml:8:7 (set.workers)", f"allowed: {FIELDS}",
        "to do:   declare it under `fields:` of tiny.yaml"]),
    "a level outside its range": ("[0.1, 0.5]", "[0.1, 1.5]", [
        "1.5 is no value of 'shuffle.max_rate'", "where:   tiny.yaml:6:36 (factors.shuffle.max_rate.levels.1)",
        "allowed: a number at least 0 and at most 1"]),
    "a level of another type": ("[0.1, 0.5]", "[0.1, high]", [
        "'high' is no value of 'shuffle.max_rate'", "where:   tiny.yaml:6:36 (factors.shuffle.max_rate.levels.1)",
        "allowed: a number at least 0 and at most 1"]),
    "a metric that the command does not give": ("seeds: 2", "metric: {name: val/top5}\nseeds: 2", [
        "the command gives no metric 'val/top5'", "where:   tiny.yaml:8:16 (metric.name)", "allowed: 'val/top1', 'val/loss'",
        "to do:   did you mean 'val/top1'?"]),
    "a control": ("[{grid: [shuffle.schedule, shuffle.max_rate]}]", "[{grid: [shuffle.schedule], control: equal_mean_constant}]", [
        "`control` is made of the shuffle's rates, and a command's recipe has none of its own",
        "where:   tiny.yaml:7:47 (designs.0.control)", "to do:   leave it out"]),
}  # fmt: skip


def message(folder: Path, error: UserError) -> list[str]:
    text = (
        str(error)
        .replace(f"{folder}/studies/", "")
        .replace(f"{folder}/experiments/", "")
        .replace("../experiments/", "")
    )
    return [line.strip() for line in text.splitlines()]


def design(folder: Path, recipe: str = RECIPE, study: str = STUDY) -> Design:
    return expand(load_study(make_project(folder, study, recipe).study))


def recipe_of(folder: Path, text: str = RECIPE) -> CommandRecipe:
    found = load_any_recipe(make_project(folder, STUDY, text).recipe)
    assert isinstance(found, CommandRecipe)
    return found


@pytest.mark.parametrize("mistake", RECIPE_MISTAKES)
def test_a_mistake_in_the_recipe_is_one_message_with_its_place(tmp_path: Path, mistake: str) -> None:
    before, after, says = RECIPE_MISTAKES[mistake]
    assert before in RECIPE
    more = "resume: --resume {run.dir}/x\n" if "goes on" in mistake else ""
    with pytest.raises(UserError) as error:
        design(tmp_path, RECIPE.replace(before, after) + more)
    assert message(tmp_path, error.value) == says


@pytest.mark.parametrize("mistake", STUDY_MISTAKES)
def test_a_mistake_in_the_study_is_one_message_with_its_place(tmp_path: Path, mistake: str) -> None:
    before, after, says = STUDY_MISTAKES[mistake]
    assert before in STUDY
    with pytest.raises(UserError) as error:
        design(tmp_path, study=STUDY.replace(before, after))
    assert message(tmp_path, error.value) == says


def test_several_seeds_need_a_command_that_gets_one(tmp_path: Path) -> None:
    without = RECIPE.replace("--seed {seed} ", "")
    with pytest.raises(UserError) as error:
        design(tmp_path, without)
    assert message(tmp_path, error.value) == [
        "the study has several seeds, and the command gets none of them", "where:   tiny.yaml:8:8 (seeds)",
        "to do:   write {seed} into the recipe's `command:` or `env:`, or give one seed",
    ]  # fmt: skip
    assert len(design(tmp_path, without, STUDY.replace("seeds: 2", "seeds: 1")).runs) == 3
    assert len(design(tmp_path, without + "env: {PL_GLOBAL_SEED: '{seed}'}\n").runs) == 6


def test_factors_set_fields_and_one_that_is_off_keeps_the_recipes_value(tmp_path: Path) -> None:
    arms = design(tmp_path).arms
    assert [arm.label for arm in arms] == [
        "schedule=none",
        "schedule=linear, max_rate=0.1",
        "schedule=linear, max_rate=0.5",
    ]
    values = [arm.recipe.values for arm in arms if isinstance(arm.recipe, CommandRecipe)]
    assert [one["shuffle.max_rate"] for one in values] == [None, 0.1, 0.5]


def test_an_id_hashes_what_is_declared_and_nothing_else(tmp_path: Path) -> None:
    run = CommandRun.of(recipe_of(tmp_path), 3)
    assert json.loads(canonical(run)) == {
        "identity": 1, "kind": "command", "seed": 3, "amp": False, "model.name": "vim_tiny",
        "train.epochs": 300, "recipe.name": "vim", "recipe.metrics.file": "log.txt", "recipe.metrics.step": "epoch",
        "recipe.metrics.counts_from": 0, "recipe.metrics.names.val/top1": "test_acc1", "recipe.metrics.names.val/loss": "test_loss",
        "recipe.command": ["python", "main.py", "--model", "{model.name}", "{shuffle.max_rate:--ssr}", "{amp:--amp}", "--epochs", "{train.epochs}", "--seed",
                           "{seed}", "--output_dir", "{run.dir}"],
    }  # fmt: skip
    assert run_id(run) == "vim-s3-42609b5aba96"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("min: 0, max: 1", "min: 0, max: 2, description: more"),
        ("shape: false", "shape: true"),
        ("choices: [vim_tiny, vim_small]", "choices: [vim_tiny]"),
        ("epochs: train.epochs", "resume: [--resume, '{run.dir}/c.pth']\nkeep: ['*.pth']"),
        ("python main.py", "python   'main.py'"),
        ("python main.py --model {model.name} {shuffle.max_rate:--ssr} {amp:--amp} --epochs {train.epochs} --seed {seed} --output_dir {run.dir}",
         "[python, main.py, --model, '{model.name}', '{shuffle.max_rate:--ssr}', '{amp:--amp}', --epochs, '{train.epochs}', --seed, '{seed}', --output_dir, '{run.dir}']"),
        ("counts_from: 0,", "counts_from: 0, stdout: null,"),
    ],
)  # fmt: skip
def test_what_changes_no_number_changes_no_id(tmp_path: Path, before: str, after: str) -> None:
    assert before in RECIPE
    assert digest(recipe_of(tmp_path, RECIPE.replace(before, after))) == digest(recipe_of(tmp_path))


@pytest.mark.parametrize(
    ("before", "after"),
    [("value: 300", "value: 301"), ("main.py", "train.py"), ("counts_from: 0", "counts_from: 1"), ("test_acc1", "test_acc"),
     ("epochs: train.epochs", "env: {A: b}"), ("epochs: train.epochs", "cwd: vim"), ("epochs: train.epochs", "ranks: 2")],
)  # fmt: skip
def test_what_may_change_a_number_changes_the_id(tmp_path: Path, before: str, after: str) -> None:
    assert digest(recipe_of(tmp_path, RECIPE.replace(before, after))) != digest(recipe_of(tmp_path))


def test_arms_that_execute_the_same_are_one_run(tmp_path: Path) -> None:
    """Nothing in the command tells these schedules apart."""
    study = STUDY.replace("[none, linear]", "[none, linear, cosine]").replace("linear}}", "[linear, cosine]}}")
    found = design(tmp_path, study=study)
    assert [arm.label for arm in found.arms] == [
        "schedule=none",
        "schedule=linear, max_rate=0.1",
        "schedule=linear, max_rate=0.5",
    ]
    assert [one.settings["shuffle.schedule"] for one in found.duplicates] == ["cosine", "cosine"]


def test_a_whole_number_of_a_float_field_is_that_float(tmp_path: Path) -> None:
    texts = [RECIPE.replace("value: null, min", f"value: {value}, min") for value in ("1", "1.0")]
    assert digest(recipe_of(tmp_path, texts[0])) == digest(recipe_of(tmp_path, texts[1]))


def test_a_run_is_the_same_when_it_is_written_and_read_again(tmp_path: Path) -> None:
    for run in design(tmp_path, RECIPE + "env: {A: '{seed}'}\nresume: --resume {run.dir}/x\n").runs:
        again = parse_run(json.loads(json.dumps(run.model_dump(mode="json"), sort_keys=True)))
        assert (again, run_id(again)) == (run, run_id(run))


def test_the_shape_leaves_out_what_does_not_change_how_long_a_run_takes(tmp_path: Path) -> None:
    shapes = {
        value: shape(recipe_of(tmp_path, RECIPE.replace(*value)))
        for value in (("300", "300"), ("300", "9"), ("tiny,", "small,"))
    }
    assert shapes["300", "300"] == shapes["300", "9"] != shapes["tiny,", "small,"]
    assert total_epochs(recipe_of(tmp_path)) == 300
    assert total_epochs(recipe_of(tmp_path, RECIPE.replace("epochs: train.epochs\n", ""))) == 0


def test_a_recipe_alone_is_a_study_of_its_first_metric(tmp_path: Path) -> None:
    text = RECIPE.replace("names: {val/top1: test_acc1, val/loss: test_loss}", "names: {val/wer: wer}")
    study = study_of_recipe(make_project(tmp_path, STUDY, text).recipe, seed=3)
    assert (study.spec.metric.key, [run_id(run)[:7] for run in expand(study).runs]) == ("val/wer", ["vim-s3-"])


@pytest.mark.parametrize(
    "path", ["/a/log.txt", "~/log.txt", "$OUT/log.txt", "../log.txt", "a/../../log.txt", "{run.dir}/log.txt"]
)
@pytest.mark.parametrize("where", ["metrics.file", "keep.0"])
def test_files_of_a_run_are_within_its_folder(tmp_path: Path, path: str, where: str) -> None:
    before, after = (
        ("log.txt", f"'{path}'") if where == "metrics.file" else ("epochs: train", f"keep: ['{path}']\nepochs: train")
    )
    with pytest.raises(UserError) as error:
        recipe_of(tmp_path, RECIPE.replace(before, after))
    first, place = message(tmp_path, error.value)
    assert first == f"'{path}': no path within {{run.dir}}: it is relative to that folder, without `..`, `~` and `$`"
    assert place.startswith("where:   tiny.yaml:1") and place.endswith(f"({where})")


@pytest.mark.parametrize("path", ["run/log.txt", "a..b/log.txt", "./log.txt", "*.pth", "log~"])
def test_names_within_the_folder_are_taken(tmp_path: Path, path: str) -> None:
    assert recipe_of(tmp_path, RECIPE + f"keep: ['{path}']\n").keep == (path,)


def test_a_run_that_goes_on_may_log_by_itself(tmp_path: Path) -> None:
    metrics = "metrics: {names: [val/top1]}\nresume: [--resume, '{run.dir}/x']\n"
    assert recipe_of(tmp_path, RECIPE.split("metrics:", maxsplit=1)[0] + metrics).metrics.step is None


def test_a_placeholder_in_a_shells_quotes_is_refused_with_its_place(tmp_path: Path) -> None:
    text = RECIPE.replace("command: python", "shell: true\ncommand: python").replace("{seed}", '"{seed}"')
    with pytest.raises(UserError) as error:
        recipe_of(tmp_path, text)
    assert message(tmp_path, error.value) == [
        "'{seed}' stands within quotes, or behind a backslash or `$`: a value is quoted by itself, and must stand outside of them",
        "where:   tiny.yaml:4:10 (command)",
    ]  # fmt: skip


def test_what_needs_a_training_refuses_a_commands_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_recipe(make_project(tmp_path, STUDY, RECIPE).recipe)
    assert message(tmp_path, error.value) == [
        "the recipe is a command's: what it reads and trains only the command knows", "where:   tiny.yaml:1:7 (kind)",
        "allowed: a recipe of `kind: train` here",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "marked"),
    [("", 0), ("shell: true\n", 0), ("resume: --resume x\n", 0), ("stdout: x\n", 1), ("ranks: two\n", 1)],
)
def test_an_editor_completes_a_commands_recipe(tmp_path: Path, more: str, marked: int) -> None:
    data: dict[str, Any] = read(make_project(tmp_path, STUDY, RECIPE + more).recipe).data
    assert len(list(Draft202012Validator(json_schema("recipe")).iter_errors(data))) == marked


GUIDE = (REPOSITORY / "docs/how-to/command.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split("\n", 1)[0].strip("# :"))
def test_every_example_of_the_guide_is_a_recipe_or_a_part_of_one(tmp_path: Path, text: str) -> None:
    whole = text if "kind:" in text else "kind: command\nname: x\ncommand: x\n" + text
    assert recipe_of(tmp_path, whole).metrics.names
