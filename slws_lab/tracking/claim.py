"""Claims: one owner an attempt, by exclusive creation and rename alone; kept alive by a heartbeat, taken over only from the dead.

A claim is a folder with one folder in it, named by its owner's token: the owner's desk. It appears whole, since it is made elsewhere and
renamed, and that fails where another stands. A dead owner's desk is moved away by its name, so two undertakers cannot harm each
other, nor the next owner. What an owner writes at its desk and renames into place cannot arrive once the desk is gone.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil

HEARTBEAT_S = 5.0
STALE_S = 60.0
CONFIRM_S = 3 * HEARTBEAT_S
IDLE_S, STEPLESS_S = 600.0, 6 * 3600.0
IDLE_SHARE = 0.05
BUSY_WAITS = 500  # in a heartbeat's time
SHEET, STOP = "owner.json", "stop"
GONE = (errno.ENOENT, errno.ESTALE, errno.EACCES)  # the last: nobody of whom this user may know
# ENOENT: the winner has swept this one's desk away.
TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.ENOENT)


@dataclass(frozen=True)
class Owner:
    """A process, told apart from a later one with the same number by its start.

    Attributes:
        host: Name of its machine.
        system: Boot and process namespace, in which alone its number means something; empty where they cannot be told.
        pid: Its number.
        started: Ticks from the boot to its start, which no change of a clock moves.
    """

    host: str
    system: str
    pid: int
    started: str

    @staticmethod
    def me() -> Owner:
        return _owner(os.getpid())

    @property
    def dead(self) -> bool:
        """Whether the process is known to be gone; of one elsewhere only its heartbeat tells."""
        me = Owner.me()
        if not self.system or (self.host, self.system) != (me.host, me.system):
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:  # another user's, whose start may be hidden
            pass
        return _ticks(self.pid) not in (self.started, "")


class Pulse:
    """Tells whether work goes on: steps end, or at least the process or its children compute (reading data, evaluating).

    It hangs when there was neither for `IDLE_S`, or, as when a GPU is waited for in vain, no step for `STEPLESS_S`.

    Args:
        on_hang: Called, in the heartbeat's thread, when it hangs; None to only stop the heartbeat.
    """

    def __init__(self, on_hang: Callable[[], None] | None = None) -> None:
        self._on_hang = on_hang
        self._ticks = self._seen = self._idle = self._stepless = 0
        self._cpu_s, self._waits = 0.0, 0

    def tick(self) -> None:
        """Note that a step has ended."""
        self._ticks += 1

    def beats(self) -> bool:
        """Say whether work goes on. To be asked once each `HEARTBEAT_S`: it counts calls, since a clock also runs while all is stopped."""
        self._stepless = 0 if self._stepped() else self._stepless + 1
        self._idle = 0 if not self._stepless or self._computed() else self._idle + 1
        hangs = self._idle * HEARTBEAT_S >= IDLE_S or self._stepless * HEARTBEAT_S >= STEPLESS_S
        if hangs and self._on_hang:
            self._on_hang()
        return not hangs

    def _stepped(self) -> bool:
        seen, self._seen = self._seen, self._ticks
        return seen != self._seen

    def _computed(self) -> bool:
        before, self._cpu_s = self._cpu_s, _cpu_s()
        waited, self._waits = self._waits, psutil.Process().num_ctx_switches().voluntary
        if self._waits - waited > BUSY_WAITS:  # many short waits: it reads from something slow
            return True
        return abs(self._cpu_s - before) > IDLE_SHARE * HEARTBEAT_S  # less than before where a child has ended


@dataclass(frozen=True)
class _Found:
    """What stands where a claim may stand: an owner's desk, or a file that is no claim. `owner` is None where nobody can be read."""

    desk: Path
    owner: Owner | None
    beat: float


def owner_of(path: Path) -> Owner | None:
    """Return who holds a claim; None if nobody does, or it cannot be read."""
    found = _look(path)
    return found.owner if found else None


def last_beat(path: Path) -> float | None:
    """Return when a claim's owner last gave a sign of life, seconds since 1970 by the file server's clock; None without a claim."""
    found = _look(path)
    return found.beat if found else None


