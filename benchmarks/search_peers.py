"""The same search through `slws run`, through plain Optuna with workers of its own and through Ray Tune; each logs to MLflow on SQLite.

OMP_NUM_THREADS=1 python benchmarks/search_peers.py [--rounds 1] [--trials 8] [--epochs 4] [--only NAME ...] [--out ...]

Needs `pip install 'ray[tune]'`. The space of studies/search.yaml on digits: TPE with a constant liar, a median pruner, the baseline and the
paper's setting first, two trials at a time, one seed each. Each way gets a folder of its own with an empty MLflow database that is there
already, and is timed from the command to its end. `slws run` also checks the study, keeps journals and checkpoints, and ends with tables,
figures and a report. An order of its own each round. What was found is read from MLflow alike for all: the best accuracy after the
last epoch among trials that were trained to their end, how many those are, and the epochs trained in all. Where a peer is not installed
its row is missing.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from dispatch import PEERS, SLWS, installed
from search_once import BASELINE, METRIC, RECIPE

from slws_lab.tracking.files import write_text
from slws_lab.tracking.mirror_store import new_database, set_environment
from slws_lab.tracking.provenance import machine

AT_A_TIME, WARMUP = 2, 2
STUDY = """\
name: search
question: How long does a search take, and what does it find?
recipe: ../experiments/digits.yaml
set: {{shuffle.schedule: none, train.epochs: {epochs}}}
search:
  space:
    shuffle.schedule: [none, linear, constant, reverse]
    shuffle.max_rate: {{float: [0.1, 0.7], when: {{shuffle.schedule: [linear, constant, reverse]}}}}
    model.drop_path: {{float: [0.0, 0.3]}}
    train.weight_decay: {{log: [1e-3, 0.3]}}
  pruner: {{name: median, n_startup_trials: 5, n_warmup_steps: {warmup}}}
  trials: {trials}
  enqueue: [baseline, {{shuffle.schedule: linear, shuffle.max_rate: 0.5}}]
  parallel: {parallel}
seeds: 1
metric: {{name: val/top1, goal: maximize, at: last, weights: ema}}
resources: {{gpus: 0}}
"""


@dataclass(frozen=True)
class Size:
    """How large the search is: trials, and epochs of one that is not pruned."""

    trials: int
    epochs: int


@dataclass(frozen=True)
class Found:
    """What one way took and found.

    Attributes:
        seconds: From the command to its end.
        processor: Of the processor, by all processes that the command and its own waited for; Ray's workers are none of these.
        best: Best accuracy after the last epoch, percent.
        baseline: The baseline's, which all ways train.
        whole: Trials trained to their end.
        epochs: Epochs trained, of all trials.
    """

    seconds: float
    processor: float
    best: float
    baseline: float
    whole: int
    epochs: int


def _slws(folder: Path, size: Size) -> list[str]:
    for name in ("studies", "experiments"):
        (folder / name).mkdir()
    (folder / "pyproject.toml").touch()
    shutil.copy(RECIPE, folder / "experiments" / "digits.yaml")
    text = STUDY.format(trials=size.trials, epochs=size.epochs, warmup=WARMUP, parallel=AT_A_TIME)
    (folder / "studies" / "search.yaml").write_text(text)
    return [*SLWS, "run", str(folder / "studies" / "search.yaml")]


def _peer(script: str) -> Callable[[Path, Size], list[str]]:
    return lambda folder, size: [
        sys.executable, str(PEERS / script), str(size.trials), str(size.epochs), str(WARMUP), str(AT_A_TIME), str(folder),
    ]  # fmt: skip


WAYS: dict[str, tuple[Callable[[Path, Size], list[str]], str]] = {
    "slws run": (_slws, "slws_lab"),
    "Optuna, a process a worker": (_peer("optuna_search.py"), "optuna"),
    "Ray Tune with OptunaSearch": (_peer("ray_search.py"), "ray.tune"),
}


def searched(make: Callable[[Path, Size], list[str]], size: Size, database: Path) -> Found:
    """Search one way, and return what it took and found."""
    with TemporaryDirectory(prefix="search-") as name:
        folder = Path(name)
        own = folder / ".slws" / "mlflow.db"  # where slws looks for it; the others are told
        own.parent.mkdir()
        shutil.copy(database, own)
        path = os.pathsep.join(filter(None, (str(PEERS), os.environ.get("PYTHONPATH"))))
        settings = {
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYTHONPATH": path,
        }
        environment = {**os.environ, **settings}
        command = make(folder, size)
        if make is not _slws:
            environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{own}"
        started, before = time.perf_counter(), _processor()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        seconds, processor = time.perf_counter() - started, _processor() - before
        if done.returncode != 0:
            said = f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
            raise RuntimeError(f"{command[:4]} ended with {done.returncode}:\n{said}")
        return Found(seconds, processor, *found_in(own, size))


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def found_in(database: Path, size: Size) -> tuple[float, float, int, int]:
    """Return the last four of `Found` as MLflow has them; the study that slws puts above its runs is no trial."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = [run for run in client.search_runs(ids, max_results=1000) if run.data.tags.get("slws.kind") != "study"]
    assert len(runs) == size.trials, f"MLflow holds {len(runs)} trials"
    curves = {
        run.info.run_id: {m.step: m.value for m in client.get_metric_history(run.info.run_id, METRIC)} for run in runs
    }
    whole = [run for run in runs if len(curves[run.info.run_id]) == size.epochs]
    last = {run.info.run_id: curves[run.info.run_id][size.epochs] for run in whole}
    usual = next(last[run.info.run_id] for run in whole if _is(BASELINE, run.data.params))
    return max(last.values()), usual, len(whole), sum(len(curve) for curve in curves.values())


