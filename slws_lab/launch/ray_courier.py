"""Runs on a node that does not see the workspace: this process holds their claims, and writes what comes back as any owner would."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from slws_lab.launch.feed import Line
from slws_lab.launch.launcher import LaunchError, Work
from slws_lab.launch.ray_call import Steps, ask
from slws_lab.launch.ray_node import CHUNK, FOLDERS, LOG, RESULT, TEXTS, Part, Said, Stamp
from slws_lab.spec import RunSpec
from slws_lab.tracking import Attempt, Claim, RunFolder, provenance, write_text
from slws_lab.tracking.audit_digests import OWN, sha256, stands_on
from slws_lab.tracking.files import NotWritten, sync_folder, temporary_for, writing

LOOK_S = 1.0
DIFF = "diff.patch"


class Courier:
    """Carries attempts to a node, one after another, and back.

    Args:
        node: The actor.
        work: What there is to do.
        heard: Told how the worker stands.
        stopped: Says whether to begin no other attempt.
    """

    def __init__(self, node: Any, work: Work, heard: Callable[[Said], None], stopped: Callable[[], bool]) -> None:
        self._node, self._work, self._heard, self._stopped = node, work, heard, stopped
        self._git = provenance.git_state(work.root)  # the copy on the node is no repository

    def carry_all(self) -> Steps[None]:
        """Take one attempt after another that is free, until none is and none will come."""
        line = Line(self._work.attempts, self._work.feed)
        while not self._stopped():
            if (attempt := line.take()) is not None:
                if (yield from self._try(attempt, line.wants)) and not line.wants():
                    line.put_aside()
            elif line.open:
                yield
            else:
                return

    def _try(self, attempt: Attempt, wanted: Callable[[], bool]) -> Steps[bool]:
        """Take an attempt to the node if it is free; return whether it came back without a result, since it was to stop."""
        with writing(attempt.claim):
            claim = Claim.take(attempt.claim)
        if claim is None:
            return False
        with claim:
            if attempt.status is not None or not wanted():
                return False
            attempt.sweep()
            try:
                yield from self._carry(attempt, claim)
            except NotWritten:
                yield from ask(self._node.end.remote)
                if claim.held():
                    raise
            return claim.held() and attempt.status is None

    def _carry(self, attempt: Attempt, claim: Claim) -> Steps[None]:
        yield from ask(self._node.prepare.remote, f"{attempt.run_id}/{attempt.path.name}")
        for parts in _loads(self._luggage(attempt)):
            yield from ask(self._node.put.remote, parts)
        yield from ask(self._node.begin_copy.remote)
        if self._stopped():  # asked while the worker was not there yet
            yield from ask(self._node.cancel.remote)
        working, result = True, None
        while working:
            if claim.asked_to_stop():  # each time, since the worker may not have begun yet
                yield from ask(self._node.stop_run.remote)
            said: Said = yield from ask(self._node.look.remote, _stamps(attempt))
            result = yield from self._bring(said, attempt, claim.desk)
            self._heard(said)
            working, next_look = said.working, time.monotonic() + LOOK_S
            while working and time.monotonic() < next_look:
                yield
        if result is not None:
            self._finish(attempt, result, claim.desk)

    def _luggage(self, attempt: Attempt) -> dict[str, Path]:
        """Return the files that a run needs, by their paths from the project's folder; an absolute one must be on the node."""
        root, run = self._work.root, RunFolder(attempt.path.parent).spec()
        assert isinstance(run, RunSpec), "see `carries`"
        given = [*run.models, *([run.model.init_from.path] if run.model.init_from else [])]
        inside = [name for name in given if (root / name).resolve().is_relative_to(root.resolve())]
        own = {str(Path(name)): root / name for name in inside if (root / name).is_file()}
        home = f".slws/runs/{attempt.run_id}"
        kept = {f"{home}/{attempt.path.name}/{name}": attempt.path / name for name in _stamps(attempt)}
        return {f"{home}/run.json": attempt.path.parent / "run.json", **kept, **own}

    def _bring(self, said: Said, attempt: Attempt, desk: Path) -> Steps[bytes | None]:
        """Make the attempt's files what they are on the node; return its result, which is to be written last."""
        here = _stamps(attempt)
        for name in here.keys() - said.stamps.keys():
            with writing(attempt.path / name):
                (attempt.path / name).replace(temporary_for(attempt.path / name, desk))
        for name in [name for name in TEXTS if name in said.texts]:
            content, stamp = said.texts[name]
            made = temporary_for(attempt.path / name, desk)
            _keep(made, content)
            _place(made, attempt.path / name, stamp)
        wanted = {n: stamp for n, stamp in said.stamps.items() if n.startswith(FOLDERS) and here.get(n) != stamp}
        known = {stamp: attempt.path / name for name, stamp in here.items() if (attempt.path / name).exists()}
        fetched = [(name, stamp, temporary_for(attempt.path / name, desk)) for name, stamp in wanted.items()]
        for name, stamp, made in [*fetched]:  # what only has another name by now does not come again
            if stamp in known:
                with writing(made):
                    os.link(known[stamp], made)
            elif not (yield from self._fetch(name, stamp, made)):
                fetched.remove((name, stamp, made))
        for name, stamp, made in fetched:
            _place(made, attempt.path / name, stamp)
        return said.texts[RESULT][0] if RESULT in said.texts else None

    def _fetch(self, name: str, stamp: Stamp, made: Path) -> Steps[bool]:
        """Write a file of the copy, piece by piece; False if it was replaced meanwhile, and comes with the next look."""
        with writing(made), made.open("wb") as file:
            while file.tell() < stamp[1]:
                piece = yield from ask(self._node.read.remote, name, stamp, file.tell())
                if not piece:
                    return False
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        return True

    def _finish(self, attempt: Attempt, content: bytes, desk: Path) -> None:
        """Write the result, with the state of this project's repository.

        Raises:
            LaunchError: What it stands on is not what the node wrote.
        """
        result = json.loads(content)
        theirs, ours = result.pop("digests"), {name: sha256(path) for name, path in stands_on(attempt.path).items()}
        names = sorted((theirs.keys() | ours.keys()) - {OWN, DIFF, LOG})
        if wrong := [name for name in names if theirs.get(name) != ours.get(name)]:
            raise LaunchError(f"{', '.join(wrong)} of {attempt.path} came back from Ray as something else")
        if self._git["diff"]:
            write_text(attempt.path / DIFF, self._git["diff"], desk)
        whole = {**result["provenance"], **self._git, "diff": bool(self._git["diff"])}
        attempt.finish({**result, "provenance": whole}, desk)


