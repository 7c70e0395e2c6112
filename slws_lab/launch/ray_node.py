"""What an actor of Ray does on its node: it looks after a worker, in the workspace itself or in a copy where the node does not see it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from slws_lab.launch.launcher import LaunchError, Work
from slws_lab.launch.process import WorkerProcess, environment
from slws_lab.launch.scratch import own_folder
from slws_lab.tracking import Attempt

CHUNK = 2**25
LOG = "log.txt"
FOLDERS = ("checkpoint/", "model/")  # of an attempt, whose files come back as they are
TEXTS = ("starts.jsonl", "journal.jsonl", LOG)
RESULT = "result.json"
Stamp = tuple[int, int]  # when a file was last written (ns), and its size


@dataclass(frozen=True)
class Part:
    """A piece of a file.

    Attributes:
        path: The file, from the project's folder.
        offset: Where the piece begins, in bytes.
        content: The piece.
        written: When the file was last written, ns since 1970.
    """

    path: str
    offset: int
    content: bytes
    written: int


@dataclass(frozen=True)
class Said:
    """How a worker stands.

    Attributes:
        working: Whether it works.
        error: Why it was given up; empty if it was not.
        host: Its machine.
        pid: Its number there.
        stamps: Of a copy: each file that is to come back, from the attempt's folder.
        texts: Of a copy: the content of small files that are not as the caller knows them.
    """

    working: bool
    error: str
    host: str
    pid: int
    stamps: dict[str, Stamp] = field(default_factory=dict)
    texts: dict[str, tuple[bytes, Stamp]] = field(default_factory=dict)


class Node:
    """The actor. All calls return soon.

    Args:
        work: What there is to do, by its paths in the workspace.
        name: The job's name.
        python: What starts Python here; None for the one that this process runs in.
    """

    def __init__(self, work: Work, name: str, python: str | None) -> None:
        self._work, self._name, self._python = work, name, python
        self._worker: WorkerProcess | None = None
        self._copy: Path | None = None

    def sees(self, token: Path) -> bool:
        """Say whether a file of the workspace is to be seen here."""
        return token.exists()

    def place(self) -> str:
        """Return the id of this node."""
        import ray

        return ray.get_runtime_context().get_node_id()

    def begin(self) -> None:
        """Start the worker on the attempts in the workspace."""
        self._begin(self._work)

    def prepare(self, attempt: str) -> None:
        """Make room for the copy of an attempt, in place of the one before.

        Args:
            attempt: Its folder, from the workspace's `runs`.
        """
        shutil.rmtree(self._root, ignore_errors=True)
        self._copy = self._root / ".slws" / "runs" / attempt
        self._copy.mkdir(parents=True)

    def put(self, parts: list[Part]) -> None:
        """Write pieces of the project's files, each file's in their order."""
        for part in parts:
            path = self._root / part.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("r+b" if part.offset else "wb") as file:
                file.seek(part.offset)
                file.write(part.content)
            os.utime(path, ns=(part.written, part.written))

    def begin_copy(self) -> None:
        """Start the worker on the copy."""
        assert self._copy
        self._begin(replace(self._work, root=self._root, attempts=(self._copy,), feed=None, jobs=self._root / "jobs"))

    def look(self, known: Mapping[str, Stamp] | None = None) -> Said:
        """Return how the worker stands.

        Args:
            known: The files of the copy as the caller has them; None where there is none.
        """
        assert self._worker
        try:
            working, error = self._worker.poll(), ""
        except LaunchError as reason:
            working, error = False, f"on {socket.gethostname()}: {reason}"
        said = Said(working, error, socket.gethostname(), self._worker.pid)
        return said if known is None else self._with_files(said, known)

    def read(self, name: str, stamp: Stamp, offset: int) -> bytes | None:
        """Return a piece of a file of the copy; None if it is another one by now."""
        assert self._copy
        try:
            with (self._copy / name).open("rb") as file:
                if _stamp(file.fileno()) != stamp:
                    return None
                file.seek(offset)
                return file.read(CHUNK)
        except FileNotFoundError:
            return None

    def cancel(self) -> None:
        """Ask the worker to stop, with a checkpoint."""
        if self._worker:
            self._worker.cancel()

    def stop_run(self) -> None:
        """Ask whoever executes the copy to stop, with a checkpoint."""
        if self._copy:
            Attempt(self._copy).ask_to_stop()

    def end(self) -> None:
        """End the worker now, and remove what is its own here."""
        if self._worker:
            self._worker.kill()
        if "_scratch" in self.__dict__:
            shutil.rmtree(self._scratch, ignore_errors=True)

    @cached_property
    def _scratch(self) -> Path:
        return own_folder("slws-node")

    @property
    def _root(self) -> Path:
        return self._scratch / "project"

    def _begin(self, work: Work) -> None:
        devices = os.environ.get("CUDA_VISIBLE_DEVICES") if work.resources.gpus else None
        self._worker = WorkerProcess(
            work, work.jobs / self._name, environment(work.resources.threads, devices), self._python
        )

    def _with_files(self, said: Said, known: Mapping[str, Stamp]) -> Said:
        assert self._copy
        # Checkpoints are listed first, so that the journal that is read after them covers what they hold.
        places = [path for name in FOLDERS for path in sorted((self._copy / name).rglob("*"))]
        places += [self._copy / name for name in (*TEXTS, RESULT)]
        stamps = {path.relative_to(self._copy).as_posix(): found for path in places if (found := _stamp(path))}
        texts = {}
        for name in (*TEXTS, RESULT):
            if name in stamps and known.get(name) != stamps[name]:
                with (self._copy / name).open("rb") as file:
                    stamps[name] = _stamp(file.fileno()) or stamps[name]
                    texts[name] = file.read(stamps[name][1]), stamps[name]
        return replace(said, stamps=stamps, texts=texts)


def _stamp(file: Path | int) -> Stamp | None:
    """Return a file's stamp; None if it is gone, or is no file that stays."""
    if isinstance(file, Path) and (file.name.startswith(".") or file.is_dir()):
        return None
    try:
        found = os.stat(file)  # noqa: PTH116 - of a handle too
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size
