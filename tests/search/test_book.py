"""The book of a search: it draws what plain Optuna draws, nothing twice, and survives whatever happens to those that write in it."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import make_project
from optuna import pruners, samplers

from slws_lab.errors import UserError
from slws_lab.search import book as book_module
from slws_lab.search import storage
from slws_lab.search.book import Book, name_of
from slws_lab.search.trial import best, counts, front
from slws_lab.spec import Study, load_study
from slws_lab.spec.levels import Settings
from slws_lab.spec.search_checks import check_search
from slws_lab.tracking import Workspace

optuna.logging.set_verbosity(optuna.logging.ERROR)

STUDY = """\
name: tiny
question: q
recipe: ../experiments/tiny.yaml
metric: {name: val/top1}
seeds: 1
"""
SPACE = """\
search:
  trials: 100
  space:
    shuffle.schedule: [none, linear, constant]
    shuffle.max_rate: {float: [0.1, 0.7], when: {shuffle.schedule: [linear, constant]}}
    model.drop_path: {float: [0.0, 0.3]}
    train.weight_decay: {log: [1e-3, 0.3]}
    train.batch_size: {log_int: [8, 512]}
"""
NUMBERS = """\
search:
  trials: 100
  enqueue: []
  space:
    model.drop_path: {float: [0.0, 0.3]}
    train.weight_decay: {log: [1e-3, 0.3]}
"""
FINITE = """\
search:
  trials: 100
  sampler: grid
  space:
    shuffle.schedule: [none, linear, constant]
    shuffle.max_rate: {float: [0.1, 0.7], step: 0.2, when: {shuffle.schedule: [linear, constant]}}
    train.warmup_epochs: {int: [0, 1]}
"""
COMBINATIONS = 2 * (1 + 4 + 4)


class Desk:
    """A folder in which books are opened, each time as a new process would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def study(self, search: str = SPACE, keys: str = "", head: str = STUDY) -> Study:
        study = load_study(make_project(self.folder, study=f"{head}{search}{keys}").study)
        check_search(study)
        return study

    def book(self, study: Study, workspace: str = ".slws") -> Book:
        book = Book.of(study, Workspace(self.folder / workspace))
        book.begin()
        return book


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def value(settings: Settings) -> float:
    """Return something smooth that a sampler can learn."""
    rate = float(settings.get("shuffle.max_rate") or 0.0)  # type: ignore[arg-type]
    decay = math.log10(float(settings.get("train.weight_decay", 0.05)) / 0.03)  # type: ignore[arg-type]
    drop, batch = float(settings.get("model.drop_path", 0.0)), float(settings.get("train.batch_size", 64))  # type: ignore[arg-type]
    return -((rate - 0.4) ** 2) - (drop - 0.1) ** 2 - decay**2 / 10 - (math.log2(batch) - 6) ** 2 / 100


def draw(book: Book, count: int, tell: Callable[[Settings], float] = value) -> list[Settings]:
    """Draw so many trials one after the other and tell their values."""
    drawn = []
    for _ in range(count):
        trial = book.ask()
        assert trial is not None
        drawn.append(trial.settings)
        book.complete(trial.number, [tell(trial.settings)])
    return drawn


def distinct(drawn: list[Settings]) -> int:
    return len({json.dumps(settings, sort_keys=True) for settings in drawn})


def suggest(trial: optuna.Trial) -> Settings:
    """Suggest the space above with plain Optuna, in its order."""
    found: Settings = {
        "shuffle.schedule": trial.suggest_categorical("shuffle.schedule", ["none", "linear", "constant"])
    }
    found["model.drop_path"] = trial.suggest_float("model.drop_path", 0.0, 0.3)
    found["train.weight_decay"] = trial.suggest_float("train.weight_decay", 1e-3, 0.3, log=True)
    found["train.batch_size"] = trial.suggest_int("train.batch_size", 8, 512, log=True)
    if found["shuffle.schedule"] != "none":
        found["shuffle.max_rate"] = trial.suggest_float("shuffle.max_rate", 0.1, 0.7)
    return found


