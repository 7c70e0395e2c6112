"""What tests of the study language share: a study of a few lines, expanded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import make_project
from ruamel.yaml import YAML

from slws_lab.spec import Design, Study, expand, load_study

StudyOf = Callable[..., Study]
DesignOf = Callable[..., Design]


@pytest.fixture
def study_of(tmp_path: Path) -> StudyOf:
    """Return a function that writes a study with these keys beside the usual ones, and loads it."""

    def load(recipe: str | None = None, **keys: Any) -> Study:
        folder = make_project(tmp_path, **({"recipe": recipe} if recipe else {}))
        with folder.study.open("w") as file:
            YAML().dump({"name": "s", "question": "q", "recipe": "../experiments/tiny.yaml", "seeds": 2, **keys}, file)
        return load_study(folder.study)

    return load


@pytest.fixture
def design_of(study_of: StudyOf) -> DesignOf:
    """Return a function that expands a study with these keys."""
    return lambda *args, **keys: expand(study_of(*args, **keys))
