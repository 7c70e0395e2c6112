"""Placeholders: what they stand for, what is refused, and that no value ever becomes more than one argument."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from slws_lab.spec.template import Value, fill, fill_shell, parse

VALUES: dict[str, Value] = {"lr": 1e-05, "name": "a b; touch x", "amp": True, "off": False, "nothing": None, "n": 3}


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("plain", ["plain"]),
        ("{lr}", ["1e-05"]),
        ("--lr={lr}", ["--lr=1e-05"]),
        ("{name}", ["a b; touch x"]),
        ("x={name}/{n}", ["x=a b; touch x/3"]),
        ("{amp}", ["true"]),
        ("{amp:--amp}", ["--amp"]),
        ("{off:--amp}", []),
        ("{nothing:--note}", []),
        ("{name:--note}", ["--note", "a b; touch x"]),
        ("{lr:--lr=}", ["--lr=1e-05"]),
        ("{name:--note=}", ["--note=a b; touch x"]),
        ("{amp:--amp=}", ["--amp=true"]),
        ("{off:--amp=}", ["--amp=false"]),
        ("{nothing:--note=}", []),
        ('{{"a": {n}}}', ['{"a": 3}']),
        ("", [""]),
    ],
)
def test_a_text_stands_for_these_arguments(text: str, arguments: list[str]) -> None:
    assert fill(text, VALUES) == arguments


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{lr", "'{lr' has a brace without its partner; one that is meant as such is doubled"),
        ("lr}", "'lr}' has a brace without its partner; one that is meant as such is doubled"),
        ("{}", "'{}' is no placeholder: one is {name} or {name:--option}"),
        ("{lr!r}", "'{lr!r}' is no placeholder: one is {name} or {name:--option}"),
        ("{lr:.3f}", "'{lr:.3f}' is no placeholder: one is {name} or {name:--option}"),
        ("x{amp:--amp}", "'x{amp:--amp}': a placeholder with an option is an argument of its own"),
    ],
)
def test_what_is_no_template_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(text)
    assert str(error.value) == says


def test_a_shell_takes_each_value_as_one_word(tmp_path: Path) -> None:
    line = fill_shell("printf '%s\\n' {name} {amp:--amp} {off:--off} {name:--note} x{name} && echo done", VALUES)
    done = subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["a b; touch x", "--amp", "--note", "a b; touch x", "xa b; touch x", "done"]
    assert list(tmp_path.iterdir()) == []
    assert "touch" not in shlex.split(line)


@pytest.mark.parametrize(
    "line",
    [
        "echo '{name}'",
        'echo "{name}"',
        "echo 'a' \"b {name}\"",
        "echo \\{name}",
        "echo ${name}",
        "sh -c 'python {name:--note}'",
    ],
)
def test_a_value_for_a_shell_stands_outside_of_quotes(line: str) -> None:
    with pytest.raises(ValueError, match=r"'\{name\}' stands within quotes, or behind a backslash or `\$`"):
        parse(line, line=True)


@pytest.mark.parametrize(
    "line",
    ["echo 'a' {name}", 'echo "it\'s" {name}', "echo it\\'s {name}", 'echo "\\"" {name}', "A='x {{y}}' && echo {name}"],
)
def test_quotes_that_are_closed_hinder_no_value(line: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", fill_shell(line, VALUES)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("a b; touch x\n")
    assert list(tmp_path.iterdir()) == []
