"""What a search finds at 1, 4 and 16 trials at a time, replayed on a recorded table of real trainings.

python benchmarks/search_quality.py --record [--folder FOLDER]        # train the table: some 10 minutes on 2 cores
python benchmarks/search_quality.py [--seeds 3] [--out benchmarks/results/NAME.md]

The table has every setting of a grid, trained with two seeds by `slws run`; a setting's value is the mean over them. A replay is a search
by the platform's own `Book` (Optuna by ask and tell) in a workspace of its own, but for the training: each trial's value and seconds
are looked up, and a clock is moved on to the next trial that ends, which is told before the next is drawn. Regret is how far the best
so far is from the best of the table, in points. `--record` goes on where it was interrupted if it is given the same `--folder`.
"""

from __future__ import annotations

import argparse
import heapq
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from scipy.stats import t as student

from slws_lab.lab.project import Project
from slws_lab.search.book import Book
from slws_lab.spec import load_study
from slws_lab.tracking import Workspace
from slws_lab.tracking.files import write_text
from slws_lab.tracking.provenance import machine

HERE = Path(__file__).parent
TABLE = HERE / "results" / "search_table_digits.csv"
RECIPE = HERE.parent / "experiments" / "shufflemamba_micro_digits.yaml"
SLWS = (sys.executable, "-P", "-c", "from slws_lab.cli import main; main()")
COLUMNS = {
    "shuffle.schedule": "schedule",
    "shuffle.max_rate": "max_rate",
    "model.drop_path": "drop_path",
    "train.weight_decay": "weight_decay",
}
HEAD = """\
name: search-table
question: What does every setting of a small grid reach?
recipe: ../experiments/digits.yaml
set: {shuffle.schedule: none, train.epochs: 3, train.weight_decay: 0.03}
metric: {name: val/top1, goal: maximize, at: last, weights: ema}
resources: {gpus: 0}
"""
GRID = """\
factors:
  shuffle.schedule: [none, linear, constant, reverse]
  shuffle.max_rate: {levels: [0.1, 0.3, 0.5, 0.7], when: {shuffle.schedule: [linear, constant, reverse]}}
  model.drop_path: [0.0, 0.1, 0.2, 0.3]
  train.weight_decay: [0.001, 0.03, 0.3]
designs: [{grid: [shuffle.schedule, shuffle.max_rate, model.drop_path, train.weight_decay]}]
seeds: 2
"""
SEARCH = """\
search:
  space:
    shuffle.schedule: [none, linear, constant, reverse]
    shuffle.max_rate: {{float: [0.1, 0.7], step: 0.2, when: {{shuffle.schedule: [linear, constant, reverse]}}}}
    model.drop_path: {{float: [0.0, 0.3], step: 0.1}}
    train.weight_decay: [0.001, 0.03, 0.3]
  sampler: {sampler}
  trials: {trials}
  seed: {seed}
  enqueue: []
  storage: journal
seeds: 2
"""
SAMPLERS = {
    "TPE": "{name: tpe, constant_liar: true}",
    "TPE, no constant liar": "{name: tpe, constant_liar: false}",
    "random": "random",
}
LOOKS = (10, 20, 30, 40)
Key = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Entry:
    """A setting of the table.

    Attributes:
        value: Mean of the metric over the seeds.
        seconds: Of training, all seeds together.
    """

    value: float
    seconds: float


@dataclass(frozen=True)
class Replay:
    """What is replayed: name of the sampler, trials at a time, seed of the search."""

    sampler: str
    parallel: int
    seed: int


def key_of(settings: Mapping[str, object]) -> Key:
    """Return a setting as the table finds it: columns in order, steps of a range without their rounding errors."""
    return tuple(
        (name, round(value, 6) if isinstance(value, float) else value) for name, value in sorted(settings.items())
    )


