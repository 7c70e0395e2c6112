"""Files that are whole or absent: written to a temporary name beside their place, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from slws_lab.errors import SlwsError


def write_text(path: Path, text: str) -> None:
    """Write a file whole: readers see the old content or the new, never a part, also after a crash."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`, for bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole, with sorted keys; non-finite numbers are refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


class Damaged(SlwsError):
    """A file of the workspace does not hold what was written there; the message names it."""


def read_json(path: Path) -> Any:
    """Read JSON; None where the file is absent.

    Raises:
        Damaged: It holds something else.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise Damaged(
            f"{path} is damaged: it holds no JSON\n  to do:   move it away and give the command again"
        ) from None
