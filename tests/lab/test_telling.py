"""What MLflow is told of a study that has run: the answer and the table in its description, and the best run by the study's own metric."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Folder

from slws_lab.lab.project import Project
from slws_lab.lab.telling import Telling, telling
from slws_lab.tracking.mirror_content import NOTE

Tell = Callable[..., Telling]


@pytest.fixture
def tell(finished: Folder, project: Folder, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Tell of the finished runs, by a study whose text may differ."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def call(old: str = "", new: str = "") -> Telling:
        text = project.study.read_text()
        assert old in text
        project.study.write_text(text.replace(old, new) if old else text)
        return telling(Project.open(str(project.study), finished.workspace))

    return call


def test_the_description_is_question_answer_places_and_table(tell: Tell) -> None:
    told = tell()
    question, answer, places, *table = told.tags[NOTE].split("\n\n")
    assert question == "Does the shuffle change a training of two epochs?"
    assert answer == f"**{told.tags['slws.answer']}**"
    best = told.tags["slws.best_run"]
    assert (
        places
        == f"report: [report.html](/slws/reports/tiny/report.html) · best run: [{best}](/slws/runs/{best}?study=tiny)"
    )
    assert "| schedule |" in "\n".join(table)
    assert sum(int(part.split()[0]) for part in told.tags["slws.verdicts"].split(", ")) == 1


@pytest.mark.parametrize(
    ("metric", "key", "better", "weights"),
    [
        ("{name: val/top1, weights: raw}", "val/top1", max, "last"),
        ("{name: val/top1, weights: ema}", "val/top1_ema", max, "ema"),
        ("{name: val/loss, goal: minimize}", "val/loss", min, "last"),
    ],
)
def test_the_best_run_is_that_by_the_studys_metric_with_the_weights_it_is_about(
    tell: Tell, metric: str, key: str, better: Callable[..., float], weights: str
) -> None:
    told = tell("{name: val/top1, weights: raw}", metric)
    assert told.best is not None and told.weights == weights
    values = {}
    for folder in told.best.path.parents[1].glob("*/attempt-1"):
        result = type(told.best)(folder).result() or {}
        values[folder.parent.name] = result["metrics"][key]
    assert values[told.tags["slws.best_run"]] == better(values.values())
    assert told.best.run_id == told.tags["slws.best_run"]


def test_before_any_run_has_finished_there_is_no_best(tell: Tell) -> None:
    told = tell("seeds: 3", "seeds: [77]")
    assert told.best is None and "slws.best_run" not in told.tags
    assert told.tags["slws.answer"].startswith("No run has finished")


def test_what_has_no_room_is_left_to_the_report(tell: Tell) -> None:
    long = "Does it? " * 520
    told = tell("Does the shuffle change a training of two epochs?", long.strip())
    assert "| schedule |" not in told.tags[NOTE] and "report.html" in told.tags[NOTE]
