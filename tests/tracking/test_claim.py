"""Claims: one owner at a time, taken over only from the dead, whatever the clocks say."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from slws_lab.tracking import claim as claims
from slws_lab.tracking.claim import SHEET, STALE_S, Claim, Owner, Pulse, ask_to_stop, is_held, last_beat, owner_of
from slws_lab.tracking.files import NotWritten, write_text

ELSEWHERE = Owner("another-machine", "another boot", 1, "1")


@pytest.fixture(autouse=True)
def soon_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "CONFIRM_S", 0.4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "claim"


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Another living process."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def owner(process: subprocess.Popen[bytes]) -> Owner:
    return claims._owner(process.pid)


def plant(path: Path, who: Owner | dict[str, Any] | bytes, silent_s: float = 0.0) -> Path:
    """Write an owner's claim as it stands on the disk, with its last heartbeat so long ago; returns the sheet that it touches."""
    sheet = path / "desk" / SHEET
    sheet.parent.mkdir(parents=True)
    content = who if isinstance(who, bytes) else json.dumps(asdict(who) if isinstance(who, Owner) else who).encode()
    sheet.write_bytes(content)
    silence(sheet, silent_s)
    return sheet


def silence(sheet: Path, seconds: float) -> None:
    os.utime(sheet, (time.time() - seconds,) * 2)


def steal(path: Path) -> Claim:
    """Take a claim that a living process holds, as another does that has seen no heartbeat for long."""
    (sheet,) = path.glob(f"*/{SHEET}")
    silence(sheet, STALE_S + 5)
    claims._LAST.clear()
    claim = Claim.take(path)
    assert claim is not None
    return claim


def test_a_claim_is_exclusive_and_given_back(path: Path) -> None:
    claim = Claim.take(path)
    assert claim is not None
    with claim:
        assert claim.held()
        assert is_held(path)
        assert owner_of(path) == Owner.me()
        assert abs((last_beat(path) or 0) - time.time()) < 3600
        assert Claim.take(path) is None
    assert list(path.parent.iterdir()) == []
    assert not is_held(path)
    assert (owner_of(path), last_beat(path)) == (None, None)


def test_a_living_owners_claim_is_respected(path: Path, other: subprocess.Popen[bytes]) -> None:
    plant(path, owner(other))
    assert is_held(path)
    assert Claim.take(path) is None


def test_a_dead_owners_claim_is_taken_over_at_once_and_its_desk_with_it(
    path: Path, other: subprocess.Popen[bytes]
) -> None:
    plant(path, owner(other)).with_name("half-written.tmp").write_text("x")
    other.kill()  # not waited for: a zombie
    while claims._ticks(other.pid) != "ended":
        time.sleep(0.001)
    assert not is_held(path)
    claim = Claim.take(path)
    assert claim is not None
    with claim:
        assert claim.held()
        assert len(list(path.parent.rglob("*"))) == 3
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("changed", [{"started": "1"}, {"pid": 2**22 + 7}, {"pid": 2**70}])
def test_another_process_with_the_same_number_or_none_is_not_the_owner(
    path: Path, other: subprocess.Popen[bytes], changed: dict[str, Any]
) -> None:
    plant(path, replace(owner(other), **changed))
    assert not is_held(path)


@pytest.mark.parametrize("elsewhere", [{"host": "h"}, {"system": "another boot or container"}, {"system": ""}])
def test_a_number_means_nothing_on_another_machine_or_in_another_container(
    path: Path, elsewhere: dict[str, str]
) -> None:
    plant(path, replace(Owner.me(), pid=2**22 + 7, **elsewhere))
    assert is_held(path)


@pytest.mark.parametrize(("silent_s", "held"), [(0, True), (STALE_S / 2, True), (STALE_S + 5, False), (-7200, False)])
def test_an_owner_elsewhere_is_judged_by_its_heartbeat(path: Path, silent_s: float, held: bool) -> None:
    plant(path, ELSEWHERE, silent_s)
    assert is_held(path) is held
    claim = Claim.take(path)
    assert (claim is None) is held
    if claim:
        claim.__exit__()


