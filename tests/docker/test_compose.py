"""compose.yaml is what the specification allows, and what docs/how-to/team_server.md promises of it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from compose_file import COMPOSE, ENV, FOLDER, services
from conftest import REPOSITORY
from packaging.requirements import Requirement
from ruamel.yaml import YAML

ONE_OFF = {"bucket": "ends when the bucket is there", "slws": "a command", "slws-gpu": "a command"}


def validated(file: Path) -> subprocess.CompletedProcess[str]:
    """Hold a file against the compose specification's JSON Schema, as check-jsonschema ships it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_file_is_what_the_compose_specification_allows(tmp_path: Path) -> None:
    assert validated(COMPOSE).returncode == 0, validated(COMPOSE).stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("healthcheck:", "health_check:", 1))
    assert "health_check" in validated(wrong).stdout


def test_every_port_is_open_to_this_machine_alone() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)


def test_only_mlflow_reaches_database_and_store() -> None:
    networks = YAML(typ="safe").load(COMPOSE)["networks"]
    assert networks["stores"] == {"internal": True}
    inside = {name for name, service in services().items() if "stores" in service.get("networks", [])}
    assert inside == {"postgres", "store", "bucket", "mlflow"}
    assert {name for name in inside if "default" not in services()[name]["networks"]} == {"postgres", "store"}


def test_every_service_that_stays_is_asked_for_its_health_and_comes_back() -> None:
    for name, service in services().items():
        assert ("healthcheck" in service) != (name in ONE_OFF), name
        assert service["restart"] == {"bucket": "on-failure:5"}.get(name, "no" if name in ONE_OFF else "unless-stopped")


def test_who_needs_another_waits_for_its_health() -> None:
    for name, service in services().items():
        for other, wanted in service.get("depends_on", {}).items():
            ends = other == "bucket"
            assert wanted["condition"] == ("service_completed_successfully" if ends else "service_healthy"), name


def test_images_have_a_version() -> None:
    for name, service in services().items():
        assert re.fullmatch(r"[\w/-]+:v?\d+(\.\d+)+(-\w+)?", service["image"]), name


@pytest.mark.parametrize("name", ENV)
def test_nothing_starts_without_its_secrets(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        services({other: value for other, value in ENV.items() if other != name})


def test_the_example_names_each_variable_and_holds_no_secret() -> None:
    named = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    example = dict(re.findall(r"^#?(\w+)=(.*)$", (FOLDER / ".env.example").read_text(), re.MULTILINE))
    assert example.keys() == named
    assert {name for name, value in example.items() if not value} == {*ENV, "TORCH_INDEX"}


def test_an_env_file_is_neither_tracked_nor_copied_into_an_image() -> None:
    asked = ["git", "check-ignore", "--quiet", "docker/.env"]
    assert subprocess.run(asked, cwd=REPOSITORY, check=False).returncode == 0
    for file in FOLDER.glob("*.dockerignore"):
        lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        assert lines[0] == "*", file
        assert not any("env" in line for line in lines), file


def test_mlflows_version_is_one_that_slws_works_with() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = next(r for r in map(Requirement, project["dependencies"]) if r.name == "mlflow")
    said = re.search(r"^ARG MLFLOW=(.+)$", (FOLDER / "mlflow.Dockerfile").read_text(), re.MULTILINE)
    assert said is not None
    assert said[1] in wanted.specifier
    assert services()["mlflow"]["image"] == f"slws-mlflow:{said[1]}"
    assert services()["slws"]["image"] == f"slws:{project['version']}"
