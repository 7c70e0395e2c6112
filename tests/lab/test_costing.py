"""What runs will cost: by what was run, by probes, side by side in slots, and on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import RECIPE, STUDY, Folder, make_project

from slws_lab.errors import UserError
from slws_lab.lab import costing
from slws_lab.lab.costing import Cost, cost, likely_seconds
from slws_lab.lab.history import Range
from slws_lab.lab.planning import PlannedRun
from slws_lab.lab.project import Project
from slws_lab.launch import inventory
from slws_lab.spec import RunSpec
from slws_lab.tracking import journal, provenance

PARAMS = 1000
WEIGHTS = 2 * PARAMS * 4  # with the moving average


def opened(folder: Folder) -> Project:
    return Project.open(str(folder.study))


def planned(project: Project) -> list[PlannedRun]:
    ids = project.design.run_ids
    return [
        PlannedRun(arm, seed, ids[arm.id, seed], project.record(ids[arm.id, seed]))
        for seed in project.design.seeds
        for arm in project.design.arms
    ]


def finish(project: Project, run: RunSpec, seconds: float, epochs: int = 2, **changes: Any) -> Path:
    """Leave what a run would have left that took so long; returns its folder."""
    folder = project.workspace.run(run)
    folder.create(run)
    attempt = folder.new_attempt()
    for epoch in range(1, epochs + 1):
        journal.append(attempt.journal, epoch, 0.0, {"val/top1": 1.0})
    result = {"status": "finished", "seconds": seconds, "epochs": epochs, "device": "cpu", "threads": 1,
              "scan_backend": "native", "provenance": {"machine": provenance.machine()}}  # fmt: skip
    attempt.finish(result | changes)
    return folder.path


def costs(project: Project, slots: int = 1, **options: Any) -> Cost:
    runs = [run for run in planned(project) if run.todo]
    return cost(project, runs, {run.arm.id: {"params": PARAMS} for run in runs}, slots, **options)


def run_of(project: Project, arm: int, seed: int = 0, **train: Any) -> RunSpec:
    """Return a run of the study's first or second arm, its training changed: without the shuffle, and with it."""
    run = project.design.arms[arm].run(seed)
    return run.model_copy(update={"train": run.train.model_copy(update=train)})


def test_without_a_run_nobody_knows_and_the_arms_are_named(project: Folder) -> None:
    found = costs(opened(project))
    assert (found.device_hours, found.wall_hours, found.per_arm) == (None, None, {})
    assert found.unknown == ("schedule=none", "schedule=linear")


def test_runs_of_the_arm_give_their_median_and_extremes(project: Folder) -> None:
    study = opened(project)
    finish(study, run_of(study, 0, seed=0), 8.0)
    finish(study, run_of(study, 0, seed=1), 11.0)
    finish(study, run_of(study, 0, seed=7), 30.0)
    found = costs(study)
    (expected,) = found.per_arm.values()
    assert expected.seconds == Range(8.0, 11.0, 30.0)
    assert expected.source == "3 runs of this arm"
    assert found.unknown == ("schedule=linear",)
    assert found.device_hours is not None
    assert found.device_hours.likely == pytest.approx(
        11.0 / 3600
    )  # one seed of three is left, and only of the arm that is known


def test_one_run_alone_is_good_for_a_tenth_at_best(project: Folder) -> None:
    study = opened(project)
    finish(study, run_of(study, 0, seed=7), 10.0)
    (expected,) = costs(study).per_arm.values()
    assert expected.seconds == Range(9.0, 10.0, 11.0)
    assert expected.source == "1 run of this arm"


def test_a_run_of_the_same_shape_counts_by_its_epochs(project: Folder) -> None:
    study = opened(project)
    finish(study, run_of(study, 1, epochs=8, lr=1e-4), 40.0, epochs=8)
    found = costs(study)
    (expected,) = found.per_arm.values()
    assert expected.seconds.likely == 10.0
    assert expected.source == "1 run of the same shape"
    assert found.unknown == ("schedule=none",)


