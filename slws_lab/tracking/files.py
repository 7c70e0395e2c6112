"""Files that are whole or absent: written to a temporary name, then renamed; and lines that tell whether they are whole."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from slws_lab.errors import SlwsError

ABANDONED_S = 60.0
CRC = b', "crc": "'
CRC_AT = -(len(CRC) + 8 + len('"}\n'))
PROBE_BYTES = 4096
UNREADABLE = (FileNotFoundError, NotADirectoryError, PermissionError)


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
    write_all({path: content}, desk)


def write_all(contents: dict[Path, bytes], desk: Path | None = None) -> None:
    """Write files whole, and take the names last: who is killed before the first rename has changed nothing.

    Args:
        contents: Path to content; renamed in this order.
        desk: See `write_text`.

    Raises:
        NotWritten: The system refused one; those before it may be in place.
    """
    made: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                made[path] = temporary_for(path, desk)
                _write_through(made[path], content)
        for path, temporary in made.items():
            with writing(path):
                temporary.replace(path)
        for folder in dict.fromkeys(path.parent for path in made):
            with writing(folder):
                sync_folder(folder)
    except BaseException:
        for temporary in made.values():
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def refusal(folder: Path) -> str:
    """Try to write into a folder; return why the system refuses, or an empty string."""
    probe = temporary_for(folder / "probe")
    try:
        _write_through(probe, bytes(PROBE_BYTES))
        return ""
    except OSError as error:
        return error.strerror or str(error)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def write_json(path: Path, value: Any, desk: Path | None = None) -> None:
    """Write JSON whole, with sorted keys; non-finite numbers are refused, since JSON has none."""
    write_text(path, json_text(value), desk)


def json_text(value: Any) -> str:
    """Return what `write_json` writes."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


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
    for left in folder.glob(".*.tmp"):  # as `temporary_for` names them, and no user a file of his
        with contextlib.suppress(FileNotFoundError):
            if ours or abs(time.time() - left.stat().st_mtime) > ABANDONED_S:
                left.unlink()


def checked_line(value: dict[str, Any]) -> bytes:
    """Return a line of JSON that ends with the CRC-32 of all that stands before it."""
    text = json.dumps(value).encode()
    return text[:-1] + CRC + b'%08x"}\n' % zlib.crc32(text)


def line_value(line: bytes) -> dict[str, Any]:
    """Return what a line was made from; one without a CRC is of an older version, and taken as it stands.

    Raises:
        ValueError: It is torn, no JSON, or not as it was written.
    """
    text = line
    if line[CRC_AT:].startswith(CRC):
        text = line[:CRC_AT] + b"}"
        if line[CRC_AT + len(CRC) :] != b'%08x"}\n' % zlib.crc32(text):
            raise ValueError("the line was changed")
    if not line.endswith(b"\n") or not isinstance(value := json.loads(text), dict) or "crc" in value:
        raise ValueError("the line is not whole")
    return value


def first_damaged(path: Path, is_sound: Callable[[bytes], bool]) -> int | None:
    """Return the number of a file's first line that has its end and is not sound; None where there is none, or no file."""
    try:
        with path.open("rb") as file:
            lines = enumerate(file, 1)
            return next((number for number, line in lines if line.endswith(b"\n") and not is_sound(line)), None)
    except UNREADABLE:
        return None


def is_sound(line: bytes) -> bool:
    """Say whether a line is as it was written."""
    try:
        line_value(line)
    except (ValueError, RecursionError):
        return False
    return True


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
