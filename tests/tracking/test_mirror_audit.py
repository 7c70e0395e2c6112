"""The audit of the mirror, and its making anew: what MLflow holds against the folders, before and after."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from slws_lab.tracking import Claim
from slws_lab.tracking.mirror import Mirror, MirrorAway, MirrorDamaged, Shipped
from slws_lab.tracking.mirror_audit import MirrorAudit, audit_mirror


def audited(mirrored: Any, report: Path | None = None) -> MirrorAudit:
    return audit_mirror(mirrored.workspace, mirrored.uri, *mirrored.study(), report)


def behind(mirrored: Any) -> list[str]:
    found = audited(mirrored)
    assert found.wrong == []
    return [fault.what for fault in found.behind]


def change(mirrored: Any, statement: str) -> None:
    with sqlite3.connect(mirrored.workspace.path / "mlflow.db") as database:
        assert database.execute(statement).rowcount == 1
    database.close()


def test_what_was_shipped_is_equal_and_nothing_is_written_to_find_it_out(mirrored: Any) -> None:
    mirrored.run_all()
    mirrored.ship()
    database = mirrored.workspace.path / "mlflow.db"
    before = database.read_bytes(), sorted(mirrored.root.rglob("*"))
    assert audited(mirrored) == MirrorAudit(points=4 * (9 + 3))
    assert (database.read_bytes(), sorted(mirrored.root.rglob("*"))) == before


def test_what_was_not_shipped_is_missed_and_the_next_pass_sends_it(mirrored: Any) -> None:
    assert behind(mirrored) == ["study rates was never sent"]
    (mirrored.workspace.path / "mlflow.db").rename(mirrored.root / "kept.db")
    assert behind(mirrored) == ["there is no MLflow store yet"]
    (mirrored.root / "kept.db").rename(mirrored.workspace.path / "mlflow.db")
    _, attempt = mirrored.start()
    attempt.starts.write_text('{"time": 1000000000.5, "pid": 1}\n')
    mirrored.write(attempt, range(1, 3))
    mirrored.ship()
    mirrored.write(attempt, range(3, 4))
    assert behind(mirrored) == [], "it has not ended: the rest is on its way"
    mirrored.finish(attempt)
    second = mirrored.start(1)[1]
    mirrored.write(second, range(1, 4))
    told = behind(mirrored)
    parts = ("tag slws.status is pending", "it is not there", "study rates: tag")
    assert [part for part, text in zip(parts, told, strict=True) if part not in text] == []
    mirrored.ship()
    assert behind(mirrored) == []


WRONG = {
    "UPDATE metrics SET value = value + 1e-9 WHERE key = 'val/loss' AND step = 2": "val/loss is",
    "UPDATE metrics SET timestamp = timestamp + 1 WHERE key = 'val/loss' AND step = 2": "val/loss is",
    "UPDATE metrics SET step = step + 5 WHERE key = 'val/loss' AND step = 2": "at step 7",
    "UPDATE metrics SET key = 'val/loss2' WHERE key = 'val/loss' AND step = 2": "val/loss2 is",
    "UPDATE latest_metrics SET value = value + 1e-9 WHERE key = 'val/loss'": "is shown as",
    "DELETE FROM metrics WHERE key = 'val/loss' AND step = 2": "val/loss lacks step 2",
    "UPDATE params SET value = '0.1' WHERE key = 'train.lr'": "param train.lr is 0.1",
    "UPDATE metrics SET is_nan = 1 WHERE key = 'val/loss' AND step = 2": "val/loss is None at step 2",
    "UPDATE latest_metrics SET step = 2 WHERE key = 'val/loss'": "is shown as (2,",
    "UPDATE datasets SET digest = digest || '1'": "its data are",
    "UPDATE runs SET artifact_uri = artifact_uri || '1' WHERE name LIKE '%seed%'": "its artifacts lie in another place",
}
FORMER = {
    "UPDATE metrics SET value = value + 1e-9 WHERE key = 'val/loss' AND step = 2 AND {}": "val/loss is",
    "UPDATE params SET value = '0.1' WHERE key = 'train.lr' AND {}": "param train.lr is 0.1",
    "UPDATE tags SET value = '7' WHERE key = 'slws.seed' AND {}": "tag slws.seed is 7, not 1",
    "UPDATE runs SET name = name || '1' WHERE {}": "it is named",
    "UPDATE runs SET start_time = start_time + 1 WHERE {}": "it began at another time",
}
BEHIND = {
    "UPDATE tags SET value = value || '1' WHERE key = 'slws.arm'": "tag slws.arm is",
    "UPDATE runs SET status = 'FAILED' WHERE name LIKE '%seed%'": "its status is FAILED",
    "UPDATE runs SET end_time = end_time + 1 WHERE name LIKE '%seed%'": "its end is",
    "UPDATE runs SET name = name || '1' WHERE name LIKE '%seed%'": "it is named",
    "UPDATE tags SET value = value || '1' WHERE key = 'mlflow.runName' AND value LIKE '%seed%'": "it is named",
    "UPDATE runs SET start_time = start_time + 1 WHERE name LIKE '%seed%'": "it began at another time",
}


def test_a_changed_value_is_found_as_what_a_pass_mends_or_as_what_only_a_rebuild_does(mirrored: Any) -> None:
    _, attempt = mirrored.start()
    mirrored.write(attempt, range(1, 4))
    mirrored.finish(attempt)
    mirrored.ship()
    database = mirrored.workspace.path / "mlflow.db"
    whole = database.read_bytes()
    for statement, said in WRONG.items():
        change(mirrored, statement)
        (fault,) = audited(mirrored).wrong
        assert said in fault.what
        assert fault.file == database
        database.write_bytes(whole)
    for statement, said in BEHIND.items():
        change(mirrored, statement)
        (told,) = behind(mirrored)
        assert said in told
        mirrored.ship()
        assert behind(mirrored) == []


def test_an_older_report_is_behind(mirrored: Any) -> None:
    mirrored.run_all()
    mirrored.ship()
    report = mirrored.report({"table.md": "1.5"})
    with Mirror.open(mirrored.workspace, None) as mirror:
        mirror.attach_report(mirrored.study()[0], report)
    assert audited(mirrored, report) == MirrorAudit(points=4 * (9 + 3))
    (report / "table.md").write_text("1.6")
    assert [fault.what for fault in audited(mirrored, report).behind] == ["study rates: MLflow holds an older report"]
    (sent,) = (mirrored.workspace.path / "mlartifacts").rglob("table.md")
    sent.write_text("1.4")
    for held in (report, None):
        assert [fault.what for fault in audited(mirrored, held).wrong] == [
            "study rates: its artifacts in report/ are not what was sent"
        ]


def test_runs_whose_seeds_the_study_no_longer_has_are_compared_with_their_folders(mirrored: Any) -> None:
    mirrored.run_all(seeds=2)
    mirrored.ship()
    path = mirrored.root / "studies" / "rates.yaml"
    path.write_text(path.read_text().replace("seeds: 2", "seeds: 1"))
    former = [run for run in mirrored.workspace.folders() if "-s1-" in run.run_id]
    mirrored.ship()
    assert audited(mirrored) == MirrorAudit(points=8 * (9 + 3))
    key = f"run_uuid = (SELECT run_uuid FROM tags WHERE key = 'slws.run_id' AND value = '{former[0].run_id}')"
    database = mirrored.workspace.path / "mlflow.db"
    whole = database.read_bytes()
    for statement, said in FORMER.items():
        change(mirrored, statement.format(key))
        (fault,) = audited(mirrored).wrong
        assert f"{former[0].run_id}, which the study no longer has: {said}" in fault.what
        database.write_bytes(whole)
    shutil.rmtree(former[1].path)
    assert audited(mirrored) == MirrorAudit(points=7 * (9 + 3), alone=1)
    with Mirror.open(mirrored.workspace, None) as mirror:
        mirror.forget(*mirrored.study())
        mirror.ship(*mirrored.study())
    assert audited(mirrored) == MirrorAudit(points=4 * (9 + 3), alone=1)


def test_a_damaged_store_is_told_from_one_that_is_away(mirrored: Any) -> None:
    mirrored.run_all()
    mirrored.ship()
    database = mirrored.workspace.path / "mlflow.db"
    whole = database.read_bytes()
    for content in (b"no database at all " * 1000, whole[: len(whole) // 2]):
        database.write_bytes(content)
        for call in (mirrored.ship, lambda: audited(mirrored)):
            with pytest.raises(MirrorDamaged, match="`slws sync --rebuild`"):
                call()
    elsewhere = mirrored.root / "another.db"
    elsewhere.write_bytes(b"no database at all " * 1000)
    with pytest.raises(MirrorAway) as raised:
        Mirror.open(mirrored.workspace, f"sqlite:///{elsewhere}")
    assert "rebuild" not in str(raised.value), "it replaces the workspace's own file alone"


def held(mirrored: Any) -> dict[str, Any]:
    """All that MLflow holds of a study, its own ids and the parent's start aside."""
    names = {run.info.run_id: key for key, run in (mirrored.children() | {"parent": mirrored.parent()}).items()}
    found = {}
    for run in [mirrored.parent(), *mirrored.children().values()]:
        tags = {key: names.get(value, value) for key, value in run.data.tags.items()}
        artifacts = {
            path: (mirrored.client.download_artifacts(run.info.run_id, path), path)[1]
            for folder in ("report", "config/study", "config/recipe")
            for path in [file.path for file in mirrored.client.list_artifacts(run.info.run_id, folder)]
        }
        histories = {name: mirrored.history(run, name) for name in run.data.metrics}
        data = [(d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs]
        times = (run.info.start_time if "mlflow.parentRunId" in tags else None, run.info.end_time)
        found[names[run.info.run_id]] = (
            run.info.run_name,
            run.info.status,
            times,
            tags,
            run.data.params,
            histories,
            data,
            artifacts,
        )
    return found


def test_a_rebuilt_store_holds_what_the_old_one_held(mirrored: Any) -> None:
    """Runs that were killed and went on, diverged, failed, ran twice; a report; shipped in many passes."""
    design = mirrored.study()[1]
    for number in range(len(design.runs)):
        folder, attempt = mirrored.start(number)
        with Claim.take(attempt.claim):  # type: ignore[union-attr]
            mirrored.write(attempt, range(1, 2), number)
            mirrored.ship()
        mirrored.write(attempt, range(2, 4), number)
        mirrored.finish(attempt, ("finished", "diverged", "failed")[number % 3], "" if number % 3 == 0 else "a cause")
        if number == 3:
            again = folder.new_attempt()
            mirrored.write(again, range(1, 4), 9)
            mirrored.finish(again)
            folder.choose(again)
    report = mirrored.report({"table.md": "1.5"})
    with Mirror.open(mirrored.workspace, None) as mirror:
        mirror.ship(*mirrored.study())
        mirror.attach_report(mirrored.study()[0], report)
    before = held(mirrored)
    (mirrored.workspace.path / "mlflow.db-journal").write_bytes(random.Random(0).randbytes(4096))  # of a killed process
    with Mirror.open(mirrored.workspace, None, fresh=True) as mirror:
        mirror.forget(*mirrored.study())
        mirror.ship(*mirrored.study())
        mirror.attach_report(mirrored.study()[0], report)
    assert held(mirrored) == before
    assert audited(mirrored, report) == MirrorAudit(points=4 * (9 + 3))
    assert len(list((mirrored.workspace.path / "mlartifacts").rglob("table.md"))) == 1, "the old copies are gone"


def test_an_attempt_that_is_begun_again_leaves_no_point_of_the_first_beginning(mirrored: Any) -> None:
    _, attempt = mirrored.start()
    mirrored.write(attempt, range(1, 4), seed=1)
    mirrored.ship()
    attempt.journal.unlink()
    mirrored.write(attempt, range(1, 4), seed=2, time_of=lambda step: 2e9 + step)
    assert mirrored.ship() == Shipped(1, 9)
    (child,) = mirrored.children().values()
    wanted = [(step, mirrored.value("val/loss", step, 2), 2 * 10**12 + step * 1000) for step in (1, 2, 3)]
    assert mirrored.history(child, "val/loss") == wanted
    assert audited(mirrored).wrong == []


def test_a_run_has_its_own_start_although_it_was_mirrored_before_it_began(mirrored: Any) -> None:
    _, attempt = mirrored.start()
    mirrored.ship()
    assert mirrored.children() == {}, "nobody has worked on it yet"
    claim = Claim.take(attempt.claim)
    assert claim is not None
    with claim:
        mirrored.ship()
        attempt.starts.write_text('{"time": 1000000000.5, "pid": 1}\n')
        mirrored.write(attempt, range(1, 2))
        mirrored.ship()
    attempt.starts.write_text(attempt.starts.read_text() + '{"time": 1000000007.5, "pid": 2}\n')
    mirrored.write(attempt, range(2, 4))
    mirrored.finish(attempt)
    mirrored.ship()
    (child,) = mirrored.children().values()
    assert child.info.start_time == 1_000_000_000_500
    assert audited(mirrored) == MirrorAudit(points=12)