def record(folder: Path) -> pd.DataFrame:
    """Train the table in a project in a folder, and return one row a run."""
    for name, file, text in (
        ("experiments", "digits.yaml", RECIPE.read_text()),
        ("studies", "search-table.yaml", HEAD + GRID),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / file).write_text(text)
    (folder / "pyproject.toml").touch()
    study = folder / "studies" / "search-table.yaml"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run([*SLWS, "run", str(study)], cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    project, rows = Project.open(str(study)), []
    for (arm_id, seed), run_id in project.design.run_ids.items():
        found, settings = project.record(run_id), project.design.arm(arm_id).settings
        row = {short: settings.get(name) for name, short in COLUMNS.items()}
        value, seconds = found.value(project.study.spec.metric), round(found.result["seconds"], 2)
        rows.append({**row, "seed": seed, "top1": value, "seconds": seconds, "run_id": run_id})
    return pd.DataFrame(rows)


def read(path: Path) -> dict[Key, Entry]:
    """Return the recorded table by setting."""
    frame, runs = pd.read_csv(path, keep_default_na=False, na_values={"max_rate": [""]}), dict[Key, list[Any]]()
    for row in frame.to_dict("records"):
        settings = {name: row[short] for name, short in COLUMNS.items() if pd.notna(row[short])}
        runs.setdefault(key_of(settings), []).append(row)
    return {
        key: Entry(fmean(row["top1"] for row in rows), math.fsum(row["seconds"] for row in rows))
        for key, rows in runs.items()
    }


def replay(table: Mapping[Key, Entry], one: Replay) -> tuple[list[float], float]:
    """Return the trials' values in the order in which they ended, and the simulated seconds of the whole search."""
    with TemporaryDirectory(prefix="quality-") as name:
        folder = Path(name)
        for part in ("studies", "experiments"):
            (folder / part).mkdir()
        (folder / "pyproject.toml").touch()
        (folder / "experiments" / "digits.yaml").write_text(RECIPE.read_text())
        asked = SEARCH.format(sampler=SAMPLERS[one.sampler], trials=LOOKS[-1], seed=one.seed)
        (folder / "studies" / "quality.yaml").write_text(HEAD + asked)
        book = Book.of(load_study(folder / "studies" / "quality.yaml"), Workspace(folder / ".slws"))
        book.begin()
        return _simulate(book, table, one.parallel)


def _simulate(book: Book, table: Mapping[Key, Entry], parallel: int) -> tuple[list[float], float]:
    clock, drawn, told, hands = 0.0, 0, list[float](), list[tuple[float, int, float]]()
    while len(told) < LOOKS[-1]:
        while len(hands) < parallel and drawn < LOOKS[-1]:
            trial = book.ask()
            assert trial is not None and trial.number == drawn
            entry, drawn = table[key_of(trial.settings)], drawn + 1
            heapq.heappush(hands, (clock + entry.seconds, trial.number, entry.value))
        clock, number, value = heapq.heappop(hands)
        book.complete(number, [value])
        told.append(value)
    return told, clock


def interval(values: Sequence[float]) -> str:
    """Return mean and 95 % t interval."""
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{fmean(values):.2f} [{fmean(values) - half:.2f}, {fmean(values) + half:.2f}]"


def results(table: Mapping[Key, Entry], parallel: Sequence[int], seeds: int) -> str:
    """Replay all, and return the results as Markdown."""
    here, values = machine(), sorted((entry.value for entry in table.values()), reverse=True)
    lines = [
        "# What a search finds at 1, 4 and 16 trials at a time", "",
        f"Replayed on a table of {len(table)} settings trained with two seeds each ({TABLE.name}); {seeds} searches with seeds of their "
        f"own a row. {here['processor']}, {here['cores']} cores.", "",
        f"Best of the table {values[0]:.2f} %, tenth {values[9]:.2f}, median {values[len(values) // 2]:.2f}, worst {values[-1]:.2f}. "
        "Regret: that best less the best so far, in points, mean [95 % t interval]; of all trials: that best less their mean.", "",
        "| sampler | at a time | " + " | ".join(f"after {look}" for look in LOOKS) + f" | all {LOOKS[-1]} trials | simulated s |",
        "|---|---:|" + "---:|" * (len(LOOKS) + 2),
    ]  # fmt: skip
    with ProcessPoolExecutor(here["cores"]) as pool:
        for sampler in SAMPLERS:
            for at_a_time in parallel:
                asked = [Replay(sampler, at_a_time, seed) for seed in range(seeds)]
                found = list(pool.map(partial(replay, table), asked))
                cells = [interval([values[0] - max(told[:look]) for told, _ in found]) for look in LOOKS]
                cells.append(interval([values[0] - fmean(told) for told, _ in found]))
                clock = fmean(seconds for _, seconds in found)
                lines.append(f"| {sampler} | {at_a_time} | {' | '.join(cells)} | {clock:.0f} |")
                print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--record", action="store_true", help="train the table instead")
    parser.add_argument(
        "--folder", type=Path, help="project in which the table is trained; a temporary one if not given"
    )
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--parallel", type=int, nargs="*", default=[1, 4, 16], help="trials at a time")
    parser.add_argument("--seeds", type=int, default=3, help="searches a row, at least 2")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.record:
        with TemporaryDirectory() if given.folder is None else nullcontext(given.folder) as folder:
            write_text(given.table, record(Path(folder)).to_csv(index=False))
        return
    text = results(read(given.table), given.parallel, given.seeds)
    print(text)
    if given.out:
        write_text(given.out, text)


if __name__ == "__main__":
    main()
