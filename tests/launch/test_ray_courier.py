"""Runs that are carried to a node which does not see the workspace, and back; the node is in this process, and no cluster is started."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slws_lab.launch import LaunchError, Work
from slws_lab.launch.ray_node import Node, Said
from slws_lab.spec import Resources, RunSpec
from slws_lab.tracking import Attempt, Claim, RunFolder, is_held, read_json, starts, write_json

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs the package ray")

# Stands in for the worker: it goes on from a checkpoint if there is one, and notes what it found.
WORKER = """\
import os, sys
from pathlib import Path
from slws_lab.tracking import Attempt, Claim, RunFolder, journal, provenance, read_json, starts
job = read_json(Path(sys.argv[1]))
attempt, root = Attempt(Path(job["attempts"][0])), Path(job["root"])
run = RunFolder(attempt.path.parent).spec()
with Claim.take(attempt.claim) as claim:
    resumed = (attempt.checkpoint / "resume.pt").exists()
    starts.note_start(attempt, threads=1, made_by="stand-in", desk=claim.desk)
    journal.append(attempt.journal, 2 if resumed else 1, 5.0, {"loss": 1.0})
    attempt.checkpoint.mkdir(exist_ok=True)
    if resumed:
        (attempt.checkpoint / "resume.pt").unlink()
        (attempt.checkpoint / "last.safetensors").write_bytes(os.urandom(2500))
        seen = sorted(str(path.relative_to(root)) for path in root.rglob("*.py"))
        made = {"code": "c", "commit": None, "dirty": None, "untracked": [], "diff": False}
        attempt.finish({"status": "finished", "epochs": 2, "seen": seen, "provenance": made,
                        "devices": os.environ["CUDA_VISIBLE_DEVICES"], "threads": os.environ["OMP_NUM_THREADS"]})
    else:
        (attempt.checkpoint / "resume.pt").write_bytes(os.urandom(2500))
        starts.note_stop(attempt, claim.desk)
