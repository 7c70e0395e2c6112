"""The terminal: two consoles, plain lines, tables, JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

# Control characters, and those that turn the direction of what follows: labels and causes come from files.
COMMANDING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

GAP = 2  # between the columns of a table


def harmless(text: str) -> str:
    """Return text without the characters by which it could command the terminal that shows it; line breaks and tabs stay."""
    return COMMANDING.sub("", text)


class _Console(Console):
    """A console whose colours and cursor are set by us alone, whatever the text holds."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(harmless(segment.text), segment.style)


out = _Console(highlight=False, soft_wrap=False)
err = _Console(stderr=True, highlight=False)


def line(text: str) -> None:
    """Print one line as it is."""
    out.print(text, markup=False, soft_wrap=True)


def as_json(value: Any) -> None:
    """Print a value as JSON; paths as text, NaN and infinity as null."""
    out.file.write(json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")


def as_written(value: Any) -> str:
    """Return a value as a study or a recipe writes it: `true`, `null`, `[a, b]`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_written, value)) + "]"
    return json.dumps(value) if isinstance(value, bool) or value is None else str(value)


def table(*columns: str, title: str | None = None) -> Table:
    """Return an empty table in the house's style."""
    drawn = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        drawn.add_column(column, overflow="fold")
    return drawn


def whole_words(drawn: Table, width: int) -> Table:
    """Give the columns of a table, once it has its rows, widths at which no word is broken, where the terminal is wide enough for that.

    Args:
        drawn: The table.
        width: Of the terminal, in characters.
    """
    own = [[Measurement.get(out, out.options, Text.from_markup(str(cell))) for cell in (column.header, *column.cells)]
           for column in drawn.columns]  # fmt: skip
    least, most = ([max(getattr(one, end) for one in cells) for cells in own] for end in ("minimum", "maximum"))
    free = width - sum(least) - GAP * (len(least) - 1)
    if free >= 0:
        narrowest_first = sorted(zip(drawn.columns, least, most, strict=True), key=lambda one: one[2])
        for column, low, high in narrowest_first:
            column.width = min(high, low + free)
            free -= column.width - low
    return drawn


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
