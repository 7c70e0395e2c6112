"""Time the same small study beside trackers that answer, are not there, hang, or fail: training must not notice them.

OMP_NUM_THREADS=1 python benchmarks/tracker_away.py [--rounds 5] [--epochs 12] [--out benchmarks/results/NAME.md]

Each round gives the command `slws run` once beside each tracker, in an order of its own, in a new project each time. Training seconds are
those of the results (training and evaluation, summed over the runs), not the command's. The processor's seconds are of the command and
all that it started; a server's own are not among them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from slws_lab.tracking import Workspace
from slws_lab.tracking.mirror import own_uri, ui_command
from slws_lab.tracking.provenance import machine

RECIPE = """\
kind: train
model: {{name: shufflemamba_micro, args: {{embed_dim: 32, depth: 4}}}}
data: {{name: digits, val_fraction: 0.2}}
shuffle: {{schedule: linear, max_rate: 0.5}}
train: {{epochs: {epochs}, batch_size: 64, lr: 8e-3}}
"""
STUDY = """\
name: away
question: Does training notice the tracker?
recipe: ../experiments/away.yaml
factors:
  shuffle.schedule: [none, linear]
designs: [{grid: [shuffle.schedule]}]
seeds: 2
metric: {name: val/top1, weights: raw}
resources: {gpus: 0}
"""
OWN = "the workspace's own file"
SLWS = (sys.executable, "-P", "-m", "slws_lab.cli")


@dataclass(frozen=True)
class Taken:
    """What a study took: seconds of training, of the command by the clock, and of the processor."""

    training_s: float
    command_s: float
    processor_s: float


@contextlib.contextmanager
def own_file() -> Iterator[str]:
    yield ""


@contextlib.contextmanager
def good_server() -> Iterator[str]:
    """Run MLflow's own server."""
    with TemporaryDirectory() as place, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        workspace = Workspace(Path(place))
        command = ui_command(workspace, own_uri(workspace), port)
        process = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _wait(address: str) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=1).close()
            return
        time.sleep(0.2)
    raise TimeoutError(address)


@contextlib.contextmanager
def dead_server() -> Iterator[str]:
    """Name a port at which nobody listens: it is bound, so that nobody else takes it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@contextlib.contextmanager
def hanging_server() -> Iterator[str]:
    """Accept connections and never look at them."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


class _Fails(BaseHTTPRequestHandler):
    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_error(500)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def failing_server() -> Iterator[str]:
    """Answer everything by status 500."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Fails)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


TRACKERS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    OWN: own_file,
    "a server that answers": good_server,
    "no server (connection refused)": dead_server,
    "a server that hangs": hanging_server,
    "a server that answers errors": failing_server,
}


def make_project(place: Path, epochs: int) -> Path:
    for name, text in (("studies", STUDY), ("experiments", RECIPE.format(epochs=epochs))):
        (place / name).mkdir(parents=True)
        (place / name / "away.yaml").write_text(text)
    (place / "pyproject.toml").touch()
    return place


def take(project: Path, address: str) -> Taken:
    """Run the study of a project, and return what it took."""
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment = {**kept, "MLFLOW_TRACKING_URI": address} if address else kept
    started = time.monotonic()
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*SLWS, "run", "away"], cwd=project, env=environment, **streams)
    _, status, used = os.wait4(process.pid, 0)
    command_s = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    folders = Workspace(project / ".slws").folders()
    results = [attempt.result() or {} for folder in folders for attempt in folder.attempts()]
    return Taken(sum(result["seconds"] for result in results), command_s, used.ru_utime + used.ru_stime)


def measure(rounds: int, epochs: int) -> dict[str, list[Taken]]:
    """Return what the study took beside each tracker, round by round."""
    taken: dict[str, list[Taken]] = {name: [] for name in TRACKERS}
    order = random.Random(0)
    with TemporaryDirectory() as top, contextlib.ExitStack() as servers:
        addresses = {name: servers.enter_context(serve()) for name, serve in TRACKERS.items()}
        warm = make_project(Path(top, "warm"), epochs)
        take(warm, "")  # asks the science tower what it knows, whose answers are kept for the others
        for number in range(rounds):
            for name in order.sample(list(TRACKERS), len(TRACKERS)):
                project = make_project(Path(top, f"{number}-{len(taken[name])}-{len(name)}"), epochs)
                shutil.copytree(warm / ".slws/cache", project / ".slws/cache")
                taken[name].append(take(project, addresses[name]))
                shutil.rmtree(project)
                print(f"{number} {name}: {taken[name][-1]}", flush=True)
    return taken


def spread(values: list[float], digits: int = 1) -> str:
    """Return the median, least and most."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def table(taken: dict[str, list[Taken]]) -> list[str]:
    """Return the rows of a table."""
    rows = [
        "| tracker | training, s | against the own file, same round | command, s | processor, s |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, ones in taken.items():
        against = [one.training_s / own.training_s for one, own in zip(ones, taken[OWN], strict=True)]
        columns = (
            spread([one.training_s for one in ones]),
            "" if name == OWN else spread(against, 2),
            spread([one.command_s for one in ones]),
            spread([one.processor_s for one in ones]),
        )
        rows.append(f"| {name} | {' | '.join(columns)} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    before = os.getloadavg()[0]
    taken = measure(options.rounds, options.epochs)
    here = machine()
    said = [
        "# Training beside a tracker that is away",
        "",
        f"`OMP_NUM_THREADS=1 python benchmarks/tracker_away.py --rounds {options.rounds} --epochs {options.epochs}`",
        "",
        f"{here['processor']}, {here['cores']} cores, Python {platform.python_version()}, torch {version('torch')},",
        f"mlflow {version('mlflow')};",
        "2 arms x 2 seeds on the digits. Each figure is the median over the rounds, and the least and the most.",
        "",
        *table(taken),
        "",
        f"Load average {before:.1f} at the start, {os.getloadavg()[0]:.1f} at the end.",
    ]
    print("\n".join(said))
    if options.out:
        options.out.write_text("\n".join(said) + "\n")


if __name__ == "__main__":
    main()
