"""What the executors of runs share: the place, the attempt in hand, how a run may end other than with a result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from slws_lab.spec import Resources
from slws_lab.tracking import Attempt, Claim
from slws_lab.tracking.claim import Pulse

ASKED_EVERY_S = 0.2


class ClaimLost(Exception):
    """Another process took the attempt over while this one was suspended; nothing more may be written."""


class Stopped(Exception):
    """The run was asked to stop, and goes on another time."""


class GoesBack(Exception):
    """A process of the run was killed, as if this one had died: the run may go on, until that helps no more."""


class Failed(Exception):
    """The run has failed, and the message is its whole cause; where it was raised tells nothing."""


@dataclass(frozen=True)
class Place:
    """Where and with what this process executes runs.

    Attributes:
        root: The project's folder, whose git state is recorded.
        resources: What a run may use.
        should_stop: Asked before each step; True ends the run in hand with a checkpoint.
        ends_when_hung: Whether a run that hangs ends this process; otherwise only its heartbeat stops.
    """

    root: Path
    resources: Resources
    should_stop: Callable[[], bool]
    ends_when_hung: bool = False


@dataclass(frozen=True)
class Hold:
    """An attempt that this process executes: its claim, and the pulse of the work, from which the claim's heartbeat comes."""

    attempt: Attempt
    claim: Claim
    pulse: Pulse

    @property
    def desk(self) -> Path:
        return self.claim.desk


class Request:
    """Says whether the run in hand is to stop: with its process, or alone, since somebody asked its claim's owner for that.

    Args:
        claim: The run's.
        stops: Says whether the whole process stops.
    """

    def __init__(self, claim: Claim, stops: Callable[[], bool]) -> None:
        self._claim, self._stops = claim, stops
        self._asked, self._look_at = False, 0.0

    def __call__(self) -> bool:
        if not self._asked and (now := time.monotonic()) >= self._look_at:  # a step is not to wait for a file system
            self._asked, self._look_at = self._claim.asked_to_stop(), now + ASKED_EVERY_S
        return self._asked or self._stops()


class Executor(Protocol):
    """Executes one run. What it logs is in the attempt's log."""

    @property
    def device(self) -> str:
        """Name of the device that it computes on, `cpu` for a processor."""

    def provenance(self) -> dict[str, Any]:
        """Return which code, packages and machine the run comes from, as `tracking.provenance.gather` does."""

    @property
    def goes_on(self) -> bool:
        """Whether an attempt that was begun can go on from where it stands."""

    def execute(self, threads: int) -> dict[str, Any]:
        """Execute the run from where it stands to its end, and return its part of the result: status, cause, epochs, metrics, ...

        Raises:
            Stopped: Its place's `should_stop` asked for it.
            GoesBack: A process of the run was killed.
            ClaimLost: Another process has the attempt.
            NotWritten: The disk refuses what must be kept.
        """

    def tidy(self) -> None:
        """Remove what nobody needs once the result is written, which says that nothing failed."""
