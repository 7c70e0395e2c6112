"""Records: what a run left behind, read from its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from slws_lab.spec import Metric
from slws_lab.tracking import journal
from slws_lab.tracking.claim import is_held
from slws_lab.tracking.compare import differences
from slws_lab.tracking.folder import FINAL, Attempt, RunFolder, lacking

V = TypeVar("V")


class Late(Mapping[str, V]):
    """A mapping that is read when it is first asked for."""

    def __init__(self, read: Callable[[], Mapping[str, V]]) -> None:
        self._read = read

    @cached_property
    def _found(self) -> Mapping[str, V]:
        return self._read()

    def __getitem__(self, name: str) -> V:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


@dataclass(frozen=True)
class Ends:
    """What tables need of a metric's curve: its last step, the value there, and the smallest and largest value."""

    step: int
    last: float
    low: float
    high: float

    @classmethod
    def of(cls, curve: Mapping[int, float]) -> Ends:
        step = max(curve)
        return cls(step, curve[step], min(curve.values()), max(curve.values()))


@dataclass(frozen=True)
class Digest:
    """What most commands need of a run that has ended, small enough to be kept for all runs of a study.

    Attributes:
        ends: Metric name -> its curve's ends.
        provenance: What made it; empty while there is no result.
        data_fingerprint: The data's; None while there is no result.
    """

    ends: Mapping[str, Ends]
    provenance: dict[str, Any]
    data_fingerprint: str | None

    @classmethod
    def of(cls, curves: Mapping[str, Mapping[int, float]], result: Mapping[str, Any]) -> Digest:
        ends = {name: Ends.of(curve) for name, curve in curves.items() if curve}
        return cls(ends, result.get("provenance") or {}, result.get("data_fingerprint"))


@dataclass(frozen=True)
class RunRecord:
    """One run's chosen attempt.

    Attributes:
        run_id: Id of the run.
        status: finished, diverged, failed, running, or pending.
        attempt: Number of the attempt that counts; 0 while there is none.
        attempts: How many attempts there are.
        next_attempt: Number of the attempt that a further execution works on.
        differs: Whether another attempt ended with other numbers.
        cause: Why it failed or diverged; empty otherwise.
        curves: Metric name -> step -> value, from the journal.
        result: All of result.json; empty while the attempt has not ended.
        kept: The digest, where it is known without reading the rest; see `digest`.
    """

    run_id: str
    status: str
    attempt: int
    attempts: int
    next_attempt: int = 1
    differs: bool = False
    cause: str = ""
    curves: Mapping[str, Mapping[int, float]] = field(default_factory=dict, repr=False)
    result: Mapping[str, Any] = field(default_factory=dict, repr=False)
    kept: Digest | None = field(default=None, repr=False, compare=False)

    @property
    def digest(self) -> Digest:
        """What most commands need of it."""
        return self.kept or self._digest

    @cached_property
    def _digest(self) -> Digest:
        return Digest.of(self.curves, self.result)

    @property
    def done(self) -> bool:
        """Whether the run has a result that counts: finished, or diverged (which is a result too)."""
        return self.status in FINAL

    def value(self, metric: Metric) -> float | None:
        """Return the run's value of a metric: None unless it finished. Failed, diverged and pruned runs are never averaged."""
        ends = self.digest.ends.get(metric.key)
        if self.status != "finished" or ends is None:
            return None
        if metric.at == "last":
            return ends.last
        return ends.high if metric.goal == "maximize" else ends.low


def record(folder: RunFolder) -> RunRecord:
    """Read the record of a run from its folder."""
    attempts = folder.attempts()
    attempt = attempts[0] if len(attempts) == 1 else folder.chosen()
    if attempt is None:
        return RunRecord(folder.run_id, "pending", 0, 0)
    ended = attempt.result() or {}  # before the journal: what has a result has its whole journal by then
    curves = curves_of(attempt)
    result = _judged(ended, len({step for curve in curves.values() for step in curve}))
    status = result.get("status") or ("running" if is_held(attempt.claim) else "pending")
    others = [other for other in attempts if other != attempt and other.status in FINAL]
    last = attempts[-1].status if len(attempts) > 1 else result.get("status")
    return RunRecord(
        folder.run_id, status, attempt.number, len(attempts),
        next_attempt=attempts[-1].number + (last is not None),
        differs=status in FINAL and any(differences(attempt, other) for other in others),
        cause=result.get("cause", ""), curves=curves, result=result,
    )  # fmt: skip


def curves_of(attempt: Attempt) -> dict[str, dict[int, float]]:
    """Return metric name -> step -> value, from an attempt's journal."""
    points = journal.points(journal.read(attempt.journal))
    return {name: {step: value for step, (value, _) in sorted(curve.items())} for name, curve in points.items()}


def _judged(result: dict[str, Any], epochs: int) -> dict[str, Any]:
    lacks = lacking(result, epochs)
    return {**result, "status": "failed", "cause": lacks} if lacks else result
