"""Executes a run of `kind: command`: starts the command, reads its metrics into the journal while it works, and judges how it ended."""

from __future__ import annotations

import fnmatch
import logging
import math
import re
import signal
import time
from collections import deque
from itertools import chain, repeat
from typing import Any

from slws_lab.command import prepare
from slws_lab.command.follow import Follower, Point
from slws_lab.command.prepare import LOGGED, Context
from slws_lab.command.process import Process
from slws_lab.launch import inventory
from slws_lab.spec import CommandRun
from slws_lab.tracking import journal, provenance, spent
from slws_lab.tracking.causes import MEMORY
from slws_lab.tracking.files import writing
from slws_lab.worker.holding import ClaimLost, Failed, GoesBack, Hold, Place, Stopped

POLL_S, QUICK_POLL_S, QUICK_POLLS = 0.25, 0.05, 20
GRACE_S = (
    30.0  # from SIGTERM to SIGKILL: what a command may take to save; `slws run` waits twice as long for its workers
)
STOP_SEEN_S = 2.0  # within which a scheduler that ends the command tells this process too
TAIL = 60  # lines among which the cause of a failure is looked for
KILLS = tuple(128 + number for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS))
RAISED = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b")
log = logging.getLogger(__name__)


class Command:
    """One command. See `holding.Executor`."""

    def __init__(self, hold: Hold, run: CommandRun, place: Place) -> None:
        self._hold, self._run, self._place = hold, run, place
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._seen: set[tuple[str, int]] = set()
        self._last: dict[str, tuple[int, float]] = {}
        self._bad = ""

    @property
    def device(self) -> str:
        found = inventory.gpus() if self._place.resources.gpus != 0 else ()
        return found[0].name if found else "cpu"

    def provenance(self) -> dict[str, Any]:
        """Count the files that the command names as its code, and nothing that this process happens to have loaded.

        Packages are known only where the command's Python is this one. A folder of another repository has its commit recorded.
        """
        root, place = self._place.root, prepare.folder(self._run, self._place.root)
        made = {**provenance.gather(root), "modules": {}, "code": provenance.code_digest({})}
        if not prepare.runs_our_python(self._run):
            made["packages"] = {}
        if place.resolve() != root.resolve():
            state = provenance.git_state(place)
            if state["commit"] not in (None, made["commit"]):
                made["cwd"] = {"commit": state["commit"], "dirty": state["dirty"]}
        return provenance.with_files(made, root, prepare.named_files(self._run, root))

    @property
    def goes_on(self) -> bool:
        return prepare.goes_on(self._run, self._hold.attempt.files)

    def execute(self, threads: int) -> dict[str, Any]:
        hold, started = self._hold, time.time()
        resumed = hold.attempt.journal.exists() or hold.attempt.files.exists()
        context = self._context(threads)
        for entry in journal.read(hold.attempt.journal):
            for name, value in entry.metrics.items():
                self._note(Point(name, entry.step, value))
        with journal.Writer(hold.attempt.journal, hold.desk) as writer:
            code, follower = self._work(writer, context, resumed=resumed)
        seconds = spent.seconds(hold.attempt) if resumed else time.time() - started
        return {**self._ended(code, follower), "epochs": len({step for _, step in self._seen}), "seconds": seconds}

    def tidy(self) -> None:
        """Remove the files that `keep` does not name."""
        folder = self._hold.attempt.files
        (folder / LOGGED).unlink(missing_ok=True)
        for path in sorted(folder.rglob("*"), reverse=True) if self._run.keep is not None else ():
            name = path.relative_to(folder).as_posix()
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif not any(fnmatch.fnmatch(name, pattern) for pattern in self._run.keep or ()):
                path.unlink()

    def _context(self, threads: int) -> Context:
        """Make the command's folder. What `slws_lab.log` writes is there too, so that a run which goes on finds it again."""
        files = self._hold.attempt.files
        with writing(files):
            files.mkdir(exist_ok=True)
        device = "cpu" if self.device == "cpu" else "cuda"
        return Context(self._place.root, files, files / LOGGED, threads, device)

    def _work(self, writer: journal.Writer, context: Context, *, resumed: bool) -> tuple[int, Follower]:
        """Run the command to its end, or to where it diverged, and return its exit code."""
        execution = prepare.execution(self._run, context, resumed=resumed)
        attempt = self._hold.attempt
        log.info("%s, attempt %d, on %s: %s", attempt.run_id, attempt.number, self.device, execution.arguments)
        follower = Follower(self._run.metrics, context.files, context.log)
        with Process(execution) as process:
            try:
                pauses = chain(repeat(QUICK_POLL_S, QUICK_POLLS), repeat(POLL_S))
                while (code := process.wait(next(pauses))) is None and not self._bad:
                    self._look(process, follower, writer)
                    if self._place.should_stop():
                        raise Stopped
            except (Stopped, KeyboardInterrupt):
                process.stop(GRACE_S)
                self._look(process, follower, writer)
                raise
            process.stop(GRACE_S)
            self._look(process, follower, writer, final=True)
            return code or 0, follower

    def _look(self, process: Process, follower: Follower, writer: journal.Writer, *, final: bool = False) -> None:
        """Take what the command has printed and logged since the last look."""
        if self._hold.claim.lost:
            raise ClaimLost
        for line in process.lines():
            self._hold.pulse.tick()
            self._tail.append(line)
            log.info("| %s", line)
            follower.hear(line)
        self._record(follower.points(final=final), writer)

    def _record(self, points: list[Point], writer: journal.Writer) -> None:
        by_step: dict[int, dict[str, float]] = {}
        for point in points:
            if self._note(point):
                by_step.setdefault(point.step, {})[point.name] = point.value
        for step, metrics in by_step.items():
            self._hold.pulse.tick()
            if not self._hold.claim.held():
                raise ClaimLost
            writer.append(step, time.time(), metrics)
            log.info("step %d: %s", step, ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))

    def _note(self, point: Point) -> bool:
        """Remember a value, and say whether it is new: of a metric the first of a step counts."""
        if (point.name, point.step) in self._seen:
            return False
        self._seen.add((point.name, point.step))
        if point.step >= self._last.get(point.name, (0, 0.0))[0]:
            self._last[point.name] = point.step, point.value
        if point.name in self._run.metrics.names and not math.isfinite(point.value):
            self._bad = self._bad or f"{point.name} became {point.value} in step {point.step}"
        return True

    def _ended(self, code: int, follower: Follower) -> dict[str, Any]:
        """Return how it ended.

        Raises:
            Failed: It failed by itself, or has not given what its recipe names.
            GoesBack: It was killed.
            Stopped: It was ended with this process, by the same scheduler.
        """
        metrics = {name: value for name, (_, value) in self._last.items() if math.isfinite(value)}
        if self._bad:
            return {"status": "diverged", "cause": self._bad, "metrics": metrics}
        if code == 128 + signal.SIGTERM and self._is_stopping():
            raise Stopped
        if code:
            raise (GoesBack if code in KILLS and not self._out_of_memory else Failed)(self._cause(code))
        if missing := [name for name in self._run.metrics.names if name not in self._last]:
            said = follower.said or "nothing was found where the recipe says that metrics are"
            raise Failed(f"the command ended well and never gave {', '.join(missing)}: {said}")
        if follower.skipped:
            log.warning("%s", follower.said)
        return {"status": "finished", "cause": "", "metrics": metrics}

    def _is_stopping(self) -> bool:
        until = time.monotonic() + STOP_SEEN_S
        while not (stopping := self._place.should_stop()) and time.monotonic() < until:
            time.sleep(POLL_S)
        return stopping

    @property
    def _out_of_memory(self) -> str:
        """The last line that says so; empty if none does."""
        return next((line for line in reversed(self._tail) if re.search(MEMORY.signs, line)), "")

    def _cause(self, code: int) -> str:
        """Say how the command failed: its exit code, and the line of its output that says most."""
        signals, memory = {128 + one: one.name for one in signal.Signals}, self._out_of_memory.strip()
        verb = "ended" if memory else "killed"  # by which kinds of failures are told apart, see `tracking.causes`
        how = f"the command was {verb} by {signals[code]}" if code in signals else f"exit code {code}"
        lines = [line.strip() for line in reversed(self._tail) if re.search(r"\w", line)]
        raised = next((line for line in lines if RAISED.match(line)), "")
        said = memory or raised or next(iter(lines), "it printed nothing")
        return f"{how}: {said}"
