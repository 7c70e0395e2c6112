"""The Dockerfiles pass hadolint, and hold what docker/README.md says of them."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from compose_file import FOLDER
from conftest import REPOSITORY
from dockerfile_parse import DockerfileParser
from packaging.requirements import Requirement

DOCKERFILES = sorted(FOLDER.glob("*.Dockerfile"))
each = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)


def linted(file: Path) -> str:
    """Return what hadolint says of a file; nothing where it finds nothing."""
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [hadolint, "--no-color", "--config", FOLDER / ".hadolint.yaml", file]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def values(file: Path, instruction: str) -> list[str]:
    """Return what stands behind an instruction, each time."""
    lines = DockerfileParser(str(file), cache_content=True).structure
    return [line["value"] for line in lines if line["instruction"] == instruction]


@each
def test_hadolint_finds_nothing_to_complain_of(file: Path) -> None:
    assert linted(file) == ""


def test_hadolint_finds_a_planted_mistake(tmp_path: Path) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python:latest\nRUN cd /tmp && sudo pip install torch\n")
    assert {"DL3003", "DL3004", "DL3007"} <= set(re.findall(r"DL\d+", linted(wrong)))


@each
def test_bases_have_a_version_and_the_last_user_is_not_root(file: Path) -> None:
    for base in values(file, "FROM"):
        assert re.match(r"[\w/]+:(\d|\$\{CUDA\}-devel-ubuntu\d)", base), base
    assert values(file, "USER")[-1] == "1000"


@each
def test_what_is_copied_from_the_project_is_let_through(file: Path) -> None:
    lines = file.with_name(f"{file.name}.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    copied = [value.split()[:-1] for value in values(file, "COPY") if not value.startswith("--from")]
    assert {name for names in copied for name in names} == kept


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_the_image_is_the_command(name: str) -> None:
    assert json.loads(values(FOLDER / f"{name}.Dockerfile", "ENTRYPOINT")[0]) == ["slws"]


def test_the_compiled_packages_are_ones_that_slws_works_with() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    built = dict(re.findall(r"\b(mamba-ssm|causal-conv1d)==(\S+)", (FOLDER / "gpu.Dockerfile").read_text()))
    assert built.keys() == {Requirement(one).name for one in extras["cuda"]}
    assert all(built[one.name] in one.specifier for one in map(Requirement, extras["cuda"]))


def test_a_trial_copies_as_docker_does_and_nothing_that_the_dockerignore_file_keeps_out(tmp_path: Path) -> None:
    context, root = tmp_path / "context", tmp_path / "root"
    (context / "package" / "inner").mkdir(parents=True)
    for name in ("one.txt", "package/two.txt", "package/inner/three.txt", ".env"):
        (context / name).write_text(name)
    trial = runpy.run_path(str(FOLDER / "try_run_lines.py"))["Trial"](root, context, {"one.txt", "package"}, {})
    trial.take("WORKDIR", "/src")
    trial.take("COPY", "one.txt ./")
    trial.take("COPY", "package package")
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found == {"src/one.txt", "src/package/two.txt", "src/package/inner/three.txt"}
    with pytest.raises(SystemExit, match=r"COPY \.env"):
        trial.take("COPY", ".env ./")
    with pytest.raises(SystemExit, match="ONBUILD"):
        trial.take("ONBUILD", "RUN true")
