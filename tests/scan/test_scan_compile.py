"""How the kernel is compiled, kept and loaded; the compiler is a script that hands out what the real one made."""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
from pathlib import Path

import pytest

from slws_lab.errors import UserError
from slws_lab.scan import compile, describe, resolve

pytestmark = pytest.mark.skipif(bool(compile.obstacle()), reason=f"no kernel here: {compile.obstacle()}")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a compiler that copies the kernel which the real one has made."""
    bare = tmp_path / "made"
    bare.write_bytes(Path(compile.library()._name).read_bytes()[: -compile.DIGEST_BYTES])
    script = tmp_path / "compiler"
    script.write_text(f'#!/bin/sh\necho call >> {tmp_path}/calls\nfor last; do :; done\nexec cp {bare} "$last"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    monkeypatch.setenv("SLWS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def load() -> int:
    return int(compile.library.__wrapped__("float").steps())


def calls(cache: Path) -> int:
    noted = cache.with_name("calls")
    return len(noted.read_text().splitlines()) if noted.exists() else 0


def test_is_compiled_once_and_then_found(cache: Path) -> None:
    assert load() == load() > 0
    assert calls(cache) == 1
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "foreign"])
def test_a_broken_file_is_made_again(cache: Path, damage: str) -> None:
    data = Path(compile.library()._name).read_bytes()
    foreign = b"for another system"
    broken = {
        "cut": data[:5000],
        "garbage": b"x" * 5000,
        "empty": b"",
        "foreign": foreign + hashlib.sha256(foreign).digest(),
    }
    cache.mkdir()
    kept = cache / f"kernel-{compile._key('float')}.so"
    kept.write_bytes(broken[damage])
    assert load() > 0
    assert calls(cache) == 1
    assert kept.read_bytes() == data


def test_processes_that_start_at_once_all_get_it_and_leave_nothing_else(cache: Path) -> None:
    with multiprocessing.get_context("fork").Pool(6) as pool:
        assert len(set(pool.map(_load_in_child, range(6), chunksize=1))) == 1
    assert len(list(cache.iterdir())) == 1


def _load_in_child(_: int) -> int:
    return load()


def test_another_source_or_processor_has_another_name(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {compile._key("float"), compile._key("double")}
    monkeypatch.setattr(compile, "_processor", lambda: "another")
    names.add(compile._key("float"))
    changed = cache.with_name("kernel.cpp")
    changed.write_text(compile.SOURCE.read_text() + "\n")
    monkeypatch.setattr(compile, "SOURCE", changed)
    names.add(compile._key("float"))
    assert len(names) == 4


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLWS_CACHE", "/chosen")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert compile.cache_folder() == Path("/chosen")
    monkeypatch.delenv("SLWS_CACHE")
    assert compile.cache_folder() == Path("/xdg/slws_lab")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert compile.cache_folder() == Path.home() / ".cache" / "slws_lab"


@pytest.fixture
def asked_again() -> object:
    """Makes the reason be found anew in the test, and again after it."""
    compile.library.cache_clear()
    compile.obstacle.cache_clear()
    yield
    compile.library.cache_clear()
    compile.obstacle.cache_clear()


def test_without_a_compiler_the_chunked_scan_is_taken_and_the_reason_told(
    cache: Path, asked_again: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "no C++ compiler found" in describe("cpu")["native"]
    assert resolve("auto", "cpu").name == "chunked"
    with pytest.raises(UserError, match="cannot run on cpu: no C"):
        resolve("native", "cpu")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo kernel.cpp:3: error: no such header >&2; echo more >&2; exit 1", "no such header"),
        ("exit 7", "exit status 7"),
        ("for last; do :; done; echo nonsense > $last", "cannot be kept or loaded"),
    ],
)
def test_a_compiler_that_fails_is_quoted(cache: Path, script: str, reason: str) -> None:
    cache.with_name("compiler").write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(compile.BuildError, match=reason):
        load()


def test_a_compiler_that_does_not_exist_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(compile.BuildError, match="no-such-compiler cannot be started"):
        load()


def test_a_folder_that_cannot_be_made_is_a_reason(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write_text("a file, no folder")
    with pytest.raises(compile.BuildError, match="cannot be kept or loaded"):
        load()
