"""Where things stand in a workspace: runs, their attempts, and the files of an attempt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from slws_lab.spec import AnyRun, canonical, parse_run, run_id
from slws_lab.tracking import journal
from slws_lab.tracking.audit_digests import UNSEALED, result_text, seal
from slws_lab.tracking.claim import ask_to_stop
from slws_lab.tracking.files import Damaged, read_json, refusal, sweep, temporary_for, write_json, write_text, writing

FINAL = ("finished", "diverged")
OURS = {
    "cache",
    "jobs",
    "measuring",
    "mirror",
    "mlartifacts",
    "mlflow.db",
    "runs",
    "searches",
}  # what a workspace holds


@dataclass(frozen=True)
class Attempt:
    """One execution of a run, in a folder of its own. A killed one is resumed here; a rerun gets a new folder."""

    path: Path

    @property
    def number(self) -> int:
        return int(self.path.name.removeprefix("attempt-"))

    @property
    def run_id(self) -> str:
        return self.path.parent.name

    @property
    def claim(self) -> Path:
        return self.path / "claim"

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def files(self) -> Path:
        """Where a command of the user's may write: its `{run.dir}`."""
        return self.path / "files"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def starts(self) -> Path:
        """One line each time a worker began or resumed the attempt."""
        return self.path / "starts.jsonl"

    def result(self) -> dict[str, Any] | None:
        """Return what the attempt ended with; None while it has not ended.

        A damaged result is that of a failed attempt, and so is one that this user may not read.
        """
        try:
            found: dict[str, Any] | None = read_json(self.path / "result.json")
        except Damaged:
            found = {}
        except OSError as error:
            return {"status": "failed", "cause": f"its folder cannot be read: {error.strerror}"}
        if found is None or (isinstance(found, dict) and isinstance(found.get("status"), str)):
            return found
        return {"status": "failed", "cause": "result.json is damaged"}

    def lacks(self) -> str:
        """Say what is missing of an attempt that has ended with numbers; empty if it is whole."""
        return lacking(self.result() or {}, len({entry.step for entry in journal.read(self.journal)}))

    def start_over(self, desk: Path) -> None:
        """Forget what was done so far: an attempt is made by one code on one kind of device, or begun again.

        Args:
            desk: See `Claim.desk`. What goes is moved there, which only the attempt's owner can.

        Raises:
            NotWritten: The system refused, or the desk is gone.
        """
        for path in (self.journal, self.checkpoint, self.files):
            if path.exists():
                with writing(path):
                    path.rename(temporary_for(path, desk))

    def sweep(self) -> None:
        """Remove the temporary files of killed processes, which only the attempt's owner may."""
        for folder, ours in ((self.path, True), (self.checkpoint, True), (self.path.parent, False)):
            with writing(folder):
                sweep(folder, ours=ours)

    def finish(self, result: dict[str, Any], desk: Path | None = None) -> None:
        """Write the result, the last thing that an attempt writes.

        Args:
            result: What it ended with.
            desk: See `Claim.desk`; None where nobody else can hold the attempt.

        Raises:
            NotWritten: The system refused, or the desk is gone.
        """
        write_text(self.path / "result.json", result_text(self.path, result), desk)

    def ask_to_stop(self) -> bool:
        """Ask whoever executes the attempt now to stop at the next step, with a checkpoint; that job goes on with others.

        The request ends with that execution: whoever takes the attempt later is not asked.

        Returns:
            Whether somebody held it.

        Raises:
            NotWritten: The system refused.
        """
        with writing(self.claim):
            return ask_to_stop(self.claim)

    def shut(self) -> str:
        """Try to write; return why the system refuses this folder alone, empty where it does not, or refuses the whole workspace."""
        why = refusal(self.path)
        return "" if not why or refusal(self.path.parents[2]) else why

    @property
    def status(self) -> str | None:
        result = self.result()
        return None if result is None else str(result["status"])


def lacking(result: dict[str, Any], have: int) -> str:
    """Say what is missing of a result that has numbers, given how many epochs its journal holds; empty if it is whole."""
    if result.get("status") not in FINAL:
        return ""
    epochs = result.get("epochs", 0)
    if not isinstance(epochs, int):
        return "result.json is damaged"
    return f"the journal holds {have} of {epochs} epochs" if have < epochs else ""


