"""The terminal: two consoles, plain lines, tables, JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False)


def line(text: str) -> None:
    """Print one line as it is."""
    out.print(text, markup=False, soft_wrap=True)


def as_json(value: Any) -> None:
    """Print a value as JSON; paths as text, NaN and infinity as null."""
    out.file.write(json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")


def table(*columns: str, title: str | None = None) -> Table:
    """Return an empty table in the house's style."""
    drawn = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        drawn.add_column(column, overflow="fold")
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
