"""A whole study on a fake GPU: its runs share it by what was measured, one out of memory goes back alone, and the next command knows it all."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import STUDY, Folder
from launch import fake_gpu
from launch.fake_gpu import FakeInventory, Training

from slws_lab.lab import executing, running
from slws_lab.lab.needs import packed
from slws_lab.lab.project import Project
from slws_lab.launch import Local, need, shared_gpu
from slws_lab.spec import Resources


@pytest.fixture
def opened(project: Folder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The study `tiny` for a GPU; the mirror, the science tower and the worker have stand-ins."""

    class NoMirror:
        def __init__(self, project: Project) -> None: ...
        def start(self) -> None: ...
        def finish(self) -> str:
            return ""

    def check(project: Project, asked: object) -> dict[str, dict[str, object]]:
        return {arm.id: {"params": 1, "data_fingerprint": ""} for arm in project.design.arms}

    python = project.path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -P {fake_gpu.__file__} "$4"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(executing, "Shipping", NoMirror)
    monkeypatch.setattr("slws_lab.lab.science.check", check)
    monkeypatch.setattr(running, "make_launcher", lambda *_: Local(FakeInventory(project.path)))
    for name, value in {"LOOK_S": 0.05, "SHARE": 0, "MEASURE_S": 0.1}.items():
        monkeypatch.setattr(shared_gpu, name, value)
    project.study.write_text(STUDY.replace("gpus: 0", "gpus: 1").replace("[none, linear]", "[none]"))
    yield Project.open(str(project.study))


def test_runs_share_a_gpu_and_one_out_of_memory_goes_back_alone(opened: Project) -> None:
    root, gpus = opened.study.root, FakeInventory(opened.study.root).folder("GPU-0")
    folders = [opened.workspace.run(run).path for run in opened.design.run_ids.values()]
    for folder, gb in zip(folders, (2.0, 2.0, 9.5), strict=True):
        Training(gb=gb).write(folder / "attempt-1")
    (root / "hold").touch()

    def let_end() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and not (folders[2] / "attempt-1" / "result.json").exists():
            time.sleep(0.02)
        (root / "hold").unlink()

    waiting = threading.Thread(target=let_end)
    waiting.start()
    outcome = running.run(opened, running.Options(), lambda progress: None)
    waiting.join()
    assert (outcome.started, outcome.failed) == (3, ())
    assert [len(list(folder.glob("attempt-*"))) for folder in folders] == [1, 1, 2]
    assert fake_gpu.holders(gpus) == {}
    known = packed(opened, [arm.recipe for arm in opened.design.arms], FakeInventory(root).gpus())
    assert [one.peak_gb for one in known] == [2.0]


def test_a_worker_notes_the_peak_of_its_process_for_those_who_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slws_lab.worker.training import Training as Executor

    for name, answer in {"memory_reserved": 3, "max_memory_reserved": 4}.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, answer=answer: answer * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Fake")
    monkeypatch.setattr(need, "own_gb", lambda: 3.5)
    executor = object.__new__(Executor)
    executor._device, executor._hold = (
        torch.device("cuda"),
        SimpleNamespace(attempt=SimpleNamespace(path=tmp_path), desk=tmp_path),
    )
    executor._run, executor._place = (
        SimpleNamespace(train=SimpleNamespace(ranks=1)),
        SimpleNamespace(resources=Resources()),
    )
    executor._note_need()
    assert need.read(tmp_path) == need.Need("Fake", 4.5, need.relevant(Resources()))
