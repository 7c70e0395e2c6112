"""What MLflow is told of a study and its best run's model, through a server on PostgreSQL with artifacts in an S3 store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Folder
from native_stack import Stack, program
from starlette.testclient import TestClient

from slws_lab.lab.project import Project
from slws_lab.lab.serving import pages
from slws_lab.lab.shipping import attach, ship
from slws_lab.tracking import Workspace
from slws_lab.tracking.mirror_audit import audit_mirror

pytestmark = pytest.mark.postgres


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    if program("initdb") is None:
        pytest.skip("needs PostgreSQL (SLWS_TEST_SERVERS=1 installs it)")
    (tmp_path / "stack").mkdir()
    made = Stack(tmp_path / "stack")
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_a_team_finds_the_answer_the_model_and_the_pages_on_its_server(
    stack: Stack, finished_copy: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import mlflow.pyfunc

    monkeypatch.setenv("MLFLOW_TRACKING_URI", stack.address)
    project = Project.open(str(finished_copy.study))
    assert ship(project).runs == 6
    assert attach(project).note == ""
    client = mlflow.MlflowClient(stack.address)
    experiment = client.get_experiment_by_name("tiny").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`slws.kind` = 'study'")
    assert parent.data.tags["mlflow.note.content"].startswith(project.study.spec.question + "\n\n**")
    assert "/slws/" not in parent.data.tags["mlflow.note.content"]  # addresses that only `slws ui` knows
    assert "report/report.html" in [file.path for file in client.list_artifacts(parent.info.run_id, "report")]
    (best,) = client.search_runs([experiment], "tags.`slws.best` = 'true'")
    assert parent.data.tags["slws.best_run"] == best.data.tags["slws.run_id"]
    assert best.inputs.dataset_inputs[0].dataset.name == "digits"

    images = np.random.default_rng(0).random((4, 1, 8, 8), dtype=np.float32)
    attempt = Workspace(finished_copy.workspace).run(best.data.tags["slws.run_id"]).attempt(1)
    (
        attempt.checkpoint / "ema.safetensors"
    ).unlink()  # which a run's own folder would prefer; the study's metric is of the last
    here = mlflow.pyfunc.load_model(str(attempt.path / "model")).predict(images)
    assert np.array_equal(mlflow.pyfunc.load_model(best.data.tags["slws.model"]).predict(images), here)

    found = audit_mirror(project.workspace, stack.address, project.study, project.design, project.report_folder)
    assert (found.behind, found.wrong) == ([], [])
    asking = TestClient(pages(finished_copy.path, project.workspace), follow_redirects=False)
    run_id = best.data.tags["slws.run_id"]
    places = [asking.get(path).headers["location"] for path in ("/studies/tiny", f"/runs/{run_id}?study=tiny")]
    assert places[0].startswith(f"{stack.address}/#/experiments/{experiment}/runs?")
    assert places[1].startswith(f"{stack.address}/#/experiments/{experiment}/runs/{best.info.run_id}?")
