"""Figures of an architecture: measured once, on a quiet device, and kept by what decides them."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command.trainer import make_command_project
from conftest import RECIPE, STUDY, Folder, make_project

from slws_lab.errors import UserError
from slws_lab.lab import inference
from slws_lab.lab.inference import NotQuietError, figures, known
from slws_lab.lab.project import Project
from slws_lab.launch import inventory
from slws_lab.launch.inventory import Gpu, Usage
from slws_lab.spec import Recipe
from slws_lab.tracking import Claim
from slws_lab.tracking.claim import Owner

ANSWER = {
    "params": 12, "flops": 345, "latency_ms": 2.0, "latency_low_ms": 1.0, "latency_high_ms": 3.0, "repeats": 100, "load": 0.25,
    "inference_memory_mb": 0.5, "device": "cpu", "threads": 1, "batch": 1, "image_size": 8, "scan": "native", "precision": "fp32",
}  # fmt: skip


class Asked(list[dict[str, Any]]):
    """Stands in for the process that measures; a question is what it holds."""

    def __call__(self, module: str, question: dict[str, Any]) -> dict[str, Any]:
        assert module == "training"
        Recipe.model_validate(question["measure"]["recipe"])
        self.append(question["measure"])
        return dict(ANSWER)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    stand_in = Asked()
    monkeypatch.setattr(inference, "answer_of", stand_in)
    monkeypatch.setattr(inference, "LOOK_S", 0.01)
    return stand_in


def opened(folder: Folder) -> Project:
    return Project.open(str(folder.study))


def recipe(project: Project, **changes: dict[str, Any]) -> Recipe:
    """Return the study's first arm with fields of its parts changed."""
    found = project.design.arms[0].recipe
    assert isinstance(found, Recipe)
    return found.model_copy(
        update={part: getattr(found, part).model_copy(update=fields) for part, fields in changes.items()}
    )


def claim_of(project: Project, run: str = "vim-s0-0123") -> Path:
    path = project.workspace.runs / run / "attempt-1" / "claim"
    path.parent.mkdir(parents=True)
    return path


def test_an_architecture_is_measured_once_and_then_known(project: Folder, asked: Asked) -> None:
    study = opened(project)
    assert known(study, recipe(study)) is None
    found = figures(study, recipe(study))
    assert (found.flops, found.latency_ms, found.load) == (345, 2.0, 0.25)
    assert found.device.startswith("cpu ")
    assert figures(opened(project), recipe(study)) == known(study, recipe(study)) == found
    assert len(asked) == 1
    assert asked[0]["threads"] == 1


def test_what_decides_neither_model_nor_images_changes_nothing(project: Folder, asked: Asked) -> None:
    study = opened(project)
    figures(study, recipe(study))
    same = recipe(study, model={"drop_path": 0.4}, train={"epochs": 7, "lr": 1e-4}, data={"val_fraction": 0.3})
    assert known(study, same)
    assert known(study, study.design.arms[1].run(5))  # with the shuffle, which does nothing at inference
    assert len(asked) == 1


def test_a_run_can_be_asked_for_like_its_recipe(project: Folder, asked: Asked) -> None:
    study = opened(project)
    assert figures(study, study.design.arms[0].run(5)) == known(study, recipe(study))


def test_a_machine_on_which_others_leave_too_few_cores_is_on_record(
    project: Folder, asked: Asked, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = opened(project)
    monkeypatch.setattr(inventory, "cores", lambda: 2)
    assert not figures(study, recipe(study)).crowded
    monkeypatch.setattr(inventory, "cores", lambda: 1)
    assert figures(study, recipe(study, model={"name": "vim_tiny"})).crowded
    assert "kept 0.2 of 1 cores busy" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"args": {"embed_dim": 16, "depth": 3}}},
        {"model": {"name": "vim_tiny"}},
        {"data": {"size": 16}},
        {"train": {"precision": "bf16"}},
    ],
)
def test_what_decides_them_does(project: Folder, asked: Asked, changes: dict[str, dict[str, Any]]) -> None:
    study = opened(project)
    figures(study, recipe(study))
    assert known(study, recipe(study, **changes)) is None


