"""`slws references`: lists, filters, and says what is nearest."""

from __future__ import annotations

import json
import re

import pytest
from conftest import Slws

from slws_lab.cli.terminal import out
from slws_lab.reports.references import systems


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(out, "width", 80)  # Rich reads COLUMNS once, when the console is made


def test_figures_are_listed_with_their_sources(slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws("references", "--key", "slws", "--dataset", "ade20k") == 0
    said = capsys.readouterr().out
    assert "slws: ShuffleMamba (paper v1)" in said and "49.4" in said
    assert "[1] Korean arXiv digest of v1" in said and "1 published figure;" in said
    assert max(map(len, said.splitlines()[:-1])) <= 80


def test_figures_are_data_for_machines(slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws("references", "VOLO", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["value"], found["unit"], found["params_m"], found["setting"]) == (
        "87.1",
        "%",
        "",
        "supervised, no extra data",
    )


def test_related_systems_are_listed_with_how_they_could_be_covered(
    slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slws("references", "--systems", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 58
    assert slws("references", "maxvit", "--systems") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "MaxViT" in said and "baseline" in said and "1 related system;" in said


def test_all_related_systems_can_be_read_at_80_columns(slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws("references", "--systems") == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert len(lines) < 350 and max(map(len, lines)) <= 80
    words = set(re.split(r"[\s,/]+", said))
    for one in systems():  # no word is broken but behind a stroke
        shown = f"{one.short_name} {one.category} {one.how_it_could_be_covered}"
        assert {word for word in re.split(r"[\s,/]+", shown) if word} <= words
        assert one.note in " ".join(said.split())
    start = next(i for i, line in enumerate(lines) if line.startswith("ConvNeXt "))
    assert lines[start + 1].startswith("  `model: convnext_tiny` (or")  # how, below its system


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--key", "slvs"), "did you mean 'slws'?"),
        (("--systems", "--key", "slws"), "--key is for figures"),
        (("zzz",), "allowed: slws, "),
        (("--dataset", "imagnet"), "did you mean 'ImageNet-1k'?"),
        (("--systems", "volo-x"), "did you mean 'VOLO'?"),
    ],
)
def test_a_wrong_filter_is_one_message_and_exit_code_2(
    options: tuple[str, ...], words: str, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slws("references", *options) == 2
    said = capsys.readouterr()
    assert words in said.err and said.out == ""
