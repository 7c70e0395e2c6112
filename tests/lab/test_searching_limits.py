"""The loop of a search within limits: minutes, device hours, and what a trial may cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import make_project
from faults.faults import left
from search.line_search import SEARCH, look_often, make, record_of, search, trials

from slws_lab.lab import inference, science
from slws_lab.spec import Recipe


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    look_often(monkeypatch)


LARGEST = 9000  # parameters
DEPTHS = """\
name: tiny
question: How deep, within what may be spent?
recipe: ../experiments/tiny.yaml
set: {train.epochs: 1, train.ema_decay: null}
metric: {name: val/top1}
seeds: 1
resources: {gpus: 0}
search:
  space: {model.args.depth: [1, 3]}
  sampler: {name: tpe, n_startup_trials: 1}
  objectives: [metric, latency_ms, images_per_s]
  constraints: {params: LARGEST, peak_memory_mb: 100000}
  trials: 2
  enqueue: [{model.args.depth: 3}, {model.args.depth: 1}]
""".replace("LARGEST", str(LARGEST))


def test_a_search_of_minutes_begins_no_trial_after_them_and_ends_what_it_began(tmp_path: Path) -> None:
    folder = make(tmp_path, SEARCH.replace("trials: 4", "minutes: 0.05"))
    search(folder)
    found = trials(folder)
    assert len(found) >= 2 and {trial.state for trial in found} == {"complete"}
    assert found[-1].begun is not None and found[0].begun is not None
    assert found[-1].begun - found[0].begun < 0.05 * 60
    assert search(folder).started == 0, "the minutes are those of all commands together"


def test_a_search_stops_before_its_device_hours_are_spent_and_leaves_what_it_began_to_be_gone_on_with(
    tmp_path: Path,
) -> None:
    text = SEARCH.replace("  trials: 4\n", "").replace(
        "seeds: 1", "seeds: 1\nset: {pause: 0.2}\nbudget: {device_hours: 0.0012}"
    )
    folder = make(tmp_path, text)
    outcome = search(folder)
    assert outcome.halted and not outcome.interrupted
    found = trials(folder)
    assert found[-1].state == "running" and {trial.state for trial in found[:-1]} <= {"complete"}
    assert left(folder) == []


def test_what_breaks_a_budget_is_not_trained_and_a_latency_is_measured_once_per_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The science tower answers in this process: the measurement and the training are real."""
    from slws_lab.training import check
    from slws_lab.training.inference import measure_asked

    measured: list[int] = []

    def measure(_: str, question: dict[str, Any]) -> dict[str, Any]:
        found = measure_asked(json.loads(json.dumps(question["measure"])))
        measured.append(found["params"])
        return found

    def ask(_: str, heard: dict[str, Any]) -> Any:
        recipes = [Recipe.model_validate(raw) for raw in json.loads(json.dumps(heard["recipes"]))]
        return json.loads(json.dumps(check(recipes, Path(heard["root"]), heard["scan"])))

    monkeypatch.setattr(science, "ask", ask)
    monkeypatch.setattr(inference, "answer_of", measure)
    folder = make_project(tmp_path / "project", DEPTHS)
    assert search(folder).failed == ()
    deep, flat = trials(folder)
    assert sorted(measured) == sorted([deep.figures["params"], flat.figures["params"]])
    assert deep.figures["params"] > LARGEST >= flat.figures["params"]
    assert (deep.state, deep.values) == ("infeasible", ()) and deep.cause.startswith("params ")
    assert record_of(folder, deep).attempts == 0, "what is too large is not trained"
    assert flat.state == "complete" and flat.feasible
    record, (accuracy, latency, speed) = record_of(folder, flat), flat.values
    assert speed == record.curves["train/images_per_s"][1] > 0
    assert flat.figures["peak_memory_mb"] == record.curves["train/peak_memory_mb"][1] > 1
    assert accuracy == record.curves["val/top1"][1] and latency == flat.figures["latency_ms"] > 0
    assert {"flops", "latency_ms"} & set(flat.figures) == {"latency_ms"}, "only what was asked for"
    assert search(folder).started == 0 and len(measured) == 2
