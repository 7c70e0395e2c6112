"""The same 24 tiny trainings through `slws run` and through what people use on one machine; each is logged to MLflow on SQLite.

OMP_NUM_THREADS=1 python benchmarks/dispatch.py [--rounds 3] [--only NAME ...] [--out benchmarks/results/NAME.md]

Needs `pip install hydra-core hydra-joblib-launcher 'ray[tune]' submitit`. Each way gets a folder of its own with an empty MLflow
database that is there already, trains the 24 (2 learning rates x 12 seeds) two at a time, and is timed from the command to its end.
`slws run` also checks the study, keeps journals and checkpoints, and ends with tables, figures and a report. An order of its own each
round; the ratio is that of one round, slws being 1. Where a peer is not installed its row is missing.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from train_once import RECIPE

from slws_lab.tracking.files import write_text
from slws_lab.tracking.mirror_store import new_database, set_environment
from slws_lab.tracking.provenance import machine

PEERS = Path(__file__).parent / "peers"
LRS, SEEDS, AT_A_TIME = (0.002, 0.004), tuple(range(12)), 2
STUDY = """\
name: dispatch
question: How long do 24 tiny trainings take?
recipe: ../experiments/tiny.yaml
factors: {{train.lr: {lrs}}}
designs: [{{grid: [train.lr]}}]
seeds: {seeds}
metric: {{name: val/top1, weights: raw}}
resources: {{gpus: 0}}
"""
PYTHON = (sys.executable, "-P")
SLWS = (*PYTHON, "-c", "from slws_lab.cli import main; main()")
Command = Callable[[Path], list[str]]


def _listed(values: tuple[float, ...] | tuple[int, ...]) -> str:
    return ",".join(map(str, values))


def _slws(folder: Path) -> list[str]:
    import json

    for name in ("studies", "experiments"):
        (folder / name).mkdir()
    (folder / "pyproject.toml").touch()
    (folder / "experiments" / "tiny.yaml").write_text(json.dumps(RECIPE))
    (folder / "studies" / "dispatch.yaml").write_text(STUDY.format(lrs=list(LRS), seeds=list(SEEDS)))
    return [*SLWS, "run", str(folder / "studies" / "dispatch.yaml")]


def _shell(folder: Path) -> list[str]:
    lines = "".join(f"--lr {lr} --seed {seed}\n" for lr in LRS for seed in SEEDS)
    (folder / "grid").write_text(lines)
    each = f"xargs -a {folder / 'grid'} -L 1 -P {AT_A_TIME} {sys.executable} {PEERS / 'train_once.py'}"
    return ["sh", "-c", each]


def _hydra(folder: Path) -> list[str]:
    settings = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={AT_A_TIME}", f"hydra.sweep.dir={folder}/multirun"]
    return [
        sys.executable,
        str(PEERS / "hydra_grid.py"),
        "--multirun",
        *settings,
        f"lr={_listed(LRS)}",
        f"seed={_listed(SEEDS)}",
    ]


def _grid(script: str) -> Command:
    return lambda folder: [
        sys.executable, str(PEERS / script), _listed(LRS), _listed(SEEDS), str(AT_A_TIME), str(folder / "out"),
    ]  # fmt: skip


WAYS: dict[str, tuple[Command, str]] = {
    "slws run": (_slws, "slws_lab"),
    "Hydra multirun, joblib": (_hydra, "hydra_plugins.hydra_joblib_launcher"),
    "Ray Tune": (_grid("ray_grid.py"), "ray.tune"),
    "submitit, local": (_grid("submitit_grid.py"), "submitit"),
    "shell loop (xargs)": (_shell, ""),
}


def installed(module: str) -> bool:
    """Say whether a peer is here."""
    return (
        not module
        or subprocess.run([*PYTHON, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0
    )


def timed(make: Command, database: Path) -> float:
    """Return the seconds of one way from its command to its end."""
    with TemporaryDirectory(prefix="dispatch-") as name:
        folder = Path(name)
        own = folder / ".slws" / "mlflow.db"  # where slws looks for it; the others are told
        own.parent.mkdir()
        shutil.copy(database, own)
        path = os.pathsep.join(
            filter(None, (str(PEERS), os.environ.get("PYTHONPATH")))
        )  # jobs of peers import the training by name
        settings = {
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYTHONPATH": path,
        }
        environment = {**os.environ, **settings}
        command = make(folder)
        if make is not _slws:
            environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{own}"
        started = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        if done.returncode != 0:
            raise RuntimeError(
                f"{command[:4]} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
            )
        logged = runs_logged(own)
        assert logged == len(LRS) * len(SEEDS), f"MLflow holds {logged} trainings"
        return seconds


def runs_logged(database: Path) -> int:
    """Return how many finished trainings an MLflow database holds; the study that slws puts above its runs is none."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(ids, "attributes.status = 'FINISHED'", max_results=1000)
    return sum(run.data.tags.get("slws.kind") != "study" for run in found)


def table(times: dict[str, list[float]], rounds: int, load: float) -> str:
    """Return the results as Markdown."""
    here = machine()
    ours = times["slws run"]
    lines = [
        "# The same 24 tiny trainings, two at a time", "",
        f"{here['processor']}, {here['cores']} cores; {rounds} rounds, an order of its own each. Load average at the start {load:.1f}, "
        f"at the end {os.getloadavg()[0]:.1f}.", "",
        "| way | seconds: median (least) | times slws, median of rounds |", "|---|---:|---:|",
    ]  # fmt: skip
    for name, found in times.items():
        ratio = median(other / own for other, own in zip(found, ours, strict=True))
        lines.append(f"| {name} | {median(found):.1f} ({min(found):.1f}) | {ratio:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(WAYS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    set_environment()
    ways = {
        name: make for name, (make, module) in WAYS.items() if name in ("slws run", *given.only) and installed(module)
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    load, shuffler = psutil.getloadavg()[0], random.Random(0)
    with TemporaryDirectory() as folder:
        database = Path(folder) / "mlflow.db"
        new_database(database)
        for number in range(given.rounds):
            for name in shuffler.sample(list(ways), len(ways)):
                times[name].append(timed(ways[name], database))
                print(f"round {number + 1}, {name}: {times[name][-1]:.1f} s", flush=True)
    text = table(times, given.rounds, load)
    print(text)
    if given.out:
        write_text(given.out, text)


if __name__ == "__main__":
    main()