@pytest.mark.parametrize("jump_s", [7200, -7200])
def test_a_clock_that_was_set_takes_no_claim_from_an_owner_that_beats(path: Path, jump_s: float) -> None:
    """The last heartbeat seems hours old, or to come, until the next; and the next is there while the claim is watched."""
    sheet = plant(path, ELSEWHERE, jump_s)
    assert not is_held(path)
    beat = threading.Timer(0.1, silence, (sheet, jump_s - 5))
    beat.start()
    assert Claim.take(path) is None
    beat.join()


def test_who_looks_on_goes_by_its_own_clock_which_nobody_sets(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet, now = plant(path, ELSEWHERE), time.monotonic()
    assert is_held(path)
    monkeypatch.setattr(claims, "_age_s", lambda *_: 1e9)  # what a clock set meanwhile would say
    assert is_held(path)
    monkeypatch.setattr(time, "monotonic", lambda: now + STALE_S + 5)
    assert not is_held(path)
    silence(sheet, -1e6)  # it beats again, by a clock that was set
    assert is_held(path)


@pytest.mark.parametrize("content", [b"", b'{"host": "', b"[]", b"\x00\xff", b"{}", b'{"pid": 1}'])
@pytest.mark.parametrize("put", [Path.write_bytes, plant], ids=["file", "desk"])
def test_a_claim_that_nobody_can_read_counts_as_held_until_it_is_old(
    path: Path, content: bytes, put: Callable[[Path, bytes], object]
) -> None:
    put(path, content)
    assert owner_of(path) is None
    assert is_held(path)
    assert Claim.take(path) is None
    silence(path if path.is_file() else path / "desk" / SHEET, STALE_S + 5)
    claims._LAST.clear()
    claim = Claim.take(path)
    assert claim is not None
    with claim:
        assert owner_of(path) == Owner.me()


@pytest.mark.parametrize("pid", ["1", 0, -1, True, None, 1.5])
def test_a_number_that_no_process_has_is_not_asked_for(path: Path, pid: object) -> None:
    plant(path, {**asdict(Owner.me()), "pid": pid})
    assert owner_of(path) is None


def test_an_emptied_claim_is_free_and_a_desk_without_a_sheet_is_judged_by_its_age(path: Path) -> None:
    path.mkdir()
    assert not is_held(path)
    (path / "desk").mkdir()
    assert is_held(path)
    silence(path / "desk", STALE_S + 5)
    claims._LAST.clear()
    claim = Claim.take(path)
    assert claim is not None
    claim.__exit__()


def test_a_stopped_process_loses_its_claim_when_its_heartbeat_is_old(
    path: Path, other: subprocess.Popen[bytes]
) -> None:
    other.send_signal(signal.SIGSTOP)
    plant(path, owner(other), STALE_S + 5)
    with steal(path) as claim:
        assert claim.held()


def test_what_lost_its_claim_cannot_write_nor_give_it_back(path: Path) -> None:
    first = Claim.take(path)
    assert first is not None
    with first:
        write_text(path.parent / "result", "first", first.desk)
        second = steal(path)
        assert not first.held()
        with pytest.raises(NotWritten):
            write_text(path.parent / "result", "late", first.desk)
    with second:
        assert second.held(), "the first has removed nothing of the second's"
        write_text(path.parent / "result", "second", second.desk)
    assert (path.parent / "result").read_text() == "second"
    assert [found.name for found in path.parent.iterdir()] == ["result"]


def test_the_heartbeat_notices_that_the_claim_is_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.05)
    first = Claim.take(path)
    assert first is not None
    assert not first.lost
    with first:
        claims._bury(path, first.desk)
        first._thread.join(30)
        assert first.lost


def test_a_second_undertaker_comes_too_late_and_harms_nobody(path: Path) -> None:
    sheet = plant(path, ELSEWHERE, STALE_S + 5)
    with steal(path) as claim:
        claims._bury(path, sheet.parent)
        assert claim.held()
    path.write_text("old")
    claims._bury(path, path)
    taken = Claim.take(path)
    assert taken is not None
    with taken:
        claims._bury(path, path)
        assert taken.held()


