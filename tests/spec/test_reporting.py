"""What a study may say of its report: what is taken, what is filled in, and one message with its place for each mistake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import REPOSITORY, make_project

from slws_lab.errors import UserError
from slws_lab.spec import PaperTable, expand, json_schema, load_study
from slws_lab.spec.reporting import STYLES
from slws_lab.spec.reporting_checks import TRAINED, check, journal_name, recorded

HEAD = """name: s
question: q
recipe: ../experiments/tiny.yaml
factors:
  shuffle.schedule: [none, linear]
  shuffle.max_rate: {levels: [0.3, 0.6], when: {shuffle.schedule: linear}}
  train.lr: [0.1, 0.2]
designs: [{grid: [shuffle.schedule, shuffle.max_rate, train.lr]}]
seeds: 3
report:
"""
COMMAND = """kind: command
name: tiny
command: python train.py --lr {lr} --seed {seed}
fields: {lr: {type: float, value: 0.1}}
epochs: 2
metrics: {names: [val/acc, val/f1]}
"""

# What stands under `report:` (from line 11), and what the message must say.
BROKEN: dict[str, tuple[str, list[str]]] = {
    "a table without a name": ("  tables: [{style: plain}]", ["`name` is missing", "tiny.yaml:11:12 (report.tables.0)"]),
    "a key that there is not": ("  tables: [{name: t, colums: train.lr}]", ["unknown key 'colums'", "did you mean 'columns'?", "(report.tables.0.colums)"]),
    "a style that there is not": ("  tables: [{name: t, style: abblation}]", ["'abblation'", "did you mean 'ablation'?", "tiny.yaml:11:29"]),
    "a shown thing that there is not": ("  tables: [{name: t, show: [flop]}]", ["'flop'", "did you mean 'flops'?", "(report.tables.0.show.0)"]),
    "an interval of nothing": ("  tables: [{name: t, show: [interval]}]", ["show `delta` too", "(report.tables.0.show)"]),
    "something shown twice": ("  tables: [{name: t, show: [n, n]}]", ["twice", "(report.tables.0.show)"]),
    "a metric given twice": ("  tables: [{name: t, metrics: [val/top1, {name: val/top1, title: x}]}]", ["a metric is given twice", "(report.tables.0.metrics)"]),
    "a factor in two places": ("  tables: [{name: t, rows: [train.lr], columns: train.lr}]", ["'train.lr' is given twice over rows, columns and groups"]),
    "columns of an ablation": ("  tables: [{name: t, style: ablation, columns: train.lr}]", ["style ablation arranges its columns by itself", "(report.tables.0.columns)"]),
    "rows of a scaling": ("  tables: [{name: t, style: scaling, rows: [train.lr]}]", ["style scaling arranges its rows by itself"]),
    "an unknown factor": ("  tables: [{name: t, rows: [train.lrr]}]", ["'train.lrr'", "did you mean 'train.lr'?", "tiny.yaml:11:29 (report.tables.0.rows.0)"]),
    "an unknown factor across": ("  tables: [{name: t, columns: shuffle.rate}]", ["'shuffle.rate'", "(report.tables.0.columns)", "shuffle.max_rate"]),
    "an unknown factor of groups": ("  tables: [{name: t, groups: lr}]", ["'lr'", "(report.tables.0.groups)"]),
    "an unknown level": ("  tables: [{name: t, where: {shuffle.schedule: linaer}}]", ["has shuffle.schedule at 'linaer'", "did you mean 'linear'?", "(report.tables.0.where.shuffle.schedule)"]),
    "an unknown level of a group": ("  tables: [{name: t, groups: [{title: x, where: {train.lr: 0.3}}]}]", ["has train.lr at 0.3", "0.1, 0.2", "(report.tables.0.groups.0.where.train.lr)"]),
    "levels that no arm has together": ("  tables: [{name: t, where: {shuffle.schedule: none, shuffle.max_rate: 0.3}}]", ["all of these levels", "(report.tables.0.where)"]),
    "an unknown metric": ("  tables: [{name: t, metrics: [val/top11]}]", ["no run records 'val/top11'", "did you mean 'val/top1'?", "tiny.yaml:11:32", "train/images_per_s"]),
    "an unknown metric of averaged weights": ("  tables: [{name: t, metrics: [{name: val/top2, weights: ema}]}]", ["no run records 'val/top2'", "(report.tables.0.metrics.0.name)"]),
    "the name of the page's own costs": ("  tables: [{name: costs}]", ["'costs' is the name of another table", "(report.tables.0.name)"]),
    "a name of another table": ("  tables: [{name: effects-2}]", ["'effects-2' is the name of another table", "tiny.yaml:11:19 (report.tables.0.name)"]),
    "the study's own name": ("  tables: [{name: S}]", ["'S' is the name of another table"]),
    "two tables of a name": ("  tables: [{name: t}, {name: T}]", ["two tables are called 'T'", "(report.tables.1.name)"]),
    "two arms in one place": ("  tables: [{name: t, rows: [shuffle.schedule], columns: shuffle.max_rate}]", ["two arms would stand in one place", "add train.lr to its rows", "(report.tables.0.rows)"]),
    "an ablation of no switch": ("  tables: [{name: t, style: ablation, where: {shuffle.schedule: linear}}]", ["none of these arms' factors can be switched off", "(report.tables.0.style)"]),
    "a scaling of one model": ("  tables: [{name: t, style: scaling}]", ["models are all of one size", "(report.tables.0.style)"]),
    "methods without any": ("  tables: [{name: t, style: methods}]", ["no published rows", "`slws references`"]),
    "a reproduction by no arm": ("  reproduces: [{key: vim, variant: S, arm: {train.lr: 0.5}}]", ["has train.lr at 0.5", "(report.reproduces.0.arm.train.lr)"]),
    "a reproduction by several arms": ("  reproduces: [{key: vim, variant: S, arm: {train.lr: 0.1}}]", ["3 arms have these levels", "(report.reproduces.0.arm)"]),
    "a reproduction of nothing": ("  reproduces: [{variant: S, arm: {}}]", ["`key` is missing", "(report.reproduces.0)"]),
}  # fmt: skip


def load(tmp_path: Path, text: str, **recipe: str):
    project = make_project(tmp_path, text, **recipe)
    study = load_study(project.study)
    design = expand(study)
    check(study, design)
    return study, design


@pytest.mark.parametrize("name", list(BROKEN))
def test_each_mistake_has_one_message_with_its_place(tmp_path: Path, name: str) -> None:
    text, parts = BROKEN[name]
    with pytest.raises(UserError) as error:
        load(tmp_path, HEAD + text + "\n")
    assert [part for part in parts if part not in str(error.value)] == []
    assert not (tmp_path / ".slws").exists()


def test_a_whole_report_is_taken(tmp_path: Path) -> None:
    text = """  references: [slws]
  reproduces: [{key: slws, variant: S, system: x, arm: {train.lr: 0.1, shuffle.max_rate: 0.3}}]
  tables:
    - {name: a, title: Some words, style: sweep, where: {train.lr: 0.1}, metrics: [val/top1, {name: val/loss, unit: nats, better: down}]}
    - {name: b, rows: [shuffle.schedule, train.lr], columns: shuffle.max_rate, show: [delta, interval, n]}
    - {name: c, groups: shuffle.schedule}
    - {name: d, groups: [{title: Off, where: {shuffle.schedule: none}}]}
    - {name: e, style: ablation, rows: [shuffle.schedule, shuffle.max_rate, train.lr]}
    - {name: f, style: methods, show: []}