def plain(study: Study, sampler: Any, pruner: Any = None, name: str | None = None) -> optuna.Study:
    """Return a study of plain Optuna with the same first trials."""
    made = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner, study_name=name)
    usual = {"model.drop_path": 0.1, "train.weight_decay": 0.05, "train.batch_size": 64}
    made.enqueue_trial({**usual, "shuffle.schedule": "linear", "shuffle.max_rate": 0.5})
    made.enqueue_trial({**usual, "shuffle.schedule": "none"})
    return made


FIRST = "  enqueue: [baseline, {shuffle.schedule: none}]\n"
SAMPLERS: dict[str, tuple[str, Callable[[], samplers.BaseSampler], int]] = {
    "tpe": ("tpe", lambda: samplers.TPESampler(seed=3, constant_liar=True), 25),
    "tpe of groups": (
        "{name: tpe, multivariate: true, group: true, n_startup_trials: 4}",
        lambda: samplers.TPESampler(seed=3, multivariate=True, group=True, constant_liar=True, n_startup_trials=4), 16,
    ),
    "random": ("random", lambda: samplers.RandomSampler(seed=3), 12),
    "nsgaii": ("{name: nsgaii, population_size: 4}", lambda: samplers.NSGAIISampler(seed=3, population_size=4), 16),
    "cmaes": ("cmaes", lambda: samplers.CmaEsSampler(seed=3, warn_independent_sampling=False), 16),
    "qmc": ("{name: qmc, scramble: true}", lambda: samplers.QMCSampler(seed=3, scramble=True, warn_independent_sampling=False), 12),
    "gp": ("{name: gp, n_startup_trials: 4}", lambda: samplers.GPSampler(seed=3, n_startup_trials=4), 6),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", SAMPLERS)
def test_an_uninterrupted_search_draws_what_plain_optuna_draws(desk: Desk, name: str) -> None:
    sampler, make, count = SAMPLERS[name]
    study = desk.study(keys=f"  seed: 3\n  storage: journal\n  sampler: {sampler}\n{FIRST}")
    ours, theirs = draw(desk.book(study), count), plain(study, make())
    found: list[Settings] = []
    theirs.optimize(lambda trial: value(found.append(suggest(trial)) or found[-1]), n_trials=count)  # type: ignore[func-returns-value]
    assert ours == found
    assert distinct(ours) == count


PRUNERS: dict[str, tuple[str, Callable[[], pruners.BasePruner]]] = {
    "median": (
        "{name: median, n_startup_trials: 3, n_warmup_steps: 1}",
        lambda: pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
    ),
    "asha": (
        "{name: asha, min_resource: 1, reduction_factor: 2}",
        lambda: pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    ),
    "hyperband": (
        "{name: hyperband, max_resource: 8, reduction_factor: 2}",
        lambda: pruners.HyperbandPruner(max_resource=8, reduction_factor=2),
    ),
    "patient": (
        "{name: patient, patience: 1, wrapped_pruner: {name: median, n_startup_trials: 3}}",
        lambda: pruners.PatientPruner(pruners.MedianPruner(n_startup_trials=3), 1),
    ),
    "patient alone": ("{name: patient, patience: 2}", lambda: pruners.PatientPruner(None, 2)),
    "wilcoxon": ("{name: wilcoxon, p_threshold: 0.2}", lambda: pruners.WilcoxonPruner(p_threshold=0.2)),
}  # fmt: skip
EPOCHS = 8


def curve(settings: Settings, number: int) -> dict[int, float]:
    """Return a curve that rises, and in every third trial falls from its middle on."""
    turn = (lambda e: -abs(e - 4)) if number % 3 == 2 else (lambda e: e)
    return {epoch: value(settings) + 0.01 * turn(epoch) for epoch in range(1, EPOCHS + 1)}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", PRUNERS)
def test_an_uninterrupted_search_prunes_what_plain_optuna_prunes_at_the_same_step(desk: Desk, name: str) -> None:
    pruner, make = PRUNERS[name]
    head = STUDY.replace("seeds: 1", "seeds: 8")
    study = desk.study(keys=f"  storage: journal\n  sampler: random\n  pruner: {pruner}\n{FIRST}", head=head)
    book = desk.book(study)
    for _ in range(16):
        trial = book.ask()
        assert trial is not None
        seen, steps = {}, curve(trial.settings, trial.number)
        for step in steps:
            seen[step] = steps[step]
            if book.report(trial.number, seen):  # as a driver sees it: ever more of the curve
                book.prune(trial.number)
                break
        else:
            book.complete(trial.number, [steps[EPOCHS]])

    def objective(trial: optuna.Trial) -> float:
        steps = curve(suggest(trial), trial.number)
        for step, seen in steps.items():
            trial.report(seen, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return steps[EPOCHS]

    theirs = plain(study, samplers.RandomSampler(seed=0), make(), name=book.name)
    theirs.optimize(objective, n_trials=16)
    ours = [(trial.state, trial.curve) for trial in book.trials()]
    assert ours == [(trial.state.name.lower(), trial.intermediate_values) for trial in theirs.trials]
    assert len({state for state, _ in ours}) == 2, "a curve must have been pruned, and another not"


def test_a_curve_that_is_seen_late_is_pruned_at_the_step_at_which_it_would_have_been(desk: Desk) -> None:
    book = desk.book(
        desk.study(NUMBERS, "  storage: journal\n  pruner: {name: median, n_startup_trials: 2, n_warmup_steps: 2}\n")
    )
    for level in (0.9, 0.8):
        trial = book.ask()
        assert trial is not None
        assert not book.report(trial.number, {step: level for step in range(1, 6)})
        book.complete(trial.number, [level])
    poor = book.ask()
    assert poor is not None
    assert book.report(poor.number, {step: 0.1 for step in range(1, 6)})
    book.prune(poor.number)
    last = book.trials()[-1]
    assert (last.state, dict(last.curve)) == ("pruned", {1: 0.1, 2: 0.1})
    finished = book.ask()
    assert finished is not None
    assert not book.report(finished.number, {step: 0.1 for step in range(1, 6)}, ask=False)


RESTARTED = ["tpe", "random", "nsgaii", "cmaes", "qmc"]


@pytest.mark.parametrize("sampler", RESTARTED)
def test_after_restarts_no_draw_repeats_and_the_same_restart_goes_on_alike(desk: Desk, sampler: str) -> None:
    study = desk.study(NUMBERS, f"  storage: journal\n  sampler: {sampler}\n")
    few = 4
    drawn = draw(desk.book(study), few)
    drawn += draw(desk.book(study), 1)
    shutil.copytree(desk.folder / ".slws", desk.folder / "other")
    here, there = draw(desk.book(study), few), draw(desk.book(study, "other"), few)
    assert here == there
    drawn += here + draw(desk.book(study), few)
    assert distinct(drawn) == len(drawn)
    assert [trial.number for trial in desk.book(study).trials()] == list(range(len(drawn)))


@pytest.mark.parametrize("sampler", RESTARTED)
def test_two_books_on_one_storage_never_draw_the_same(desk: Desk, sampler: str) -> None:
    study = desk.study(NUMBERS, f"  storage: journal\n  sampler: {sampler}\n")
    first, second = desk.book(study), desk.book(study)
    drawn: list[Settings] = []
    for _ in range(5):
        trials = [book.ask() for book in (first, second, first)]
        for trial in trials:
            assert trial is not None
            drawn.append(trial.settings)
            second.complete(trial.number, [value(trial.settings)])  # whoever drew it
    assert distinct(drawn) == len(drawn)


def test_what_it_begins_with_is_enqueued_once_however_many_begin(desk: Desk) -> None:
    study = desk.study(keys=FIRST)
    children = [fork(lambda: desk.book(study)) for _ in range(3)]
    assert [ended(child) for child in children] == [0, 0, 0]
    drawn = draw(desk.book(study), 4)
    assert [settings["shuffle.schedule"] for settings in drawn[:2]] == ["linear", "none"]
    assert drawn[0]["train.weight_decay"] == drawn[1]["train.weight_decay"] == 0.05
    assert 0.05 not in [settings["train.weight_decay"] for settings in drawn[2:]]


def test_telling_twice_changes_nothing(desk: Desk) -> None:
    study = desk.study()
    book = desk.book(study)
    numbers = [trial.number for trial in (book.ask(), book.ask(), book.ask()) if trial is not None]
    book.complete(numbers[0], [0.5])
    book.prune(numbers[1])
    book.fail(numbers[2], "failed: out of memory")
    before = book.trials()
    for other in (book, desk.book(study)):
        for number in numbers:
            other.complete(number, [0.9])
            other.prune(number, "params 5 above 4")
            other.fail(number, "failed: nothing")
    assert book.trials() == before
    assert [(trial.state, trial.values, trial.cause) for trial in before] == [
        ("complete", (0.5,), ""),
        ("pruned", (), ""),
        ("failed", (), "failed: out of memory"),
    ]


def test_a_value_that_is_no_number_fails_the_trial(desk: Desk) -> None:
    book = desk.book(desk.study())
    for bad in (math.nan, math.inf):
        trial = book.ask()
        assert trial is not None
        book.complete(trial.number, [bad])
    assert [(trial.state, trial.cause) for trial in book.trials()] == [
        ("failed", "an objective is no finite number")
    ] * 2


def fork(action: Callable[[], object]) -> int:
    """Do something in a process of its own, which dies behind it without a word."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_dead_drivers_trial_is_taken_over_once_and_a_living_ones_is_not(desk: Desk) -> None:
    study = desk.study()

    def die() -> None:
        book = desk.book(study)
        trial = book.ask()
        assert trial is not None
        book.report(trial.number, {1: 0.5})

    assert ended(fork(die)) == 0
    first, second = desk.book(study), desk.book(study)
    mine = first.ask()
    assert mine is not None
    taken = first.orphans()
    assert [(trial.number, trial.state, dict(trial.curve)) for trial in taken] == [(0, "running", {1: 0.5})]
    assert taken[0].settings == first.trials()[0].settings != {}
    assert second.orphans() == [] == first.orphans()
    first.report(0, {1: 0.5, 2: 0.6})
    first.complete(0, [0.6])
    assert [trial.state for trial in second.trials()] == ["complete", "running"]


@pytest.mark.parametrize("sampler", ["tpe", "random", "{name: nsgaii, population_size: 30}", "qmc"])
def test_no_draw_repeats_where_each_driver_dies_and_the_next_takes_its_trials_over(desk: Desk, sampler: str) -> None:
    study = desk.study(NUMBERS, f"  storage: journal\n  sampler: {sampler}\n")

    def die() -> None:
        book = desk.book(study)
        book.orphans()
        draw(book, 1)
        book.ask()

    for _ in range(4):
        assert ended(fork(die)) == 0
    drawn = [trial.settings for trial in desk.book(study).trials()]
    assert len(drawn) == distinct(drawn) == 8


def test_a_trial_that_its_driver_told_before_it_ended_is_not_taken_over(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = desk.study()
    theirs, mine = desk.book(study), desk.book(study)
    trial = theirs.ask()
    assert trial is not None

    def looks_dead(_: object) -> bool:
        theirs.complete(trial.number, [0.5])  # between this driver's look at the storage and at the process
        return True

    monkeypatch.setattr(mine, "_is_orphan", looks_dead)
    assert mine.orphans() == []
    assert [(t.state, t.values) for t in mine.trials()] == [("complete", (0.5,))]
    assert not theirs.report(trial.number, {1: 0.5}), "what was told takes no further step"


def test_a_driver_elsewhere_is_judged_by_its_beat_against_this_clock(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = desk.study()
    with monkeypatch.context() as patch:
        owner = book_module._driver()
        patch.setattr(book_module, "_driver", lambda: {**owner, "host": "elsewhere", "token": "elsewhere"})
        there = desk.book(study)
    there.ask()
    here, clock = desk.book(study), [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    assert here.orphans() == []
    clock[0] += book_module.STALE_S - 1
    assert here.orphans() == []
    there._beat_at = 0.0
    there.beat()  # it lives
    clock[0] += 2
    assert here.orphans() == []
    clock[0] += book_module.STALE_S + 1
    assert [trial.number for trial in here.orphans()] == [0]


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_draw_that_its_process_did_not_live_to_end_is_ended_by_another(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    study = desk.study(FINITE.replace("sampler: grid", f"sampler: {sampler}"), FIRST)

    def dies_after(count: int) -> Callable[..., Any]:
        calls, real = iter(range(count)), book_module.suggest
        return lambda *given: real(*given) if next(calls, None) is not None else os._exit(9)

    for suggestions in (1, 0, 1):  # the baseline, the second that is enqueued, and one of the sampler's own
        with monkeypatch.context() as patch:
            patch.setattr(book_module, "suggest", dies_after(suggestions))
            assert ended(fork(lambda: desk.book(study).ask())) == 9
        book = desk.book(study)
        assert book.trials()[-1].settings == {}
        assert [counts(trial) for trial in book.orphans()] == [True]
        book.complete(book.trials()[-1].number, [0.5])
    trials = book.trials()
    assert [trial.settings["shuffle.schedule"] for trial in trials[:2]] == ["linear", "none"]
    assert [trial.state for trial in trials] == ["complete"] * 3
    assert book.ask() is not None


def test_a_failed_trial_is_tried_again_with_its_setting_and_counts_once(desk: Desk) -> None:
    study = desk.study()
    book = desk.book(study)
    draw(book, 2)
    failed = book.ask()
    assert failed is not None
    book.fail(failed.number, "failed: out of memory")
    book.retry(book.trials()[2])
    again = desk.book(study).ask()
    assert again is not None and again.number == 3 and again.settings == failed.settings
    assert [trial.again for trial in book.trials()] == [None, None, 3, None]
    assert [counts(trial) for trial in book.trials()] == [True, True, False, True]


def test_a_failed_trial_of_a_finite_space_is_tried_again_though_all_was_tried(desk: Desk) -> None:
    book = desk.book(desk.study(FINITE, "  storage: journal\n"))
    while (trial := book.ask()) is not None:
        book.fail(trial.number, "failed: x") if trial.number == 4 else book.complete(trial.number, [1.0])
    book.retry(book.trials()[4])
    assert book.end(book.trials()) == ""
    again = book.ask()
    assert again is not None and again.settings == book.trials()[4].settings
    book.complete(again.number, [1.0])
    assert book.ask() is None and book.end(book.trials()) == "every combination was tried"


@pytest.mark.parametrize("restarts", [False, True])
def test_a_finite_space_is_tried_whole_once_with_conditions_and_ends(desk: Desk, restarts: bool) -> None:
    study = desk.study(FINITE, "  storage: journal\n")
    book, drawn = desk.book(study), []
    while (trial := book.ask()) is not None:
        drawn.append(trial.settings)
        book.complete(trial.number, [1.0]) if trial.number % 2 else book.prune(trial.number)
        book = desk.book(study) if restarts else book
    assert len(drawn) == distinct(drawn) == COMBINATIONS
    rates = {settings.get("shuffle.max_rate") for settings in drawn}
    assert rates == {None, 0.1, 0.3, 0.5, 0.7}
    assert desk.book(study).ask() is None


def test_a_finite_space_ends_while_others_still_run(desk: Desk) -> None:
    study = desk.study(FINITE, "  storage: journal\n")
    books = [desk.book(study), desk.book(study)]
    drawn = []
    while (trial := books[len(drawn) % 2].ask()) is not None:
        drawn.append(trial.settings)
    assert len(drawn) == distinct(drawn) == COMBINATIONS


def test_constraints_reach_the_sampler_as_plain_optunas_do_and_what_breaks_one_is_never_best(desk: Desk) -> None:
    constraints = "{params: 100, peak_memory_mb: 50}"
    study = desk.study(
        NUMBERS, f"  storage: journal\n  sampler: {{name: tpe, n_startup_trials: 4}}\n  constraints: {constraints}\n"
    )
    book = desk.book(study)

    def figures(settings: Settings) -> dict[str, float]:
        drop, decay = float(settings["model.drop_path"]), float(settings["train.weight_decay"])  # type: ignore[arg-type]
        return {"params": 50 + 200 * drop, "peak_memory_mb": 20 + 200 * decay}

    for _ in range(14):
        trial = book.ask()
        assert trial is not None
        known = figures(trial.settings)
        if not book.note_figures(trial.number, {"params": known["params"]}):
            book.prune(trial.number, f"params {known['params']:g} above 100")
            continue
        book.note_figures(trial.number, {"peak_memory_mb": known["peak_memory_mb"]})
        book.complete(trial.number, [float(trial.settings["model.drop_path"])])  # type: ignore[arg-type]

    theirs = optuna.create_study(
        direction="maximize", sampler=samplers.TPESampler(seed=0, n_startup_trials=4, constant_liar=True)
    )
    for _ in range(14):
        plain_trial = theirs.ask()
        settings: Settings = {
            "model.drop_path": plain_trial.suggest_float("model.drop_path", 0.0, 0.3),
            "train.weight_decay": plain_trial.suggest_float("train.weight_decay", 1e-3, 0.3, log=True),
        }
        known = figures(settings)
        plain_trial.set_constraint("params", known["params"] - 100)
        if known["params"] > 100:
            theirs.tell(plain_trial, state=optuna.trial.TrialState.PRUNED)
            continue
        plain_trial.set_constraint("peak_memory_mb", known["peak_memory_mb"] - 50)
        theirs.tell(plain_trial, float(settings["model.drop_path"]))  # type: ignore[arg-type]

    ours = book.trials()
    assert [trial.settings for trial in ours] == [trial.params for trial in theirs.trials]
    assert {trial.state for trial in ours} == {"complete", "infeasible"}
    over = [trial for trial in ours if figures(trial.settings)["params"] > 100]
    assert all(trial.state == "infeasible" and trial.cause.startswith("params ") for trial in over)
    heavy = [trial for trial in ours if trial.state == "complete" and not trial.feasible]
    assert heavy and all(trial.figures["peak_memory_mb"] > 50 for trial in heavy)
    assert not {trial.number for trial in best(ours, "maximize", top=99)} & {trial.number for trial in over + heavy}


def test_several_objectives_give_a_front(desk: Desk) -> None:
    objectives = "  sampler: {name: nsgaii, population_size: 4}\n  objectives: [metric, params]\n"
    book = desk.book(desk.study(NUMBERS, objectives))
    told = [(0.5, 10.0), (0.6, 20.0), (0.4, 20.0), (0.6, 30.0), (0.9, 90.0)]
    for values in told:
        trial = book.ask()
        assert trial is not None
        book.complete(trial.number, list(values))
    assert [trial.values for trial in book.trials()] == told
    assert [trial.number for trial in front(book.trials(), ["maximize", "minimize"])] == [0, 1, 4]


def test_lists_truths_nothing_and_sub_trees_come_back_as_the_file_has_them(desk: Desk) -> None:
    search = """\
search:
  trials: 100
  sampler: grid
  enqueue: []
  space:
    train.betas: [[0.9, 0.95], [0.9, 0.999]]
    train.cosine: [true, false]
    train.clip_grad: [null, 3.0]
    style: [{name: plain}, {name: rich, set: {data.augment.mixup: 0.8, train.smoothing: 0.2}}]
"""
    study = desk.study(search.replace("train.cosine: [true, false]", "train.compile: [true, false]"))
    drawn = []
    for _ in range(8):  # a driver each, so that what is drawn went through the storage
        trial = desk.book(study).ask()
        assert trial is not None
        drawn.append(trial.settings)
    found = {name: {json.dumps(settings[name]) for settings in drawn} for name in drawn[0]}
    assert found == {
        "train.betas": {"[0.9, 0.95]", "[0.9, 0.999]"},
        "train.compile": {"true", "false"},
        "train.clip_grad": {"null", "3.0"},
        "style": {'"plain"', '"rich"'},
    }
    assert [trial.settings for trial in desk.book(study).trials()] == drawn


def test_sqlite_and_a_journal_hold_the_same(desk: Desk) -> None:
    found = []
    for kept in ("sqlite", "journal"):
        book = desk.book(desk.study(keys=f"  storage: {kept}\n{FIRST}"))
        draw(book, 6)
        trial = book.ask()
        assert trial is not None
        book.note_figures(trial.number, {"params": 7.0})
        book.report(trial.number, {1: 0.25, 2: 0.5})
        found.append([(t.number, t.settings, t.state, t.values, t.curve, t.figures) for t in book.trials()])
    assert found[0] == found[1]
    assert sorted(path.name for path in (desk.folder / ".slws/searches").iterdir()) == ["optuna.db", "optuna.log"]


def test_looking_at_a_search_that_has_not_begun_makes_nothing(desk: Desk) -> None:
    study = desk.study()
    assert Book.of(study, Workspace(desk.folder / ".slws")).trials() == []
    assert not (desk.folder / ".slws").exists()


@pytest.mark.parametrize("what", ["  trials: 200\n", "  seed: 9\n", "  sampler: random\n", "  pruner: median\n"])
def test_a_search_goes_on_when_what_is_changed_leaves_its_values_alone(desk: Desk, what: str) -> None:
    assert name_of(desk.study()) == name_of(
        desk.study(SPACE.replace("  trials: 100\n", what if "trials" in what else f"  trials: 100\n{what}"))
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[0.1, 0.7]", "[0.1, 0.6]"),
        ("seeds: 1", "seeds: 2"),
        ("{name: val/top1}", "{name: val/top1, at: best}"),
        ("  trials: 100\n", "  trials: 100\n  objectives: [metric, params]\n"),
        ("  trials: 100\n", "  trials: 100\n  constraints: {params: 5}\n"),
        ("recipe: ../experiments/tiny.yaml", "recipe: ../experiments/tiny.yaml\nset: {train.epochs: 3}"),
    ],
)
def test_a_search_begins_anew_when_its_values_would_mean_something_else(desk: Desk, old: str, new: str) -> None:
    changed = (STUDY + SPACE).replace(old, new)
    assert changed != STUDY + SPACE
    assert name_of(desk.study()) != name_of(desk.study("", head=changed))


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have SQLite give up at once."""
    monkeypatch.setattr(storage, "WAIT_S", 0.05)
    yield


@pytest.mark.parametrize(("kept", "file"), [("sqlite", "optuna.db"), ("journal", "optuna.log")])
def test_a_damaged_file_gives_one_message_and_stays(desk: Desk, kept: str, file: str) -> None:
    study = desk.study(keys=f"  storage: {kept}\n")
    draw(desk.book(study), 2)
    path = desk.folder / ".slws/searches" / file
    whole = path.read_bytes()
    for damaged in (b"no storage at all\n" * 300, whole[:700] + b"\xff\x00damage\n" + whole[800:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="cannot be used") as caught:
            book = Book.of(study, Workspace(desk.folder / ".slws"))
            book.trials()
            book.begin()
            draw(book, 1)
        assert file in str(caught.value) and "\n" not in caught.value.given
        assert path.read_bytes() == damaged
        path.write_bytes(whole)
    assert len(desk.book(study).trials()) == 2


def test_a_file_that_another_program_locks_gives_one_message_whatever_is_done(desk: Desk, soon: None) -> None:
    study = desk.study()
    book = desk.book(study)
    trial = book.ask()
    assert trial is not None
    doings: list[Callable[[], object]] = [
        book.trials, book.ask, book.orphans, lambda: book.report(0, {1: 0.5}), lambda: book.complete(0, [0.5]),
        lambda: book.note_figures(0, {"params": 5.0}), lambda: book.fail(0, "x"), lambda: desk.book(study),
        lambda: book.retry(trial),
    ]  # fmt: skip
    with sqlite3.connect(desk.folder / ".slws/searches/optuna.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        for doing in doings:
            with pytest.raises(UserError, match="locked"):
                doing()
        other.rollback()
    assert [trial.state for trial in book.trials()] == ["running"]
    book.complete(0, [0.5])
    assert [trial.values for trial in desk.book(study).trials()] == [(0.5,)]


def test_a_folder_that_cannot_be_made_gives_one_message(desk: Desk) -> None:
    study = desk.study()
    (desk.folder / ".slws").write_text("in the way")
    with pytest.raises(UserError, match="cannot be used"):
        desk.book(study)


def test_a_database_that_is_not_there_is_named_without_its_password(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_DATABASE", "postgresql://me:secret@127.0.0.1:1/none")
    with pytest.raises(UserError) as caught:
        desk.book(desk.study(keys="  storage: $OUR_DATABASE\n"))
    assert "secret" not in str(caught.value) and "is the server up" in caught.value.todo
    monkeypatch.setenv("OUR_DATABASE", "redis://there")
    with pytest.raises(UserError, match="no address of a database"):
        desk.book(desk.study(keys="  storage: $OUR_DATABASE\n"))


def test_the_time_that_all_drivers_searched_is_summed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    study, clock = desk.study(), [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    first = desk.book(study)
    clock[0] += 100
    first.beat()
    second = desk.book(study)
    clock[0] += 30
    assert second.beat() == pytest.approx(130)
    assert first.beat() == pytest.approx(160)
