"""Time a study of 100, 1,000 and 10,000 runs that do next to nothing: plan, run, status, sync, report; time and memory, and how they grow.

python benchmarks/scale.py [--sizes 100 1000] [--written 10000] [--out benchmarks/results/NAME.md]

A run is a command that prints one number, so that what is timed is all that the platform does around it: claim, journal, log, result,
MLflow on the workspace's SQLite file, tables. Each size has a project of its own, of ten seeds; the verbs follow one another in the
order of the table, each in a process of its own. Of the sizes in `--written` the runs are not executed: each gets the journal and the
result of one that was, and the verbs that read are timed. Growth is the exponent b of time ~ runs^b between one size and the next: 1 is in
proportion.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from slws_lab.lab.project import Project
from slws_lab.tracking import Workspace
from slws_lab.tracking.files import write_text
from slws_lab.tracking.provenance import machine

SLWS = (sys.executable, "-P", "-c", "from slws_lab.cli import main; main()")
SEEDS = 10
RECIPE = """\
kind: command
name: nothing
command: "printf 'top1 %s, %s\\n' {run.value}{seed} {run.other}"
fields:
  run.value: {type: int, value: 10}
  run.other: {type: int, value: 0}
metrics:
  stdout: 'top1 (?P<top1>\\d+)'
  names: {val/top1: top1}
"""
STUDY = """\
name: scale
question: What does the platform take around runs that do nothing?
recipe: ../experiments/nothing.yaml
factors:
  run.value: [{values}]
  run.other: [{others}]
designs: [{{grid: [run.value, run.other]}}]
seeds: {seeds}
metric: {{name: val/top1}}
resources: {{gpus: 0}}
"""
# What is timed, and the aim for 10,000 runs in seconds.
VERBS: dict[str, tuple[tuple[str, ...], float | None]] = {
    "plan": (("plan", "{study}"), 5.0),
    "run: dispatch, MLflow and report": (("run", "{study}"), None),
    "run again: nothing to do": (("run", "{study}"), None),
    "status": (("status", "{study}"), 1.0),
    "report": (("report", "{study}"), None),
    "sync --rebuild": (("sync", "--rebuild"), None),
    "sync: nothing to send": (("sync", "{study}"), None),
    "verify": (("verify", "{study}"), None),
}


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds by the clock and by the processor, and MB of the largest process."""

    clock_s: float
    cpu_s: float
    mb: float


