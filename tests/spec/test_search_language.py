"""The search's part of the study language: what loads, and one message with place and way out for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import REPOSITORY, Slws, make_project

from slws_lab.errors import UserError
from slws_lab.spec import Study, expand, load_study
from slws_lab.spec.dimension import Dimension
from slws_lab.spec.search_checks import check_search
from slws_lab.spec.trials import TrialArms, enqueued, space_of, with_trials

HEAD = "name: tiny\nquestion: q\nrecipe: ../experiments/tiny.yaml\nmetric: {name: val/top1}\nseeds: 2\n"
SEARCH = """\
search:
  space:
    train.lr: {log: [1e-4, 1e-2]}
    shuffle.schedule: [none, linear]
    shuffle.max_rate: {float: [0.1, 0.7], when: {shuffle.schedule: [linear]}}
    train.warmup_epochs: {int: [0, 1]}
  trials: 4
"""
LR = "{log: [1e-4, 1e-2]}"
WHEN = "{shuffle.schedule: [linear]}"


def with_key(text: str) -> str:
    """Return the study with further keys of the search: they stand from line 13 on."""
    return f"{HEAD}{SEARCH}  {text}\n"


def changed(old: str, new: str) -> str:
    """Return the study with a part of its search replaced."""
    assert SEARCH.count(old) == 1
    return HEAD + SEARCH.replace(old, new)


# The whole study, and what the message must say: what was given, the place, what is allowed, what to do.
BROKEN: dict[str, tuple[str, list[str]]] = {
    "low above high": (changed(LR, "{log: [1e-2, 1e-4]}"), ["the lowest value (0.01) is above the highest (0.0001)", "tiny.yaml:8:15 (search.space.train.lr)"]),
    "equal ends": (changed(LR, "{float: [0.1, 0.1]}"), ["both ends are 0.1; for a single value use `set:`", "tiny.yaml:8:15 (search.space.train.lr)"]),
    "log from zero": (changed(LR, "{log: [0, 0.1]}"), ["both ends must be above 0, and the lowest is 0", "tiny.yaml:8:15 (search.space.train.lr)"]),
    "one end": (changed(LR, "{log: [1e-4]}"), ["at least 2 items", "tiny.yaml:8:21 (search.space.train.lr.log)"]),
    "three ends": (changed(LR, "{log: [1e-4, 1e-3, 1e-2]}"), ["at most 2 items", "tiny.yaml:8:21 (search.space.train.lr.log)"]),
    "an end that is text": (changed(LR, "{log: [low, high]}"), ["'low': a number is expected here", "tiny.yaml:8:22 (search.space.train.lr.log.0)"]),
    "an end that is true": (changed(LR, "{float: [0, true]}"), ["True: a number is expected here", "(search.space.train.lr.float.1)"]),
    "a broken whole number": (changed(LR, "{int: [0.5, 2]}"), ["0.5: input should be a valid integer", "(search.space.train.lr.int.0)"]),
    "two kinds at once": (changed(LR, "{log: [1, 2], float: [0, 1]}"), ["by one of levels, float, log, int, log_int, not by float and log", "8:15"]),
    "no kind": (changed(LR, "{}"), ["not by none", "tiny.yaml:8:15 (search.space.train.lr)"]),
    "a number for a dimension": (changed(LR, "0.1"), ["a dimension is a list of levels, or {float: [low, high]}", "tiny.yaml:8:15"]),
    "an unknown kind": (changed(LR, "{logg: [1, 2]}"), ["unknown key 'logg'", "tiny.yaml:8:16 (search.space.train.lr.logg)", "allowed: levels, float, log", "did you mean 'log'?"]),
    "a single level": (changed(LR, "[0.1]"), ["at least two levels; for a single one use `set:`", "tiny.yaml:8:15"]),
    "a level twice": (changed(LR, "[0.1, 0.1]"), ["level 0.1 is given twice", "tiny.yaml:8:15"]),
    "a step on a log scale": (changed(LR, "{log: [1e-4, 1e-2], step: 1e-4}"), ["`step` goes with float and int, not with log", "tiny.yaml:8:15"]),
    "a step larger than the range": (changed(LR, "{float: [0, 1], step: 2}"), ["2 is more than there is between 0 and 1", "tiny.yaml:8:15"]),
    "a step backwards": (changed(LR, "{float: [0, 1], step: -2}"), ["-2: input should be greater than 0", "(search.space.train.lr.step)"]),
    "a broken step of whole numbers": (changed("{int: [0, 1]}", "{int: [0, 1], step: 0.5}"), ["of whole numbers it is one itself", "tiny.yaml:11:26"]),
    "an unknown field": (changed("train.lr", "train.lrr"), ["'train.lrr' is no field of a recipe", "tiny.yaml:8:5 (search.space.train.lrr)", "did you mean 'train.lr'?"]),
    "the seed as a dimension": (changed(f"train.lr: {LR}", "seed: {int: [0, 5]}"), ["'seed' is no field", "tiny.yaml:8:5 (search.space.seed)", "give `seeds:` for seeds"]),
    "sub-trees under a field's name": (
        changed(LR, "[{name: a, set: {train.eps: 1e-8}}, {name: b, set: {train.eps: 1e-7}}]"),
        ["'train.lr' is a field", "tiny.yaml:8:5 (search.space.train.lr)", "choose a word of yours"],
    ),
    "when that names nothing": (
        changed(WHEN, "{shuffle.shedule: [linear]}"),
        ["'shuffle.shedule' is no", "tiny.yaml:10:67 (search.space.shuffle.max_rate.when.shuffle.shedule)", "did you mean 'shuffle.schedule'?"],
    ),
    "when that names a range": (
        changed(WHEN, "{train.lr: [0.1]}"),
        ["names train.lr, which is a range: only levels can be named", "tiny.yaml:10:60 (search.space.shuffle.max_rate.when.train.lr)"],
    ),
    "when on an unknown level": (
        changed("[linear]", "[cosine]"),
        ["'cosine' is no level", "tiny.yaml:10:68 (search.space.shuffle.max_rate.when.shuffle.schedule)", "allowed: 'none', 'linear'"],
    ),
    "when on itself": (
        changed(WHEN, "{shuffle.max_rate: [0.1]}"),
        ["'shuffle.max_rate' depends on itself by `when`", "tiny.yaml:10:68 (search.space.shuffle.max_rate.when.shuffle.max_rate)"],
    ),
    "a circle of whens": (
        changed("shuffle.schedule: [none, linear]", "shuffle.schedule: {levels: [none, linear], when: {train.eps: 1}}\n    train.eps: {levels: [1, 2], when: {shuffle.schedule: linear}}"),
        ["in a circle by `when`: shuffle.schedule -> train.eps -> shuffle.schedule", "tiny.yaml:9:54 (search.space.shuffle.schedule.when)"],
    ),
    "a level that the field refuses": (
        changed("[none, linear]", "[none, lineal]"),
        ["'lineal' is not allowed here", "tiny.yaml:9:30 (search.space.shuffle.schedule.1)", "did you mean 'linear'?"],
    ),
    "an end that the field refuses": (
        changed(f"train.lr: {LR}", "model.drop_path: {float: [0, 1.5]}"),
        ["1.5: input should be less than or equal to 1", "tiny.yaml:8:22 (search.space.model.drop_path)"],
    ),
    "an unknown key": (with_key("samplr: tpe"), ["unknown key 'samplr'", "tiny.yaml:13:3 (search.samplr)", "did you mean 'sampler'?"]),
    "an unknown sampler": (with_key("sampler: tpee"), ["'tpee' is not allowed here", "tiny.yaml:13:12 (search.sampler)", "'tpe', 'gp', 'cmaes'", "did you mean 'tpe'?"]),
    "an unknown sampler with options": (with_key("sampler: {name: cmas, sigma0: 1}"), ["'cmas' is not allowed here", "(search.sampler)", "did you mean 'cmaes'?"]),
    "a sampler without a name": (with_key("sampler: {n_startup_trials: 3}"), ["`name` is missing", "tiny.yaml:13:12 (search.sampler)", "add `name:`"]),
    "an unknown option of a sampler": (
        with_key("sampler: {name: tpe, n_startup_trial: 3}"),
        ["unknown key 'n_startup_trial'", "tiny.yaml:13:24 (search.sampler.n_startup_trial)", "did you mean 'n_startup_trials'?"],
    ),
    "an unknown pruner": (with_key("pruner: meidan"), ["'meidan' is not allowed here", "tiny.yaml:13:11 (search.pruner)", "'hyperband'", "did you mean 'median'?"]),
    "an unknown option of a pruner": (with_key("pruner: {name: median, warmup: 3}"), ["unknown key 'warmup'", "(search.pruner.warmup)", "n_warmup_steps"]),
    "an option out of range": (with_key("pruner: {name: median, n_warmup_steps: -1}"), ["-1: input should be", "(search.pruner.n_warmup_steps)"]),
    "patience without a measure": (with_key("pruner: patient"), ["`patience` is missing", "tiny.yaml:13:11 (search.pruner)", "add `patience:`"]),
    "patience with an unknown pruner": (with_key("pruner: {name: patient, patience: 2, wrapped_pruner: medain}"), ["'medain'", "(search.pruner.wrapped_pruner)", "did you mean 'median'?"]),
    "wilcoxon with too few seeds": (with_key("pruner: wilcoxon"), ["never ends a trial of 2 seeds", "tiny.yaml:13:11 (search.pruner)", "at least 5 seeds"]),
    "enqueued outside of the space": (
        with_key("enqueue: [{train.lr: 0.5}]"),
        ["train.lr=0.5 is not in the search's space", "tiny.yaml:13:24 (search.enqueue.0.train.lr)", "log: [0.0001, 0.01]", "widen the dimension"],
    ),
    "enqueued and no level": (with_key("enqueue: [{shuffle.schedule: cosine}]"), ["'cosine' is not in the search's space", "(search.enqueue.0.shuffle.schedule)", "['none', 'linear']"]),
    "enqueued and off": (
        with_key("enqueue: [{shuffle.schedule: none, shuffle.max_rate: 0.5}]"),
        ["'shuffle.max_rate' is off by its `when` in this trial", "tiny.yaml:13:56 (search.enqueue.0.shuffle.max_rate)", "leave it out"],
    ),
    "enqueued and no dimension": (with_key("enqueue: [{train.lrr: 0.5}]"), ["'train.lrr' is no dimension of the search", "tiny.yaml:13:14", "did you mean 'train.lr'?"]),
    "enqueued by an unknown word": (with_key("enqueue: [base]"), ["'base' is not allowed here", "(search.enqueue.0)", "did you mean 'baseline'?"]),
    "a baseline outside of the space": (
        changed(LR, "{log: [1e-4, 1e-3]}"),
        ["the baseline's train.lr=0.008 is not in the search's space", "tiny.yaml:8:15 (search.space.train.lr)", "`enqueue: []`"],
    ),
    "a baseline of what is not searched": (f"{HEAD}baseline: {{train.lrr: 1}}\n{SEARCH}", ["'train.lrr' is no dimension", "tiny.yaml:6:12 (baseline.train.lrr)", "did you mean 'train.lr'?"]),
    "an objective that no run reports": (
        with_key("objectives: [{name: metric, of: {name: val/acc}}]"),
        ["no run reports 'val/acc'", "tiny.yaml:13:42 (search.objectives.0.of.name)", "val/top1, val/top5, val/loss"],
    ),
    "a metric that no run reports": (HEAD.replace("val/top1", "val/acc") + SEARCH, ["'val/acc' is not allowed here", "tiny.yaml:4:16 (metric.name)", "'val/top1'"]),
    "an unknown objective": (with_key("objectives: [latency]"), ["'latency' is not allowed here", "(search.objectives.0)", "did you mean 'latency_ms'?"]),
    "no objective": (with_key("objectives: []"), ["at least 1 item", "tiny.yaml:13:15 (search.objectives)"]),
    "an objective twice": (with_key("objectives: [params, params]"), ["an objective is given twice", "tiny.yaml:13:15 (search.objectives)"]),
    "a preset without its target": (with_key("objectives: [mnasnet]"), ["`target_ms` is missing", "(search.objectives.0)", "add `target_ms:`"]),
    "a preset of a loss for an accuracy": (with_key("objectives: [{name: proxyless_sum, reference_ms: 3}]"), ["is made of a loss", "metric is val/top1", "tiny.yaml:13:16 (search.objectives.0)"]),
    "a preset of an accuracy for a loss": (
        HEAD.replace("val/top1", "val/loss, goal: minimize") + SEARCH + "  objectives: [{name: mnasnet, target_ms: 3}]\n",
        ["is made of an accuracy", "metric is val/loss", "(search.objectives.0)"],
    ),
    "a moving average that is not there": (
        HEAD.replace("val/top1", "val/top1, weights: ema") + "set: {train.ema_decay: null}\n" + SEARCH,
        ["there is none", "tiny.yaml:4:35 (metric.weights)", "set train.ema_decay, or weights: raw"],
    ),
    "an objective of a moving average that is not there": (
        HEAD + "set: {train.ema_decay: null}\n" + SEARCH + "  objectives: [{name: metric, of: {name: val/top1, weights: ema}}]\n",
        ["there is none", "(search.objectives.0.of.name)", "set train.ema_decay, or weights: raw"],
    ),
    "constraints with a sampler that knows none": (with_key("sampler: random\n  constraints: {params: 1000}"), ["sampler random knows no constraints; these do: tpe, gp, nsgaii", "tiny.yaml:14:16 (search.constraints)"]),
    "an unknown constraint": (with_key("constraints: {param: 1000}"), ["'param' is not allowed here", "(search.constraints.param)", "'peak_memory_mb'", "did you mean 'params'?"]),
    "a constraint of nothing": (with_key("constraints: {params: 0}"), ["0: input should be greater than 0", "(search.constraints.params)"]),
    "several objectives with a pruner": (with_key("objectives: [metric, params]\n  pruner: median"), ["a pruner goes with one objective", "tiny.yaml:14:11 (search.pruner)"]),
    "several objectives with cmaes": (with_key("objectives: [metric, params]\n  sampler: cmaes"), ["sampler cmaes takes one objective; several are for tpe", "tiny.yaml:14:12 (search.sampler)"]),
    "several objectives to confirm": (with_key("objectives: [metric, params]\n  confirm: {}"), ["`confirm` needs one objective", "tiny.yaml:14:12 (search.confirm)"]),
    "a pruner of epochs for what only the end tells": (with_key("objectives: [params]\n  pruner: median"), ["params is known at the end only", "tiny.yaml:14:11 (search.pruner)"]),
    "confirmed with too few seeds": (with_key("confirm: {seeds: 2}"), ["greater than or equal to 3", "(search.confirm.seeds)"]),
    "a grid over a range": (with_key("sampler: grid"), ["sampler grid needs a finite space: give train.lr a `step`", "tiny.yaml:8:15 (search.space.train.lr)"]),
    "factors beside the search": (f"{HEAD}factors: {{train.lr: [1, 2]}}\n{SEARCH}", ["there is no `factors:` beside it", "tiny.yaml:6:10 (factors)"]),
    "designs beside the search": (f"{HEAD}designs: [{{grid: [train.lr]}}]\n{SEARCH}", ["there is no `designs:` beside it", "tiny.yaml:6:10 (designs)"]),
    "no end": (changed("  trials: 4\n", ""), ["a search needs an end: `trials:` or `minutes:`", "tiny.yaml:7:3 (search)"]),
    "no trials": (changed("trials: 4", "trials: 0"), ["0: input should be greater than or equal to 1", "(search.trials)"]),
    "no time": (changed("trials: 4", "minutes: -1"), ["-1: input should be greater than 0", "(search.minutes)"]),
    "no space": (f"{HEAD}search: {{trials: 3}}\n", ["`space` is missing", "(search)", "add `space:`"]),
    "an empty space": (f"{HEAD}search: {{trials: 3, space: {{}}}}\n", ["nothing is given where at least 1 item must be", "(search.space)"]),
    "seeds as needed": (HEAD.replace("seeds: 2", "seeds: {min: 3, max: 5}") + SEARCH, ["a search needs its seeds as a number or a list", "tiny.yaml:5:8 (seeds)"]),
    "an unknown storage": (with_key("storage: redis://x"), ["storage is sqlite, journal, postgresql://", "tiny.yaml:13:12 (search.storage)"]),
    "a variable that is not set": (with_key("storage: $NOT_SET_ANYWHERE"), ["the variable NOT_SET_ANYWHERE is not set", "tiny.yaml:13:12 (search.storage)", "export NOT_SET_ANYWHERE="]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_search_gets_one_message_with_its_place(
    name: str, tmp_path: Path, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    text, expected = BROKEN[name]
    folder = make_project(tmp_path, study=text)
    before = folder.listing()
    assert slws("run", folder.study, cwd=folder.path) == 2
    printed = capsys.readouterr()
    assert printed.err.count("slws: ") == 1 and "Traceback" not in printed.err and printed.out == ""
    assert [part for part in expected if part not in printed.err] == [], printed.err
    assert folder.listing() == before


def study_of(folder: Path, text: str) -> Study:
    study = load_study(make_project(folder, study=text).study)
    check_search(study)
    return study


def test_the_search_that_others_break_is_whole_itself(tmp_path: Path) -> None:
    study = study_of(tmp_path, HEAD + SEARCH)
    assert study.spec.search is not None
    assert enqueued(study) == [
        {"train.lr": 0.008, "shuffle.schedule": "linear", "shuffle.max_rate": 0.5, "train.warmup_epochs": 0}
    ]


def test_the_study_that_the_repository_brings_is_whole() -> None:
    study = load_study(REPOSITORY / "studies/search.yaml")
    corners = check_search(study)
    assert {settings["shuffle.schedule"] for settings in corners} == {"none", "linear", "constant", "reverse"}
    assert {0.1, 0.7} <= {settings.get("shuffle.max_rate") for settings in corners}
    assert [settings["shuffle.schedule"] for settings in enqueued(study)] == ["none", "linear"]


@pytest.mark.parametrize(
    "keys",
    [
        "sampler: {name: tpe, multivariate: true, group: true}\n  pruner: {name: median, n_startup_trials: 3}",
        "sampler: gp\n  pruner: asha",
        "sampler: {name: cmaes, sigma0: 0.2}\n  pruner: {name: hyperband, max_resource: 2}",
        "sampler: {name: nsgaii, population_size: 4}\n  objectives: [metric, params, {name: metric, of: {name: val/loss, goal: minimize}}]",
        "sampler: {name: qmc, qmc_type: halton}\n  minutes: 1.5\n  parallel: 1",
        "sampler: random\n  pruner: {name: patient, patience: 2, wrapped_pruner: median}\n  storage: journal",
        "constraints: {params: 10_000, latency_ms: 2.5}\n  objectives: [{name: mnasnet, target_ms: 1, hard: true}]",
        "objectives: [{name: time_to, value: 50}]\n  enqueue: [{shuffle.schedule: none}, baseline]",
        "confirm: {top: 2, seeds: 4}\n  seed: 7",
    ],
)
def test_what_goes_together_loads(tmp_path: Path, keys: str) -> None:
    study_of(tmp_path, with_key(keys))


def test_enqueued_trials_take_what_they_leave_out_from_the_baseline_and_come_once(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        with_key("enqueue: [{train.lr: 1e-3}, baseline, {shuffle.schedule: none}, {shuffle.schedule: linear}]"),
    )
    found = [(s["train.lr"], s["shuffle.schedule"], s.get("shuffle.max_rate")) for s in enqueued(study)]
    assert found == [(1e-3, "linear", 0.5), (0.008, "linear", 0.5), (0.008, "none", None)]


def test_a_dimension_is_on_only_under_its_when_and_the_order_settles_that_first(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        changed("    shuffle.schedule: [none, linear]\n", "").replace("  trials", "    shuffle.schedule: [none, linear]\n  trials"),
    )  # fmt: skip
    space = space_of(with_trials(study, []))
    assert space.order.index("shuffle.schedule") < space.order.index("shuffle.max_rate")
    assert "shuffle.max_rate" not in space.settle({"shuffle.schedule": "none", "shuffle.max_rate": 0.3})


@pytest.mark.parametrize(
    ("given", "inside", "outside"),
    [
        ({"float": [0.0, 1.0]}, [0, 0.5, 1.0], [-0.1, 1.1, True, "0.5", None]),
        ({"float": [0.1, 0.7], "step": 0.2}, [0.1, 0.3, 0.5, 0.7], [0.2, 0.65]),
        ({"log": [1e-5, 1e-1]}, [1e-5, 0.003, 1e-1], [0, 1]),
        ({"int": [2, 10], "step": 4}, [2, 6, 10], [4, 6.0, True]),
        ({"log_int": [1, 64]}, [1, 37, 64], [0, 65, 2.5]),
        ({"levels": [True, None, "a", [0.9, 0.95]]}, [True, None, "a", [0.9, 0.95]], ["b", [0.9, 0.99]]),
    ],
)  # fmt: skip
def test_a_dimension_knows_its_values(given: dict[str, object], inside: list[object], outside: list[object]) -> None:
    dimension = Dimension.model_validate(given)
    assert [value for value in inside if not dimension.holds(value)] == []  # type: ignore[arg-type]
    assert [value for value in outside if dimension.holds(value)] == []  # type: ignore[arg-type]


def test_trials_that_train_the_same_are_one_arm_and_the_baseline_is_the_first(tmp_path: Path) -> None:
    study = study_of(tmp_path, HEAD + SEARCH)
    arms, usual = TrialArms(study), {"train.lr": 0.008, "train.warmup_epochs": 0}
    other = arms.add(1, {**usual, "shuffle.schedule": "none"})
    again = arms.add(4, {**usual, "shuffle.schedule": "none"})
    itself = arms.add(5, {**usual, "shuffle.schedule": "linear", "shuffle.max_rate": 0.5})
    assert other is again and itself.label == "baseline"
    assert [arm.label for arm in arms.design.arms] == ["baseline", "trial 1"]
    assert [role.reference for arm in arms.design.arms[1:] for role in arm.roles] == [itself.id]


def test_an_arm_of_a_search_is_the_arm_of_any_study_with_the_same_settings(tmp_path: Path) -> None:
    search = TrialArms(study_of(tmp_path / "search", HEAD + SEARCH))
    arm = search.add(3, {"train.lr": 1e-3, "shuffle.schedule": "none", "train.warmup_epochs": 1})
    study = load_study(
        make_project(
            tmp_path / "study",
            study=HEAD
            + "set: {train.lr: 1e-3, train.warmup_epochs: 1, shuffle: x}\n".replace(", shuffle: x", "")
            + "factors: {shuffle.schedule: [linear, none]}\ndesigns: [{grid: [shuffle.schedule]}]\n",
        ).study
    )
    ordinary = {expanded.id for expanded in expand(study).arms}
    assert arm.id in ordinary


def test_a_baseline_that_the_recipe_does_not_give_is_asked_for(tmp_path: Path) -> None:
    text = changed("train.lr", "model.args.expand").replace(LR, "{int: [1, 2]}")
    with pytest.raises(UserError, match="the baseline has no value") as caught:
        study_of(tmp_path, text)
    assert (
        "(search.space.model.args.expand)" in caught.value.where
        and "baseline: {model.args.expand: ...}" in caught.value.todo
    )
    study_of(tmp_path, text.replace("search:", "baseline: {model.args.expand: 2}\nsearch:", 1))
