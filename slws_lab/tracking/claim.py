"""Claims: one owner an attempt. Made by exclusive creation, kept alive by a heartbeat, taken over only from the dead."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil

HEARTBEAT_S = 5.0
STALE_S = 60.0


@dataclass(frozen=True)
class Owner:
    """A process, told apart from a later one with the same number by its start time."""

    host: str
    pid: int
    started: float

    @staticmethod
    @cache
    def me() -> Owner:
        return Owner(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    def alive(self) -> bool:
        """Say whether the process lives; only meaningful on its own host."""
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def owner_of(path: Path) -> Owner | None:
    """Return who holds a claim file; None if it is absent or was left half-written by a crash."""
    try:
        return Owner(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def is_held(path: Path) -> bool:
    """Say whether a claim file's owner still works: alive on this host, or with a recent heartbeat on another."""
    try:
        silent_s = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    owner = owner_of(path)
    if owner is None:
        return silent_s < HEARTBEAT_S  # just being written
    return owner.alive() if owner.host == socket.gethostname() else silent_s < STALE_S


class Claim:
    """A claim that this process holds, with a thread that beats while it does. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    @classmethod
    def take(cls, path: Path) -> Claim | None:
        """Return a claim, or None if another process holds it. A dead owner's file is moved away first."""
        if path.exists() and not is_held(path):
            _bury(path)
        if not _create(path):
            return None
        claim = cls(path)
        claim._thread.start()
        return claim

    def held(self) -> bool:
        """Say whether the claim is still ours: another may have taken it while this process was suspended."""
        return owner_of(self.path) == Owner.me()

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.held():
            self.path.unlink()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.path)


def _create(path: Path) -> bool:
    """Create the claim exclusively; a reader that sees it before its content takes it as just being written."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(Owner.me()), file)
    return True


def _bury(path: Path) -> None:
    """Move a dead owner's claim away. If another process was faster and the moved claim is alive, put it back."""
    grave = path.with_name(f".claim.{uuid.uuid4().hex}")
    try:
        path.rename(grave)
    except FileNotFoundError:
        return
    if is_held(grave):
        grave.rename(path)
    else:
        grave.unlink()
