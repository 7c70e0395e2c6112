"""The help: what it names, how it is laid out, and that it loads little."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer
from conftest import Slws

from slws_lab.cli.app import app

THEMES = {
    "Studies": ["plan", "run", "status", "rerun", "report", "compare", "study", "bundle"],
    "Runs": ["why", "train", "eval"],
    "MLflow": ["ui", "sync"],
    "Workshop": ["verify", "clean", "schema", "models", "references", "doctor", "data"],
}
HEAVY = (
    "torch",
    "mlflow",
    "numpy",
    "pydantic",
    "pygments",
    "markdown_it",
    "rich.markdown",
    "rich.traceback",
    "typer.rich_utils",
)


def commands(group: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return all commands by the words that call them."""
    found: dict[tuple[str, ...], Any] = {path: group}
    for name, command in getattr(group, "commands", {}).items():
        found |= commands(command, (*path, name))
    return found


ALL = commands(typer.main.get_command(app))


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def test_commands_stand_in_panels_by_theme(slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws("--help") == 0
    found: dict[str, list[str]] = {}
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("╭─ "):
            found[theme := line.split()[1]] = []
        elif line.startswith("│  ") and line[3] != " ":
            found[theme].append(line.split()[1])
    assert found == {"Options": ["--install-completion", "--show-completion", "-h,"], **THEMES}


def test_the_help_ends_with_the_exit_codes_and_shows_no_markup(slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    slws("--help")
    printed = capsys.readouterr().out
    assert "130 interrupted." in printed.strip().splitlines()[-1]
    assert "Start with slws plan studies/quickstart.yaml" in printed
    assert "\x1b" not in printed


@pytest.mark.parametrize("path", ALL, ids="-".join)
def test_every_parameter_is_named_with_what_it_is_for(path: tuple[str, ...], slws: Slws, capsys: pytest.CaptureFixture[str],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "300")
    assert slws(*path, "--help") == 0
    printed = capsys.readouterr().out
    command = ALL[path]
    assert " ".join(command.help.split("\n\n")[0].split()).replace("`", "") in printed
    for parameter in command.params:
        names = [parameter.metavar] if parameter.param_type_name == "argument" else parameter.opts
        assert [name for name in (*names, parameter.help) if name not in printed] == []


def test_defaults_ranges_and_what_is_required_are_shown(slws: Slws, capsys: pytest.CaptureFixture[str],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "200")
    slws("train", "--help")
    printed = capsys.readouterr().out
    assert "[required]" in printed
    assert "[default: 1; 1<=x<=1024]" in printed
    assert "[default: local]" in printed


def test_nothing_is_cut_off_on_a_narrow_terminal(slws: Slws, capsys: pytest.CaptureFixture[str],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    for columns in (70, 50, 30):
        monkeypatch.setenv("COLUMNS", str(columns))
        slws("eval", "--help")
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= columns
        words = " ".join(" ".join(line.strip("│ ") for line in lines).split())
        assert "--batch-size <int range>" in words
        assert "folder of run folders and store" in words.lower()
        assert "…" not in words


def test_colours_are_for_terminals(
    slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    slws("--help")
    assert "\x1b[1;36mplan" in capsys.readouterr().out


def test_the_help_loads_nothing_heavy() -> None:
    code = f"""
import sys
from slws_lab.cli import main
try:
    main()
except SystemExit:
    print("loaded:", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"
