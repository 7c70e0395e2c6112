"""Provenance: which code, packages and machine a run came from. Never the environment's variables, which hold secrets."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

# The packages whose code makes the numbers; the rest of the project places, records and shows them.
NUMERIC = ("slws_lab.scan", "slws_lab.models", "slws_lab.shuffle", "slws_lab.data", "slws_lab.training")
PACKAGES = (
    "slws-lab",
    "torch",
    "timm",
    "numpy",
    "scikit-learn",
    "pillow",
    "torchvision",
    "mamba-ssm",
    "causal-conv1d",
    "triton",
)
HOME = Path(__file__).parents[1]
NOT_CODE = (":(exclude)reports", ":(exclude).slws")
# Files that hold secrets by custom; what has changed in them is no part of a run's record, tracked by git or not.
SECRET_FILES = (".env", ".env.*", "*.env", ".netrc", ".pypirc", "*.pem", "*.key", "id_rsa*", "id_ed25519*", "credentials*")  # fmt: skip
NOT_SHOWN = tuple(f":(exclude,glob)**/{name}" for name in SECRET_FILES)
SECRET_NAME = re.compile("token|secret|passw|credential|api_?key|access_?key|private_?key", re.IGNORECASE)
# A password may hold `@` and `/` as they are: all up to the last `@` before a space or the next address, if a name or password is there.
IN_URL = re.compile(r"(?<=://)(?=[^/\s]*[:@])(?:(?!://)\S)+@")
SHORTEST_SECRET = 8  # a shorter value may be an ordinary word


@cache
def gather(root: Path) -> dict[str, Any]:
    """Return the provenance of all runs that this process executes, as it is at the first call: call it before the first run.

    What is on disk later is not what this process has imported.

    Args:
        root: The project's folder, whose git state is recorded.
    """
    modules = module_digests()
    return {
        **git_state(root),
        "code": code_digest(modules),
        "modules": modules,
        "packages": packages(),
        "machine": machine(),
    }


def module_digests() -> dict[str, str]:
    """Return module name -> 12 hex of its file, for the numeric modules imported by now and what they compile.

    A source of a compiled kernel goes by its path, `slws_lab/scan/kernel.cpp`.
    """
    modules = [(name, module.__file__) for name, module in sorted(sys.modules.items()) if name.startswith(NUMERIC)]
    files = {name: Path(file) for name, file in modules if file is not None}
    compiled = {source for path in files.values() for source in path.parent.glob("*.cpp")}
    files |= {str(source.relative_to(HOME.parent)): source for source in sorted(compiled)}
    return {name: _digest(path) for name, path in files.items()}


def with_files(made: dict[str, Any], root: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return a provenance that counts a user's own model files among the code, by their paths relative to the project's folder."""
    if not names:
        return made
    modules = {**made["modules"], **{name: _digest(root / Path(name).expanduser()) for name in names}}
    return {**made, "modules": modules, "code": code_digest(modules)}


def numeric_files_digest() -> str:
    """Return one digest of all numeric code on disk, imported or not."""
    folders = [HOME.joinpath(*name.split(".")[1:]) for name in NUMERIC]
    files = sorted(path for folder in folders for end in ("*.py", "*.cpp") for path in folder.rglob(end))
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()[:12]


def made_by(provenance: dict[str, Any], device: str) -> str:
    """Return in one word what decides a run's bits beside the run itself: code, packages, and the kind of device."""
    versions = hashlib.sha256(repr(sorted(provenance["packages"].items())).encode()).hexdigest()[:12]
    return f"{provenance['code']}/{versions}/{device}"


def code_digest(modules: dict[str, str]) -> str:
    """Return one digest of all modules' digests."""
    return hashlib.sha256(repr(sorted(modules.items())).encode()).hexdigest()[:12]


def changed_modules(modules: dict[str, str], root: Path) -> list[str]:
    """Return which of the recorded modules and files have another content on disk now, or are gone; nothing is imported."""
    changed = []
    for name, digest in modules.items():
        stem = HOME.joinpath(*name.split(".")[1:])
        if name.startswith("slws_lab."):
            places = [stem.with_suffix(".py"), stem / "__init__.py"]
        else:
            places = [(HOME.parent if name.startswith("slws_lab/") else root) / Path(name).expanduser()]
        if next((_digest(path) for path in places if path.is_file()), None) != digest:
            changed.append(name)
    return changed


def _digest(path: Path) -> str:
    """Return 12 hex digits of a file; nothing for one that is not there: the run that names it will say so."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else ""


def packages() -> dict[str, str]:
    """Return the versions of the installed packages that can change a number, and Python's."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_state(root: Path) -> dict[str, Any]:
    """Return commit, whether the tree differs from it (reports/ and .slws/ aside), files that git does not know, and the difference.

    The difference leaves out the content of files that git does not know or is told to ignore, and of those that hold secrets.
    """
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None, "untracked": [], "diff": ""}
    status = _git(root, "status", "--porcelain", "--", ".", *NOT_CODE) or ""
    untracked = [line[3:] for line in status.splitlines() if line.startswith("??")]
    ignored = (_git(root, "ls-files", "-z", "--cached", "--ignored", "--exclude-standard") or "").split("\0")
    hidden = [f":(exclude,literal){name}" for name in ignored if name]
    plain = ("--binary", "--no-ext-diff", "--no-textconv")
    diff = _git(root, "diff", *plain, "HEAD", "--", ".", *NOT_CODE, *NOT_SHOWN, *hidden) or ""
    return {"commit": commit.strip(), "dirty": bool(status), "untracked": untracked, "diff": diff}


def redacted(text: str) -> str:
    """Return text without what it may have picked up of secrets: names and passwords in URLs, values of secret variables.

    Args:
        text: A message or a log line, of ours or of a library.
    """
    text = IN_URL.sub("", text)
    for name, value in os.environ.items():
        if len(value) >= SHORTEST_SECRET and SECRET_NAME.search(name):
            text = text.replace(value, f"<{name}>")
    return text


def machine() -> dict[str, Any]:
    """Return what the machine is."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] if cpuinfo.exists() else []
    )
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30, check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"}, errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or no repository: the record says so by its absence
    return done.stdout
