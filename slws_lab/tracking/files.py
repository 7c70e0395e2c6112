"""Files that are whole or absent: written to a temporary name, then renamed into their place."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slws_lab.errors import SlwsError

ABANDONED_S = 60.0


class NotWritten(SlwsError):
    """A file of the workspace cannot be written: the disk is full, read-only or away. Nothing is wrong with what was to be written."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is written into one message.

    Raises:
        NotWritten: The system refused.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        todo = "make room, or mend what is in the way, and give the command again: it goes on from here"
        raise NotWritten(f"{path} cannot be written: {why}\n  to do:   {todo}") from error


def write_text(path: Path, text: str, desk: Path | None = None) -> None:
    """Write a file whole: readers see the old content or the new, never a part, also after a crash or a loss of power.

    Args:
        path: The file.
        text: Its content.
        desk: Folder of the same file system for the temporary file, see `Claim.desk`; None for the file's own.

    Raises:
        NotWritten: The system refused; the old content stands. Also when the desk is gone, since its claim was lost.
    """
    write_bytes(path, text.encode(), desk)


def write_bytes(path: Path, content: bytes, desk: Path | None = None) -> None:
    """As `write_text`, for bytes."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_for(path, desk)
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
        sync_folder(path.parent)


def write_json(path: Path, value: Any, desk: Path | None = None) -> None:
    """Write JSON whole, with sorted keys; non-finite numbers are refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", desk)


def temporary_for(path: Path, desk: Path | None = None) -> Path:
    """Return a name of its own under which a file can be written, before it is renamed."""
    return (desk or path.parent) / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"


def sync_folder(folder: Path) -> None:
    """Wait until a folder's names are on disk, without which a loss of power can undo a rename."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems do so by themselves
            raise
    finally:
        os.close(handle)


def sweep(folder: Path, *, ours: bool) -> None:
    """Remove temporary files that killed writers have left in a folder.

    Args:
        folder: Where; not below.
        ours: Whether nobody else may write there; if others may, what was touched within `ABANDONED_S` stays.
    """
    for left in folder.glob("*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if ours or abs(time.time() - left.stat().st_mtime) > ABANDONED_S:
                left.unlink()


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
    except (ValueError, RecursionError):
        raise Damaged(
            f"{path} is damaged: it holds no JSON\n  to do:   move it away and give the command again"
        ) from None