def test_a_request_to_stop_reaches_the_owner_of_now_and_never_a_later_one(path: Path) -> None:
    assert not ask_to_stop(path)
    first = Claim.take(path)
    assert first is not None
    with first:
        assert not first.asked_to_stop()
        assert [ask_to_stop(path), ask_to_stop(path)] == [True, True]
        assert first.asked_to_stop()
    assert not first.asked_to_stop()
    assert not ask_to_stop(path)
    with Claim.take(path) as second:  # type: ignore[union-attr]
        assert not second.asked_to_stop()


def test_the_dead_are_not_asked_to_stop_and_who_takes_over_does_not_inherit_a_request(
    path: Path, other: subprocess.Popen[bytes]
) -> None:
    plant(path, owner(other))
    assert ask_to_stop(path)
    other.kill()
    other.wait()
    assert not ask_to_stop(path)
    with Claim.take(path) as second:  # type: ignore[union-attr]
        assert not second.asked_to_stop()


def test_what_killed_processes_left_beside_a_claim_goes_with_the_next_owner(path: Path) -> None:
    for name in (".claim.0123/desk", ".lock.0123"):
        (path.parent / name).mkdir(parents=True)
    (path.parent / ".claim.clock-0123").touch()
    claim = Claim.take(path)
    assert claim is not None
    claim.__exit__()
    assert [found.name for found in path.parent.iterdir()] == [".lock.0123"]


def race(folder: Path, number: int, count: int, together: Any) -> None:
    """Take what can be had of many claims, and write down what was; nobody lets go, or dies, before all are through."""
    together.wait()
    won = [i for i in range(count) if Claim.take(folder / str(i) / "claim")]
    (folder / f"won-{number}").write_text(" ".join(map(str, won)))
    together.wait()
    os._exit(0)


def test_of_many_takers_of_free_and_dead_claims_exactly_one_wins_each(tmp_path: Path) -> None:
    takers, count = 8, 120
    for i in range(count):
        (tmp_path / str(i)).mkdir()
        if i % 3:
            plant(tmp_path / str(i) / "claim", replace(Owner.me(), pid=2**22 + i))
    context = multiprocessing.get_context("fork")
    together = context.Barrier(takers)
    processes = [context.Process(target=race, args=(tmp_path, n, count, together)) for n in range(takers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    won = [int(i) for n in range(takers) for i in (tmp_path / f"won-{n}").read_text().split()]
    assert sorted(won) == list(range(count))
    assert not list(tmp_path.rglob(".claim.*"))


def test_a_pulse_beats_while_steps_end_or_something_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = {"s": 0.0}
    monkeypatch.setattr(claims, "_cpu_s", lambda: computed["s"])
    monkeypatch.setattr(claims, "IDLE_S", 3 * claims.HEARTBEAT_S)
    monkeypatch.setattr(claims, "STEPLESS_S", 6 * claims.HEARTBEAT_S)
    hangs: list[bool] = []
    pulse = Pulse(lambda: hangs.append(True))
    for _ in range(5):
        pulse.tick()
        assert pulse.beats()
    for _ in range(3):
        computed["s"] += 1.0
        assert pulse.beats()
    for _ in range(2):
        computed["s"] += 0.01  # what threads that only wait take
        assert pulse.beats()
    assert not hangs
    assert not pulse.beats()
    assert hangs == [True]
    pulse.tick()
    assert pulse.beats(), "it went on after all"
    for _ in range(5):
        computed["s"] += 1.0
        assert pulse.beats()
    computed["s"] += 1.0
    assert not pulse.beats(), "it computes and gets nowhere"


def test_what_children_compute_counts() -> None:
    before = claims._cpu_s()
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        while claims._cpu_s() - time.process_time() < 0.2:
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
    assert claims._cpu_s() > before


@pytest.mark.parametrize("works", [True, False])
def test_an_owner_that_hangs_stops_beating(path: Path, monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.02)
    asked = threading.Semaphore(0)

    class Known(Pulse):
        def beats(self) -> bool:
            asked.release()
            return works

    claim = Claim.take(path, Known())
    assert claim is not None
    with claim:
        (sheet,) = path.glob(f"*/{SHEET}")
        os.utime(sheet, (1e9, 1e9))
        for _ in range(3):
            assert asked.acquire(timeout=30)
        assert (sheet.stat().st_mtime != 1e9) is works
