"""Zips: written so that equal contents are equal bytes, and read from strangers whole and harmless, or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import re
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from slws_lab.errors import UserError
from slws_lab.tracking.audit_digests import UNSEALED, seal, sealed
from slws_lab.tracking.files import temporary_for, writing

LIST = "bundle.json"
SEAL = "bundle_sha256"
WHEN = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can tell, for every file
FILE, FOLDER = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1
MOST_TIMES = 100  # what may be unpacked of a byte: our own journals and tables come to a fifth of it
ALWAYS = 64 * 2**20  # bytes that may be unpacked whatever the zip's size
LONGEST, LONGEST_PART = 1000, 255
RUN_FILES = re.compile(
    r"\.slws/runs/[\w.-]+/((run|chosen)\.json|attempt-\d+/(|(journal|starts)\.jsonl|result\.json|diff\.patch|checkpoint/[\w.-]+\.safetensors))"
)
# What a zip does that is damaged or made to harm.
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


def write(path: Path, members: Mapping[str, bytes | Path], about: Mapping[str, Any]) -> None:
    """Write a zip whole: its members by name, and last a list of them with their digests.

    Args:
        path: The zip; what stands there is replaced.
        members: Name to content, or to the file that holds it; one that ends in `/` is an empty folder.
        about: What else the list says, without time and place.

    Raises:
        UserError: A name that `unpack` would refuse.
        NotWritten: The system refused.
    """
    temporary = temporary_for(path)
    try:
        with writing(path), zipfile.ZipFile(temporary, "x") as zipped:
            digests = {name: _add(zipped, name, members[name]) for name in sorted(members)}
            text = json.dumps({SEAL: UNSEALED, **about, "files": digests}, indent=1, ensure_ascii=False)
            _add(zipped, LIST, seal(text + "\n").encode())
        with writing(path):
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def unpack(path: Path, folder: Path) -> dict[str, Any]:
    """Unpack a zip into a folder, and return its list.

    Args:
        path: The zip.
        folder: An empty folder. Where the zip is refused, a part of it may stand there.

    Raises:
        UserError: It is damaged, not what its list says, or no zip that `write` makes: paths that lead out, links, absurd sizes.
    """
    with _refusing(path), zipfile.ZipFile(path) as zipped:
        infos = {info.filename: info for info in zipped.infolist()}
        if len(infos) < len(zipped.infolist()):
            raise _Harmful("it holds two files of one name")
        _refuse_harmful(infos, path.stat().st_size, shutil.disk_usage(folder).free)
        about = _list(zipped, infos)
        _extract(zipped, infos[LIST], folder / LIST)
        for name, digest in about["files"].items():
            if _extract(zipped, infos[name], folder / name) != digest:
                raise _Harmful(f"{name} is not as it was when the bundle was made")
    return about


class _Harmful(Exception):
    """Why a zip is refused."""


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    todo = "get the file again, or make it anew: slws bundle make STUDY"
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UserError(f"the bundle cannot be read: {error.strerror}", where=str(path)) from error
    except _Harmful as error:
        raise UserError(f"the bundle is refused: {error}", where=str(path), todo=todo) from error
    except BROKEN as error:
        raise UserError(
            "the bundle is damaged, or is no bundle: " + str(error).rstrip("."), where=str(path), todo=todo
        ) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # which a place before the beginning of the file gives
            raise
        raise UserError(
            "the bundle is damaged: it names places that it does not have", where=str(path), todo=todo
        ) from error


def _add(zipped: zipfile.ZipFile, name: str, content: bytes | Path) -> str:
    """Add a file, and return its digest."""
    info = zipfile.ZipInfo(name, WHEN)
    info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
    info.external_attr = (FOLDER if info.is_dir() else FILE) << 16
    if why := _harm(info):
        raise UserError(f"no bundle can hold {_shown(name)}: it {why}", todo="rename it, in the study too")
    if info.is_dir():
        zipped.writestr(info, b"")
        return hashlib.sha256(b"").hexdigest()
    source: IO[bytes] = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
    info.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
    with source, zipped.open(info, "w") as target:
        return _copy(source, target)


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while part := source.read(2**20):
        digest.update(part)
        target.write(part)
    return digest.hexdigest()


def _extract(zipped: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> str:
    """Unpack a file, and return its digest; not more is read of it than the size that it tells."""
    if info.is_dir():
        path.mkdir(parents=True)
        return hashlib.sha256(b"").hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipped.open(info) as source, path.open("xb") as target:
        return _copy(source, target)


def _refuse_harmful(infos: Mapping[str, zipfile.ZipInfo], size: int, free: int) -> None:
    for name, info in infos.items():
        if why := _harm(info):
            raise _Harmful(f"{_shown(name)} {why}")
    alike = {unicodedata.normalize("NFC", name).casefold() for name in infos}
    if len(alike) < len(infos):
        raise _Harmful("it holds names that some file systems take for one")
    folders = {parent.as_posix() for name in infos for parent in PurePosixPath(name).parents}
    if both := sorted(folders & {name.rstrip("/") for name in infos}):
        raise _Harmful(f"{_shown(both[0])} is a file and a folder")
    total = sum(info.file_size for info in infos.values())
    if total > max(ALWAYS, MOST_TIMES * size):
        raise _Harmful(f"unpacked it would be {total / size:,.0f} times as large")
    if total > free:
        raise _Harmful(f"it needs {total / 2**30:.1f} GB, and {free / 2**30:.1f} GB are free")


def _harm(info: zipfile.ZipInfo) -> str:
    """Say what is wrong with an entry; empty if nothing is."""
    kind, folder = stat.S_IFMT(info.external_attr >> 16), info.filename.endswith("/")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) != folder:
        return "is a link, or no plain file"
    if info.flag_bits & ENCRYPTED or info.compress_type not in METHODS:
        return "is encrypted, or packed by a method that bundles do not use"
    if info.filename != info.orig_filename or not info.filename.isprintable() or len(info.filename) > LONGEST:
        return "has a name that no file of a bundle has"
    *folders, last = info.filename.split("/")
    parts = [*folders, *([last] if last else [])]
    if not parts or any(p in ("", ".", "..") or set(p) & {"\\", ":"} or len(p.encode()) > LONGEST_PART for p in parts):
        return "has a name that leads out of the folder, or that no file of a bundle has"
    if any(part.startswith(".") for part in parts):
        return "" if RUN_FILES.fullmatch(info.filename) else "has a hidden name that no file of a bundle has"
    return "is an empty folder" if folder else ""


def _list(zipped: zipfile.ZipFile, infos: Mapping[str, zipfile.ZipInfo]) -> dict[str, Any]:
    if LIST not in infos:
        raise _Harmful(f"it has no {LIST}, so it is no bundle")
    content = zipped.read(LIST)
    try:
        about: dict[str, Any] = json.loads(content)
        own, files = str(about[SEAL]), dict[str, str](about["files"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _Harmful(f"{LIST} is no list of a bundle") from error
    if not sealed(content, own):
        raise _Harmful(f"{LIST} was changed after it was written")
    if other := sorted({*files} ^ (infos.keys() - {LIST})):
        raise _Harmful(f"it does not hold what its list names: {_shown(other[0])}")
    return about


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:77]}...")
