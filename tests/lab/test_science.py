"""The check of a study: who is asked, and what for."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import RECIPE, make_project

from slws_lab.lab import science
from slws_lab.lab.project import Project

KNOWN = {"params": 12, "data_fingerprint": "f" * 16}


def test_a_worker_that_waits_is_asked_first_and_once(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project, questions = Project.open(str(make_project(tmp_path).study)), []
    monkeypatch.setattr(science, "ask", lambda *_: pytest.fail("a process of its own was asked"))

    def asked(question: Any) -> Any:
        questions.append(question)
        return [KNOWN] * len(question["recipes"])

    wanted = {arm.id: KNOWN for arm in project.design.arms}
    assert [science.check(project, asked) for _ in range(2)] == [wanted, wanted]
    assert [len(question["recipes"]) for question in questions] == [2]


def test_where_no_worker_answers_a_process_of_its_own_is_asked(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project.open(str(make_project(tmp_path).study))
    monkeypatch.setattr(science, "ask", lambda _, question: [KNOWN] * len(question["recipes"]))
    assert set(science.check(project, lambda _: None)) == {arm.id for arm in project.design.arms}


def test_a_users_model_file_is_not_executed_where_runs_that_do_not_name_it_will_be(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_project(tmp_path, recipe=RECIPE + "models: [mine.py]\n")
    (folder.path / "mine.py").write_text("import torch\ntorch.backends.mkldnn.enabled = False\n")
    monkeypatch.setattr(science, "ask", lambda _, question: [KNOWN] * len(question["recipes"]))
    project = Project.open(str(folder.study))
    assert science.check(project, lambda _: pytest.fail("a worker was asked"))