def is_held(path: Path) -> bool:
    """Say whether a claim's owner still works: not known to be gone, and its heartbeat is to be seen."""
    found = _look(path)
    return found is not None and not (found.owner and found.owner.dead) and _silent_s(path, found) < STALE_S


def silent_desk(path: Path, host: str, pid: int) -> Path | None:
    """Return the desk of a claim that a process holds without a sign of life; None if it does not hold it, or is heard of.

    A desk is of one taking: the same one at two looks is the same work, however short the works between them were.

    Args:
        path: The claim.
        host: Name of the process's machine.
        pid: Its number.
    """
    found = _look(path)
    if found is None or found.owner is None or (found.owner.host, found.owner.pid) != (host, pid):
        return None
    return found.desk if _silent_s(path, found) >= STALE_S else None


def ask_to_stop(path: Path) -> bool:
    """Ask a claim's owner to stop what it does with it; return whether there is one.

    The request lies at the owner's desk and goes with it, so that it can never reach a later owner.

    Raises:
        OSError: The system refuses.
    """
    found = _look(path)
    if found is None or found.desk == path or not is_held(path):
        return False
    try:
        (found.desk / STOP).touch()
    except (FileNotFoundError, NotADirectoryError):  # it has ended meanwhile
        return False
    return True


class Claim:
    """A claim that this process holds, with a thread that beats while it does. Use as a context manager.

    Attributes:
        desk: A folder for what is being written. It is there as long as the claim is ours, and goes with it.
        lost: Whether the heartbeat has found that another process took the claim.
    """

    def __init__(self, path: Path, pulse: Pulse | None = None) -> None:
        self.path, self.lost = path, False
        self.desk = path / uuid.uuid4().hex
        self._pulse = pulse
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    @classmethod
    def take(cls, path: Path, pulse: Pulse | None = None) -> Claim | None:
        """Return a claim, or None if another process holds it. A dead owner's is moved away first.

        A heartbeat that stands still by the file server's clock is watched for `CONFIRM_S` by this process's own, which nobody sets,
        before its owner counts as dead.

        Args:
            path: The claim.
            pulse: Asked before each heartbeat; None for one that goes on as long as the process.
        """
        found = _look(path)
        if found is not None:
            known_dead = found.owner is not None and found.owner.dead
            if not known_dead and (is_held(path) or not _stands_still(path, found)):
                return None
            _bury(path, found.desk)
        claim = cls(path, pulse)
        try:
            return claim if claim._publish() else None
        except BaseException:
            claim.__exit__()
            raise

    def held(self) -> bool:
        """Say whether the claim is still ours: another may have taken it while this process was suspended."""
        try:
            # Opened, since a network file system answers a mere look from its memory.
            with (self.desk / SHEET).open("rb"):
                return True
        except (FileNotFoundError, NotADirectoryError):
            return False

    def asked_to_stop(self) -> bool:
        """Say whether somebody has asked the owner to stop, see `ask_to_stop`."""
        try:
            # Listed, since a network file system remembers that a name was absent.
            return any(path.name == STOP for path in self.desk.iterdir())
        except (FileNotFoundError, NotADirectoryError):  # lost, which others notice
            return False

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        # It is another's by now; or the disk refuses, and the end of this process frees it.
        with contextlib.suppress(OSError):
            _bury(self.path, self.desk)
            self.path.rmdir()

    def _publish(self) -> bool:
        """Put the whole claim in its place, and sweep away what losers and killed processes have left beside it."""
        made = self.path.with_name(f".{self.path.name}.{self.desk.name}")
        try:
            (made / self.desk.name).mkdir(parents=True)
            (made / self.desk.name / SHEET).write_text(json.dumps(asdict(Owner.me())))
            made.rename(self.path)
        except OSError as error:
            shutil.rmtree(made, ignore_errors=True)
            if error.errno in TAKEN and self.path.parent.is_dir() and not self.held():
                return False
            if not self.held():  # a network may lose the answer to a rename that was done
                raise
        self._thread.start()
        for left in self.path.parent.glob(f".{self.path.name}.*"):
            with contextlib.suppress(PermissionError):  # another user's, and in nobody's way
                _remove(left)
        return True

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            if self._pulse is None or self._pulse.beats():
                try:
                    os.utime(self.desk / SHEET)
                except (FileNotFoundError, NotADirectoryError):
                    self.lost = True
                    return
                except OSError:
                    continue  # a beat missed


