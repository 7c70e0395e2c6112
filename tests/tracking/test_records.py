"""Records of many runs: what is kept of those that have ended is what their folders say, and is read anew when these change."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from slws_lab.spec import Metric, RunSpec
from slws_lab.tracking import Attempt, RunFolder, RunRecord, Workspace, journal, record, records
from slws_lab.tracking.audit_digests import UNSEALED, seal

LAST, BEST = Metric(name="val/top1", weights="raw"), Metric(name="val/loss", weights="raw", goal="minimize", at="best")
RECIPE = {
    "kind": "train",
    "model": {"name": "m"},
    "data": {"name": "d"},
    "train": {"epochs": 2, "batch_size": 8},
}
IDS = ["a", "b", "c", "d"]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with a finished, a diverged, a failed and a pending run, all of long ago."""
    place = Workspace(tmp_path)
    for number, (name, status) in enumerate(zip(IDS, ("finished", "diverged", "failed", ""), strict=True)):
        folder = RunFolder(place.runs / name)
        folder.create(RunSpec.model_validate({**RECIPE, "seed": number}))
        attempt = folder.new_attempt()
        if status:
            end(attempt, status, [math.nan if status == "diverged" else 60.0 + number, 70.5 + number])
    age(tmp_path)
    return place


def end(attempt: Attempt, status: str, values: list[float]) -> None:
    if status != "failed":
        for epoch, value in enumerate(values, 1):
            journal.append(attempt.journal, epoch, 100.0 + epoch, {"val/top1": value, "val/loss": value / 7})
    made = {"code": "c" * 12, "packages": {"torch": "2"}, "modules": {"slws_lab.scan": "0" * 12}}
    attempt.finish({"status": status, "cause": "" if status == "finished" else "why", "epochs": len(values),
                    "data_fingerprint": "f" * 16, "provenance": made, "params": 12})  # fmt: skip


def age(folder: Path) -> None:
    """Make all files old: what is young is not kept."""
    for path in [folder, *folder.rglob("*")]:
        moment = path.stat().st_mtime_ns - 10**11
        os.utime(path, ns=(moment, moment))


def told(found: RunRecord) -> str:
    """Return all that a record says; as text, in which NaN equals NaN."""
    curves = {name: dict(curve) for name, curve in found.curves.items()}
    digest = found.digest
    said = (found.run_id, found.status, found.attempt, found.attempts, found.next_attempt, found.differs, found.cause, found.done,
            curves, dict(found.result), dict(digest.ends), digest.provenance, digest.data_fingerprint,
            found.value(LAST), found.value(BEST))  # fmt: skip
    return repr(said)


def check(workspace: Workspace) -> list[str]:
    """Read all records with and without what is kept; they are the same."""
    plain = [told(record(workspace.run(run_id))) for run_id in IDS]
    assert [told(found) for found in records(workspace, IDS, "study")] == plain
    return plain


def opened(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return whose journals are read when records are asked for."""
    read: list[str] = []
    real = journal.read

    def reading(path: Path, start: int = 0) -> object:
        read.append(path.parent.parent.name)
        return real(path, start)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "read", reading)
        for found in records(workspace, IDS, "study"):
            found.value(LAST), found.digest.provenance
    return read


def test_kept_records_say_what_the_folders_say_and_what_has_ended_is_not_opened_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(opened(workspace, monkeypatch)) == set(IDS)
    assert opened(workspace, monkeypatch) == ["d"]
    check(workspace)


def test_what_was_kept_by_another_reader_or_is_damaged_is_read_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(workspace)
    (kept,) = workspace.cache.glob("records-*")
    whole = kept.read_text()
    for content in (
        whole.replace('"read_by":"', '"read_by":"x'),
        whole.replace("70.5", "70.6", 1),
        whole[:-9],
        "[]",
        "",
    ):
        kept.write_text(content)
        assert set(opened(workspace, monkeypatch)) == set(IDS)
        check(workspace)


def _again(folder: RunFolder) -> None:
    end(folder.new_attempt(), "finished", [1.0, 2.0])


def _choose_second(folder: RunFolder) -> None:
    _again(folder)
    folder.choose(folder.attempts()[1])


def _other_result(folder: RunFolder) -> None:
    end(folder.attempts()[0], "failed", [])


def _shorter_journal(folder: RunFolder) -> None:
    lines = folder.attempts()[0].journal.read_bytes().splitlines(keepends=True)
    folder.attempts()[0].journal.write_bytes(lines[0])


def _no_attempt(folder: RunFolder) -> None:
    shutil.rmtree(folder.attempts()[0].path)


@pytest.mark.parametrize("change", [_again, _choose_second, _other_result, _shorter_journal, _no_attempt])
def test_a_run_that_has_changed_is_read_again(workspace: Workspace, change: Callable[[RunFolder], None]) -> None:
    before = check(workspace)
    change(workspace.run("a"))
    assert check(workspace)[0] != before[0]
    age(workspace.path)
    check(workspace)
    check(workspace)


def test_what_ended_just_now_is_not_kept(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    end(workspace.run("d").attempts()[0], "finished", [1.0, 2.0])
    opened(workspace, monkeypatch)
    assert opened(workspace, monkeypatch) == ["d"]
    age(workspace.path)
    opened(workspace, monkeypatch)
    assert opened(workspace, monkeypatch) == []


def test_records_are_read_where_nothing_can_be_kept(workspace: Workspace) -> None:
    workspace.cache.write_text("a file where the folder should be")
    check(workspace)


def test_a_run_that_ends_while_it_is_read_has_not_failed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, ending = workspace.run("d"), list[Attempt]()
    real = journal.read

    def reading(path: Path, start: int = 0) -> object:
        found, attempt = list(real(path, start)), folder.attempts()[0]
        if path == attempt.journal and not ending:
            ending.append(attempt)
            end(attempt, "finished", [1.0, 2.0])
        return iter(found)

    monkeypatch.setattr(journal, "read", reading)
    first, second = record(folder), record(folder)
    assert (first.status, first.next_attempt, second.status) == ("pending", 1, "finished")


def test_an_audit_reads_what_is_there_and_nothing_that_was_kept(workspace: Workspace) -> None:
    check(workspace)
    (kept,) = workspace.cache.glob("records-*")
    own = json.loads(kept.read_text())["sha256"]
    kept.write_text(seal(kept.read_text().replace("60.0", "61.0").replace(own, UNSEALED)))
    believed = records(workspace, IDS, "study")[0].digest.ends["val/top1"].low
    read = records(workspace, IDS)[0].digest.ends["val/top1"].low
    assert (believed, read) == (61.0, 60.0)
