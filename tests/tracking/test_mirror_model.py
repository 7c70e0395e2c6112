"""What MLflow is told when a study has ended: the answer on the parent, the best run's tag and model, the views that open on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slws_lab.tracking import Attempt
from slws_lab.tracking.mirror import Mirror, Shipped
from slws_lab.tracking.mirror_audit import audit_mirror
from slws_lab.tracking.mirror_content import NOTE
from slws_lab.tracking.mirror_links import Links
from slws_lab.tracking.mirror_ui import experiment_tags


def with_model(attempt: Attempt, weights: bytes = b"ema") -> Attempt:
    """Lay a made-up model into an attempt's folder."""
    for name, content in {"model/MLmodel": b"flavors: {}", "model/config.json": b"{}", "model/models/0_mine.py": b"",
                          "checkpoint/last.safetensors": b"last", "checkpoint/ema.safetensors": weights}.items():  # fmt: skip
        (attempt.path / name).parent.mkdir(parents=True, exist_ok=True)
        (attempt.path / name).write_bytes(content)
    return attempt


def attach(mirrored: Any, attempt: Attempt, weights: Any = "ema") -> str:
    study, _ = mirrored.study()
    with Mirror.open(mirrored.workspace, mirrored.uri) as mirror:
        return mirror.attach_model(study, attempt, weights)


def held(mirrored: Any, run: Any, folder: str = "model") -> dict[str, bytes]:
    """Return what a run's artifacts hold, by path within a folder."""
    top = Path(mirrored.client.download_artifacts(run.info.run_id, folder))
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


@pytest.fixture
def attempts(mirrored: Any) -> list[Attempt]:
    design = mirrored.run_all()
    mirrored.ship()
    return [mirrored.workspace.run(run).attempt(1) for run in design.runs]


def test_the_best_run_holds_its_model_under_the_names_that_mlflow_wants(mirrored: Any, attempts: list[Attempt]) -> None:
    best = with_model(attempts[1])
    for weights in ("last", "ema"):
        assert attach(mirrored, best, weights) == ""
        child = mirrored.children()[best.run_id]
        wanted = {
            "MLmodel": b"flavors: {}",
            "config.json": b"{}",
            "models/0_mine.py": b"",
            "model.safetensors": weights.encode(),
        }
        assert held(mirrored, child) == wanted
    assert child.data.tags["slws.best"] == "true"
    assert child.data.tags["slws.model"] == f"runs:/{child.info.run_id}/model"
    (logged,) = json.loads(child.data.tags["mlflow.log-model.history"])
    assert (logged["artifact_path"], logged["run_id"]) == ("model", child.info.run_id)
    assert audit_mirror(mirrored.workspace, mirrored.uri, *mirrored.study(), None).wrong == []
    assert mirrored.ship() == Shipped(0, 0)


def test_a_better_run_takes_the_tag_and_the_former_keeps_its_files(mirrored: Any, attempts: list[Attempt]) -> None:
    for attempt in attempts[:2]:
        attach(mirrored, with_model(attempt))
    children = mirrored.children()
    assert [run_id for run_id, child in children.items() if "slws.best" in child.data.tags] == [attempts[1].run_id]
    assert held(mirrored, children[attempts[0].run_id])


def test_weights_that_were_removed_are_told_of_once(mirrored: Any, attempts: list[Attempt]) -> None:
    best = with_model(attempts[0])
    (best.checkpoint / "ema.safetensors").unlink()
    assert attach(mirrored, best) == f"MLflow has no model of the best run, {best.run_id}: its weights were removed"
    assert attach(mirrored, best) == ""
    (attempts[1].checkpoint).mkdir()
    (attempts[1].checkpoint / "ema.safetensors").write_bytes(b"old")
    assert "before models were kept" in attach(mirrored, attempts[1])


def test_a_model_that_was_sent_stays_when_the_weights_are_cleaned_away(mirrored: Any, attempts: list[Attempt]) -> None:
    best = with_model(attempts[0])
    attach(mirrored, best)
    (best.checkpoint / "ema.safetensors").unlink()
    assert attach(mirrored, best) == ""
    child = mirrored.children()[best.run_id]
    assert "model.safetensors" in held(mirrored, child) and child.data.tags["slws.model"].startswith("runs:/")