def make_project(folder: Path, runs: int) -> Path:
    """Write a project with a study of so many runs, and return the study's file."""
    arms = runs // SEEDS
    values = max(i for i in range(1, math.isqrt(arms) + 1) if arms % i == 0)
    for name in ("studies", "experiments"):
        (folder / name).mkdir()
    (folder / "pyproject.toml").touch()
    (folder / "experiments" / "nothing.yaml").write_text(RECIPE)
    listed = [", ".join(map(str, range(10, 10 + n))) for n in (values, arms // values)]
    study = folder / "studies" / "scale.yaml"
    study.write_text(STUDY.format(values=listed[0], others=listed[1], seeds=SEEDS))
    return study


def timed(folder: Path, command: Sequence[str], allowed: Sequence[int] = (0,)) -> Cost:
    """Return what a command took, with the processes that it waited for."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    started = time.perf_counter()
    process = subprocess.Popen([*SLWS, *command], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in allowed:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def measured(runs: int) -> dict[str, Cost]:
    """Return what each verb takes for a study of so many runs."""
    found = {}
    with TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        study = make_project(folder, runs)
        for verb, (command, _) in VERBS.items():
            found[verb] = timed(folder, [part.format(study=study) for part in command])
            print(f"{runs} runs, {verb}: {found[verb]}", flush=True)
            time.sleep(2.5)  # what has ended less than 2 s ago is not kept for the next reader
        ended = [attempt.status for run in Workspace(folder / ".slws").folders() for attempt in run.attempts()]
        assert ended == ["finished"] * runs, f"{len(ended)} attempts"
    return found


def measured_reading(runs: int) -> dict[str, Cost]:
    """Return what the verbs that read take for a study of so many runs that are written down as if they had been executed."""
    found = {}
    with TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        study = make_project(folder, runs)
        found["plan"] = timed(folder, ["plan", str(study)])
        write_down(study)
        time.sleep(2.5)
        for verb in ("status", "status", "report"):  # the first keeps the records; the last counts
            found[verb] = timed(folder, [verb, str(study)])
            print(f"{runs} written runs, {verb}: {found[verb]}", flush=True)
    return found


def write_down(study: Path) -> None:
    """Execute one run of a study, and give every other its journal, starts and result."""
    project = Project.open(str(study))
    design, (first, *others) = project.design, project.design.run_ids.items()
    settings = [f"--only={name}={level}" for name, level in design.arm(first[0][0]).settings.items()]
    timed(study.parents[1], ["run", str(study), *settings, f"--only=seed={first[0][1]}"], allowed=(0, 1))
    made = project.workspace.run(first[1]).attempt(1)
    result = {name: value for name, value in (made.result() or {}).items() if name != "digests"}
    for (arm_id, seed), run_id in others:
        run = project.workspace.run(run_id)
        run.create(design.arm(arm_id).run(seed))
        attempt = run.attempt(1)
        for name in ("journal.jsonl", "starts.jsonl", "log.txt"):
            shutil.copyfile(made.path / name, attempt.path / name)
        attempt.finish(result)


def table(costs: dict[int, dict[str, Cost]], load: float) -> str:
    """Return the results as Markdown."""
    here, sizes = machine(), sorted(costs)
    lines = [
        "# Studies of many runs that do nothing", "",
        f"{here['processor']}, {here['cores']} cores. Load average at the start {load:.1f}, at the end {os.getloadavg()[0]:.1f}. "
        "Seconds by the clock (by the processor), MB of the largest process.", "",
        "| verb | " + " | ".join(f"{size:,} runs" for size in sizes) + " | growth of processor time | aim |",
        "|---|" + "---:|" * (len(sizes) + 2),
    ]  # fmt: skip
    for verb, (_, aim) in VERBS.items():
        there = [size for size in sizes if verb in costs[size]]
        known = {size: costs[size][verb] for size in there}
        cells = [
            f"{c.clock_s:.2f} ({c.cpu_s:.2f}), {c.mb:.0f} MB" if (c := known.get(size)) else "not run" for size in sizes
        ]
        steps = itertools.pairwise(there)
        growth = [math.log(costs[b][verb].cpu_s / costs[a][verb].cpu_s) / math.log(b / a) for a, b in steps]
        aimed = f"under {aim:g} s at 10,000" if aim else ""
        lines.append(f"| {verb} | {' | '.join(cells)} | {', '.join(f'{g:.2f}' for g in growth)} | {aimed} |")
    name = "run: dispatch, MLflow and report"
    executed = [size for size in sizes if name in costs[size]]
    each = ", ".join(f"{costs[size][name].clock_s / size * 1e3:.0f} ms at {size:,}" for size in executed)
    lines += ["", f"Of `{name.split(':', maxsplit=1)[0]}` by the clock, for each run: {each}."]
    if written := [f"{size:,}" for size in sizes if size not in executed]:
        lines += [
            "",
            f"The {' and '.join(written)} were written down, not executed: each has the journal and the result of one that was.",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--written", type=int, nargs="*", default=[10_000])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    load = psutil.getloadavg()[0]
    costs = {size: measured(size) for size in sorted(given.sizes)}
    costs |= {size: measured_reading(size) for size in sorted(given.written)}
    text = table(costs, load)
    print(text)
    if given.out:
        write_text(given.out, text)


if __name__ == "__main__":
    main()
