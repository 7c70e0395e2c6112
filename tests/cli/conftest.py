"""What tests of the command share: the science tower answering in this process."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest

from slws_lab.lab import data_checking
from slws_lab.training.answering import told


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the science tower answer in this process; starting one takes seconds."""

    def ask(module: str, question: Any) -> Any:
        answer = importlib.import_module(f"slws_lab.{module}").answer
        return json.loads(json.dumps(told(answer, json.loads(json.dumps(question)))))

    monkeypatch.setattr(data_checking, "ask", ask)
