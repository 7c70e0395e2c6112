"""Time how quickly things start: the command's help, the training package, a fresh worker, and a warm worker's next run.

OMP_NUM_THREADS=1 python benchmarks/start.py [--rounds 20] [--out benchmarks/results/NAME.md]

Commands run one after another, in an order of its own each round; a process is timed from its start to its end. The worker
executes runs of the quickstart, cut to one epoch, in one process: from `execute` to the first step, and from the last epoch's line
in the journal to the end. A fresh worker counts from the start of its process.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from slws_lab.spec import Resources, RunSpec, expand, load_study
from slws_lab.tracking import Workspace, journal
from slws_lab.tracking.provenance import gather, machine

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "studies/quickstart.yaml"
SLWS = (sys.executable, "-P", "-c", "from slws_lab.cli import main; main()")
COMMANDS = {
    "Python alone": (sys.executable, "-P", "-c", "pass"),
    "`slws --help`": (*SLWS, "--help"),
    "`slws run --help`": (*SLWS, "run", "--help"),
    "`import torch`": (sys.executable, "-P", "-c", "import torch"),
    "`import slws_lab.training`": (sys.executable, "-P", "-c", "import slws_lab.training"),
}
SLOW = ("`import torch`", "`import slws_lab.training`")  # seconds each: every fourth round suffices
FRESH, WARM, END = (
    "fresh worker to its first step",
    "warm worker to a run's first step",
    "end of a run, after its last epoch",
)
AIMS = {"`slws --help`": "under 150", WARM: "under 50"}
Times = dict[str, list[float]]


def timed(command: Sequence[str]) -> tuple[float, float]:
    """Return the milliseconds of a process by the clock and by the processor."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    spent = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return spent * 1e3, (used.ru_utime + used.ru_stime) * 1e3


def commands(rounds: int) -> tuple[Times, Times]:
    """Return the times of all commands, by the clock and by the processor."""
    clock: Times = {name: [] for name in COMMANDS}
    processor: Times = {name: [] for name in COMMANDS}
    order = random.Random(0)
    for number in range(-1, rounds):
        for name in order.sample(list(COMMANDS), len(COMMANDS)):
            if name in SLOW and number % 4:
                continue
            spent, used = timed(COMMANDS[name])
            if number >= 0:  # the first round warms the disk's cache up
                clock[name].append(spent)
                processor[name].append(used)
    return clock, processor


def workers(processes: int, runs: int) -> Times:
    """Return the times of runs in worker processes of their own, by the clock."""
    clock: Times = {FRESH: [], WARM: [], END: []}
    for _ in range(processes):
        started = time.monotonic()
        command = (sys.executable, "-P", __file__, "--worker", str(runs))
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for number, line in enumerate(said.splitlines()):
            began, first_step, end = map(float, line.split())
            clock[WARM if number else FRESH].append((first_step - (began if number else started)) * 1e3)
            clock[END].append(end * 1e3)
    return clock


def work(count: int) -> None:
    """Execute so many runs as a worker does; print when each began, when its first step did, and the seconds of its end."""
    from slws_lab.worker import Place, execute

    gather(ROOT)
    with TemporaryDirectory() as folder:
        for number, run in enumerate(islice(cycle(short_runs()), count)):
            runs = Workspace(Path(folder) / str(number)).run(run)
            runs.create(run)
            attempt = runs.attempt(1)
            steps: list[float] = []

            def asked(steps: list[float] = steps) -> bool:
                """Note the time: this is asked before each step, when its batch is there."""
                steps.append(time.monotonic())
                return False

            began = time.monotonic()
            status = execute(attempt, Place(ROOT, Resources(gpus=0), asked))
            ended = time.time()
            if status != "finished":
                raise RuntimeError(f"a run ended as {status}")
            last = max(entry.time for entry in journal.read(attempt.journal))
            print(began, steps[0], ended - last)


def short_runs() -> list[RunSpec]:
    """Return the runs of the quickstart, of one epoch each."""
    short = {"epochs": 1, "warmup_epochs": 0}
    runs = expand(load_study(STUDY)).runs
    return [run.model_copy(update={"train": run.train.model_copy(update=short)}) for run in runs]


def table(clock: Times, processor: Times) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| what | by the clock, ms: median (least) | processor, ms: median (least) | aim, ms |"
    yield "|---|---:|---:|---:|"
    for name, found in clock.items():
        used = _cell(processor[name]) if name in processor else "–"
        yield f"| {name} | {_cell(found)} | {used} | {AIMS.get(name, '')} |"


def _cell(found: list[float]) -> str:
    return f"{median(found):.0f} ({min(found):.0f})"


def report(rounds: int) -> Iterator[str]:
    """Yield the lines of the whole report."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm", "typer", "rich"))
    yield "# How quickly things start\n"
    yield f"{machine()['processor']}, {os.cpu_count()} cores, Python {sys.version.split()[0]}, {versions}; an editable installation;"
    yield f"{rounds} rounds. Load average at the start {os.getloadavg()[0]:.1f}, at the end on the last line.\n"
    clock, processor = commands(rounds)
    yield from table({**clock, **workers(max(2, rounds // 7), 7)}, processor)
    yield f"\nLoad average at the end {os.getloadavg()[0]:.1f}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
        return
    lines = []
    for line in report(options.rounds):
        print(line, flush=True)
        lines.append(line)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
