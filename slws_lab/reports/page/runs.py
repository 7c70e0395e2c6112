"""The runs behind the cells of a page, told by their places in its list of all runs, and the commands that repeat them."""

from __future__ import annotations

import shlex
from itertools import pairwise
from typing import Any

from slws_lab.analysis import ResultTable
from slws_lab.reports.view import TableView
from slws_lab.spec import Arm


class RunSets:
    """The sets of runs behind a page's cells, each written once.

    Args:
        every: The list of all runs, one a row.
    """

    def __init__(self, every: TableView) -> None:
        self._listed = len(every.rows)
        self._places: dict[str, int] = {}
        for place, row in enumerate(every.rows):
            for run_id in row[0].run_ids:
                self._places.setdefault(run_id, place)
        self._known: dict[tuple[str, ...], str] = {(): ""}
        self._sets: dict[str, int] = {}
        self._others: list[str] = []

    def number(self, run_ids: tuple[str, ...]) -> str:
        """Return the number of a set of runs; empty for none."""
        if run_ids not in self._known:
            text = _ranges([self._place(run_id) for run_id in run_ids])
            self._known[run_ids] = str(self._sets.setdefault(text, len(self._sets)))
        return self._known[run_ids]

    def data(self) -> dict[str, Any]:
        """Return the sets as places (`5-9 0-4 12`), and the ids of runs that are not in the list, whose places follow it."""
        return {"sets": list(self._sets), "others": self._others}

    def _place(self, run_id: str) -> int:
        if run_id not in self._places:
            self._places[run_id] = self._listed + len(self._others)
            self._others.append(run_id)
        return self._places[run_id]


def commands(table: ResultTable, known_as: str) -> dict[str, Any]:
    """Return what the page's script repeats runs by: the study's name and what commands call it, the arm of each run, a command an arm.

    Args:
        table: The results.
        known_as: What commands call the study.
    """
    design = table.design
    return {
        "name": table.study.name,
        "study": shlex.quote(known_as),
        "arms": [i for i, arm in enumerate(design.arms) for _ in design.seeds_of(arm.id)],
        "commands": [rerun(known_as, arm) for arm in design.arms],
    }


def rerun(known_as: str, arm: Arm) -> str:
    """Return the command that repeats an arm: by its label, or by its id where the label cannot be typed."""
    return shlex.join(["slws", "rerun", known_as, arm.label if arm.label.isprintable() else arm.id])


def _ranges(places: list[int]) -> str:
    """Write places as ranges of neighbours, in their order."""
    cuts = [0, *(i for i, (one, after) in enumerate(pairwise(places), 1) if after != one + 1), len(places)]
    spans = [(places[start], places[end - 1]) for start, end in pairwise(cuts)]
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
