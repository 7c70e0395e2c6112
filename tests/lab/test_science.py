"""The check of a study: who is asked, and what for."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import RECIPE, make_project

from slws_lab.errors import UserError
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


FACTORS = "factors:\n  model.args.dt_rank: [1, 2]\ndesigns:\n  - grid: [model.args.dt_rank]\n"


@pytest.mark.parametrize(
    ("errors", "where"),
    [
        (["no such size", "no such size"], "experiments/tiny.yaml:2:57 (model.args)"),
        (["no such size", None], "studies/tiny.yaml:5:24 (factors.model.args.dt_rank.0)"),
        (["no such size", "another"], "studies/tiny.yaml:5:24 (factors.model.args.dt_rank.0)"),
    ],
)
def test_what_all_arms_are_refused_for_is_no_levels_fault(
    errors: list[str | None], where: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_project(tmp_path)
    text = folder.study.read_text()
    folder.study.write_text(text[: text.index("factors:")] + FACTORS + text[text.index("seeds:") :])
    said = [
        KNOWN if e is None else {"error": {"given": e, "where": "model.args", "allowed": "", "todo": ""}}
        for e in errors
    ]
    monkeypatch.setattr(science, "ask", lambda *_: said)
    with pytest.raises(UserError) as caught:
        science.check(Project.open(str(folder.study)))
    assert str(caught.value.where).endswith(where)


def test_what_all_arms_are_refused_for_is_the_factors_fault_where_it_is_what_that_sets(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_project(tmp_path)
    text = folder.study.read_text()
    folder.study.write_text(text[: text.index("factors:")] + FACTORS + text[text.index("seeds:") :])
    error = {"error": {"given": "unexpected", "where": "model.args.dt_rank", "allowed": "", "todo": ""}}
    monkeypatch.setattr(science, "ask", lambda *_: [error, error])
    with pytest.raises(UserError) as caught:
        science.check(Project.open(str(folder.study)))
    assert str(caught.value.where).endswith("studies/tiny.yaml:5:24 (factors.model.args.dt_rank.0)")
