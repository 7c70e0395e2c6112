"""Zips from strangers: whatever is wrong with one, it is refused in one message and nothing is left behind."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from slws_lab.errors import UserError
from slws_lab.lab import archive
from slws_lab.lab.unbundling import unbundle

Change = Callable[[dict[str, bytes]], None]


@pytest.fixture
def harmless(tmp_path: Path) -> Path:
    """A sound zip as `archive.write` makes it, though of no study."""
    path = tmp_path / "sound.zip"
    members: dict[str, bytes | Path] = {"studies/a.yaml": b"name: a\n" * 200, "reports/a/manifest.json": b"{}\n",
                                        ".slws/runs/a-s0-1/attempt-1/journal.jsonl": b"{}\n" * 99}  # fmt: skip
    archive.write(path, members, {"bundle": 1, "study": "a"})
    return path


def refused(path: Path, why: str) -> None:
    """Open a zip, which must be refused for a reason with nothing left behind."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(UserError, match=why):
        unbundle(path, path.parent / "there")
    assert sorted(path.parent.rglob("*")) == before


def forged(path: Path, entries: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    """Write a zip whose list is right, with further entries that somebody else chose."""
    files: dict[str, bytes] = {"studies/a.yaml": b"name: a\n"}
    names = [*files, *(entry if isinstance(entry, str) else entry.filename for entry, _ in entries)]
    contents = [*files.values(), *(content for _, content in entries)]
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in zip(names, contents, strict=True)}
    about = archive.seal(json.dumps({archive.SEAL: archive.UNSEALED, "bundle": 1, "files": digests}))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
        for entry, content in entries:
            zipped.writestr(entry, content)
        zipped.writestr(archive.LIST, about)
    return path


