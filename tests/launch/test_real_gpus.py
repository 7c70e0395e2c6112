"""What only a real GPU shows: names, memory of processes, and a study whose runs share one. Not run yet: no GPU has been there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, make_project, run_slws

from slws_lab.launch import need
from slws_lab.launch.inventory import Machine
from slws_lab.tracking import Workspace, starts

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not Machine().gpus(), reason="needs a GPU")]

HOLDS = """
import json, torch
from slws_lab.launch.inventory import Machine, own_gb
(gpu,) = Machine().gpus()
before = Machine().usage(gpu).used_gb
held = torch.empty(2**30, dtype=torch.uint8, device="cuda")
properties = torch.cuda.get_device_properties(0)
print(json.dumps({"name": properties.name, "total": properties.total_memory / 2**30, "own": own_gb(),
                  "more": Machine().usage(gpu).used_gb - before, "count": torch.cuda.device_count()}))
"""
STUDY = """\
name: shared
question: Do runs share a GPU?
recipe: ../experiments/shufflemamba_micro_digits.yaml
set: {train.epochs: 40, train.warmup_epochs: 0}
factors: {train.lr: [1e-3, 2e-3]}
designs: [{grid: [train.lr]}]
seeds: 4
metric: {name: val/top1, weights: raw}
resources: {gpus: 1}
"""


def test_a_gpu_is_named_by_its_uuid_and_tells_its_memory_and_that_of_a_process() -> None:
    for gpu in Machine().gpus():
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu.visible}
        done = subprocess.run(
            [sys.executable, "-c", HOLDS], env=environment, check=True, capture_output=True, text=True
        )
        said = json.loads(done.stdout)
        assert (said["name"], said["count"]) == (gpu.name, 1)
        assert said["total"] == pytest.approx(gpu.memory_gb, rel=0.05)
        assert said["more"] >= 0.9
        assert said["own"] is None or 1.0 <= said["own"] < 4.0


def test_runs_of_a_study_share_one_gpu_after_the_first_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", Machine().gpus()[0].visible)
    recipe = (REPOSITORY / "experiments/shufflemamba_micro_digits.yaml").read_text()
    folder = make_project(tmp_path, STUDY, recipe)
    folder.recipe.rename(folder.recipe.with_name("shufflemamba_micro_digits.yaml"))
    run_slws(folder, "run", "tiny")
    attempts = [attempt for run in Workspace(folder.workspace).folders() for attempt in run.attempts()]
    assert [attempt.status for attempt in attempts] == ["finished"] * 8
    assert all(need.read(attempt.path) for attempt in attempts)
    assert len({line["pid"] for attempt in attempts for line in starts.lines(attempt) if "pid" in line}) > 1
    (kept,) = (folder.workspace / "cache").glob("needs-*.json")
    (shape,) = json.loads(kept.read_text()).values()
    assert 0 < shape["memory_gb"] < Machine().gpus()[0].memory_gb
    assert {"1", "2"} <= set(shape["rates"])
