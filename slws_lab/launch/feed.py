"""Lists of attempts that grow while jobs work on them: files of JSON lines that one writer appends to, and how a job takes from them."""

from __future__ import annotations

import errno
import itertools
import json
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from slws_lab.tracking import Attempt, is_held
from slws_lab.tracking.files import Damaged, writing

TOUCH_S = 15.0
ABANDONED_S = 600.0
HELD_S = 1.0  # until an attempt that was not free, or was just tried, is looked at again
PAUSES_S, PAUSE_SHARE = (0.1, 1.0), 0.02
NUMBERS = itertools.count()


class Feed:
    """The one writer of a list. See `create`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._touched = time.monotonic()

    @staticmethod
    def name(jobs: Path) -> Path:
        """Return a name of its own in the jobs' folder, by which `local.sweep` knows what a killed process has left."""
        return jobs / f"local-{os.getpid()}-feed{next(NUMBERS)}-{socket.gethostname()}.feed"

    @classmethod
    def create(cls, path: Path) -> Feed:
        """Make an empty list.

        Raises:
            ValueError: There is one already.
            NotWritten: The system refused.
        """
        if path.exists():
            raise ValueError(f"{path} is there already: a list has one writer")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)
        return cls(path)

    @staticmethod
    def read(path: Path) -> Listed:
        """Return what a list says by now."""
        found = Listed(path)
        found.look()
        return found

    def add(self, paths: Iterable[Path]) -> None:
        """Ask for attempts, in this order; one that was dropped is wanted again, behind the others.

        Args:
            paths: Their folders.

        Raises:
            NotWritten: The system refused; none was added.
        """
        self._append([{"add": str(path)} for path in paths])

    def drop(self, path: Path) -> None:
        """Have no job begin an attempt any more, or go on with it; one that is in hand goes on, see `Attempt.ask_to_stop`."""
        self._append([{"drop": str(path)}])

    def close(self) -> None:
        """Say that nothing more will be added: jobs end when nothing of it is free."""
        self._append([{"end": True}])

    def touch(self) -> None:
        """Say that somebody is still there who may add; jobs elsewhere end where nobody did for `ABANDONED_S`. Cheap to call often."""
        if time.monotonic() >= self._touched + TOUCH_S:
            with writing(self.path):
                os.utime(self.path)
            self._touched = time.monotonic()

    def remove(self) -> None:
        """Remove the file; a job that still looks takes it for the end."""
        self.path.unlink(missing_ok=True)

    def _append(self, lines: list[dict[str, Any]]) -> None:
        left = memoryview("".join(json.dumps(line) + "\n" for line in lines).encode())
        with writing(self.path), self.path.open("r+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError:
                file.truncate(end)  # else the next line would be glued to half of this one
                raise
        self._touched = time.monotonic()


class Listed:
    """What a list says, as far as it was read; each look reads what is new.

    Args:
        path: The list; None for one that cannot grow.
        attempts: What is wanted before all that it names.

    Attributes:
        wanted: Attempts that were asked for and not dropped, in order -> the number of the last time that each was asked for.
        known: All that were ever asked for.
        open: Whether more may be asked for.
    """

    def __init__(self, path: Path | None, attempts: Iterable[Path] = ()) -> None:
        self.wanted = dict.fromkeys(attempts, 0)
        self.known = dict.fromkeys(self.wanted)
        self.open = path is not None
        self._path, self._end, self._adds = path, 0, 0
        self._stamp: tuple[int, int] | None = None
        self._changed = time.monotonic()

    @property
    def abandoned(self) -> bool:
        """Whether nobody has touched the list for `ABANDONED_S`, by this machine's own clock."""
        return time.monotonic() > self._changed + ABANDONED_S

    def look(self) -> bool:
        """Read what is new: whole lines, since the last may be in the making. A list that is gone has ended.

        Returns:
            Whether there was any.

        Raises:
            Damaged: A line is none of a list's.
        """
        if not self.open or self._path is None:
            return False
        try:
            with self._path.open(
                "rb"
            ) as file:  # opened, since a network file system answers a mere look from its memory
                stat = os.fstat(file.fileno())
                file.seek(self._end)
                new = file.read()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
            self.open = False
            return True
        if self._stamp != (stat.st_mtime_ns, stat.st_size):
            self._stamp, self._changed = (stat.st_mtime_ns, stat.st_size), time.monotonic()
        whole = new[: new.rfind(b"\n") + 1]
        self._end += len(whole)
        for line in whole.splitlines():
            self._hear(line)
        return bool(whole)

    def _hear(self, line: bytes) -> None:
        verbs: dict[str, Callable[[Any], None]] = {"add": self._add, "drop": self._drop, "end": self._finish}
        try:
            ((verb, value),) = json.loads(line).items()
            verbs[verb](value)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Damaged(f"{self._path} is damaged: {line[:100]!r}") from None

    def _add(self, name: str) -> None:
        self._drop(name)
        self._adds += 1
        self.wanted[Path(name)] = self._adds
        self.known[Path(name)] = None

    def _drop(self, name: str) -> None:
        self.wanted.pop(Path(name), None)

    def _finish(self, _: bool) -> None:
        self.open = False


class Line:
    """The attempts that a job takes, one after another.

    Without a list each of them once, in order. With one, always the first that is free, neither dropped nor put aside, and that
    has no result; so also one that another job had and gave back.

    Args:
        attempts: What the work names.
        feed: Its list; None without one.
    """

    def __init__(self, attempts: Iterable[Path], feed: Path | None) -> None:
        self._once = deque(attempts)
        self._listed = Listed(feed, self._once) if feed else None
        self._later: dict[tuple[Path, int], float] = {}
        self._taken: tuple[Path, int] | None = None

    @property
    def open(self) -> bool:
        """Whether more may come."""
        return bool(self._once) if self._listed is None else self._listed.open

    @property
    def abandoned(self) -> bool:
        """Whether whoever feeds this list is gone."""
        return self._listed is not None and self._listed.abandoned

    def first(self) -> Path | None:
        """Return the first attempt that was ever named, whoever has it; None while there is none."""
        if self._listed is None:
            return self._once[0] if self._once else None
        self._listed.look()
        return next(iter(self._listed.known), None)

    def take(self) -> Attempt | None:
        """Return the next attempt; None if none is free now."""
        if self._listed is None:
            return Attempt(self._once.popleft()) if self._once else None
        self._listed.look()
        now, self._taken = time.monotonic(), None
        for path, number in list(self._listed.wanted.items()):
            if self._later.get((path, number), 0.0) > now:
                continue
            self._later[path, number] = now + HELD_S
            attempt = Attempt(path)
            if attempt.status is not None:
                del self._listed.wanted[path], self._later[path, number]
            elif not is_held(attempt.claim):
                self._taken = path, number
                return attempt
        return None

    def wants(self) -> bool:
        """Say whether the last one is wanted still; it may have been dropped before it was claimed."""
        if self._listed is None or self._taken is None:
            return True
        self._listed.look()
        return self._taken[0] in self._listed.wanted

    def put_aside(self) -> None:
        """Take the last one no more, unless it is asked for again: it was stopped alone, or its folder cannot be written."""
        if self._taken is not None:
            self._later[self._taken] = float("inf")


def pause_s(waited: float) -> float:
    """Return how long to wait before the next try: the longer, the longer it has been in vain.

    Args:
        waited: For how long, seconds.
    """
    least, most = PAUSES_S
    return min(most, max(least, PAUSE_SHARE * waited))