def test_other_threads_code_and_devices_are_measured_anew(
    project: Folder, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = opened(project)
    figures(study, recipe(study))
    threaded = make_project(project.path, STUDY.replace("{gpus: 0}", "{gpus: 0, threads: 2}"))
    assert known(opened(threaded), recipe(study)) is None
    with monkeypatch.context() as patched:
        patched.setattr("slws_lab.tracking.provenance.numeric_files_digest", lambda: "other")
        assert known(study, recipe(study)) is None
    monkeypatch.setattr("slws_lab.tracking.provenance.machine", lambda: {"processor": "other"})
    assert known(study, recipe(study)) is None


def test_a_users_model_file_that_changes_is_measured_anew(tmp_path: Path, asked: Asked) -> None:
    folder = make_project(tmp_path / "project", recipe=RECIPE + "models: [mine.py]\n")
    (folder.path / "mine.py").write_text("a = 1\n")
    study = opened(folder)
    figures(study, recipe(study))
    assert known(study, recipe(study))
    (folder.path / "mine.py").write_text("a = 2\n")
    assert known(study, recipe(study)) is None


def test_a_run_at_work_is_waited_for(
    project: Folder, asked: Asked, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = opened(project)
    claim = Claim.take(claim_of(study))
    assert claim is not None
    looked = threading.Event()
    monkeypatch.setattr("time.sleep", lambda _: looked.set())

    def end_the_run() -> None:
        looked.wait()
        assert not asked
        claim.__exit__()

    thread = threading.Thread(target=end_the_run)
    thread.start()
    assert figures(study, recipe(study)).flops == 345
    thread.join()
    assert "run vim-s0-0123 is at work" in caplog.text
    assert caplog.text.count("waiting") == 1


def test_a_run_that_does_not_end_in_time_is_named_and_nothing_is_kept(project: Folder, asked: Asked) -> None:
    study = opened(project)
    with Claim.take(claim_of(study)) or pytest.fail(), pytest.raises(NotQuietError, match="run vim-s0-0123 is at work"):
        figures(study, recipe(study), wait_s=0.05)
    assert not asked
    assert known(study, recipe(study)) is None


def test_a_run_on_another_host_and_a_dead_one_are_not_waited_for(
    project: Folder, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, me = opened(project), Owner.me()
    for number, owner in enumerate((replace(me, host="elsewhere"), replace(me, started="1"))):
        desk = claim_of(study, f"vim-s{number}-0123") / "token"
        desk.mkdir(parents=True)
        (desk / "owner.json").write_text(json.dumps(vars(owner)))
    assert figures(study, recipe(study), wait_s=0.0).flops == 345


def test_what_was_measured_while_a_run_began_is_measured_again(
    project: Folder, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = opened(project)
    claims: list[Claim] = []

    def disturbed(module: str, question: dict[str, Any]) -> dict[str, Any]:
        if not asked:
            claims.append(Claim.take(claim_of(study)) or pytest.fail())
        return asked(module, question)

    monkeypatch.setattr(inference, "answer_of", disturbed)
    monkeypatch.setattr("time.sleep", lambda _: claims[0].__exit__())
    assert figures(study, recipe(study)).flops == 345
    assert len(asked) == 2


def test_two_processes_do_not_measure_at_a_time(project: Folder, asked: Asked) -> None:
    study = opened(project)
    with (
        inference._only_one(study.workspace, inference._Patience(0.0)),
        pytest.raises(NotQuietError, match="another process measures"),
    ):
        figures(study, recipe(study), wait_s=0.0)
    assert figures(study, recipe(study), wait_s=0.0)


def test_what_another_process_measured_meanwhile_is_not_measured_again(
    project: Folder, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, taken = opened(project), Claim.take

    def after_the_other(place: Path) -> Claim | None:
        path = inference._place(study, recipe(study))
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({**ANSWER, "flops": 9, "crowded": False}))
        return taken(place)

    monkeypatch.setattr(Claim, "take", after_the_other)
    assert figures(study, recipe(study)).flops == 9
    assert not asked


def test_the_first_gpu_that_nobody_uses_is_measured_on(
    project: Folder, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = opened(make_project(project.path, STUDY.replace("{gpus: 0}", "{}")))
    usages = {"0": Usage(20.0, {77: 19.0}), "1": Usage(8.0, {}), "2": Usage(0.4, {})}
    monkeypatch.setattr(inventory, "gpus", lambda: tuple(Gpu(index, "H200", 140.0, f"GPU-{index}") for index in usages))
    monkeypatch.setattr(inventory, "usage", lambda gpu: usages[gpu.index])
    figures(study, recipe(study))
    assert asked[0]["gpu"] == "GPU-2"
    usages["2"] = Usage(3.0, {78: 2.0})
    with pytest.raises(NotQuietError, match="GPU 0 is used by process 77"):
        figures(study, recipe(study, model={"name": "vim_tiny"}), wait_s=0.0)


def test_a_command_has_no_such_figures(tmp_path: Path) -> None:
    project = opened(make_command_project(tmp_path / "project"))
    for ask in (known, figures):
        with pytest.raises(UserError, match="command") as refused:
            ask(project, project.design.arms[0].recipe)
        assert "tiny.yaml:1" in refused.value.where


def test_a_mistake_that_only_the_measurement_finds_has_its_place(
    project: Folder, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(module: str, question: dict[str, Any]) -> dict[str, Any]:
        raise UserError("no model 'vim_tini'", where="model.name")

    monkeypatch.setattr(inference, "answer_of", refuse)
    study = opened(project)
    with pytest.raises(UserError, match="no model 'vim_tini'") as refused:
        figures(study, recipe(study))
    assert "experiments/tiny.yaml:2" in refused.value.where


def test_a_process_of_the_science_tower_measures(project: Folder) -> None:
    study = opened(project)
    found = figures(study, recipe(study))
    assert found.params > 1000
    assert 0 < found.latency_low_ms <= found.latency_ms <= found.latency_high_ms