@dataclass(frozen=True)
class RunFolder:
    """All attempts of one run."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    def spec(self) -> AnyRun:
        """Return the run that stands in run.json.

        Raises:
            Damaged: There is none in it.
        """
        path = self.path / "run.json"
        try:
            return parse_run(read_json(path)["spec"])
        except (KeyError, TypeError, ValidationError) as error:
            raise Damaged(f"{path} holds no run") from error

    def canonical(self) -> dict[str, Any]:
        """Return what the run's id hashes.

        Raises:
            Damaged: run.json does not say.
        """
        path = self.path / "run.json"
        try:
            found: dict[str, Any] = json.loads(read_json(path)["canonical"])
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged(f"{path} does not say what its id hashes") from error
        return found

    def create(self, run: AnyRun) -> None:
        """Write run.json, unless it is there and holds this run."""
        try:
            whole = self.spec() == run
        except Damaged:
            whole = False
        if not whole:
            spec = run.model_dump(mode="json")
            write_json(self.path / "run.json", {"run_id": self.run_id, "spec": spec, "canonical": canonical(run)})

    def attempts(self) -> list[Attempt]:
        """Return the attempts in order."""
        found = [Attempt(p) for p in self.path.glob("attempt-*") if re.fullmatch(r"attempt-\d+", p.name)]
        return sorted(found, key=lambda attempt: attempt.number)

    def next_attempt(self) -> int:
        """Return the number of the attempt to work on: the last one if it has not ended, else the one after it."""
        attempts = self.attempts()
        if not attempts:
            return 1
        return attempts[-1].number + (attempts[-1].status is not None)

    def attempt(self, number: int) -> Attempt:
        """Return an attempt by its number, its folder made if it is not there; two processes may ask for the same one."""
        attempt = Attempt(self.path / f"attempt-{number}")
        attempt.path.mkdir(parents=True, exist_ok=True)
        return attempt

    def new_attempt(self) -> Attempt:
        """Create the next attempt."""
        return self.attempt(max((attempt.number for attempt in self.attempts()), default=0) + 1)

    def choose(self, attempt: Attempt) -> None:
        """Make the tables use an attempt instead of the first that ended."""
        text = json.dumps({"attempt": attempt.number, "digest": UNSEALED}, indent=1) + "\n"
        write_text(self.path / "chosen.json", seal(text))

    def chosen(self) -> Attempt | None:
        """Return the attempt that tables use: the chosen one, else the first with a final result, else the last."""
        attempts = self.attempts()
        ended = [attempt for attempt in attempts if attempt.status in FINAL and not attempt.lacks()]
        chosen = read_json(self.path / "chosen.json")
        wanted = chosen.get("attempt") if isinstance(chosen, dict) else None
        picked = [attempt for attempt in ended if attempt.number == wanted]
        return next(iter(picked or ended or attempts[-1:]), None)


@dataclass(frozen=True)
class Workspace:
    """The `.slws` folder of a project: run folders, the mirror's state, jobs. Nothing in it needs to be committed."""

    path: Path

    def make(self) -> None:
        """Make the folder with a `.gitignore` that keeps it out of git; one that holds anything which is not ours is left as it is."""
        if {path.name for path in self.path.glob("*")} <= OURS:
            write_text(self.path / ".gitignore", "*\n")

    def run(self, run: AnyRun | str) -> RunFolder:
        """Return a run's folder by its spec or id; it need not exist."""
        return RunFolder(self.runs / (run if isinstance(run, str) else run_id(run)))

    def folders(self) -> Iterator[RunFolder]:
        """Yield all run folders, sorted by id."""
        yield from (RunFolder(p) for p in sorted(self.runs.glob("*")) if (p / "run.json").is_file())

    @cached_property
    def runs(self) -> Path:
        return self.path / "runs"

    @cached_property
    def jobs(self) -> Path:
        return self.path / "jobs"

    @cached_property
    def mirror(self) -> Path:
        return self.path / "mirror"

    @cached_property
    def cache(self) -> Path:
        return self.path / "cache"
