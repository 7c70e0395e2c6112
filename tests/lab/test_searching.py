"""The loop of a search: trials drawn, run and told, with their seeds, their failures and the runs of other studies."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
from conftest import Folder
from faults.faults import left
from search.line_search import RECIPE, SEARCH, look_often, make, ordinary, record_of, run, search, trials

from slws_lab.errors import UserError
from slws_lab.lab.executing import Progress
from slws_lab.search.trial import best, counts


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    look_often(monkeypatch)


def made(folder: Folder) -> dict[str, str]:
    """Return when each attempt was begun, and with what it ended."""
    files = [
        path for path in folder.workspace.glob("runs/*/attempt-*/*") if path.name in ("starts.jsonl", "result.json")
    ]
    return {str(path.relative_to(folder.workspace)): path.read_text() for path in files}


@pytest.mark.parametrize("launcher", ["in_process", "local"])
def test_a_search_ends_with_the_trials_that_were_asked_for_and_goes_on_when_more_are(
    tmp_path: Path, launcher: str
) -> None:
    folder = make(tmp_path)
    outcome = search(folder, launcher)
    assert (outcome.started, outcome.failed, outcome.interrupted, outcome.halted) == (4, (), False, False)
    first = trials(folder)
    assert [trial.state for trial in first] == ["complete"] * 4
    assert first[0].settings == {"lr": 0.5}
    assert [trial.values[0] for trial in first] == [record_of(folder, trial).curves["val/top1"][3] for trial in first]
    assert best(first, "maximize")[0].settings["lr"] == max(trial.settings["lr"] for trial in first)  # type: ignore[type-var]
    before = made(folder)
    assert search(folder, launcher).started == 0
    assert made(folder) == before
    folder.study.write_text(folder.study.read_text().replace("trials: 4", "trials: 6"))
    assert search(folder, launcher).started == 2
    assert trials(folder)[:4] == first and len(trials(folder)) == 6
    assert left(folder) == []


def test_runs_that_another_study_has_finished_are_not_executed_anew(tmp_path: Path) -> None:
    folder = make(tmp_path, SEARCH.replace("{float: [0.1, 0.9]}", "[0.5, 0.1, 0.9]").replace("random", "grid"))
    run(ordinary(folder, [{}, {"lr": 0.1}, {"lr": 0.9}]))
    before = made(folder)
    assert len(before) == 6
    search(folder)
    assert made(folder) == before
    assert sorted(trial.settings["lr"] for trial in trials(folder)) == [0.1, 0.5, 0.9]  # type: ignore[type-var]
    assert [trial.values[0] for trial in trials(folder)] == [
        record_of(folder, trial).curves["val/top1"][3] for trial in trials(folder)
    ]


FAILING = """\
seeds: 1
search:
  space: {do: [log, silent, diverge]}
  sampler: grid
  enqueue: []
  trials: 9
"""


def test_failed_and_diverged_trials_are_told_with_their_causes_and_only_what_failed_is_tried_again(
    tmp_path: Path,
) -> None:
    folder = make(tmp_path, FAILING)
    outcome = search(folder)
    assert sorted(lost.status for lost in outcome.failed) == ["diverged", "failed"]
    found = {trial.settings["do"]: trial for trial in trials(folder)}
    assert {do: trial.state for do, trial in found.items()} == {
        "log": "complete",
        "silent": "failed",
        "diverge": "failed",
    }
    assert found["silent"].cause.startswith("failed: the command ended well and never gave")
    assert found["diverge"].cause.startswith("diverged: ")
    script = folder.path / "main.py"
    script.write_text(script.read_text().replace('!= "silent"', '!= "nothing"'))
    assert search(folder).started == 1
    assert [(trial.settings["do"], trial.state) for trial in trials(folder)[3:]] == [("silent", "complete")]
    assert trials(folder)[found["silent"].number].again == 3
    assert sum(counts(trial) for trial in trials(folder)) == 3
    assert search(folder).started == 0


def test_a_trials_value_is_the_mean_over_its_seeds(tmp_path: Path) -> None:
    folder = make(tmp_path, SEARCH.replace("seeds: 1", "seeds: [3, 5, 8]").replace("trials: 4", "trials: 2"))
    search(folder)
    for trial in trials(folder):
        values = [record_of(folder, trial, seed).curves["val/top1"][3] for seed in (3, 5, 8)]
        assert len(set(values)) == 3
        assert trial.values == (pytest.approx(fmean(values), abs=1e-12),)


def test_the_local_launcher_works_on_as_many_trials_as_there_are_slots(tmp_path: Path) -> None:
    folder, most = make(tmp_path, SEARCH.replace("seeds: 1", "seeds: 1\nset: {pause: 0.2}")), [0]

    def watch(progress: Progress) -> None:
        most[0] = max(most[0], len(progress.running))

    search(folder, "local", watch)
    assert most[0] == 2
    assert len({trial.settings["lr"] for trial in trials(folder)}) == 4


def test_a_mistake_is_told_before_anything_starts(tmp_path: Path) -> None:
    folder = make(tmp_path, recipe=RECIPE.replace("{python} main.py", "pyhton main.py"))
    with pytest.raises(UserError, match="there is no program 'pyhton'"):
        search(folder)
    assert not (folder.workspace / "runs").exists() and not (folder.workspace / "searches").exists()