def test_runs_of_the_arm_are_preferred_to_those_of_its_shape(project: Folder) -> None:
    study = opened(project)
    finish(study, run_of(study, 1, lr=1e-4), 40.0)
    finish(study, run_of(study, 1, seed=7), 10.0)
    (expected,) = costs(study).per_arm.values()
    assert (expected.seconds.likely, expected.source) == (10.0, "1 run of this arm")


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "failed"},
        {"status": "diverged"},
        {"threads": 2},
        {"device": "NVIDIA H200"},
        {"provenance": {"machine": {"processor": "another"}}},
    ],
)
def test_what_was_not_finished_or_made_elsewhere_says_nothing(changes: dict[str, Any], project: Folder) -> None:
    study = opened(project)
    finish(study, run_of(study, 0, seed=7), 10.0, **changes)
    assert costs(study).per_arm == {}


def test_damaged_runs_and_those_of_other_languages_are_passed_over(project: Folder) -> None:
    study = opened(project)
    for seed, text in ((7, "{"), (8, '{"spec": {"kind": "train", "planets": 9}}')):
        (finish(study, run_of(study, 0, seed=seed), 10.0) / "run.json").write_text(text)
    assert costs(study).per_arm == {}


def test_on_a_gpu_only_runs_on_such_a_gpu_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "gpus", lambda: (inventory.Gpu("0", "NVIDIA H200", 139.0),))
    study = opened(make_project(tmp_path, STUDY.replace("{gpus: 0}", "{scan: triton}")))
    for seed, seconds, changes in (
        (7, 5.0, {"device": "NVIDIA H200", "scan_backend": "triton"}),
        (8, 9.0, {"device": "NVIDIA H200", "scan_backend": "chunked"}),
        (9, 90.0, {}),
    ):
        finish(study, run_of(study, 0, seed=seed), seconds, **changes)
    (expected,) = costs(study).per_arm.values()
    assert expected.seconds.likely == 5.0


def test_an_interrupted_run_costs_what_is_left_of_it(project: Folder) -> None:
    study = opened(project)
    for arm in (0, 1):
        finish(study, run_of(study, arm, seed=7), 10.0)
    attempt = study.workspace.run(run_of(study, 0)).attempt(1)
    journal.append(attempt.journal, 1, 0.0, {"val/top1": 1.0})
    found = costs(study)
    assert found.device_hours is not None
    assert found.device_hours.likely * 3600 == pytest.approx(5 * 10.0 + 5.0)


def test_ranks_count_as_devices_and_not_as_time(tmp_path: Path) -> None:
    study = opened(make_project(tmp_path, recipe=RECIPE.replace("epochs: 2", "epochs: 2, ranks: 2")))
    for arm in (0, 1):
        finish(study, run_of(study, arm, seed=7), 10.0)
    found = costs(study)
    assert found.device_hours is not None and found.wall_hours is not None
    assert found.device_hours.likely * 3600 == pytest.approx(2 * 6 * 10.0)
    assert found.wall_hours.likely * 3600 == pytest.approx(6 * 10.0)
    assert set(likely_seconds(study, planned(study)).values()) == {20.0}


@pytest.mark.parametrize(("slots", "wall"), [(1, 48.0), (2, 28.0), (4, 16.0), (6, 12.0), (9, 12.0)])
def test_each_run_begins_where_a_slot_is_free_first(slots: int, wall: float, project: Folder) -> None:
    """12 s and 4 s in turn, three times: on four slots the third run of 12 s begins after the first of 4 s."""
    study = opened(project)
    finish(study, run_of(study, 0, seed=7), 12.0)
    finish(study, run_of(study, 1, seed=7), 4.0)
    found = costs(study, slots)
    assert found.wall_hours is not None
    assert found.wall_hours.likely * 3600 == pytest.approx(wall)
    assert found.wall_hours.low < found.wall_hours.likely < found.wall_hours.high