def test_a_model_that_somebody_changed_in_the_store_is_found(mirrored: Any, attempts: list[Attempt]) -> None:
    best = with_model(attempts[0])
    attach(mirrored, best)
    child = mirrored.children()[best.run_id].info.run_id
    mirrored.client.set_tag(child, "slws.model", "runs:/other/model")
    (fault,) = audit_mirror(mirrored.workspace, mirrored.uri, *mirrored.study(), None).wrong
    assert "do not name its model" in fault.what
    mirrored.client.set_tag(child, "slws.model", f"runs:/{child}/model")
    mirrored.client.log_text(child, "flavors: {other}", "model/MLmodel")
    (fault,) = audit_mirror(mirrored.workspace, mirrored.uri, *mirrored.study(), None).wrong
    assert best.run_id in fault.what and "artifacts in model/ are not what was sent" in fault.what


def test_the_parent_says_what_came_out_until_the_question_changes(mirrored: Any, attempts: list[Attempt]) -> None:
    study, design = mirrored.study()
    told = {NOTE: "Does the rate matter?\n\n**It does.**", "slws.answer": "It does.", "slws.verdicts": "1 helps"}
    with Mirror.open(mirrored.workspace, mirrored.uri) as mirror:
        mirror.attach_report(study, mirrored.report({"table.md": "a"}), told)
    for _ in range(2):
        assert mirrored.ship() == Shipped(0, 0)
        assert told.items() <= mirrored.parent().data.tags.items()
    assert audit_mirror(mirrored.workspace, mirrored.uri, study, design, None).behind == []
    mirrored.client.set_tag(mirrored.parent().info.run_id, "slws.verdicts", "2 helps")
    assert "not what was sent" in audit_mirror(mirrored.workspace, mirrored.uri, study, design, None).behind[0].what
    path = study.source.path
    path.write_text(path.read_text().replace("Does the rate matter?", "Does it?"))
    mirrored.ship()
    assert mirrored.parent().data.tags[NOTE] == "Does it?"


def test_runs_lead_to_the_report_and_names_lead_to_the_pages(mirrored: Any, attempts: list[Attempt]) -> None:
    links, experiment = Links(mirrored.workspace), mirrored.client.get_experiment_by_name("rates").experiment_id
    child = mirrored.children()[attempts[0].run_id]
    for run in (child, mirrored.parent()):
        assert run.data.tags["slws.report"] == "reports/rates/report.html"
    assert links.base == "/" and links.sent() == ["rates"]
    study, run = links.study("rates"), links.run(attempts[0].run_id)
    assert study is not None and study.startswith(f"#/experiments/{experiment}/runs?")
    assert run == f"#/experiments/{experiment}/runs/{child.info.run_id}?workflowType=machine_learning"
    for unknown in ("other", "rates' or '1' = '1", "", "../rates"):
        assert links.study(unknown) is None and links.run(unknown) is None


def test_of_the_copies_of_a_run_that_of_the_study_asked_for_is_found(mirrored: Any, attempts: list[Attempt]) -> None:
    mirrored.ship("another")
    links, pages = Links(mirrored.workspace), {}
    for name in ("rates", "another"):
        found = links.run(attempts[0].run_id, name)
        pages[name] = mirrored.children(name)[attempts[0].run_id].info.run_id
        assert found is not None and pages[name] in found
    assert len(set(pages.values())) == 2


def test_what_matters_comes_first_in_columns_and_charts(mirrored: Any) -> None:
    study, _ = mirrored.study()
    for name, tag in experiment_tags(study).items():
        if name.startswith("mlflow.sharedViewState."):
            state = json.loads(json.loads(tag)["state"])
            assert state["selectedColumns"][:2] == ["metrics.`val/top1`", "params.`shuffle.max_rate`"]
            assert [chart["metricKey"] for chart in state["compareRunCharts"]] == ["val/top1", "val/loss", "train/loss"]
            places = {section["uuid"] for section in state["compareRunSections"]}
            assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} <= places
