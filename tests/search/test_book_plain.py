"""A search that nobody interrupts draws and prunes what plain Optuna draws and prunes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna import pruners, samplers
from search.books import FIRST, NUMBERS, STUDY, Desk, distinct, draw, value

from slws_lab.search.trial import best
from slws_lab.spec import Study
from slws_lab.spec.levels import Settings

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


def curve(settings: Settings, number: int) -> dict[int, float]:
    """Return a curve that rises, and in every third trial falls from its middle on."""
    turn = (lambda e: -abs(e - 4)) if number % 3 == 2 else (lambda e: e)
    return {epoch: value(settings) + 0.01 * turn(epoch) for epoch in range(1, EPOCHS + 1)}


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