"""
RUN = {
    "kind": "train", "model": {"name": "shufflemamba_micro"}, "data": {"name": "digits"}, "seed": 0,
    "models": ["mine/model.py"], "train": {"epochs": 2, "batch_size": 4, "lr": 0.1},
}  # fmt: skip


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """A project with a run of a model of its own, in a git repository; pieces are small, and Ray is not asked."""
    from slws_lab.launch import ray_courier, ray_node

    root = tmp_path / "project"
    folder = RunFolder(root / ".slws" / "runs" / "run")
    run = RunSpec.model_validate(RUN)
    write_json(folder.path / "run.json", {"run_id": "run", "spec": run.model_dump(mode="json"), "canonical": "{}"})
    (root / "mine").mkdir()
    for name in ("model.py", "other.py"):
        (root / "mine" / name).write_text("# a model")
    monkeypatch.setattr(ray_node, "CHUNK", 1000)
    monkeypatch.setattr(ray_courier, "CHUNK", 1000)
    monkeypatch.setattr(ray_courier, "LOOK_S", 0.0)
    monkeypatch.setattr(ray_courier, "ask", directly)
    git = {"commit": "abc", "dirty": True, "untracked": ["x"], "diff": "a difference"}
    monkeypatch.setattr("slws_lab.tracking.provenance.git_state", lambda root: git)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    (tmp_path / "worker.py").write_text(WORKER)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -P {tmp_path / "worker.py"} "$4"\n')
    python.chmod(0o755)
    return Work(root, (folder.attempt(1).path,), Resources(gpus=1, threads=3), root / ".slws" / "jobs")


def directly(call: Any, *arguments: Any) -> Iterator[None]:
    yield
    return call(*arguments)


class Here:
    """An actor in this process, which counts the pieces that are read."""

    def __init__(self, work: Work) -> None:
        self.node = Node(work, "job", str(work.root.parent / "python"))
        self.pieces: list[str] = []
        self.spoil: Any = None

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self.pieces += [arguments[0]] if name == "read" else []
            answer = getattr(self.node, name)(*arguments)
            return self.spoil(answer) if self.spoil and name == "read" else answer

        return SimpleNamespace(remote=call)


def carry(here: Here, work: Work) -> Iterator[None]:
    from slws_lab.launch.ray_courier import Courier

    heard: list[Said] = []
    yield from Courier(here, work, heard.append, lambda: False).carry_all()
    assert not any(said.error for said in heard)
    here.node.end()


def to_the_end(steps: Iterator[None]) -> None:
    for _ in steps:
        pass


def test_a_run_goes_to_a_node_and_comes_back_twice_first_with_a_checkpoint_then_with_its_result(work: Work) -> None:
    attempt = Attempt(work.attempts[0])
    to_the_end(carry(here := Here(work), work))
    first, saved = (attempt.checkpoint / "resume.pt").read_bytes(), (attempt.checkpoint / "resume.pt").stat()
    assert (attempt.status, starts.starts(attempt), len(first)) == (None, 1, 2500)
    assert here.pieces == ["checkpoint/resume.pt"] * 3
    assert not is_held(attempt.claim)
    to_the_end(carry(Here(work), work))
    result = read_json(attempt.path / "result.json")
    assert (result["status"], result["devices"], result["threads"]) == ("finished", "5", "3")
    assert result["seen"] == ["mine/model.py"]  # what the run names, and nothing else of the project
    assert result["provenance"] == {"code": "c", "commit": "abc", "dirty": True, "untracked": ["x"], "diff": True}
    assert (attempt.path / "diff.patch").read_text() == "a difference"
    assert [path.name for path in attempt.checkpoint.iterdir()] == ["last.safetensors"]
    assert len(attempt.journal.read_text().splitlines()) == 2
    assert starts.lines(attempt)[2]["saved"] == saved.st_mtime_ns  # the node's clock and name of the same checkpoint
    assert sorted(path.name for path in attempt.path.iterdir()) == [
        "checkpoint", "diff.patch", "journal.jsonl", "result.json", "starts.jsonl",
    ]  # fmt: skip


def test_what_comes_back_as_something_else_is_no_result(work: Work) -> None:
    to_the_end(carry(Here(work), work))
    here = Here(work)
    here.spoil = lambda piece: b"?" + piece[1:]
    with pytest.raises(LaunchError, match=r"last\.safetensors of .* came back from Ray as something else"):
        to_the_end(carry(here, work))
    assert Attempt(work.attempts[0]).status is None
    here.node.end()


def test_a_checkpoint_that_only_has_another_name_by_now_is_not_brought_again_and_what_is_gone_goes(work: Work) -> None:
    from slws_lab.launch.ray_courier import Courier

    attempt, here = Attempt(work.attempts[0]), Here(work)
    here.node.prepare("run/attempt-1")
    there = here.node._copy
    assert there
    courier = Courier(here, work, lambda said: None, lambda: False)
    with Claim.take(attempt.claim) as claim:  # type: ignore[union-attr]
        for content in (b"one", b"two"):
            (there / "checkpoint").mkdir(exist_ok=True)
            if (there / "checkpoint/resume.pt").exists():
                (there / "checkpoint/resume.pt").rename(there / "checkpoint/resume.previous.pt")
            (there / "checkpoint/resume.pt").write_bytes(content)
            os.utime(there / "checkpoint/resume.pt", ns=(10**18 + content[0], 10**18 + content[0]))
            said = here.node._with_files(Said(True, "", "", 0), {})
            to_the_end(courier._bring(said, attempt, claim.desk))
        found = {path.name: path.read_bytes() for path in attempt.checkpoint.iterdir()}
        assert found == {"resume.pt": b"two", "resume.previous.pt": b"one"}
        assert here.pieces == ["checkpoint/resume.pt"] * 2
        to_the_end(courier._bring(replace(said, stamps={}, texts={}), attempt, claim.desk))
        assert list(attempt.checkpoint.iterdir()) == []
    here.node.end()


def test_a_command_that_lost_the_claim_meanwhile_writes_nothing_any_more(work: Work) -> None:
    attempt = Attempt(work.attempts[0])
    steps = carry(Here(work), work)
    while not attempt.claim.exists():
        next(steps)
    (desk,) = attempt.claim.iterdir()
    desk.rename(attempt.path / ".moved-away")
    to_the_end(steps)
    assert [path.name for path in attempt.path.iterdir()] == [".moved-away"]


def test_a_node_that_loses_its_copy_gives_no_piece_of_another_file(work: Work) -> None:
    node = Node(work, "job", None)
    node.prepare("run/attempt-1")
    assert node._copy
    (node._copy / "log.txt").write_text("abc")
    stamp = node._with_files(Said(True, "", "", 0), {}).stamps["log.txt"]
    assert node.read("log.txt", stamp, 1) == b"bc"
    (node._copy / "log.txt").write_text("another")
    assert node.read("log.txt", stamp, 0) is None
    assert node.read("journal.jsonl", stamp, 0) is None
    scratch = node._scratch
    node.end()
    assert not scratch.exists()