def carries(first: Path) -> bool:
    """Say whether runs can be carried, by the first of them: those of a command (`kind: command`) need the workspace itself."""
    return isinstance(RunFolder(first.parent).spec(), RunSpec)  # a study's runs are of one kind


def _keep(made: Path, content: bytes) -> None:
    """Write a file at the desk, which is not made again where it is gone."""
    with writing(made), made.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _place(made: Path, path: Path, stamp: Stamp) -> None:
    """Put a file that was made at the desk in its place, written when its original was: a later resume compares these times."""
    with writing(path):
        os.utime(made, ns=(stamp[0], stamp[0]))
        path.parent.mkdir(parents=True, exist_ok=True)
        made.replace(path)
        sync_folder(path.parent)


def _stamps(attempt: Attempt) -> dict[str, Stamp]:
    """Return the stamps of what goes with an attempt to a node and comes back."""
    places = [path for name in FOLDERS for path in (attempt.path / name).rglob("[!.]*")]
    places += [attempt.path / name for name in TEXTS]
    found = [(path, path.stat()) for path in places if path.is_file()]
    return {path.relative_to(attempt.path).as_posix(): (stat.st_mtime_ns, stat.st_size) for path, stat in found}


def _loads(files: dict[str, Path]) -> Iterator[list[Part]]:
    """Yield the pieces of files in loads of some size."""
    load: list[Part] = []
    for part in (part for name, path in files.items() for part in _pieces(name, path)):
        load.append(part)
        if sum(len(one.content) for one in load) >= CHUNK:
            yield load
            load = []
    if load:
        yield load


def _pieces(name: str, path: Path) -> Iterator[Part]:
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        for offset in range(0, max(stat.st_size, 1), CHUNK):
            yield Part(name, offset, file.read(CHUNK), stat.st_mtime_ns)
