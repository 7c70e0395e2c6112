"""Disturb studies at random moments, give the same command again until it ends, and compare with an undisturbed study.

OMP_NUM_THREADS=1 python benchmarks/chaos.py [--faults NAME ...] [--moments 50] [--seed 0] [--runs 24] [--out benchmarks/results/NAME.md]

Each fault gets studies of its own and its share of the moments, drawn from the seed: how long after the command was given it
strikes, where, and what it tears. A moment counts as tried if it found the command alive. *lost*: runs without their result; *duplicated*:
runs and points that MLflow holds more than once; *wrong*: records that differ in any digit, measurement columns aside; *left*: processes,
claims, locks, temporary files; *unsound*: what `slws verify` says. `--faults` runs a part, and `--out` keeps the rows of the others.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from conftest import STUDY, Folder, make_project, start_slws  # noqa: E402
from faults import faults  # noqa: E402

from slws_lab.lab.project import Project  # noqa: E402
from slws_lab.lab.verifying import run_folders, verify  # noqa: E402
from slws_lab.tracking import Workspace  # noqa: E402

LATEST = 0.35
LIMIT_S = 300
ENDINGS = (0, 130)
JUDGED = ("lost", "duplicated", "wrong", "left", "unsound")
COLUMNS = ("fault", "tried", *JUDGED, "seconds")
Command = subprocess.Popen[str]


@dataclass
class Scene:
    """A study that is being disturbed.

    Attributes:
        folder: Its project.
        draw: The source of all that is random about its faults.
        latest_s: The latest moment, counted from when the command was given.
        resize: Changes the options of the workspace's file system, where it has one of its own.
        others: Commands beside the one that is disturbed, to be waited for.
    """

    folder: Folder
    draw: random.Random
    latest_s: float
    resize: Callable[[str], None] | None = None
    others: list[Command] = field(default_factory=list)

    def command(self) -> Command:
        with (self.folder.path / "said.txt").open("a") as said:
            return start_slws(self.folder, "run", "tiny", stdout=said, stderr=said)


Fault = Callable[[Scene, Command], None]


def kill_worker(scene: Scene, command: Command) -> None:
    """Kill one worker, as the kernel does when memory is short; the command goes on."""
    if worker := _one_worker(scene):
        worker.kill()


def kill_tree(scene: Scene, command: Command) -> None:
    faults.kill_tree(command)


def kill_command(scene: Scene, command: Command) -> None:
    command.kill()


def send(*signals: signal.Signals) -> Fault:
    """Return the fault that sends signals, one soon after the other."""

    def fault(scene: Scene, command: Command) -> None:
        for name in signals:
            command.send_signal(name)
            time.sleep(scene.draw.uniform(0, 0.5))

    return fault


def stop_worker(scene: Scene, command: Command) -> None:
    """Stop a worker for a while, not long enough to be taken for dead."""
    if worker := _one_worker(scene):
        worker.suspend()
        time.sleep(scene.draw.uniform(0, 3))
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.resume()


def sleep_and_wake(scene: Scene, command: Command) -> None:
    """Stop all, let it look as if that was an hour ago, give the command a second time, and wake the first while the second works."""
    tree = [psutil.Process(command.pid), *psutil.Process(command.pid).children(recursive=True)]
    _each(tree, psutil.Process.suspend)
    for sheet in scene.folder.workspace.rglob("owner.json"):
        os.utime(sheet, (time.time() - 3600,) * 2)
    second = scene.command()
    time.sleep(scene.draw.uniform(5, 30))
    _each(tree, psutil.Process.resume)
    scene.others.append(second)


def second_command(scene: Scene, command: Command) -> None:
    """Give the command a second time, while the first works."""
    scene.others.append(scene.command())


def torn_journal(scene: Scene, command: Command) -> None:
    """Kill all, and leave half a line or rubbish at the end of what was being written."""
    faults.kill_tree(command)
    for attempt in faults.unfinished(scene.folder):
        if attempt.journal.exists():
            content = attempt.journal.read_bytes()
            cut = content[: scene.draw.randrange(len(content) + 1)]
            attempt.journal.write_bytes(scene.draw.choice((cut, content + scene.draw.randbytes(99))))


def torn_checkpoint(scene: Scene, command: Command) -> None:
    """Interrupt, which saves, and cut or change the newest checkpoint."""
    command.send_signal(signal.SIGINT)
    command.wait(LIMIT_S)
    for path in scene.folder.workspace.glob("runs/*/attempt-*/checkpoint/resume.pt"):
        content = bytearray(path.read_bytes())
        at = scene.draw.randrange(len(content))
        content[at] ^= 1 + scene.draw.randrange(255)
        path.write_bytes(scene.draw.choice((bytes(content), bytes(content[:at]))))


def full_disk(scene: Scene, command: Command) -> None:
    """Leave a little room on the workspace's file system, wait for the command to meet its end, and make room again."""
    assert scene.resize
    used_kb = sum(path.stat().st_blocks // 2 for path in scene.folder.workspace.rglob("*") if path.is_file())
    scene.resize(f"size={used_kb + scene.draw.randrange(400)}k")
    with contextlib.suppress(subprocess.TimeoutExpired):
        command.wait(20)
    scene.resize("size=256m")


FAULTS: dict[str, Fault] = {
    "kill -9 of a worker": kill_worker, "kill -9 of the whole tree": kill_tree, "kill -9 of slws run alone": kill_command,
    "SIGTERM": send(signal.SIGTERM), "SIGINT": send(signal.SIGINT), "SIGINT twice": send(signal.SIGINT, signal.SIGINT),
    "SIGHUP": send(signal.SIGHUP), "worker stopped and continued": stop_worker,
    "asleep for an hour, woken beside another": sleep_and_wake, "two commands at once": second_command,
    "torn journal": torn_journal, "torn checkpoint": torn_checkpoint, "full disk": full_disk,
}  # fmt: skip


def disturb(scene: Scene, fault: Fault, moments: int) -> int:
    """Disturb a study at so many moments and let it end; return how often the fault found it alive."""
    command, tried = scene.command(), 0
    for _ in range(moments):
        if command.poll() is not None:
            command = scene.command()
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.wait(scene.draw.uniform(0, scene.latest_s))
            continue
        fault(scene, command)
        tried += 1
    for one in (command, *scene.others):
        one.wait(LIMIT_S)
    faults.wait_for(lambda: not faults.processes(scene.folder), "end of all processes", LIMIT_S)
    for file in scene.folder.path.rglob("*.tmp"):  # what is as young as these may still be somebody's
        os.utime(file, (time.time() - 3600,) * 2)
    last = scene.command()
    if last.wait(LIMIT_S) not in ENDINGS:
        raise RuntimeError((scene.folder.path / "said.txt").read_text()[-3000:])
    return tried


def judge(folder: Folder, undisturbed: Folder) -> dict[str, list[str]]:
    """Return what is lost, duplicated, wrong, left and unsound."""
    verdict = verify([Project.open(str(folder.study))], run_folders(Workspace(folder.workspace)))
    found = (
        faults.lost(folder, undisturbed),
        faults.twice(folder.workspace / "mlflow.db"),
        faults.wrong(folder, undisturbed),
        faults.left(folder),
        [f"{fault.file}: {fault.what}" for fault in verdict.faults] + verdict.notes,
    )
    return dict(zip(JUDGED, found, strict=True))


@dataclass(frozen=True)
class Undisturbed:
    """A study that ran in peace, and how long that took."""

    folder: Folder
    seconds: float


def try_fault(name: str, moments: int, seed: int, peace: Undisturbed) -> tuple[str, list[str]]:
    """Return the table's row of a fault, and what went wrong. A study that ends before all moments is followed by another."""
    draw, started = random.Random(f"{seed}/{name}"), time.monotonic()
    tried, counts, said = 0, Counter[str](), []
    while tried < moments:
        folder = make_project(peace.folder.path.parent / f"{name} {tried}", peace.folder.study.read_text())
        with contextlib.ExitStack() as stack:
            resize = None
            if FAULTS[name] is full_disk:
                resize = stack.enter_context(faults.room_of(folder.workspace, "size=256m"))
            shutil.copytree(peace.folder.workspace / "cache", folder.workspace / "cache")
            scene = Scene(folder, draw, LATEST * peace.seconds, resize)
            tried += disturb(scene, FAULTS[name], moments - tried)
            for column, found in judge(folder, peace.folder).items():
                counts[column] += len(found)
                said += [f"{name}: {column}: {what.replace(str(folder.path), 'PROJECT')}" for what in found]
    cells = [name, tried, *(counts[column] for column in JUDGED), round(time.monotonic() - started)]
    return f"| {' | '.join(map(str, cells))} |", said


def run_in_peace(place: Path, runs: int) -> Undisturbed:
    """Run a study of so many runs, which nothing disturbs."""
    folder = make_project(place / "undisturbed", STUDY.replace("seeds: 3", f"seeds: {runs // 2}"))
    started = time.monotonic()
    if (code := Scene(folder, random.Random(0), 0.0).command().wait(LIMIT_S)) != 0:
        raise RuntimeError(f"the undisturbed study ended with {code}")
    return Undisturbed(folder, time.monotonic() - started)


def _one_worker(scene: Scene) -> psutil.Process | None:
    found = faults.workers(scene.folder)
    return scene.draw.choice(found) if found else None


def _each(tree: list[psutil.Process], call: Callable[[psutil.Process], None]) -> None:
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            call(one)


def run(names: list[str], moments: int, seed: int, runs: int) -> Iterator[tuple[str, str]]:
    """Try faults; yield the name and the row of each, and print it, with what went wrong below."""
    share = {name: moments // len(FAULTS) + (i < moments % len(FAULTS)) for i, name in enumerate(FAULTS)}
    with TemporaryDirectory(ignore_cleanup_errors=True) as place:
        peace = run_in_peace(Path(place), runs)
        print(f"undisturbed: {runs} runs in {peace.seconds:.0f} s", flush=True)
        for name in names:
            row, said = try_fault(name, share[name], seed, peace)
            print("\n".join([row, *said]), flush=True)
            yield name, row


def write(path: Path, name: str, row: str, head: str) -> None:
    """Put a row into the table of a file, in place of an older one of the fault."""
    kept = path.read_text().splitlines() if path.exists() else []
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in kept if line.startswith("| ")} | {name: row}
    table = [f"| {' | '.join(COLUMNS)} |", "|---" + "|---:" * (len(COLUMNS) - 1) + "|"]
    path.write_text("\n".join([head, "", *table, *(rows[fault] for fault in FAULTS if fault in rows), ""]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--moments", type=int, default=50, help="of all faults together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=24, help="of each study")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    names = [name for name in options.faults if name != "full disk" or os.geteuid() == 0]
    given = f"--moments {options.moments} --seed {options.seed} --runs {options.runs}"
    head = f"# Studies disturbed at random moments\n\n`python benchmarks/chaos.py {given}`"
    for name, row in run(names, options.moments, options.seed, options.runs):
        if options.out:
            write(options.out, name, row, head)


if __name__ == "__main__":
    main()
