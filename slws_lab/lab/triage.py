"""Triage: what failed or diverged, put together by cause, so that a morning's screen says what happened and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from slws_lab.lab.planning import Plan
from slws_lab.tracking import Attempt
from slws_lab.tracking.causes import MEMORY, Kind, brief, kind_of, nan_step, normalised, place_in


@dataclass(frozen=True)
class Lost:
    """A run that failed or diverged.

    Attributes:
        label: Its arm's label.
        seed: Its seed.
        status: `failed` or `diverged`.
        cause: Why.
        log: The log of the attempt.
    """

    label: str
    seed: int
    status: str
    cause: str
    log: Path


@dataclass(frozen=True)
class Cluster:
    """Runs lost for one cause.

    Attributes:
        status: `failed` or `diverged`.
        kind: The kind of the cause; None for runs that diverged, which is a result.
        runs: The runs, in the study's order.
    """

    status: str
    kind: Kind | None
    runs: tuple[Lost, ...]

    @property
    def cause(self) -> str:
        """Their cause in brief: the first run's, but for the steps at which each diverged."""
        steps = sorted({step for run in self.runs if (step := nan_step(run.cause)) is not None})
        said = brief(self.runs[0].cause) or "no cause recorded"
        return (
            said.replace(f"at step {nan_step(self.runs[0].cause)}", f"at steps {steps[0]} to {steps[-1]}")
            if len(steps) > 1
            else said
        )


def clusters(lost: Iterable[Lost]) -> list[Cluster]:
    """Put runs together whose causes differ in no more than numbers, addresses and paths; the largest cluster first.

    Those that ran out of memory in one place are one: their messages tell what was free and whose it was, which is never alike.
    """
    found: dict[tuple[str, str], list[Lost]] = {}
    for one in lost:
        kind = kind_of(one.cause)
        memory = one.status == "failed" and kind == MEMORY
        alike = f"{kind.name} {place_in(one.cause)}" if memory else normalised(one.cause)
        found.setdefault((one.status, alike), []).append(one)
    grouped = [
        Cluster(status, kind_of(runs[0].cause) if status == "failed" else None, tuple(runs))
        for (status, _), runs in found.items()
    ]
    return sorted(grouped, key=lambda cluster: (cluster.status != "failed", -len(cluster.runs)))


def lost(state: Plan) -> list[Lost]:
    """Return the runs of a plan that failed or diverged."""
    workspace = state.project.workspace
    return [
        Lost(
            run.arm.label,
            run.seed,
            run.record.status,
            run.record.cause,
            _log(workspace.run(run.run_id).path, run.record.attempt),
        )
        for run in state.runs
        if run.record.status in ("failed", "diverged")
    ]


def _log(run: Path, attempt: int) -> Path:
    return Attempt(run / f"attempt-{attempt}").log
