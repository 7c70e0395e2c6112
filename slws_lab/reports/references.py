"""Published figures, by key, each with its source; they are shown beside ours and never tested against them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from slws_lab.errors import UserError, nearest


@dataclass(frozen=True)
class Published:
    """One published figure, as text; what the source does not say is empty."""

    key: str
    system: str
    variant: str
    params_m: str
    flops_g: str
    dataset: str
    metric: str
    value: str
    resolution: str
    epochs: str
    source: str


def published(keys: Sequence[str], where: str = "") -> list[Published]:
    """Return the published rows of some keys, in the order of the keys.

    Args:
        keys: As in a study's `report.references`.
        where: The place of the keys in the study file, for the error.

    Raises:
        UserError: A key that no row has.
    """
    known = dict.fromkeys(row.key for row in _rows())
    for key in keys:
        if key not in known:
            todo = nearest(key, known)
            raise UserError(f"no published figures for '{key}'", where=where, allowed=", ".join(known), todo=todo)
    return [row for key in dict.fromkeys(keys) for row in _rows() if row.key == key]


@cache
def _rows() -> tuple[Published, ...]:
    text = (files("slws_lab.reports") / "published_results.csv").read_text(encoding="utf-8")
    return tuple(Published(**row) for row in csv.DictReader(io.StringIO(text)))
