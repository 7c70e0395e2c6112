"""What the documents say is true: links lead somewhere, commands exist, the README's study is the file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPOSITORY

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_commands_in_the_readme_exist() -> None:
    from typer.main import get_command

    from slws_lab.cli.app import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    named = re.findall(r"`slws ([a-z]+)([^`]*)`", DOCUMENTS[0].read_text())
    assert len(named) >= 10
    for name, rest in named:
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert [word for word in shlex.split(rest.split(">")[0]) if word.startswith("--") and word not in options] == []


def test_the_readmes_study_is_the_file() -> None:
    shown = re.search(r"```yaml\n(.*?)```", DOCUMENTS[0].read_text(), re.DOTALL)
    assert shown is not None
    lines = (REPOSITORY / "studies" / "quickstart.yaml").read_text()
    assert [line for line in shown[1].splitlines() if line not in lines] == []


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", DOCUMENTS[0].read_text(), re.MULTILINE)
    assert targets == ["quickstart", "test"]
    assert all(f"\n{target}:" in makefile for target in targets)


def test_the_python_of_the_readme_runs() -> None:
    shown = re.search(r"```python\n(.*?)```", DOCUMENTS[0].read_text(), re.DOTALL)
    assert shown is not None
    names: dict[str, Any] = {}
    exec(shown[1], names)
    assert names["model"].train()(torch.rand(1, 3, 64, 64)).shape == (1, 10)
