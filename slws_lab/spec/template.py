"""Texts with placeholders, such as `--lr={train.lr}`: taken apart when a recipe is loaded, filled when its command is started.

`{name}` is the value; `{name:--option}` is a whole argument, the option followed by the value: alone where the value is true, and left
out where it is false or null. `{name:--option=}` is one argument, `--option=value`, left out where the value is null. Braces that are
meant as such are doubled.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Formatter

OPTION = re.compile(r"-[!-~]*")
# What a shell reads up to a place where a quoted value is one word: no quote is open, and neither `\\` nor `$` stands before it.
CLOSED = re.compile(r"""(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^'"\\])*(?<!\$)""", re.DOTALL)

Value = bool | int | float | str | None


@dataclass(frozen=True)
class Part:
    """A piece of a text: what stands before a placeholder, and the placeholder.

    Attributes:
        text: Plain text, braces no longer doubled.
        name: Name of the placeholder behind it; None at the end of the text.
        option: The option that the value is to be given by; empty for the bare value.
    """

    text: str
    name: str | None = None
    option: str = ""


def parse(text: str, *, line: bool = False) -> tuple[Part, ...]:
    """Take a text apart.

    Args:
        text: An argument, or a whole command line.
        line: Whether it is a command line for a shell, in which a placeholder with an option may stand anywhere.

    Raises:
        ValueError: Its braces are not paired, or hold something else than a name and perhaps an option; or in a line for a shell one
            stands where the shell would not take its quoted value as one word.
    """
    try:
        pieces = list(Formatter().parse(text))
    except ValueError:
        raise ValueError(f"{text!r} has a brace without its partner; one that is meant as such is doubled") from None
    parts = tuple(_part(*piece) for piece in pieces)
    if not line and any(part.option for part in parts) and (len(parts) > 1 or parts[0].text):
        raise ValueError(f"{text!r}: a placeholder with an option is an argument of its own")
    if line:
        _outside_quotes(parts)
    return parts


def fill(text: str, values: Mapping[str, Value], literal: Callable[[str], str] = str) -> list[str]:
    """Fill a text and return the arguments that it stands for: one, or an option with its value, or none.

    Args:
        text: The text.
        values: Placeholder to value; all that the text names are there, and none is null that stands bare.
        literal: Called with each piece of plain text; what it returns stands in its place.
    """
    parts = parse(text)
    if len(parts) == 1 and parts[0].option:
        return _words(parts[0], values)
    return ["".join(literal(part.text) + "".join(_words(part, values)) for part in parts)]


def fill_shell(text: str, values: Mapping[str, Value]) -> str:
    """Fill a command line for a shell: each value is quoted, so that the shell takes it as one word, or as a part of one."""
    return "".join(part.text + shlex.join(_words(part, values)) for part in parse(text, line=True))


def written(value: Value) -> str:
    """Return a value as an argument: true and false in small letters, numbers as Python and YAML write them."""
    if value is None:
        raise ValueError("nothing cannot be written as an argument")
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _words(part: Part, values: Mapping[str, Value]) -> list[str]:
    if part.name is None:
        return []
    value = values[part.name]
    if not part.option:
        return [written(value)]
    if value is None:
        return []
    if part.option.endswith("="):
        return [part.option + written(value)]
    if isinstance(value, bool):
        return [part.option] if value else []
    return [part.option, written(value)]


def _outside_quotes(parts: tuple[Part, ...]) -> None:
    before = ""
    for part in parts:
        before += part.text
        if part.name is not None and not CLOSED.fullmatch(before):
            raise ValueError(f"'{{{part.name}}}' stands within quotes, or behind a backslash or `$`: a value is quoted by itself, "
                             "and must stand outside of them")  # fmt: skip


def _part(text: str, name: str | None, option: str | None, conversion: str | None) -> Part:
    if name is not None and (conversion or not name or (option and not OPTION.fullmatch(option))):
        shown = name + (f"!{conversion}" if conversion else "") + (f":{option}" if option else "")
        raise ValueError(f"'{{{shown}}}' is no placeholder: one is {{name}} or {{name:--option}}")
    return Part(text, name, option or "")
