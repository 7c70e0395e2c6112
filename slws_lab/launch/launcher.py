"""The contract of launchers: start jobs that claim and execute attempts, poll them, cancel them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from slws_lab.errors import SlwsError
from slws_lab.spec import Resources

# A worker's exit codes: the disk refuses what must be kept; its run hangs; all is well, and another process should go on.
UNWRITABLE, HUNG, FRESH = 74, 75, 76


class LaunchError(SlwsError):
    """Jobs cannot be started here, or die before they execute anything; the message says what the job said."""


class Needs(Protocol):
    """What is known by measurement of attempts on a kind of GPU. It grows while runs are at work."""

    def shape(self, attempt: Path) -> str:
        """Return what attempts have in common that take the same memory and time."""

    def memory_gb(self, shape: str, gpu: str) -> float | None:
        """Return the peak of a process that executes such an attempt, its CUDA context too; None while it is not known."""

    def rates(self, shape: str, gpu: str) -> Mapping[int, float]:
        """Return number of such processes on one GPU -> the images a second that they gave together."""

    def note_rate(self, shape: str, gpu: str, processes: int, rate: float) -> None:
        """Keep what so many processes gave together."""


@dataclass(frozen=True)
class Work:
    """What there is to do.

    Attributes:
        root: The project's folder.
        attempts: Folders of the attempts, in the order in which they are wanted.
        resources: What each run may use.
        jobs: Folder for the jobs' own files and logs.
        ranks: Processes that a run of these starts at most.
        most: Jobs at a time, at most, each of which executes one attempt at a time; None for as many as there are slots.
        needs: What is known of the attempts, by which a launcher may put several on one GPU; None to give each a whole one.
        feed: A list of further attempts that grows, see `launch.feed`: jobs wait for more until it ends, and as many are started as there
            are slots. None: jobs end when none of `attempts` is free.
        look_in: Called between steps of a run by a launcher that executes runs in the caller's own process, where nobody else could look
            on; see `InProcessJob`. None to not be called.
    """

    root: Path
    attempts: tuple[Path, ...]
    resources: Resources
    jobs: Path
    ranks: int = 1
    most: int | None = None
    needs: Needs | None = None
    feed: Path | None = None
    look_in: Callable[[], None] | None = None

    def jobs_of(self, slots: int) -> int:
        """Return how many jobs to start where so many fit at a time."""
        wanted = slots if self.feed else min(slots, len(self.attempts))
        return wanted if self.most is None else min(wanted, self.most)


class Job(Protocol):
    """A process somewhere that claims attempts and executes them until none is free, and none will come."""

    def poll(self) -> bool:
        """Return whether the job still works; a launcher may use the call to replace a process that died."""

    def cancel(self) -> None:
        """Ask the job to stop at the next step, with a checkpoint. Returns at once."""

    def kill(self) -> None:
        """End the job now. Returns when it is gone."""


class Launcher(Protocol):
    """Starts jobs in some place."""

    name: str

    def slots(self, resources: Resources, ranks: int = 1) -> int:
        """Return how many runs fit at a time, each of so many processes.

        Raises:
            UserError: The place has not what a run asks for.
        """

    def start(self, work: Work) -> list[Job]:
        """Start at most `slots` jobs on the work.

        Raises:
            LaunchError: No job could be started.
        """
