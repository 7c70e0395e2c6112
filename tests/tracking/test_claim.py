"""Claims: one owner at a time, taken over only from the dead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from slws_lab.tracking.claim import STALE_S, Claim, is_held, owner_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "claim"


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Another living process."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def write_claim(path: Path, pid: int, host: str | None = None) -> None:
    started = psutil.Process(pid).create_time()
    path.write_text(json.dumps({"host": host or os.uname().nodename, "pid": pid, "started": started}))


def test_a_claim_is_exclusive_and_given_back(path: Path) -> None:
    claim = Claim.take(path)
    assert claim is not None
    with claim:
        assert claim.held()
        assert is_held(path)
        assert Claim.take(path) is None
    assert not path.exists()


def test_a_living_owners_claim_is_respected(path: Path, other: subprocess.Popen[bytes]) -> None:
    write_claim(path, other.pid)
    assert is_held(path)
    assert Claim.take(path) is None


def test_a_dead_owners_claim_is_taken_over(path: Path, other: subprocess.Popen[bytes]) -> None:
    write_claim(path, other.pid)
    other.kill()
    other.wait()
    assert not is_held(path)
    claim = Claim.take(path)
    assert claim is not None
    with claim:
        assert claim.held()
    assert list(path.parent.iterdir()) == []


def test_a_later_process_with_the_same_number_is_not_the_owner(path: Path, other: subprocess.Popen[bytes]) -> None:
    write_claim(path, other.pid)
    claim = json.loads(path.read_text())
    path.write_text(json.dumps({**claim, "started": claim["started"] - 100}))
    assert not is_held(path)


@pytest.mark.parametrize(("silent_s", "held"), [(0, True), (STALE_S / 2, True), (STALE_S + 5, False)])
def test_an_owner_elsewhere_is_judged_by_its_heartbeat(path: Path, silent_s: float, held: bool) -> None:
    write_claim(path, os.getpid(), host="another-machine")
    os.utime(path, (time.time() - silent_s,) * 2)
    assert is_held(path) is held


def test_a_half_written_claim_counts_as_held_only_for_a_moment(path: Path) -> None:
    path.write_text('{"host": "')
    assert owner_of(path) is None
    assert is_held(path)
    os.utime(path, (time.time() - 60,) * 2)
    assert not is_held(path)


def test_an_owner_notices_that_its_claim_was_taken(path: Path, other: subprocess.Popen[bytes]) -> None:
    claim = Claim.take(path)
    assert claim is not None
    with claim:
        write_claim(path, other.pid)
        assert not claim.held()
    assert path.exists(), "another's claim is not removed"


def test_of_many_takers_one_wins(path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from slws_lab.tracking import Claim; input();"
        "claim = Claim.take(Path(sys.argv[1])); print(int(claim is not None), flush=True); input()"
    )
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for taker in takers:
        assert taker.stdin is not None
        taker.stdin.write("\n")
        taker.stdin.flush()
    answers = [taker.stdout.readline() for taker in takers if taker.stdout]
    for taker in takers:
        taker.kill()
        taker.communicate()
    assert sorted(answers) == ["0\n", "0\n", "0\n", "1\n"]
