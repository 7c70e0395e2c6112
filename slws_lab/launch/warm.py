"""Workers that are started before their work is known: they load what trains while a study is checked, and one answers the check."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from slws_lab.tracking import read_json, write_json

LOOK_S = 0.02


@dataclass(frozen=True)
class Waiting:
    """A worker process that has no job yet, the log that it writes to, and its environment."""

    process: subprocess.Popen[bytes]
    log: Path
    environment: Mapping[str, str]

    @classmethod
    def start(cls, root: Path, log: Path, environment: Mapping[str, str]) -> Waiting:
        """Start one.

        Args:
            root: The project's folder.
            log: What it prints goes there.
            environment: All its environment variables.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "slws_lab.worker", "-"], stdin=subprocess.PIPE, stdout=output, stderr=output,
                env=dict(environment), start_new_session=True,
            )  # fmt: skip
        found = cls(process, log, dict(environment))
        found.tell({"root": str(root)})
        return found

    def tell(self, message: Any) -> bool:
        """Send a line; False where the process is gone."""
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def end(self) -> None:
        """End it. Its log goes with it: it has had nothing to say of any run."""
        assert self.process.stdin
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.log.unlink(missing_ok=True)


class Warm:
    """Workers that wait. Use as a context manager: those that were not taken by its end are ended.

    Args:
        start: Starts them, when the first question comes.
    """

    def __init__(self, start: Callable[[], list[Waiting]] = list) -> None:
        self._start, self._waiting = start, list[Waiting]()

    def ask(self, question: Any) -> Any:
        """Return what a check of recipes answers (see `training.check`); None where no worker is there to answer.

        Loading what answers takes seconds, as it does to start a worker: so all are started now, and the first answers.

        Args:
            question: JSON, as `python -m slws_lab.training` reads it.
        """
        self._waiting = self._waiting or self._start()
        if not self._waiting:
            return None
        first = self._waiting[0]
        asked, answer = (first.log.with_suffix(f".{uuid.uuid4().hex[:8]}.{kind}") for kind in ("question", "answer"))
        try:
            write_json(asked, question)
            first.tell({"check": str(asked), "answer": str(answer)})
            while first.process.poll() is None and not answer.exists():
                time.sleep(LOOK_S)
            return read_json(answer)
        finally:
            for path in (asked, answer):
                path.unlink(missing_ok=True)

    def take(self, log: Path, environment: Mapping[str, str]) -> Waiting | None:
        """Return a waiting worker that has this log and environment, which from now on is the caller's; None if there is none."""
        for one in self._waiting:
            if one.log == log and one.environment == environment and one.process.poll() is None:
                self._waiting.remove(one)
                return one
        return None

    def release(self) -> None:
        """End those that were not taken."""
        while self._waiting:
            one = self._waiting.pop()
            one.end()
            for folder in (one.log.parent, one.log.parent.parent):  # jobs and workspace, if they were made for nothing
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