def _look(path: Path) -> _Found | None:
    """Return what stands at a path; None where nothing does, or an emptied claim that the next owner replaces."""
    for _ in range(3):  # what vanishes under the eyes is looked for again
        try:
            desks = sorted(entry.name for entry in os.scandir(path) if not entry.name.startswith("."))
            if not desks:
                return None
            desk = path / desks[0]
            sheet = desk / SHEET
            return _read(desk, sheet if sheet.exists() else desk)
        except NotADirectoryError:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                return _Found(path, None, path.stat().st_mtime)
        except OSError as error:
            if error.errno not in GONE:
                raise
    return None


def _read(desk: Path, sheet: Path) -> _Found:
    if sheet.is_dir():
        return _Found(desk, None, sheet.stat().st_mtime)
    with sheet.open("rb") as file:
        beat, content = os.fstat(file.fileno()).st_mtime, file.read()
    try:
        owner = Owner(**json.loads(content))
        return _Found(desk, owner if type(owner.pid) is int and owner.pid > 0 else None, beat)
    except (ValueError, TypeError):
        return _Found(desk, None, beat)


_LAST: dict[Path, tuple[_Found, float]] = {}  # claim -> as last seen, and when it last beat by this process's own clock


def _silent_s(path: Path, found: _Found) -> float:
    """Return for how long a claim's heartbeat has stood still: at first sight by the file server's clock, from then on by our own."""
    now = time.monotonic()
    seen, beat = _LAST.get(path, (None, now))
    if seen != found:
        beat = now if seen else now - _age_s(path, found)
        _LAST[path] = found, beat
    return now - beat


def _age_s(path: Path, found: _Found) -> float:
    """Return how long ago the last heartbeat was; infinite if it lies in the future, for then a clock was set and nothing is known."""
    probe = path.with_name(f".{path.name}.clock-{uuid.uuid4().hex}")
    try:
        with probe.open("wb") as file:
            now = os.fstat(file.fileno()).st_mtime
        probe.unlink(missing_ok=True)
    except OSError:  # a reader who may not write sees what this machine's clock says
        now = time.time()
    age = now - found.beat
    return age if age > -HEARTBEAT_S else float("inf")


def _stands_still(path: Path, found: _Found) -> bool:
    """Watch a heartbeat for `CONFIRM_S`, and say whether it stood still all the time."""
    until = time.monotonic() + CONFIRM_S
    while time.monotonic() < until:
        time.sleep(CONFIRM_S / 20)
        if _look(path) != found:
            return False
    return True


def _bury(path: Path, desk: Path) -> None:
    """Move a desk out of its claim and remove it, so that its owner's writes find no folder, whatever a network remembers of it."""
    if desk == path:
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # a folder by now is another's claim
            path.unlink()
        return
    grave = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # another was faster
        desk.rename(grave)
        _remove(grave)


def _remove(path: Path) -> None:
    """Remove a grave, or what else a claim has left; its former owner may be writing into it just now."""
    for _ in range(100):
        try:
            if path.is_file():
                path.unlink()
            else:
                shutil.rmtree(path)
            return
        except FileNotFoundError:
            if not path.exists():
                return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            time.sleep(0.01)


@cache
def _owner(pid: int) -> Owner:
    return Owner(socket.gethostname(), _system(), pid, _ticks(pid))


def _system() -> str:
    """Return the running system's boot and this process's namespace of process numbers; empty where the system has no such files."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _ticks(pid: int) -> str:
    """Return a living process's start in ticks since the boot; empty where it cannot be read, `ended` where it waits to be buried."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "ended" if state in "ZX" else rest[18]


def _cpu_s() -> float:
    """Return the seconds that this process and its living children have computed."""
    total = time.process_time()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = child.cpu_times()
            total += times.user + times.system
    return total
