"""Compiles kernel.cpp on first use for this machine, keeps the result in a folder of the user's, and loads it by ctypes."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("kernel.cpp")
COMPILERS = ("c++", "g++", "clang++")
X86 = ("x86_64", "amd64", "i686")
PATIENCE = 300.0  # seconds for the compiler, which needs some two, on a machine that is busy
DIGEST_BYTES = hashlib.sha256().digest_size


class BuildError(RuntimeError):
    """The kernel cannot be compiled or loaded here; the message says why."""


@functools.cache
def library(real: str = "float") -> ctypes.CDLL:
    """Return the kernel with `real` ("float" or "double") as its number type, compiled first where it is not kept yet.

    Raises:
        BuildError: If there is no compiler, or it fails, or what it makes cannot be kept or loaded.
    """
    try:
        path = cache_folder() / f"kernel-{_key(real)}.so"
        if _is_whole(path):
            try:
                return ctypes.CDLL(str(path))
            except OSError:  # made for another system that shares this folder: made again below
                pass
        _build(path, real)
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"the compiled kernel cannot be kept or loaded: {error}") from error


@functools.cache
def obstacle() -> str:
    """Return why the kernel cannot be used in this process, or an empty string; compiles it if need be."""
    try:
        library()
    except BuildError as error:
        return str(error)
    return ""


def cache_folder() -> Path:
    """Return where compiled kernels are kept: $SLWS_CACHE, else slws_lab in $XDG_CACHE_HOME, else in ~/.cache."""
    if chosen := os.environ.get("SLWS_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slws_lab"


def flags(real: str) -> list[str]:
    """Return what the compiler is told, for this machine's own processor."""
    tune = "-march=native" if platform.machine().lower() in X86 else "-mcpu=native"
    return [tune, *portable_flags(real)]


def portable_flags(real: str) -> list[str]:
    """Return what every compiler is told, whatever the processor."""
    fast = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
    return ["-std=c++17", "-shared", "-fPIC", "-pthread", *fast, f"-DREAL={real}"]


def _key(real: str) -> str:
    made_of = (SOURCE.read_text(), *flags(real), platform.system(), platform.machine(), _processor())
    return hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:20]


def _processor() -> str:
    """Return what tells processors with other instructions apart."""
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    found = [
        re.search(rf"^{name}\s*:(.*)$", told, re.MULTILINE) for name in ("model name", "flags", "Features", "CPU part")
    ]
    return "\n".join(match[1].strip() for match in found if match)


def _build(path: Path, real: str) -> None:
    """Compile to a temporary name, then rename: whoever does the same at the same time gets one or the other, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.stem}-") as folder:
        made = Path(folder) / path.name
        _compile([*_compiler(), *flags(real), str(SOURCE), "-o", str(made)])
        data = made.read_bytes()
        made.write_bytes(data + hashlib.sha256(data).digest())  # a loader reads no further than its own headers say
        made.replace(path)


def _is_whole(path: Path) -> bool:
    """Say whether the file is as it was written; loading one that was cut short could end the process."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False
    return hashlib.sha256(data[:-DIGEST_BYTES]).digest() == data[-DIGEST_BYTES:]


def _compiler() -> list[str]:
    if chosen := os.environ.get("CXX"):
        return shlex.split(chosen)
    found = next(filter(shutil.which, COMPILERS), None)
    if found is None:
        raise BuildError(f"no C++ compiler found (none of {', '.join(COMPILERS)}, and $CXX is not set)")
    return [found]


def _compile(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{command[0]} did not end within {PATIENCE:.0f} s") from error
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be started: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise BuildError(f"{command[0]} failed: {next((line for line in lines if 'error' in line), lines[-1])}")
