"""The doctor: what this machine and installation can do, in plain words."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from slws_lab.errors import UserError
from slws_lab.lab import science
from slws_lab.launch import inventory
from slws_lab.tracking import Workspace, provenance
from slws_lab.tracking.mirror import Mirror, MirrorAway, MirrorBusy, default_uri

LOW_DISK_GB = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing examined: whether it is as it should be, and what there is to say of it."""

    topic: str
    good: bool
    text: str


def examine(root: Path, workspace: Workspace) -> list[Finding]:
    """Examine devices, scan back-ends, packages, the MLflow store and the disk. Nothing is left behind."""
    return [_python(), *_devices(), *_back_ends(), *_packages(), _store(workspace), _disk(root), _git(root)]


def _python() -> Finding:
    return Finding("python", True, f"Python {sys.version.split()[0]} at {sys.executable}")


def _devices() -> list[Finding]:
    cores = inventory.cores()
    try:
        gpus = inventory.gpus()
    except UserError as error:
        return [Finding("gpu", False, error.given)]
    shared = "; MPS is on" if inventory.shares_by_mps() else ""
    found = [
        Finding("gpu", True, f"{gpu.name}, {gpu.memory_gb:.0f} GB: shared by runs as measured memory allows{shared}")
        for gpu in gpus
    ]
    none = Finding("gpu", True, f"no NVIDIA GPU; runs go to the CPU, {cores} at a time with one thread each")
    return found or [none]


def _back_ends() -> list[Finding]:
    try:
        answers = science.ask("scan")
    except science.ScienceError as error:
        return [Finding("scan", False, str(error))]
    return [Finding("scan", True, f"{name}: {text}") for name, text in answers.items()]


def _packages() -> list[Finding]:
    installed = provenance.packages()
    optional = [name for name in ("mamba-ssm", "causal-conv1d") if name not in installed]
    found = [Finding("packages", True, ", ".join(f"{name} {version}" for name, version in installed.items()))]
    if optional:
        found.append(Finding("packages", True, f"not installed, and not needed: {', '.join(optional)} (extra `cuda`)"))
    return found


def _store(workspace: Workspace) -> Finding:
    uri = default_uri(workspace)
    if uri.startswith("sqlite:") and not workspace.path.exists():
        return Finding("mlflow", True, "no workspace yet; its SQLite store is made by the first `slws run`")
    try:
        with Mirror.open(workspace, uri):
            return Finding("mlflow", True, f"the store answers: {uri}")
    except MirrorBusy:
        return Finding("mlflow", True, f"in use by a running `slws`: {uri}")
    except MirrorAway as error:
        return Finding("mlflow", False, f"the store does not answer: {error}; runs go on, `slws sync` sends them later")


def _disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free / 2**30
    return Finding("disk", free >= LOW_DISK_GB, f"{free:.0f} GB free at {root}")


def _git(root: Path) -> Finding:
    state = provenance.git_state(root)
    if state["commit"] is None:
        return Finding(
            "git",
            True,
            f"{root} is no git repository: runs name the code that made them by its digest, not by a commit",
        )
    return Finding(
        "git", True, f"commit {state['commit'][:12]}" + (", with uncommitted changes" if state["dirty"] else "")
    )