def test_what_is_sound_comes_out_as_it_went_in(harmless: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    about = archive.unpack(harmless, tmp_path / "there")
    assert about["study"] == "a"
    assert (tmp_path / "there/studies/a.yaml").read_bytes() == b"name: a\n" * 200
    assert stat.S_IMODE((tmp_path / "there/studies/a.yaml").stat().st_mode) & 0o111 == 0


@pytest.mark.parametrize(
    "name",
    [
        "../out.txt",
        "studies/../../out.txt",
        "/tmp/out.txt",
        "a//b",
        "./a",
        "C:\\out.txt",
        "C:out",
        "a\\..\\b",
        "..",
        "a/\x1b[2J",
        "a\u202eb",
    ],
)
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    refused(forged(tmp_path / "a.zip", [(name, b"x")]), "has a name that")


@pytest.mark.parametrize(
    "name",
    [".env", ".git/config", ".slws/cache/check-0.json", ".slws/searches/optuna.db", ".slws/runs/a/attempt-1/checkpoint/resume.pt",
     ".slws/runs/a/attempt-1/claim/x/owner.json", "studies/.hidden/a.py"],
)  # fmt: skip
def test_hidden_files_but_records_are_refused(name: str, tmp_path: Path) -> None:
    refused(forged(tmp_path / "a.zip", [(name, b"x")]), "hidden name")


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("studies/link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    refused(forged(tmp_path / "a.zip", [(link, b"/etc/passwd")]), "is a link")


def test_a_file_without_a_name_is_refused(tmp_path: Path) -> None:
    refused(forged(tmp_path / "a.zip", [(zipfile.ZipInfo(""), b"x")]), "has a name that")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_fall_together_are_refused(tmp_path: Path) -> None:
    refused(forged(tmp_path / "a.zip", [("studies/A.yaml", b"x")]), "take for one")
    refused(forged(tmp_path / "b.zip", [("studies/a.yaml", b"x")]), "two files of one name")
    refused(forged(tmp_path / "c.zip", [("studies/a.yaml/b", b"x")]), "is a file and a folder")


def test_a_zip_that_unpacks_to_absurd_sizes_is_refused_unread(tmp_path: Path) -> None:
    refused(forged(tmp_path / "a.zip", [("reports/zeros", bytes(archive.ALWAYS))]), "times as large")


def test_a_size_that_is_told_too_small_is_found(tmp_path: Path) -> None:
    path = forged(tmp_path / "a.zip", [("reports/zeros", bytes(2**20))])
    content = path.read_bytes()
    assert content.count((2**20).to_bytes(4, "little")) == 2  # in the entry's own header and in the directory
    path.write_bytes(content.replace((2**20).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    refused(path, "damaged|not as it was")


def test_what_needs_more_than_is_free_is_refused(harmless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))  # type: ignore[attr-defined]
    refused(harmless, "GB are free")


def test_other_packing_is_refused(harmless: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as zipped:
        zipped.writestr("studies/a.yaml", b"x" * 100)
    refused(tmp_path / "a.zip", "packed by a method")


def rewritten(path: Path, change: Change) -> Path:
    with zipfile.ZipFile(path) as zipped:
        contents = {name: zipped.read(name) for name in zipped.namelist()}
    change(contents)
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in contents.items():
            zipped.writestr(name, content)
    return path


JOURNAL = ".slws/runs/a-s0-1/attempt-1/journal.jsonl"
TAMPERED: dict[str, tuple[Change, str]] = {
    "a changed digit": (lambda files: files.update({JOURNAL: files[JOURNAL].replace(b"{}", b"[]", 1)}), "not as it was when the bundle"),
    "a file that is gone": (lambda files: files.pop(JOURNAL) and None, "does not hold what its list names"),
    "a further file": (lambda files: files.update({"studies/b.py": b""}), "does not hold what its list names"),
    "a changed list": (lambda files: files.update({archive.LIST: files[archive.LIST].replace(b'"a"', b'"b"')}), "changed after it was"),
    "no list": (lambda files: files.pop(archive.LIST) and None, "so it is no bundle"),
    "a list that is none": (lambda files: files.update({archive.LIST: b"[]"}), "is no list"),
    "a list of deep nesting": (lambda files: files.update({archive.LIST: b"[" * 100_000}), "is no list"),
}  # fmt: skip


@pytest.mark.parametrize("case", TAMPERED)
def test_a_bundle_that_was_tampered_with_is_found(case: str, harmless: Path) -> None:
    change, why = TAMPERED[case]
    refused(rewritten(harmless, change), why)


def test_a_truncated_zip_is_refused_wherever_it_ends(harmless: Path) -> None:
    whole = harmless.read_bytes()
    for end in range(0, len(whole), 37):
        harmless.write_bytes(whole[:end])
        refused(harmless, "damaged|refused")


def test_any_damaged_byte_is_found_or_changes_nothing(harmless: Path, tmp_path: Path) -> None:
    """A zip holds fields that nobody reads, such as times: a change there may stay unseen, one in content or names may not."""
    whole, draw = harmless.read_bytes(), random.Random(0)
    (tmp_path / "sound").mkdir()
    archive.unpack(harmless, tmp_path / "sound")
    expected = {
        p.relative_to(tmp_path / "sound"): p.read_bytes() for p in (tmp_path / "sound").rglob("*") if p.is_file()
    }
    found = 0
    for number in range(300):
        place = draw.randrange(len(whole))
        harmless.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << draw.randrange(8))]) + whole[place + 1 :])
        folder = tmp_path / f"there-{number}"
        folder.mkdir()
        try:
            archive.unpack(harmless, folder)
        except UserError:
            found += 1
        else:
            assert {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == expected
    assert found > 200


def test_a_list_that_does_not_fit_the_study_is_refused(harmless: Path) -> None:
    refused(harmless, "does not say what it holds")


def test_a_bundle_of_another_format_is_refused(tmp_path: Path) -> None:
    archive.write(tmp_path / "a.zip", {"studies/a.yaml": b"x"}, {"bundle": 2})
    refused(tmp_path / "a.zip", "format 2")


@pytest.mark.parametrize("content", [b"name: a", b"name: !!python/object/apply:os.system [ls]\n", b"\xff\xfe", b""])
def test_a_study_that_cannot_be_read_leaves_nothing_behind(content: bytes, tmp_path: Path) -> None:
    about = {"bundle": 1, "study": "a", "study_file": "studies/a.yaml", "report": "reports/a", "weights": "", "code": "", "packages": {},
             "processor": ""}  # fmt: skip
    archive.write(tmp_path / "a.zip", {"studies/a.yaml": content, "reports/a/manifest.json": b"{}"}, about)
    refused(tmp_path / "a.zip", "cannot be reported here")


def test_what_is_no_zip_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("no zip")
    refused(tmp_path / "a.zip", "damaged, or is no bundle")
    refused(tmp_path / "none.zip", "cannot be read")
    (tmp_path / "folder.zip").mkdir()
    refused(tmp_path / "folder.zip", "cannot be read")


def test_a_name_that_could_not_be_opened_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no bundle can hold"):
        archive.write(tmp_path / "a.zip", {"studies/.private/a.yaml": b""}, {})
    assert not list(tmp_path.iterdir())
