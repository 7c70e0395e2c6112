"""The tutorial, done as it says: its files written, its commands run in order, and what it shows found in what they print."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import REPOSITORY
from filelock import FileLock

TUTORIAL = REPOSITORY / "docs" / "tutorial.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "slws_lab")
VERDICT = r"(helps|hurts|equivalent|inconclusive)"
NUMBER = r"[−+-]?(\d+\.\d+|∞)"
TEX = "pdflatex"
PATIENCE_S = 400
pytestmark = pytest.mark.skipif(
    os.environ.get("SLWS_TEST_SERVERS") != "1", reason="it takes over a minute: SLWS_TEST_SERVERS=1 runs it"
)


@dataclass(frozen=True)
class Step:
    """A command of the tutorial, and the lines that it is said to print."""

    command: str
    shown: tuple[str, ...] = ()

    @property
    def stopped(self) -> bool:
        """Whether the reader presses Ctrl-C."""
        return any(line.startswith("^C") for line in self.shown)


def steps() -> Iterator[Step | str]:
    """Give the tutorial's commands and, as text, its files; what a block of output shows is of the last command before it."""
    found = FENCE.findall(TUTORIAL.read_text(encoding="utf-8"))
    for (kind, text), (after, shown) in pairwise([*found, ("", "")]):
        if kind == "sh":
            *silent, last = text.splitlines()
            yield from map(Step, silent)
            yield Step(last, tuple(shown.splitlines()) if after == "text" else ())
        elif kind != "text":
            yield text


def walk(place: Path) -> list[tuple[Step, str]]:
    """Do all that the tutorial says but typeset the paper, and return each command with what it printed."""
    done, here = list[tuple[Step, str]](), place
    for step in steps():
        if isinstance(step, str):
            write(here, step)
        elif step.command.startswith("cd "):
            here /= step.command.removeprefix("cd ")
        elif TEX not in step.command:
            done.append((step, type_in(step, place, here)))
    return done


def write(folder: Path, text: str) -> None:
    """Write a file whose first line is a comment with its path."""
    path = folder / text.partition("\n")[0].lstrip("#% ")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def type_in(step: Step, place: Path, here: Path) -> str:
    """Run one line in a shell and return what it printed; it must end as the tutorial says."""
    path = f"{place / 'venv/bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "110", "OMP_NUM_THREADS": "1"}
    command = ["bash", "-c", in_seconds(step.command)]
    with subprocess.Popen(command, cwd=here, env=environment, text=True, start_new_session=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, preexec_fn=heed_ctrl_c) as process:  # noqa: PLW1509  # fmt: skip
        if step.stopped:
            wait_for_a_result(here, process)
            os.killpg(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == (130 if step.stopped else 0), f"{step.command}\n{printed}"
    return printed


def in_seconds(command: str) -> str:
    """Return how the test does a step of the installation: the same sources, and the packages that are installed here already."""
    packages, version = sysconfig.get_path("purelib"), sysconfig.get_python_version()
    return {
        "git clone <address of the repository> slws_lab":
            f"mkdir slws_lab && cd {REPOSITORY} && cp -r {' '.join(SOURCES)} \"$OLDPWD/slws_lab\"",
        "python3 -m venv venv":
            f"{sys.executable} -m venv --without-pip venv && echo {packages} > venv/lib/python{version}/site-packages/outer.pth",
        "pip install ./slws_lab": "python -m pip install --quiet --no-deps --no-index --no-build-isolation --ignore-installed ./slws_lab",
    }.get(command, command)  # fmt: skip


def heed_ctrl_c() -> None:
    """Undo what a shell does to whatever it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for_a_result(project: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a run of the study that is running has ended."""
    before, since = results(project), time.monotonic()
    while results(project) == before:
        assert process.poll() is None and time.monotonic() - since < PATIENCE_S
        time.sleep(0.05)


def results(project: Path) -> int:
    return len(list(project.glob(".slws/runs/*/attempt-*/result.json")))


def pattern(line: str) -> str:
    """Return what a shown line may look like elsewhere: other decimals, verdicts and spaces, and anything for `...`."""
    loose = r"\s+".join(re.escape(word) for word in line.split())
    for shown, allowed in ((r"(\\[+-]|−)?\d+\\\.\d+", NUMBER), (VERDICT, VERDICT), (r"\\\.\\\.\\\.", ".*")):
        loose = re.sub(shown, lambda _, allowed=allowed: allowed, loose)
    return loose


@pytest.fixture(scope="session")
def walked(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> tuple[Path, list[tuple[Step, str]]]:
    """Return the folder in which the tutorial was done, once for all of pytest's workers, and what was printed."""
    own = tmp_path_factory.getbasetemp()
    place = (own if worker_id == "master" else own.parent) / "tutorial"
    with FileLock(place.with_suffix(".lock")):
        log = place / "printed.json"
        if not log.exists():
            place.mkdir()
            log.write_text(json.dumps([(step.command, step.shown, printed) for step, printed in walk(place)]))
        return place, [
            (Step(command, tuple(shown)), printed) for command, shown, printed in json.loads(log.read_text())
        ]


def test_the_tutorial_prints_what_it_shows(walked: tuple[Path, list[tuple[Step, str]]]) -> None:
    _, done = walked
    missing = [
        (step.command, line)
        for step, printed in done
        for line in step.shown
        if line.strip(" .") and not line.startswith("^C") and not re.search(pattern(line), printed)
    ]
    assert missing == []
    assert sum(len(step.shown) > 0 for step, _ in done) >= 10


@pytest.mark.latex
def test_the_tutorials_paper_compiles_with_its_table(walked: tuple[Path, list[tuple[Step, str]]]) -> None:
    if shutil.which(TEX) is None:
        pytest.skip("pdflatex is not installed")
    project = next(path.parent for path in walked[0].glob("*/paper"))
    [step] = [step for step in steps() if isinstance(step, Step) and TEX in step.command]
    subprocess.run(["bash", "-c", step.command], cwd=project, check=True, capture_output=True, timeout=PATIENCE_S)
    log = (project / "paper/paper.log").read_text(errors="replace")
    assert "There were undefined references" not in log and "Output written on paper.pdf" in log
