"""`slws_lab.log`: metrics from within a training that a recipe of `kind: command` started. Imports nothing but the standard library."""

from __future__ import annotations

import json
import operator
import os
import re
from collections.abc import Mapping
from typing import Any

LOG_FILE = "SLWS_LOG"  # variable that names the file, set by the worker
MAX_STEP = 2**31
NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+")


def log(metrics: Mapping[str, Any], step: int) -> None:
    """Record metrics of the run that this process belongs to; outside of a run, and in every rank but the first, it does nothing.

    A metric has one value a step: the first that is logged stays.

    Args:
        metrics: Name, such as `val/top1`, to value: a number, or a tensor or array that holds one. NaN and infinity are recorded.
        step: Steps done, from 1, e.g. the epoch; 0 for what is measured before the first.

    Raises:
        TypeError: A value is nothing that holds a number.
        ValueError: A name that no metric can have, a value that is not one number, or a step that is no whole number from 0 to `MAX_STEP`.
    """
    for name in metrics:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a metric: write group/name, e.g. val/top1")
    line = json.dumps({"step": _whole(step), "metrics": {name: float(value) for name, value in metrics.items()}}) + "\n"
    path = os.environ.get(LOG_FILE)
    if path and os.environ.get("RANK", "0") == "0":
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())  # in one piece, so that lines of several processes do not mix
        finally:
            os.close(handle)


def _whole(step: Any) -> int:
    try:
        number = -1 if isinstance(step, bool) else operator.index(step)
    except TypeError:
        number = -1
    if not 0 <= number <= MAX_STEP:
        raise ValueError(f"a step is a whole number from 0 to {MAX_STEP}, not {step!r}")
    return number
