"""What tests of the book of a search share: spaces, a folder in which books are opened, drawing, and processes that die."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import optuna
from conftest import make_project

from slws_lab.search.book import Book
from slws_lab.spec import Study, load_study
from slws_lab.spec.levels import Settings
from slws_lab.spec.search_checks import check_search
from slws_lab.tracking import Workspace

optuna.logging.set_verbosity(optuna.logging.ERROR)

STUDY = """\
name: tiny
question: q
recipe: ../experiments/tiny.yaml
metric: {name: val/top1}
seeds: 1
"""
SPACE = """\
search:
  trials: 100
  space:
    shuffle.schedule: [none, linear, constant]
    shuffle.max_rate: {float: [0.1, 0.7], when: {shuffle.schedule: [linear, constant]}}
    model.drop_path: {float: [0.0, 0.3]}
    train.weight_decay: {log: [1e-3, 0.3]}
    train.batch_size: {log_int: [8, 512]}
"""
NUMBERS = """\
search:
  trials: 100
  enqueue: []
  space:
    model.drop_path: {float: [0.0, 0.3]}
    train.weight_decay: {log: [1e-3, 0.3]}
"""
FINITE = """\
search:
  trials: 100
  sampler: grid
  space:
    shuffle.schedule: [none, linear, constant]
    shuffle.max_rate: {float: [0.1, 0.7], step: 0.2, when: {shuffle.schedule: [linear, constant]}}
    train.warmup_epochs: {int: [0, 1]}
"""
COMBINATIONS = 2 * (1 + 4 + 4)
FIRST = "  enqueue: [baseline, {shuffle.schedule: none}]\n"


class Desk:
    """A folder in which books are opened, each time as a new process would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def study(self, search: str = SPACE, keys: str = "", head: str = STUDY) -> Study:
        study = load_study(make_project(self.folder, study=f"{head}{search}{keys}").study)
        check_search(study)
        return study

    def book(self, study: Study, workspace: str = ".slws") -> Book:
        book = Book.of(study, Workspace(self.folder / workspace))
        book.begin()
        return book


def value(settings: Settings) -> float:
    """Return something smooth that a sampler can learn."""
    rate = float(settings.get("shuffle.max_rate") or 0.0)  # type: ignore[arg-type]
    decay = math.log10(float(settings.get("train.weight_decay", 0.05)) / 0.03)  # type: ignore[arg-type]
    drop, batch = float(settings.get("model.drop_path", 0.0)), float(settings.get("train.batch_size", 64))  # type: ignore[arg-type]
    return -((rate - 0.4) ** 2) - (drop - 0.1) ** 2 - decay**2 / 10 - (math.log2(batch) - 6) ** 2 / 100


def draw(book: Book, count: int, tell: Callable[[Settings], float] = value) -> list[Settings]:
    """Draw so many trials one after the other and tell their values."""
    drawn = []
    for _ in range(count):
        trial = book.ask()
        assert trial is not None
        drawn.append(trial.settings)
        book.complete(trial.number, [tell(trial.settings)])
    return drawn


def distinct(drawn: list[Settings]) -> int:
    return len({json.dumps(settings, sort_keys=True) for settings in drawn})


def fork(action: Callable[[], object]) -> int:
    """Do something in a process of its own, which dies behind it without a word."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
