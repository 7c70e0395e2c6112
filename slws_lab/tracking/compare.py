"""Comparison of two attempts of one run: equal in every number that is not a measurement of time, memory or place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from slws_lab.tracking import journal
from slws_lab.tracking.folder import Attempt
from slws_lab.tracking.measurements import MEASUREMENTS

# What a result holds beside the curves that two executions must agree in; none of it is a measurement.
NUMBERS = ("status", "epochs", "params", "shuffle_rates", "data_fingerprint", "scan_backend", "threads")


@dataclass(frozen=True)
class Difference:
    """Where two attempts differ first: what, at which epoch (None where there is no epoch), and both values."""

    what: str
    epoch: int | None
    first: object
    second: object

    def __str__(self) -> str:
        at = "" if self.epoch is None else f" at epoch {self.epoch}"
        return f"{self.what}{at}: {self.first!r} against {self.second!r}"


def differences(first: Attempt, second: Attempt) -> list[Difference]:
    """Return the first difference of each metric, of the results and of the final weights; empty if identical."""
    curves = [journal.points(journal.read(attempt.journal)) for attempt in (first, second)]
    names = sorted({*curves[0], *curves[1]} - set(MEASUREMENTS))
    found = [d for name in names if (d := _of_curve(name, curves[0].get(name, {}), curves[1].get(name, {})))]
    results = [attempt.result() or {} for attempt in (first, second)]
    for name in NUMBERS:
        a, b = (result.get(name) for result in results)
        found += [Difference(name, None, a, b)] if a != b else []
    return found + _of_weights(first, second)


def _of_curve(name: str, a: dict[int, tuple[float, float]], b: dict[int, tuple[float, float]]) -> Difference | None:
    for step in sorted({*a, *b}):
        values = [curve[step][0] if step in curve else None for curve in (a, b)]
        if repr(values[0]) != repr(values[1]):  # repr, so that NaN equals NaN
            return Difference(name, step, *values)
    return None


def _of_weights(first: Attempt, second: Attempt) -> list[Difference]:
    found = []
    for name in ("last.safetensors", "ema.safetensors"):
        files = [attempt.checkpoint / name for attempt in (first, second)]
        if all(file.is_file() for file in files):
            a, b = (hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in files)
            found += [Difference(name, None, a, b)] if a != b else []
    return found
