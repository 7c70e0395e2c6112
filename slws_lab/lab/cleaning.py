"""Cleaning a workspace: removes what no table needs, and says first what that is."""

from __future__ import annotations

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from slws_lab.tracking import Workspace, is_held


@dataclass(frozen=True)
class Waste:
    """Something that may go: a path, why, and its size in bytes."""

    path: Path
    why: str
    size: int


def waste(workspace: Workspace, *, weights: bool, superseded: bool) -> list[Waste]:
    """List what may be removed; nothing that a live process holds.

    Args:
        workspace: The workspace.
        weights: Also the final weights of ended runs, and what commands have left in their folders.
        superseded: Also attempts that no table uses; of a run with several, only the one that counts stays.
    """
    found = [_waste(path, "log or list of a job") for path in workspace.jobs.glob("*") if not _job_lives(path)]
    found += [_waste(path, "answer kept from an earlier check") for path in workspace.cache.glob("check-*.json")]
    found += [_waste(path, "figures of an architecture") for path in workspace.cache.glob("figures/*.json")]
    for folder in workspace.folders():
        chosen = folder.chosen()
        for attempt in folder.attempts():
            if is_held(attempt.claim):
                continue
            if superseded and attempt != chosen and attempt.status is not None:
                found.append(_waste(attempt.path, "attempt that no table uses"))
            elif attempt.status is not None:
                names = ("*",) if weights else ("resume*.pt", "*.tmp")
                found += [
                    _waste(p, "checkpoint of an ended run") for name in names for p in attempt.checkpoint.glob(name)
                ]
                found += (
                    [_waste(attempt.files, "files of an ended command")] if weights and attempt.files.exists() else []
                )
    return found


def remove(found: list[Waste]) -> None:
    """Remove what `waste` listed."""
    for item in found:
        if item.path.is_dir():
            shutil.rmtree(item.path)
        else:
            item.path.unlink(missing_ok=True)


def _waste(path: Path, why: str) -> Waste:
    files = path.rglob("*") if path.is_dir() else [path]
    return Waste(path, why, sum(file.stat().st_size for file in files if file.is_file()))


def _job_lives(path: Path) -> bool:
    """Say whether a job may still work. Local ones are named after the process that started them and its host.

    Of a scheduler's jobs the folder stays: only the next start of the launcher can ask whether they wait or work.
    """
    parts = path.stem.split("-", 3)
    if parts[0] != "local":
        return path.is_dir()
    elsewhere = len(parts) == 4 and parts[3] != socket.gethostname()
    return elsewhere or (len(parts) > 1 and parts[1].isdigit() and Path(f"/proc/{parts[1]}").exists())