def test_the_disk_holds_weights_and_text_and_the_checkpoints_in_hand(project: Folder) -> None:
    study = opened(project)
    found = costs(study, slots=2)
    text = costing.TEXT_A_RUN + 2 * costing.TEXT_AN_EPOCH
    checkpoint = WEIGHTS + 2 * PARAMS * 4
    assert found.disk_gb * 2**30 == pytest.approx(6 * (WEIGHTS + text) + 2 * costing.CHECKPOINTS * checkpoint)
    assert found.free_gb == pytest.approx(shutil.disk_usage(project.path).free / 2**30, rel=0.05)
    assert not study.workspace.path.exists()


def test_a_run_leaves_as_much_as_the_largest_of_its_arm_has_left(project: Folder) -> None:
    study = opened(project)
    before = costs(study).disk_gb
    folder = finish(study, run_of(study, 0, seed=7), 10.0)
    (folder / "attempt-1" / "diff.patch").write_bytes(bytes(10**6))
    size = sum(path.stat().st_size for path in folder.joinpath("attempt-1").rglob("*"))
    ours = WEIGHTS + costing.TEXT_A_RUN + 2 * costing.TEXT_AN_EPOCH
    assert (costs(study).disk_gb - before) * 2**30 == pytest.approx(3 * (size - ours))


Ask = Callable[[str, dict[str, Any]], dict[str, Any]]


def answering(asked: list[dict[str, Any]]) -> Ask:
    def answer(module: str, question: dict[str, Any]) -> dict[str, Any]:
        assert module == "training.probe"
        asked.append(question)
        return {"stages": [{"epoch_s": [4.0, 5.0, 7.0], "steps": 12}], "peak_memory_mb": 900.0}

    return answer


def test_a_shape_is_probed_once_for_all_its_arms_and_the_answer_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(costing, "answer_of", answering(asked))
    text = STUDY.replace("shuffle.schedule: [none, linear]", "train.lr: [1e-3, 2e-3]").replace(
        "shuffle.schedule", "train.lr"
    )
    study = opened(make_project(tmp_path, text))
    found = costs(study, probe=True)
    assert len(asked) == 1
    assert [(one.seconds, one.source) for one in found.per_arm.values()] == [
        (Range(8.0, 10.0, 14.0), "probe of 12 steps")
    ] * 2
    assert found.unknown == ()
    assert costs(study).per_arm == costs(study, probe=True).per_arm == found.per_arm
    assert len(asked) == 1
    threads = opened(make_project(tmp_path, text.replace("{gpus: 0}", "{gpus: 0, threads: 2}")))
    assert len(costs(threads).unknown) == 2


def test_what_has_been_run_is_not_probed(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(costing, "answer_of", answering(asked))
    study = opened(project)
    finish(study, run_of(study, 0, seed=7), 10.0)
    found = costs(study, probe=True)
    assert [question["recipe"]["shuffle"]["schedule"] for question in asked] == ["linear"]
    assert [one.source for one in found.per_arm.values()] == ["1 run of this arm", "probe of 12 steps"]


def test_what_a_probe_refuses_stands_where_the_study_says_it(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(module: str, question: dict[str, Any]) -> dict[str, Any]:
        raise UserError("too large", where="model.args")

    monkeypatch.setattr(costing, "answer_of", refuse)
    with pytest.raises(UserError, match=r"experiments/tiny.yaml:2"):
        costs(opened(project), probe=True)


def test_a_real_probe_is_asked_and_leaves_only_its_answer(project: Folder) -> None:
    study = opened(project)
    runs = planned(study)[:1]
    found = cost(study, runs, {runs[0].arm.id: {"params": PARAMS}}, 1, probe=True)
    (expected,) = found.per_arm.values()
    assert 0 < expected.seconds.low < expected.seconds.likely < expected.seconds.high
    assert expected.source.startswith("probe of ")
    kept = [path.name for path in study.workspace.path.rglob("*") if path.is_file()]
    assert len(kept) == 1 and kept[0].startswith("probe-")
