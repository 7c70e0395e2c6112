"""What tests of the command share: the science tower answering in this process."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from slws_lab.lab import data_checking, science
from slws_lab.spec import Recipe
from slws_lab.training import check
from slws_lab.training.answering import told


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the science tower answer in this process; starting one takes seconds."""

    def ask(module: str, question: Any) -> Any:
        heard = json.loads(json.dumps(question))
        if module == "training":
            recipes = [Recipe.model_validate(raw) for raw in heard["recipes"]]
            said: Any = check(recipes, Path(heard["root"]), heard["scan"])
        else:
            said = told(importlib.import_module(f"slws_lab.{module}").answer, heard)
        return json.loads(json.dumps(said))

    for place in (science, data_checking):
        monkeypatch.setattr(place, "ask", ask)
