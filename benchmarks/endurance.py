"""Endurance: very many tiny runs through the local launcher, and what they leave in memory, file handles, processes and on disk.

OMP_NUM_THREADS=1 python benchmarks/endurance.py [--runs 1000] [--out benchmarks/results/NAME.md]

One study of ten arms, each run one epoch on a few digits. While `slws run` works, every process of its tree is looked at each second. A
leak shows as growth from the first tenth of the runs to the last. Then the same command is given again, which has nothing to do.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil

from slws_lab.tracking.provenance import gather, machine

ROOT = Path(__file__).parents[1]
SLWS = (sys.executable, "-P", "-c", "from slws_lab.cli import main; main()")
STUDY = """\
name: endurance
question: What do very many runs leave behind?
recipe: ../experiments/shufflemamba_micro_digits.yaml
set: {train.epochs: 1, train.warmup_epochs: 0, data.label_fraction: 0.1, model.args.embed_dim: 16, model.args.depth: 1}
factors: {train.lr: {linspace: [1e-3, 1e-2, 10]}}
designs: [{one_at_a_time: [train.lr]}]
seeds: SEEDS
resources: {gpus: 0}
"""


@dataclass(frozen=True)
class Look:
    """What a process tree holds at one moment.

    Attributes:
        seconds: Since the command was started.
        done: Runs that have a result.
        driver: Resident MB and open files of the command.
        workers: The same of each worker, the largest of them.
        processes: Processes of the tree.
        disk: MB of the workspace.
    """

    seconds: float
    done: int
    driver: tuple[float, int]
    workers: tuple[float, int]
    processes: int
    disk: float


def look(process: psutil.Process, workspace: Path, started: float) -> Look | None:
    """Return what a command's tree holds now; None if it is ending."""
    try:
        children = process.children(recursive=True)
        held = [_held(one) for one in (process, *children)]
    except psutil.Error:
        return None
    workers = (max((mb for mb, _ in held[1:]), default=0.0), max((files for _, files in held[1:]), default=0))
    done = sum(1 for _ in workspace.glob("runs/*/attempt-1/result.json"))
    return Look(time.monotonic() - started, done, held[0], workers, len(held), _size(workspace)[0])


def _held(process: psutil.Process) -> tuple[float, int]:
    return process.memory_info().rss / 2**20, process.num_fds()


def _size(folder: Path) -> tuple[float, int]:
    """Return the MB and the number of the files in a folder; one that vanishes meanwhile is left out."""
    sizes = []
    for path in folder.rglob("*"):
        try:
            sizes.append(path.stat().st_size if path.is_file() else 0)
        except FileNotFoundError:
            continue
    return sum(sizes) / 2**20, len(sizes)


def run(project: Path, every_s: float) -> tuple[list[Look], float]:
    """Run the study to its end; returns the looks and the seconds."""
    started = time.monotonic()
    process = subprocess.Popen(
        [*SLWS, "run", "endurance"], cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    watched, looks = psutil.Process(process.pid), list[Look]()
    while process.poll() is None:
        found = look(watched, project / ".slws", started)
        looks += [found] if found else []
        time.sleep(every_s)
    if process.returncode:
        raise SystemExit(f"slws run ended with {process.returncode}")
    return looks, time.monotonic() - started


def left_behind(project: Path) -> dict[str, int]:
    """Count what nothing should have left: processes of this project, claims, temporary files, job files."""
    slws = project / ".slws"
    ours = [
        p for p in psutil.process_iter(["cmdline"]) if any(str(project) in part for part in p.info["cmdline"] or ())
    ]
    return {
        "processes": len(ours),
        "claims": len(list(slws.rglob("claim*"))),
        "temporary files": len(list(slws.rglob("*.tmp"))),
        "files of jobs": len(list((slws / "jobs").glob("*"))),
        "checkpoints for a resume": len(list(slws.rglob("resume*"))),
    }


def table(looks: list[Look], total: int) -> list[str]:
    """Return the rows: medians over each tenth of the runs."""
    rows = [
        "| runs done | command MB | command files | worker MB | worker files | processes | workspace MB |",
        "|---:" * 7 + "|",
    ]
    for part in (0, 1, 4, 7, 9):
        own = [one for one in looks if part * total / 10 <= one.done < (part + 1) * total / 10]
        if own:
            figures = (*zip(*((*o.driver, *o.workers, o.processes, o.disk) for o in own), strict=True),)
            shown = [f"{median(figure):.0f}" for figure in figures]
            rows.append(f"| {part * total // 10} to {(part + 1) * total // 10} | " + " | ".join(shown) + " |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=1000, help="how many, a multiple of 10")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two looks")
    parser.add_argument("--out", type=Path, default=None, help="also write the result there")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        project = Path(folder)
        shutil.copytree(ROOT / "experiments", project / "experiments")
        (project / "studies").mkdir()
        (project / "pyproject.toml").touch()
        (project / "studies/endurance.yaml").write_text(STUDY.replace("SEEDS", str(given.runs // 10)))
        looks, seconds = run(project, given.every)
        again = run(project, given.every)[1]
        megabytes, files = _size(project / ".slws/runs")
        left = ", ".join(f"{count} {name}" for name, count in left_behind(project).items())
    made, where = gather(ROOT), machine()
    lines = [
        f"# Endurance: {given.runs} runs through the local launcher", "",
        f"`OMP_NUM_THREADS=1 python benchmarks/endurance.py --runs {given.runs}`, commit {str(made['commit'])[:12]}"
        f"{' with uncommitted changes' if made['dirty'] else ''}, on {where['processor']}, {where['cores']} cores.", "",
        f"{seconds:.0f} s in all, {seconds / given.runs * 1e3:.0f} ms a run, of which each trains one epoch on a few digits. "
        f"The same command again, with nothing to do: {again:.1f} s.", "",
        "Medians over a part of the runs; of several workers the largest.", "", *table(looks, given.runs), "",
        f"Left behind: {left}. A run's folder: {megabytes / given.runs * 1e3:.0f} kB in {files / given.runs:.0f} files and folders.",
    ]  # fmt: skip
    text = "\n".join(lines) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
