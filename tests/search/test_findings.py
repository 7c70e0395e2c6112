"""What a search found, against trials made by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from slws_lab.analysis.searching import Axis
from slws_lab.search.findings import axes_of, findings
from slws_lab.search.trial import Trial
from slws_lab.spec import SearchSpec, StudySpec

SPACE: dict[str, Any] = {
    "shuffle.schedule": ["none", "linear"],
    "shuffle.max_rate": {"float": [0.0, 0.8], "when": {"shuffle.schedule": ["linear"]}},
    "train.weight_decay": {"log": [1e-3, 1e-1]},
}
NONE = {"shuffle.schedule": "none", "train.weight_decay": 0.01}


def study(seeds: int = 1, metric: dict[str, str] | None = None, **search: Any) -> StudySpec:
    return StudySpec.model_validate({
        "name": "s", "question": "Which?", "recipe": "r.yaml", "seeds": seeds,
        "search": {"space": SPACE, "trials": 10, **search}, **({"metric": metric} if metric else {}),
    })  # fmt: skip


def linear(rate: float, decay: float = 0.01) -> dict[str, Any]:
    return {"shuffle.schedule": "linear", "shuffle.max_rate": rate, "train.weight_decay": decay}


def done(number: int, settings: dict[str, Any], *values: float, **more: Any) -> Trial:
    return Trial(number, settings, "complete", values, **more)


TRIALS = [
    done(0, NONE, 90.0, begun=100.0, ended=110.0, curve={1: 70.0, 2: 80.0, 10: 90.0}),
    done(1, linear(0.2), 93.0),
    Trial(2, linear(0.4), "pruned", curve={1: 50.0, 2: 55.0, 4: 57.0}),
    done(3, linear(0.6), 97.0, feasible=False),
    Trial(4, linear(0.8), "failed", cause="out of memory"),
    done(5, linear(0.4, 0.1), 92.0),
    Trial(6, {}, "failed", cause="x"),
    Trial(7, linear(0.1), "infeasible", feasible=False, cause="latency_ms"),
]


def test_the_best_so_far_is_of_feasible_completed_trials_only() -> None:
    history = findings(TRIALS, study()).aspects[0].history
    assert [(p.value, p.best) for p in history] == [
        (90.0, 90.0), (93.0, 93.0), (None, 93.0), (97.0, 93.0), (None, 93.0), (92.0, 93.0), (None, 93.0), (None, 93.0),
    ]  # fmt: skip
    assert [p.state for p in history][2:5] == ["pruned", "complete", "failed"]


def test_small_is_good_where_the_objective_is_a_loss() -> None:
    metric = {"name": "val/loss", "goal": "minimize"}
    trials = [done(0, NONE, 0.5), done(1, linear(0.2), 0.3), done(2, linear(0.4), 0.4)]
    found = findings(trials, study(metric=metric))
    assert [p.best for p in found.aspects[0].history] == [0.5, 0.3, 0.3]
    assert found.best == (1, 2, 0)


def test_the_best_are_feasible_and_each_setting_stands_once() -> None:
    again = done(8, linear(0.2), 92.5)
    found = findings([again, *TRIALS], study(), baseline=NONE)
    assert found.best == (1, 5, 0) and found.baseline == 0
    assert [trial.number for trial in found.trials] == [*range(9)]
    assert findings(TRIALS, study(), baseline=linear(0.7)).baseline is None


def test_trials_keep_their_step_time_and_cause() -> None:
    rows = findings(TRIALS, study()).trials
    assert (rows[0].seconds, rows[0].step, rows[1].seconds, rows[1].step) == (10.0, 10, None, None)
    assert (rows[2].state, rows[2].step, rows[4].cause) == ("pruned", 4, "out of memory")


def test_slices_leave_out_what_is_off_and_what_has_no_value() -> None:
    points = findings(TRIALS, study()).aspects[0].slices
    assert [(p.level, p.value, p.number) for p in points if p.dimension == "shuffle.max_rate"] == [
        (0.2, 93.0, 1), (0.6, 97.0, 3), (0.4, 92.0, 5),
    ]  # fmt: skip
    assert len([p for p in points if p.dimension == "shuffle.schedule"]) == 4
    assert [p.feasible for p in points if p.number == 3] == [False] * 3


def test_paths_lie_by_ratio_on_a_log_axis_and_nowhere_on_one_that_is_off() -> None:
    paths = {p.number: p.places for p in findings(TRIALS, study()).aspects[0].paths}
    assert paths[0] == (0.0, None, pytest.approx(0.5))
    assert paths[5] == (1.0, pytest.approx(0.5), pytest.approx(1.0))


def test_axes_know_levels_from_ranges_and_one_from_true() -> None:
    space = {"model.args.depth": [2, 4], "train.lr": {"log": [1e-4, 1e-2]}, "data.n": {"int": [1, 9]}}
    depth, lr, n = axes_of(SearchSpec.model_validate({"space": space, "trials": 1}))
    assert (depth.label, depth.number(4), depth.share(2)) == ("depth", 1.0, 0.0)
    assert lr.share(1e-3) == pytest.approx(0.5) and lr.log and not lr.whole
    assert n.whole and n.share(5) == 0.5 and n.text(5) == "5" and lr.text(0.00123456) == "0.001235"
    odd = Axis("x.y", "y", levels=(1, True, None))
    assert [odd.number(True), odd.number(1), odd.number(None), odd.text(None)] == [1.0, 0.0, 2.0, "null"]
    with pytest.raises(ValueError, match="3 is no level"):
        depth.number(3)


def test_pruning_saved_the_epochs_up_to_the_length_of_a_whole_trial() -> None:
    pruned = study(pruner="median")
    saving = findings(TRIALS, pruned).saving
    assert saving is not None and (saving.unit, saving.saved, saving.trained, saving.at_least) == (
        "epoch",
        6,
        14,
        False,
    )
    given = findings(TRIALS, pruned, epochs=30).saving
    assert given is not None and given.saved == 26
    several = findings(TRIALS, study(seeds=2, pruner="median")).saving
    assert several is not None and several.at_least
    assert findings([t for t in TRIALS if t.state != "pruned"], pruned).saving is None


def test_a_trial_that_sets_its_own_length_saved_what_that_leaves() -> None:
    space = {"train.epochs": [5, 20]}
    trials = [
        done(0, {"train.epochs": 20}, 1.0, curve={20: 1.0}), Trial(1, {"train.epochs": 5}, "pruned", curve={3: 0.1}),
    ]  # fmt: skip
    saving = findings(trials, study(space=space, pruner="median")).saving
    assert saving is not None and saving.saved == 2


def test_a_wilcoxon_pruner_saves_seeds() -> None:
    trials = [done(0, NONE, 90.0, curve={1: 90, 2: 91}), Trial(1, linear(0.2), "pruned", curve={1: 10.0, 2: 11.0})]
    saving = findings(trials, study(seeds=5, pruner="wilcoxon")).saving
    assert saving is not None and (saving.unit, saving.saved) == ("seed", 3)


def test_curves_end_where_a_trial_was_pruned() -> None:
    curves = findings(TRIALS, study(pruner="median")).curves
    assert [(c.number, c.state, c.steps, c.values[-1]) for c in curves] == [
        (0, "complete", (1, 2, 10), 90.0), (2, "pruned", (1, 2, 4), 57.0),
    ]  # fmt: skip
    assert findings(TRIALS, study()).curves == ()


def test_a_front_of_three_objectives_is_judged_by_all_and_shown_in_pairs() -> None:
    several = study(objectives=["metric", "latency_ms", "params"])
    trials = [
        done(0, NONE, 90.0, 5.0, 100.0),
        done(1, linear(0.2), 92.0, 6.0, 100.0),
        done(2, linear(0.4), 89.0, 6.0, 100.0),  # worse than 0 in all but the last
        done(3, linear(0.6), 80.0, 9.0, 50.0),  # leads by the third objective alone
        done(4, linear(0.8), 99.0, 1.0, 1.0, feasible=False),
    ]
    found = findings(trials, several)
    assert [(f.first, f.second) for f in found.fronts] == [(0, 1), (0, 2), (1, 2)]
    for front in found.fronts:
        assert [p.standing for p in front.points] == ["front", "front", "dominated", "front", "infeasible"]
    assert (found.fronts[1].points[3].x, found.fronts[1].points[3].y) == (80.0, 50.0)
    assert found.best == (1, 0, 3)
    assert [aspect.goal for aspect in found.aspects] == ["maximize", "minimize", "minimize"]
    assert [p.best for p in found.aspects[1].history] == [5.0, 5.0, 5.0, 5.0, 5.0]


@pytest.mark.parametrize("trials", [[], [Trial(0, NONE, "failed")], [Trial(0, {}, "running")]])
@pytest.mark.parametrize("objectives", [["metric"], ["metric", "latency_ms"]])
def test_nothing_found_is_empty_and_says_why(trials: list[Trial], objectives: list[str]) -> None:
    found = findings(trials, study(objectives=objectives))
    assert found.best == () and found.saving is None and len(found.aspects) == len(objectives)
    for aspect in found.aspects:
        assert aspect.slices == aspect.contours == aspect.paths == ()
        assert {one.reason for one in aspect.importances} == {"10 completed trials are needed, not 0"}


def contour(trials: list[Trial]) -> Any:
    space = {"a.x": {"float": [0, 1]}, "a.y": {"float": [0, 2]}}
    found = findings(trials, study(space=space)).aspects[0].contours
    return found[0] if found else None


def test_a_surface_meets_a_plane_between_the_trials_and_is_nothing_beyond_them() -> None:
    places = [(0.1, 0.2), (0.9, 0.2), (0.1, 1.8), (0.9, 1.8), (0.5, 1.0), (0.3, 0.8), (0.7, 1.2), (0.4, 1.5)]
    trials = [done(i, {"a.x": x, "a.y": y}, 3 * x - y) for i, (x, y) in enumerate(places)]
    surface = contour(trials).surface
    seen = [
        (value, 3 * x - y)
        for row, y in zip(surface.values, surface.y, strict=True)
        for value, x in zip(row, surface.x, strict=True)
        if not math.isnan(value)
    ]
    assert len(seen) > 500 and all(value == pytest.approx(plane, abs=1e-9) for value, plane in seen)
    assert math.isnan(surface.values[0][0]) and (surface.x[-1], surface.y[-1]) == (1.0, 2.0)


def test_there_is_no_surface_of_few_places_nor_of_a_line() -> None:
    few = [done(i, {"a.x": i % 7 / 10, "a.y": i % 7 / 5 if i else 2.0}, float(i)) for i in range(14)]
    assert contour(few[:7]).reason == "8 different places are needed, not 7" and contour(few[:7]).surface is None
    line = [done(i, {"a.x": i / 10, "a.y": i / 5}, float(i)) for i in range(10)]
    assert contour(line).reason == "all trials lie on a line"
    assert contour(few[:2]) is None


def test_a_pair_with_levels_has_points_and_no_surface() -> None:
    trials = [replace(trial, number=i) for i, trial in enumerate(TRIALS * 3)]
    contours = findings(trials, study()).aspects[0].contours
    pair = {"shuffle.schedule", "train.weight_decay"}
    first = next(c for c in contours if {c.x.name, c.y.name} == pair)
    assert first.surface is None and first.reason == "there is nothing between levels" and len(first.points) == 12


def test_a_study_without_a_search_is_refused() -> None:
    plain = study().model_copy(update={"search": None})
    with pytest.raises(ValueError, match="has no search"):
        findings([], plain)
