"""`slws references`: lists, filters, and says what is nearest."""

from __future__ import annotations

import json

import pytest
from conftest import Slws


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--key", "slvs"), "did you mean 'slws'?"),
        (("--systems", "--key", "slws"), "--key is for figures"),
        (("--systems", "volo-x"), "did you mean 'volo'?"),
    ],
)
def test_a_wrong_filter_is_one_message_and_exit_code_2(
    options: tuple[str, ...], words: str, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slws("references", *options) == 2
    said = capsys.readouterr()
    assert words in said.err and said.out == ""
