"""Temporary folders of processes, which others of the same user remove when their process is gone."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import psutil

from slws_lab.tracking.claim import Owner


def own_folder(kind: str, within: str | None = None) -> Path:
    """Make a temporary folder for this process, and remove those that killed processes have left.

    Args:
        kind: The first part of its name.
        within: Folder for it; None for the system's.
    """
    me = Owner.me()
    # Short, since names of sockets may stand in it; a number of a process means something in its system alone.
    system = hashlib.sha256(f"{me.host} {me.system}".encode()).hexdigest()[:6]
    made = Path(tempfile.mkdtemp(prefix=f"{kind}-{system}-{me.pid}-", dir=within))
    for other in made.parent.glob(f"{kind}-{system}-*-*"):
        pid = other.name.removeprefix(f"{kind}-{system}-").split("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)) and other.stat().st_uid == os.getuid():
            shutil.rmtree(other, ignore_errors=True)
    return made
