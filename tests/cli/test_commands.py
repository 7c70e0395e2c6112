"""Commands that start nothing: help, plan, schema, models, doctor."""

from __future__ import annotations

import json

import pytest
from conftest import REPOSITORY, Folder, Slws

from slws_lab.spec import load_recipe, load_study

COMMANDS = (
    "plan",
    "run",
    "status",
    "rerun",
    "report",
    "why",
    "ui",
    "train",
    "eval",
    "data",
    "sync",
    "clean",
    "schema",
    "models",
    "doctor",
)


def test_help_names_every_command(slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws("--help") == 0
    printed = capsys.readouterr().out
    assert [command for command in COMMANDS if command not in printed] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws(command, "--help") == 0
    assert "Usage: slws" in capsys.readouterr().out


def test_plan_is_machine_readable_and_creates_no_run(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slws("plan", "tiny", "--only", "seed=1", "--json", cwd=project.path) == 0
    told = json.loads(capsys.readouterr().out)
    assert [arm["label"] for arm in told["arms"]] == ["schedule=none", "schedule=linear"]
    assert [(run["seed"], run["status"]) for run in told["runs"]] == [(1, "pending"), (1, "pending")]
    assert told["todo"] == 2
    assert not (project.workspace / "runs").exists()


@pytest.mark.parametrize("kind", ["study", "recipe"])
def test_schema_accepts_our_own_files(kind: str, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws("schema", kind) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["additionalProperties"] is False
    assert ("factors" if kind == "study" else "train") in schema["properties"]


def test_schema_of_something_else_is_refused(slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws("schema", "studdy") == 2
    assert "did you mean 'study'?" in capsys.readouterr().err


def test_models_are_listed_with_their_sizes(slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws("models", "--json") == 0
    sizes = {row["name"]: row["params"] for row in json.loads(capsys.readouterr().out)}
    assert sizes["shufflemamba_tiny"] == 7_148_008


def test_doctor_names_the_back_ends_and_the_store(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    slws("doctor", "--json", cwd=project.path)
    found = json.loads(capsys.readouterr().out)
    assert {finding["topic"] for finding in found} >= {"python", "gpu", "scan", "packages", "mlflow", "disk", "git"}
    assert any("chunked" in finding["text"] for finding in found)
    assert not project.workspace.exists()


def test_every_study_and_recipe_of_the_repository_loads() -> None:
    for path in (REPOSITORY / "studies").glob("*.yaml"):
        load_study(path)
    for path in (REPOSITORY / "experiments").glob("*.yaml"):
        load_recipe(path)