def _is(settings: Mapping[str, object], params: Mapping[str, str]) -> bool:
    """Say whether a run has these settings, as MLflow holds parameters."""
    return all(params[name] == str(value) for name, value in settings.items())


def table(found: dict[str, list[Found]], size: Size, load: float) -> str:
    """Return the results as Markdown."""
    here, rounds, ours = machine(), len(found["slws run"]), found["slws run"]
    lines = [
        f"# The same search of {size.trials} trials of {size.epochs} epochs, {AT_A_TIME} at a time", "",
        f"{here['processor']}, {here['cores']} cores; {rounds} rounds, an order of its own each. Load average at the start {load:.1f}, "
        f"at the end {os.getloadavg()[0]:.1f}.", "",
        "| way | seconds, round by round | of the processor | times slws, median of rounds "
        "| best val/top1, EMA (%) | trained to the end | epochs in all |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for name, times in found.items():
        ratio = median(other.seconds / own.seconds for other, own in zip(times, ours, strict=True))
        spent = "not known" if "Ray" in name else _each(times, "processor", ".0f")
        what = [_each(times, "best", ".2f"), _each(times, "whole", "d")]
        cells = [_each(times, "seconds", ".1f"), spent, f"{ratio:.2f}", *what]
        lines.append(f"| {name} | {' | '.join(cells)} | {_each(times, 'epochs', 'd')} |")
    baselines = sorted({f"{one.baseline:.2f}" for times in found.values() for one in times})
    return "\n".join([*lines, "", f"The baseline, which each way trains first: {', '.join(baselines)} %."]) + "\n"


def _each(found: Sequence[Found], name: str, form: str) -> str:
    return ", ".join(format(getattr(one, name), form) for one in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--only", nargs="*", default=list(WAYS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    set_environment()
    size = Size(given.trials, given.epochs)
    ways = {name: make for name, (make, need) in WAYS.items() if name in ("slws run", *given.only) and installed(need)}
    found: dict[str, list[Found]] = {name: [] for name in ways}
    load, shuffler = psutil.getloadavg()[0], random.Random(0)
    with TemporaryDirectory() as folder:
        database = Path(folder) / "mlflow.db"
        new_database(database)
        for number in range(given.rounds):
            for name in shuffler.sample(list(ways), len(ways)):
                found[name].append(searched(ways[name], size, database))
                print(f"round {number + 1}, {name}: {found[name][-1]}", flush=True)
    text = table(found, size, load)
    print(text)
    if given.out:
        write_text(given.out, text)


if __name__ == "__main__":
    main()
