"""`slws study from-search` and `slws ui --optuna`: what a search found, taken apart in a file; and Optuna's dashboard on its storage."""

from __future__ import annotations

import json
import math
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Folder, Slws, make_project

from slws_lab.lab.dashboard import storage_of
from slws_lab.lab.handoff import Wanted, write_ablation
from slws_lab.lab.ordering import gain, steps_in_order
from slws_lab.search.book import Book
from slws_lab.search.dashboard import make_dashboard
from slws_lab.search.trial import Trial
from slws_lab.spec import Study, expand, load_study
from slws_lab.spec.dimension import Dimension
from slws_lab.tracking import Workspace

SEARCH = """\
name: search
question: Which schedule and rate?
recipe: ../experiments/tiny.yaml
set: {shuffle.schedule: none}
search:
  space:
    shuffle.schedule: [none, linear]
    shuffle.max_rate: {float: [0.1, 0.7], when: {shuffle.schedule: linear}}
    train.lr: {log: [1e-3, 1e-1]}
  sampler: random
  trials: 4
seeds: 1
metric: {name: val/top1}
"""


@pytest.fixture
def folder(project: Folder) -> Folder:
    """A project with a search that has not begun."""
    (project.path / "studies/search.yaml").write_text(SEARCH)
    return project


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of a search of four trials, the third the best, the last failed. Do not change it: copy it."""
    folder = make_project(tmp_path_factory.mktemp("kept"), SEARCH)
    book = Book.of(load_study(folder.study), Workspace(folder.workspace))
    book.begin()
    for value in (50.0, 60.0, 90.0, math.nan):
        trial = book.ask()
        assert trial is not None
        book.complete(trial.number, [value])
    return folder.workspace


@pytest.fixture
def searched(folder: Folder, kept: Path) -> Folder:
    """A project whose search has made its trials."""
    shutil.copytree(kept, folder.workspace)
    return folder


def study_of(folder: Folder) -> Study:
    return load_study(folder.path / "studies/search.yaml")


def made(*trials: tuple[float, str, float | None, float]) -> list[Trial]:
    """Return completed trials of (value, schedule, rate, learning rate)."""
    return [
        Trial(i, {"shuffle.schedule": schedule, **({} if rate is None else {"shuffle.max_rate": rate}), "train.lr": lr}, "complete", (v,))
        for i, (v, schedule, rate, lr) in enumerate(trials)
    ]  # fmt: skip


def files(folder: Folder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


def test_the_best_trial_is_taken_apart_in_a_file_that_can_be_run(
    searched: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = Book.of(study_of(searched), Workspace(searched.workspace)).trials()
    assert slws("study", "from-search", "search", cwd=searched.path) == 0
    said = capsys.readouterr().out
    path = searched.path / "studies/search-ablation.yaml"
    assert f"written: {path}" in said and "run it: slws run search-ablation" in said and said.startswith("trial 2: ")
    study = load_study(path)
    design = expand(study)
    assert study.spec.seeds == [1, 2, 3, 4, 5] and study.spec.name == "search-ablation"
    assert trials[2].settings["train.lr"] in [arm.settings["train.lr"] for arm in design.arms]
    assert "trial 2, val/top1 90.0." in path.read_text() and "A value picked out of 3 trials" in path.read_text()
    assert slws("study", "show", "search-ablation", cwd=searched.path) == 0


def test_name_trial_seeds_and_folder_can_be_chosen(
    searched: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    (searched.path / "deep/er").mkdir(parents=True)
    arguments = (
        "study",
        "from-search",
        searched.path / "studies/search.yaml",
        "mine",
        "--trial",
        1,
        "--seeds",
        3,
        "--out",
        "deep/er",
    )
    assert slws(*arguments, cwd=searched.path) == 0
    study = load_study(searched.path / "deep/er/mine.yaml")
    assert (study.spec.recipe, study.spec.seeds) == ("../../experiments/tiny.yaml", [1, 2, 3])
    assert "# command: slws run deep/er/mine.yaml" in study.source.path.read_text()
    assert "run it: slws run deep/er/mine.yaml" in capsys.readouterr().out
    expand(study)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tiny",), "study 'tiny' is no search"),
        (("search",), "there is a study 'search-ablation' already"),
        (("search", "../mine"), "'../mine' cannot name a study"),
        (("search", "mine", "--trial", "0"), "trial 0 is the baseline: there is nothing to take apart"),
        (("search", "mine", "--trial", "3"), "trial 3 cannot be taken apart: it is failed"),
        (("search", "mine", "--trial", "9"), "there is none of that number"),
        (("search", "mine", "--out", ".."), "a study lies in the project of its recipe"),
    ],
)
def test_a_mistake_is_one_message_and_writes_nothing(
    searched: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    (searched.path / "studies/search-ablation.yaml").write_text("mine")
    before = files(searched)
    assert slws("study", "from-search", *arguments, cwd=searched.path) == 2
    assert said in capsys.readouterr().err
    assert files(searched) == before


def test_a_search_without_a_completed_trial_has_nothing_to_take_apart(
    folder: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slws("study", "from-search", "search", cwd=folder.path) == 2
    said = capsys.readouterr().err
    assert "the search 'search' has no completed trial yet" in said and "slws run search" in said
    assert not folder.workspace.exists()


def test_of_several_objectives_the_trial_must_be_named(folder: Folder) -> None:
    path = folder.path / "studies/search.yaml"
    path.write_text(SEARCH.replace("  trials: 4", "  trials: 4\n  objectives: [metric, params]"))
    trials = [Trial(4, {"shuffle.schedule": "none", "train.lr": 0.05}, "complete", (70.0, 1000.0))]
    with pytest.raises(Exception, match="of several objectives nobody says which trial is best"):
        write_ablation(study_of(folder), trials, Wanted())
    study, trial = write_ablation(study_of(folder), trials, Wanted(trial=4))
    assert trial is trials[0] and "trial 4, val/top1 70.0, params 1000.0." in study.source.path.read_text()


def test_an_infeasible_trial_is_not_the_best_but_may_be_named(folder: Folder) -> None:
    settings: dict[str, Any] = {"shuffle.schedule": "none", "train.lr": 0.05}
    trials = [Trial(0, settings, "complete", (70.0,), feasible=False)]
    with pytest.raises(Exception, match="no completed trial keeps to all constraints"):
        write_ablation(study_of(folder), trials, Wanted())
    assert write_ablation(study_of(folder), trials, Wanted(trial=0))[1].number == 0


def test_a_path_of_few_trials_goes_by_what_they_gained(folder: Folder) -> None:
    study = study_of(folder)
    trials = made(
        (50, "none", None, 8e-3), (52, "none", None, 4e-2), (70, "linear", 0.3, 8e-3), (75, "linear", 0.4, 4e-2)
    )
    assert steps_in_order(study, trials, trials[3]) == (
        ["shuffle.schedule", "train.lr"],
        "what gained most in the search",
    )
    swapped = made(
        (50, "none", None, 8e-3), (70, "none", None, 4e-2), (52, "linear", 0.3, 8e-3), (75, "linear", 0.4, 4e-2)
    )
    assert steps_in_order(study, swapped, swapped[3])[0] == ["train.lr", "shuffle.schedule"]


def test_a_path_of_many_trials_goes_by_importance_and_a_rate_counts_for_its_schedule(folder: Folder) -> None:
    rates = [0.1 + 0.02 * i for i in range(30)]
    trials = made(*((50 - 100 * abs(rate - 0.4), "linear", rate, 8e-3 * (1 + i % 5)) for i, rate in enumerate(rates)),
                  *((20 + i % 3, "none", None, 8e-3 * (1 + i)) for i in range(6)))  # fmt: skip
    order, by = steps_in_order(study_of(folder), trials, trials[14])
    assert (order[0], by) == ("shuffle.schedule", "what matters most in the search by PED-ANOVA")


def test_the_gain_compares_both_sides_of_what_lies_between() -> None:
    trials = made(
        (10, "none", None, 1e-3), (20, "none", None, 9e-3), (40, "none", None, 1.1e-2), (60, "none", None, 1e-1)
    )
    log, plain = Dimension.model_validate({"log": [1e-3, 1e-1]}), Dimension.model_validate({"float": [1e-3, 1e-1]})
    assert gain(trials, "train.lr", log, (1e-3, 1e-1)) == 50 - 15
    assert gain(trials, "train.lr", plain, (1e-3, 1e-1)) == pytest.approx(60 - 70 / 3)
    assert gain(trials, "train.lr", log, (1e-3, None)) == 0
    assert gain(trials, "shuffle.max_rate", plain, (0.1, 0.5)) == 0
    levels = Dimension.model_validate(["none", "linear"])
    assert gain(trials, "shuffle.schedule", levels, ("linear", "none")) == 0


@contextmanager
def served(folder: Folder, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve the dashboard of the search; gives its address."""
    server = make_dashboard(storage_of("search"), host, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_dashboard_shows_the_search_and_answers_this_machine_alone(
    searched: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(searched.path)
    with served(searched) as address:
        with urllib.request.urlopen(f"{address}/api/studies") as answer:
            found = json.load(answer)
        assert [study["study_name"].startswith("search-") for study in found["study_summaries"]] == [True]
        with urllib.request.urlopen(f"{address}/dashboard") as answer:
            assert b"<html" in answer.read().lower()
        foreign = urllib.request.Request(f"{address}/api/studies", headers={"Host": "evil.example:80"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(foreign)


def test_the_command_says_where_the_dashboard_is(
    searched: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socketserver.BaseServer.serve_forever", lambda _: None)
    assert slws("ui", "--optuna", "--port", 18765, cwd=searched.path) == 0
    assert "http://127.0.0.1:18765/" in capsys.readouterr().out
    assert slws("ui", "search", "--optuna", "--host", "0.0.0.0", "--port", 18766, cwd=searched.path) == 0
    assert "warning: the dashboard asks for no password" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("search", "--optuna"), "the search 'search' has not begun"),
        (("--optuna",), "there is no search to show yet"),
        (("tiny", "--optuna"), "study 'tiny' is no search"),
        (("search",), "slws ui search --optuna"),
    ],
)
def test_where_there_is_no_storage_the_dashboard_is_refused(
    folder: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert slws("ui", *arguments, cwd=folder.path) == 2
    assert said in capsys.readouterr().err
    assert not folder.workspace.exists()


def test_a_password_of_the_storage_is_never_shown(
    folder: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE", "postgresql://me:hunter2secret@127.0.0.1:1/none")
    (folder.path / "studies/search.yaml").write_text(SEARCH.replace("  trials: 4", "  trials: 4\n  storage: $STORE"))
    assert slws("ui", "search", "--optuna", cwd=folder.path) == 2
    told = capsys.readouterr()
    assert "cannot be used" in told.err and "hunter2secret" not in told.out + told.err


def test_searches_in_several_storages_must_be_named(
    searched: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    (searched.path / "studies/other.yaml").write_text(SEARCH.replace("name: search", "name: other").replace("  trials: 4", "  trials: 4\n  storage: postgresql://x/y"))  # fmt: skip
    assert slws("ui", "--optuna", cwd=searched.path) == 2
    assert "the searches are in several storages" in capsys.readouterr().err


def test_without_the_package_the_message_says_what_to_install(
    searched: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna_dashboard", None)
    assert slws("ui", "search", "--optuna", cwd=searched.path) == 2
    assert "pip install optuna-dashboard" in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_message(
    searched: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(searched.path)
    with served(searched) as address:
        assert slws("ui", "search", "--optuna", "--port", address.rpartition(":")[2], cwd=searched.path) == 2
    assert "choose another with --port" in capsys.readouterr().err
