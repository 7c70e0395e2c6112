"""A run as a row of records.csv, and back. All that tables and figures need of a run stands in it, but its curves."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from slws_lab.errors import UserError
from slws_lab.tracking import MEASUREMENTS, RunRecord
from slws_lab.tracking.record import Digest, Ends

# The columns beside factors, metrics and measurements, in their order.
IDENTITY = ("arm", "arm_id", "role")
RUN = ("seed", "run_id", "status", "cause", "value")
RESULT = ("epochs", "params", "flops", "data_fingerprint", "scan_backend", "threads", "shuffle_rates")
MADE = ("commit", "code")
ORIGIN = ("differs", "result_sha256", "provenance", "made_by")
FIXED = (*IDENTITY, *RUN, *RESULT, *MADE, *ORIGIN, *MEASUREMENTS)
INTEGERS = ("seed", "epochs", "params", "threads", "attempt", "attempts", "resumes")
# What stands in `made_by`; names of files that git does not know stay out.
PROVENANCE = ("commit", "dirty", "diff", "code", "packages", "modules", "machine")
TEXTS = ("status", "cause", "host", "device", "data_fingerprint", "scan_backend")
LOWEST, HIGHEST = " (lowest)", " (highest)"
NEEDS_QUOTES = re.compile(r'[",\r\n]')
ENDED = ("finished", "diverged", "failed")


def result_sha256(record: RunRecord) -> str | None:
    """Return the digest of what a run's attempt ended with, as text; None while it has not."""
    if not record.result:
        return None
    result = json.dumps(dict(record.result), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(result.encode()).hexdigest()


def cells(record: RunRecord, *, extremes: bool) -> dict[str, Any]:
    """Return what a row holds of a run itself, by column; what is not known is left out.

    Args:
        record: The run.
        extremes: Whether each metric's lowest and highest value stand beside its last.
    """
    found: dict[str, Any] = {}
    for name, ends in record.digest.ends.items():
        found[name] = float(ends.last)
        if extremes and name not in MEASUREMENTS:
            found |= {name + LOWEST: float(ends.low), name + HIGHEST: float(ends.high)}
    found |= {name: record.result[name] for name in (*RESULT, *MEASUREMENTS) if name in record.result}
    if "shuffle_rates" in found:
        found["shuffle_rates"] = json.dumps(found["shuffle_rates"])
    made = record.result.get("provenance") or {}
    made_by = json.dumps({name: made[name] for name in PROVENANCE if name in made}) if made else None
    return found | {
        "status": record.status, "cause": record.cause, "attempt": record.attempt, "attempts": record.attempts,
        **{name: made.get(name) for name in MADE}, "differs": record.differs,
        "provenance": _short(made_by) if made_by else None, "made_by": made_by,
    }  # fmt: skip


def once(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows in which each `made_by` stands only in the first row of its digest."""
    seen: set[str | None] = set()
    found = []
    for row in rows:
        digest = row.get("provenance")
        found.append({**row, "made_by": None} if digest in seen else row)
        seen.add(digest)
    return found


def line(values: Iterable[Any]) -> str:
    """Return a row as a line of CSV. Floats read back as the same numbers, and a number that is none is `nan`, a missing one nothing."""
    return ",".join(_quoted(_text(value)) for value in values) + "\n"


@dataclass(frozen=True)
class Row:
    """A row as read.

    Attributes:
        line: Its place in the file, from 1.
        run_id: Its run.
        place: Arm id and seed, as text.
        record: What it says of the run, without curves.
        result_sha256: The digest of the result from which it was made; None if there was none.
    """

    line: int
    run_id: str
    place: tuple[str, str]
    record: RunRecord
    result_sha256: str | None


def read(text: str, factors: Iterable[str], *, extremes: bool) -> list[Row]:
    """Return the rows of a records.csv.

    Args:
        text: Its content.
        factors: Columns that say no more than the arm: the factors of the study.
        extremes: Whether each metric's lowest and highest value are needed.

    Raises:
        UserError: It cannot be read; the message says where.
    """
    header, *rows = _parsed(text)
    if lacking := [name for name in FIXED if name not in header]:
        raise UserError(f"records.csv lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}", where="line 1",
                        todo="an older slws wrote it, or it was changed: report anew where the run folders are")  # fmt: skip
    given = {*factors}
    measured = [name for name in header if "/" in name and name not in given and not name.endswith((LOWEST, HIGHEST))]
    if extremes and any(name + HIGHEST not in header for name in measured if name not in MEASUREMENTS):
        raise UserError("records.csv holds no best values, since the study asked for the last ones then", where="line 1",
                        todo="report anew where the run folders are")  # fmt: skip
    made_by: dict[str, dict[str, Any]] = {}
    found, line = [], 2
    for cells in rows:
        if len(cells) != len(header):
            raise _damaged(line, f"{len(cells)} cells where the header has {len(header)}")
        found.append(_row(dict(zip(header, cells, strict=True)), line, measured, made_by))
        line += 1 + sum(cell.count("\n") for cell in cells)
    return found


def _parsed(text: str) -> list[list[str]]:
    if not text.endswith("\n"):
        raise UserError("records.csv is empty, or ends in the midst of a line", where=f"line {text.count(chr(10)) + 1}")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return list(reader)
    except csv.Error as error:
        raise _damaged(reader.line_num, str(error)) from error


def _row(cells: dict[str, str], line: int, measured: Sequence[str], made_by: dict[str, dict[str, Any]]) -> Row:
    number = _Reader(cells, line)
    if cells["made_by"]:
        made_by[cells["provenance"]] = number.made_by()
    digest = cells["provenance"]
    if digest and digest not in made_by:
        raise _damaged(line, f"no row up to this one says what provenance {digest} is")
    provenance = made_by.get(digest, {})
    ends = dict(number.ends(measured))
    result = number.result() | ({"provenance": provenance} if digest else {}) if cells["result_sha256"] else {}
    status = "pending" if cells["status"] == "not needed" else cells["status"]
    if status not in (*ENDED, "running", "pending"):
        raise _damaged(line, f"status: {status!r} is none", f"{', '.join(ENDED)}, running, pending, not needed")
    record = RunRecord(
        cells["run_id"], status, number.whole("attempt"), number.whole("attempts"),
        next_attempt=number.whole("attempts") + 1, differs=number.flag("differs"), cause=cells["cause"], result=result,
        kept=Digest(ends, provenance, result.get("data_fingerprint")),
    )  # fmt: skip
    return Row(line, cells["run_id"], (cells["arm_id"], cells["seed"]), record, cells["result_sha256"] or None)


@dataclass(frozen=True)
class _Reader:
    """Reads the cells of one row, and says where one is wrong."""

    cells: Mapping[str, str]
    line: int

    def ends(self, measured: Sequence[str]) -> Iterator[tuple[str, Ends]]:
        """Yield each metric's ends; lowest and highest are not a number where the file does not hold them."""
        for name in measured:
            if self.cells[name]:
                low, high = (
                    self.real(name + end) if name + end in self.cells else math.nan for end in (LOWEST, HIGHEST)
                )
                yield name, Ends(self.whole("epochs") if self.cells["epochs"] else 0, self.real(name), low, high)

    def result(self) -> dict[str, Any]:
        names = [
            name
            for name in ("status", "cause", *RESULT, *MEASUREMENTS)
            if "/" not in name and name not in ("attempt", "attempts")
        ]
        return {name: self.cells[name] if name in TEXTS else self.json(name) for name in names if self.cells[name]}

    def made_by(self) -> dict[str, Any]:
        text, found = self.cells["made_by"], self.json("made_by")
        if not isinstance(found, dict) or _short(text) != self.cells["provenance"]:
            raise _damaged(self.line, "made_by is not what its digest in `provenance` says")
        return found

    def real(self, name: str) -> float:
        try:
            return float(self.cells[name])
        except ValueError as error:
            raise _damaged(self.line, f"{name}: {self.cells[name]!r} is no number") from error

    def whole(self, name: str) -> int:
        try:
            return int(self.cells[name])
        except ValueError as error:
            raise _damaged(self.line, f"{name}: {self.cells[name]!r} is no whole number") from error

    def flag(self, name: str) -> bool:
        found = self.json(name)
        if not isinstance(found, bool):
            raise _damaged(self.line, f"{name}: {self.cells[name]!r} is neither true nor false")
        return found

    def json(self, name: str) -> Any:
        try:
            return json.loads(self.cells[name])
        except ValueError as error:
            raise _damaged(self.line, f"{name}: {self.cells[name]!r} cannot be read") from error


def _damaged(line: int, what: str, allowed: str = "") -> UserError:
    return UserError(f"records.csv cannot be read: {what}", where=f"line {line}", allowed=allowed,
                     todo="restore the file, or report anew where the run folders are")  # fmt: skip


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, float) or type(value) is int:
        return repr(value)
    return json.dumps(value)


def _quoted(text: str) -> str:
    """Quote where it is needed; Python's own writer leaves a lone carriage return bare, which its reader takes for a line's end."""
    return '"' + text.replace('"', '""') + '"' if NEEDS_QUOTES.search(text) else text


@cache
def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
