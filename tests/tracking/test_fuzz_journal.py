"""Damaged journals are read up to the first damaged line, and what is appended then follows; `benchmarks/fuzz.py` tries more of them."""

from __future__ import annotations

import importlib
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slws_lab.tracking import journal

SOUND: dict[str, Any] = {"step": 1, "time": 1e9, "metrics": {"a": 0.5, "b": "nan", "c": "-inf", "d": 3}}


sys.path.append(str(REPOSITORY / "benchmarks"))  # it is in no package
fuzz = importlib.import_module("fuzz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tmp_path_factory.mktemp("journals"))


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(sorted(fuzz.JOURNAL_KINDS)), key=st.integers(0, 10**9))
def test_a_damaged_journal_is_read_up_to_the_damage(kind: str, key: int, folder: Path) -> None:
    draw = random.Random(key)
    case = fuzz.case("journal", kind, draw.choice(sorted(fuzz.originals_of("journal"))), draw)
    assert fuzz.try_it(case, folder) in (fuzz.REFUSED, fuzz.LOADED)


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=200))
def test_any_bytes_may_stand_in_a_journal(content: bytes, folder: Path) -> None:
    fuzz.try_it(fuzz.Case("journal", "any", "none", content), folder)


def test_a_sound_line_is_read(tmp_path: Path) -> None:
    assert [entry.metrics["d"] for entry in read(tmp_path, SOUND)] == [3.0]


@pytest.mark.parametrize(
    "changed",
    [
        {"step": 1.5}, {"step": True}, {"step": "1"}, {"step": -1}, {"step": 10**40}, {"step": float("inf")}, {"time": float("nan")},
        {"time": "1e9"}, {"time": 10**400}, {"time": 1e300}, {"metrics": {"a": True}}, {"metrics": {"a": "1_0"}}, {"metrics": {"a": " 1 "}},
        {"metrics": {"a": "infinity"}}, {"metrics": {"a": None}}, {"metrics": {"a": [1]}}, {"metrics": {"a": 10**400}}, {"metrics": [1]},
    ],
)  # fmt: skip
def test_a_line_with_another_kind_of_value_is_damage(changed: dict[str, Any], tmp_path: Path) -> None:
    assert read(tmp_path, SOUND | changed) == []


def read(folder: Path, line: dict[str, Any]) -> list[journal.Entry]:
    path = folder / "journal.jsonl"
    path.write_text(json.dumps(line) + "\n")
    return list(journal.read(path))