"""
    study, _ = load(tmp_path, HEAD + text)
    first, second, *_ = study.spec.report.tables
    assert [m.name for m in first.metrics or ()] == ["val/top1", "val/loss"] and first.where == {"train.lr": [0.1]}
    assert second.show == ["delta", "interval", "n"] and second.metrics is None and first.show is None


def test_a_table_needs_only_a_name() -> None:
    table = PaperTable(name="t")
    assert (table.style, table.where, table.rows, table.columns, table.groups, table.metrics, table.show) == (
        "plain",
        {},
        *[None] * 5,
    )


def test_a_search_has_tables_of_its_own(tmp_path: Path) -> None:
    text = "name: s\nquestion: q\nrecipe: ../experiments/tiny.yaml\nsearch: {space: {train.lr: [0.1, 0.2]}, trials: 2}\nseeds: 1\nreport: {tables: [{name: t}]}\n"
    with pytest.raises(
        UserError, match=r"a search's report has tables of its own(.|\n)*tiny.yaml:6:\d+ \(report.tables\)"
    ):
        load_study(make_project(tmp_path, text).study)


def test_metrics_of_a_command_are_those_that_it_names(tmp_path: Path) -> None:
    text = "name: s\nquestion: q\nrecipe: ../experiments/tiny.yaml\nfactors: {lr: [0.1, 0.2]}\ndesigns: [{grid: [lr]}]\nseeds: 3\nmetric: {name: val/acc}\n"
    study, _ = load(tmp_path, text + "report: {tables: [{name: t, metrics: [val/f1, val/acc]}]}\n", recipe=COMMAND)
    assert [metric.name for metric in study.spec.report.tables[0].metrics or ()] == ["val/f1", "val/acc"]
    with pytest.raises(UserError, match=r"no run records 'val/top1'(.|\n)*allowed: val/acc, val/f1"):
        load(tmp_path, text + "report: {tables: [{name: t, metrics: [val/top1]}]}\n", recipe=COMMAND)


def test_averaged_weights_are_recorded_only_where_there_are_some(tmp_path: Path) -> None:
    _, design = load(tmp_path, HEAD + "  tables: [{name: t, metrics: [{name: val/loss, weights: ema}]}]\n")
    assert "val/loss_ema" in recorded(design.arms[0].recipe)
    plain = HEAD.replace("seeds: 3", "seeds: 3\nset: {train.ema_decay: null}")
    with pytest.raises(UserError, match=r"no run records the moving average \(ema\) of 'val/loss'"):
        load(tmp_path, plain + "  tables: [{name: t, metrics: [{name: val/loss, weights: ema}]}]\n")


def test_how_well_a_run_fits_its_training_images_is_recorded_only_where_the_recipe_asks_for_it(tmp_path: Path) -> None:
    table = "  tables: [{name: t, metrics: [train/top1, val/top1]}]\n"
    asked = HEAD.replace("seeds: 3", "seeds: 3\nset: {train.eval_train: true}")
    study, design = load(tmp_path, asked + table)
    (fitted, _) = study.spec.report.tables[0].metrics or ()
    names = recorded(design.arms[0].recipe)
    assert [journal_name(fitted, weights, names) for weights in ("raw", "ema")] == ["train/top1", "train/top1_ema"]
    assert journal_name(fitted, "ema", ("val/top1_ema", "train/top1")) == "train/top1", (
        "of a command that averages no other"
    )
    assert {"train/top1", "train/top1_ema"} <= set(recorded(design.arms[0].recipe))
    with pytest.raises(UserError, match="no run records"):
        load(tmp_path, HEAD + table)
    varied = HEAD.replace("  train.lr: [0.1, 0.2]", "  train.eval_train: [false, true]").replace(
        "train.lr]", "train.eval_train]"
    )
    load(tmp_path, varied + table)  # which the first arm does not record


def test_the_names_of_what_trainings_record_are_those_that_a_stage_reports() -> None:
    """The lab tower does not import the science tower, so its list is compared with the source."""
    source = (REPOSITORY / "slws_lab" / "training" / "stage.py").read_text()
    assert {*TRAINED, "train/stage"} == set(re.findall(r"\"(train/\w+)\"", source))


def test_editors_complete_tables() -> None:
    schema = json_schema("study")["$defs"]
    assert schema["PaperTable"]["properties"]["style"]["enum"] == list(STYLES)
    assert {"name", "rows", "columns", "groups", "metrics", "show", "where"} <= set(schema["PaperTable"]["properties"])
    assert "reproduces" in schema["Report"]["properties"]
