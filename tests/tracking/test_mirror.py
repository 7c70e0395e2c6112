"""The mirror against real SQLite stores: everything arrives once, whatever happens in between."""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from slws_lab.tracking import Claim, Workspace, journal, mirror_store, read_json
from slws_lab.tracking.mirror import Memory, Mirror, MirrorAway, MirrorBusy, Shipped, default_uri, own_uri, ui_command
from slws_lab.tracking.mirror_audit import audit_mirror
from slws_lab.tracking.mirror_state import Offsets
from slws_lab.tracking.mirror_store import own_database


def test_twelve_runs_arrive_whole_and_once(mirrored: Any) -> None:
    design = mirrored.run_all(seeds=3)
    assert mirrored.ship() == Shipped(12, 12 * 3 * 3)
    mirrored.check_equal()
    state = (mirrored.workspace.mirror / "rates.json").read_bytes()
    assert mirrored.ship() == Shipped(0, 0)
    assert (mirrored.workspace.mirror / "rates.json").read_bytes() == state
    mirrored.check_equal()

    parent = mirrored.parent()
    assert (parent.info.status, parent.data.tags["slws.status"]) == ("FINISHED", "12 finished")
    assert parent.data.params == {"study.metric": "val/top1", "study.seeds": "3", "study.arms": "4", "study.runs": "12"}
    variant = next(arm for arm in design.arms if not arm.is_baseline)
    child = mirrored.children()[design.run_ids[variant.id, 2]]
    assert child.info.run_name == f"{variant.label} · seed 2"
    assert (child.info.status, child.info.start_time, child.info.end_time) == ("FINISHED", 1e12, 1e12 + 60250)
    wanted = {
        "arm": variant.label, "arm_id": variant.id, "role": "variant", "reference": design.arms[0].label, "seed": "2",
        "attempt": "1", "status": "finished", "commit": "c" * 40, "dirty": "true", "study": "rates",
    }  # fmt: skip
    assert {key: child.data.tags[f"slws.{key}"] for key in wanted} == wanted
    assert child.data.metrics["whole_run/params"] == 1234
    assert child.inputs.dataset_inputs[0].dataset.name == "digits"


def test_a_journal_in_pieces(mirrored: Any) -> None:
    _, attempt = mirrored.start()
    mirrored.write(attempt, range(1, 3))
    assert mirrored.ship() == Shipped(1, 6)
    with attempt.journal.open("a") as file:
        file.write('{"step": 3, "time": 1')  # a process died while writing
    assert mirrored.ship() == Shipped(0, 0)
    mirrored.write(attempt, range(2, 4), seed=5, time_of=lambda step: 2e9 + step)  # it resumed from epoch 1
    assert mirrored.ship() == Shipped(1, 3)
    (child,) = mirrored.children().values()
    first = [(step, mirrored.value("val/top1", step, 0), 10**12 + step * 1000) for step in (1, 2)]
    last = (3, mirrored.value("val/top1", 3, 5), 2 * 10**12 + 3000)
    assert mirrored.history(child, "val/top1") == [*first, last], "the first value of a step counts"


def test_a_journal_that_was_cut_and_goes_on_is_sent_anew(mirrored: Any) -> None:
    _, attempt = mirrored.start()
    mirrored.write(attempt, range(1, 4))
    mirrored.ship()
    attempt.journal.write_bytes(b"".join(attempt.journal.read_bytes().splitlines(keepends=True)[:2]))
    mirrored.ship()
    mirrored.write(attempt, range(3, 5), time_of=lambda step: 2e9 + step)
    mirrored.ship()
    (child,) = mirrored.children().values()
    times = [10**12 + 1000, 10**12 + 2000, 2 * 10**12 + 3000, 2 * 10**12 + 4000]
    assert [(step, time) for step, _, time in mirrored.history(child, "val/top1")] == list(enumerate(times, 1))


def test_two_workspaces_on_one_server_leave_each_others_runs_alone(mirrored: Any, tmp_path: Path) -> None:
    mirrored.run_all()
    mirrored.ship()
    experiment = mirrored.client.get_experiment_by_name("rates").experiment_id
    before = {run.info.run_id for run in mirrored.client.search_runs([experiment])}
    other = type(mirrored)(tmp_path / "other")
    other.uri = mirrored.uri
    _, attempt = other.start()
    other.write(attempt, range(1, 3))
    for project in (other, mirrored, other):
        project.ship()
    found = mirrored.client.search_runs([experiment])
    assert before <= {run.info.run_id for run in found} and len(found) == len(before) + 2
    assert len({run.data.tags["slws.workspace"] for run in found}) == 2


@pytest.mark.parametrize("lost", [False, True])
def test_old_offsets_double_nothing(mirrored: Any, lost: bool) -> None:
    _, attempt = mirrored.start()
    mirrored.write(attempt, range(1, 2))
    mirrored.ship()
    state = mirrored.workspace.mirror / "rates.json"
    old = state.read_bytes()
    mirrored.write(attempt, range(2, 4))
    assert mirrored.ship().points == 6
    state.unlink()
    if not lost:
        state.write_bytes(old)
    mirrored.ship()
    (child,) = mirrored.children().values()
    assert [step for step, *_ in mirrored.history(child, "val/top1")] == [1, 2, 3]


@pytest.mark.parametrize("arrived", [0, 4, 9])
def test_killed_between_sending_and_noting(mirrored: Any, arrived: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that dies within or behind its sending leaves a mark: the next one sends just the rest."""
    _, attempt = mirrored.start()
    mirrored.write(attempt, range(1, 2))
    mirrored.ship()
    mirrored.write(attempt, range(2, 5))
    real = mirror_store.Store.update

    def dying(self: Any, run: Any, content: Any, points: Any) -> bool:
        real(self, run, content, points[:arrived])
        raise KeyboardInterrupt

    monkeypatch.setattr(mirror_store.Store, "update", dying)
    with pytest.raises(KeyboardInterrupt):
        mirrored.ship()
    monkeypatch.undo()
    assert read_json(mirrored.workspace.mirror / "rates.json")["open"] is True
    assert mirrored.ship().points == 9 - arrived
    (child,) = mirrored.children().values()
    for name in mirrored.names:
        wanted = [(step, mirrored.value(name, step, 0), 10**12 + step * 1000) for step in range(1, 5)]
        assert mirrored.history(child, name) == wanted
    assert read_json(mirrored.workspace.mirror / "rates.json")["open"] is False


def _remembering(mirrored: Any, memory: Memory) -> tuple[Shipped, list[str]]:
    """Make a pass with a memory; return what it sent, and which runs it looked at in the store or the workspace."""
    looked: list[str] = []
    study, design = mirrored.study()
    real = mirror_store.Store.update

    def update(self: Any, run: Any, content: Any, points: Any) -> bool:
        looked.append(content.tags.get("slws.run_id", "parent"))
        return real(self, run, content, points)

    with pytest.MonkeyPatch.context() as patch, Mirror.open(mirrored.workspace, mirrored.uri) as mirror:
        patch.setattr(mirror_store.Store, "update", update)
        return mirror.ship(study, design, memory), looked


def test_a_pass_with_a_memory_looks_at_what_has_not_ended_only(mirrored: Any) -> None:
    memory = Memory()
    (first, one), (second, two) = mirrored.start(0), mirrored.start(1)
    for attempt in (one, two):
        mirrored.write(attempt, range(1, 3))
    assert _remembering(mirrored, memory) == (Shipped(2, 12), [first.run_id, second.run_id, "parent"])
    mirrored.write(one, range(3, 4))
    mirrored.finish(one)
    sent, looked = _remembering(mirrored, memory)
    assert (sent.runs, looked) == (1, [first.run_id, second.run_id, "parent"])
    third, three = mirrored.start(2)
    for attempt, steps in ((two, range(3, 4)), (three, range(1, 4))):
        mirrored.write(attempt, steps)
        mirrored.finish(attempt)
    sent, looked = _remembering(mirrored, memory)
    assert (sent.runs, looked) == (2, [second.run_id, third.run_id, "parent"])
    assert _remembering(mirrored, memory) == (Shipped(0, 0), ["parent"])
    assert mirrored.parent().data.tags["slws.status"] == "3 finished, 1 pending"
    _, four = mirrored.start(3)
    mirrored.write(four, range(1, 4))
    mirrored.finish(four)
    assert _remembering(mirrored, memory)[0] == Shipped(1, 9)
    assert mirrored.ship() == Shipped(0, 0)
    mirrored.check_equal()


def test_a_memory_is_forgotten_when_another_process_has_shipped(mirrored: Any) -> None:
    memory = Memory()
    folder, attempt = mirrored.start()
    assert _remembering(mirrored, memory)[0] == Shipped(0, 0)
    mirrored.write(attempt, range(1, 4))
    assert mirrored.ship() == Shipped(1, 9), "the other process, which makes the child"
    assert _remembering(mirrored, memory)[0] == Shipped(0, 0)
    assert list(mirrored.children()) == [folder.run_id]


def test_a_pass_that_broke_off_is_not_remembered(mirrored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    folder, attempt = mirrored.start()
    _remembering(mirrored, memory)
    mirrored.write(attempt, range(1, 4))

    def break_off(*_: Any) -> None:
        raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(Offsets, "close", break_off)
        with pytest.raises(RuntimeError, match="planted"):
            _remembering(mirrored, memory)
    assert _remembering(mirrored, memory)[0] == Shipped(0, 0)
    assert list(mirrored.children()) == [folder.run_id]
    assert len(mirrored.history(mirrored.children()[folder.run_id], "val/top1")) == 3


def test_a_store_that_was_emptied_meanwhile_is_filled_again(mirrored: Any) -> None:
    memory = Memory()
    _, attempt = mirrored.start()
    mirrored.write(attempt, range(1, 3))
    _remembering(mirrored, memory)
    own_database(mirrored.workspace).unlink()
    with pytest.raises(MirrorAway):
        _remembering(mirrored, memory)
    assert _remembering(mirrored, memory)[0] == Shipped(1, 6)


def test_a_run_that_somebody_deletes_meanwhile_comes_back(mirrored: Any) -> None:
    memory = Memory()
    folder, attempt = mirrored.start()
    mirrored.write(attempt, range(1, 3))
    _remembering(mirrored, memory)
    mirrored.client.delete_run(mirrored.children()[folder.run_id].info.run_id)
    mirrored.write(attempt, range(3, 4))
    mirrored.finish(attempt)
    assert _remembering(mirrored, memory)[0] == Shipped(1, 9)


def test_states_of_a_run(mirrored: Any) -> None:
    """Running while claimed; killed when its heartbeat stopped; running again when it goes on; then as it ended."""
    folder, attempt = mirrored.start()

    def shown() -> tuple[str, str]:
        mirrored.ship()
        child = mirrored.children()[folder.run_id]
        return child.info.status, child.data.tags["slws.status"]

    for _ in range(2):
        claim = Claim.take(attempt.claim)
        assert claim is not None
        with claim:
            assert shown() == ("RUNNING", "running")
            assert mirrored.parent().info.status == "RUNNING"
        assert shown() == ("KILLED", "pending")
        assert mirrored.ship() == Shipped(0, 0)
    mirrored.finish(attempt, "failed", "RuntimeError: out of memory")
    assert shown() == ("FAILED", "failed")
    child = mirrored.children()[folder.run_id]
    assert child.data.tags["slws.cause"] == "RuntimeError: out of memory"
    assert child.info.end_time == 1e12 + 60250
    assert mirrored.parent().data.tags["slws.status"] == "1 failed, 3 pending"


def test_diverged_run_keeps_nonfinite_values_as_tags(mirrored: Any) -> None:
    folder, attempt = mirrored.start()
    for step, loss in enumerate((1.0, float("nan"), float("inf")), start=1):
        journal.append(attempt.journal, step, 1e9 + step, {"train/loss": loss, "val/top1": 10.0})
    mirrored.finish(attempt, "diverged", "loss is not finite")
    assert mirrored.ship() == Shipped(1, 4)
    assert mirrored.ship() == Shipped(0, 0)
    child = mirrored.children()[folder.run_id]
    assert (child.info.status, child.data.tags["slws.status"]) == ("FINISHED", "diverged")
    assert child.data.tags["slws.nonfinite.train/loss"] == "2: nan, 3: inf"
    assert [step for step, *_ in mirrored.history(child, "train/loss")] == [1]


def test_another_attempt_replaces_the_child(mirrored: Any) -> None:
    folder, first = mirrored.start()
    mirrored.write(first, range(1, 4))
    mirrored.finish(first)
    mirrored.ship()
    second = folder.new_attempt()
    mirrored.write(second, range(1, 4), seed=9)
    mirrored.finish(second)
    assert mirrored.ship() == Shipped(0, 0), "the first attempt that ended counts until another is chosen"
    folder.choose(second)
    assert mirrored.ship() == Shipped(1, 9)
    (child,) = mirrored.children().values()
    assert child.data.tags["slws.attempt"] == "2"
    assert child.data.metrics["val/top1"] == mirrored.value("val/top1", 3, 9)


def test_two_studies_share_runs(mirrored: Any) -> None:
    mirrored.run_all()
    mirrored.ship()
    assert mirrored.ship("other") == Shipped(4, 36)
    assert mirrored.ship() == Shipped(0, 0)
    mine, theirs = mirrored.children(), mirrored.children("other")
    assert mine.keys() == theirs.keys()
    assert {run.info.run_id for run in mine.values()}.isdisjoint(run.info.run_id for run in theirs.values())
    assert {run.data.tags["mlflow.parentRunId"] for run in theirs.values()} == {mirrored.parent("other").info.run_id}


def test_what_was_deleted_comes_back(mirrored: Any) -> None:
    """A deleted experiment keeps its name and its runs; a deleted run is made anew."""
    mirrored.run_all()
    mirrored.ship()
    mirrored.client.delete_experiment(mirrored.client.get_experiment_by_name("rates").experiment_id)
    mirrored.ship()
    mirrored.check_equal()
    mirrored.client.delete_run(next(iter(mirrored.children().values())).info.run_id)
    mirrored.client.delete_run(mirrored.parent().info.run_id)
    mirrored.ship()
    mirrored.check_equal()


def test_a_grown_study_shows_its_new_size(mirrored: Any) -> None:
    """Parameters cannot change in MLflow, so the new value stands as a tag."""
    mirrored.start()
    mirrored.ship()
    path = mirrored.root / "studies" / "rates.yaml"
    path.write_text(path.read_text().replace("seeds: 1", "seeds: 4"))
    mirrored.ship()
    parent = mirrored.parent()
    assert parent.data.params["study.seeds"] == "1"
    assert parent.data.tags["slws.now.study.seeds"] == "4"
    assert parent.info.status == "SCHEDULED"


def test_report_replaces_the_older_one(mirrored: Any) -> None:
    mirrored.start()
    folder = mirrored.report({"table.md": "old", "figures/a.svg": "<svg/>"})
    (folder / "notes.txt").write_text("not for everybody")
    mirrored.ship()

    def attach() -> list[str]:
        with Mirror.open(mirrored.workspace, None) as mirror:
            mirror.attach_report(mirrored.study()[0], folder)
        root = Path(urllib.request.url2pathname(mirrored.parent().info.artifact_uri.removeprefix("file://")))
        assert root.is_relative_to(mirrored.workspace.path)
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    config = ["config/recipe/recipe.yaml", "config/study/rates.yaml"]
    assert attach() == [*config, "report/figures/a.svg", "report/manifest.json", "report/table.md"]
    mirrored.report({"table.md": "old", "figures/b.svg": "<svg/>"})
    made = [*config, "report/figures/b.svg", "report/manifest.json", "report/table.md"]
    assert attach() == made
    (folder / "manifest.json").write_text("{")
    assert attach() == made, "without a manifest nobody knows what the report is, and the one that was sent stays"


def test_a_copied_workspace_leaves_the_artifacts_of_the_original_alone(mirrored: Any) -> None:
    mirrored.run_all()
    mirrored.ship()
    report = mirrored.report({"table.md": "1.5"})
    original = Workspace(mirrored.workspace.path.rename(mirrored.root / "moved"))
    with Mirror.open(original, own_uri(original)) as mirror:
        mirror.attach_report(mirrored.study()[0], report)
    assert not list(mirrored.root.rglob("artifacts"))
    found = audit_mirror(original, own_uri(original), *mirrored.study(), report)
    assert len(found.wrong) == 5, "each run, and the study"
    assert all("its artifacts lie in another place" in fault.what for fault in found.wrong)


def test_one_writer(mirrored: Any) -> None:
    with Mirror.open(mirrored.workspace, None), pytest.raises(MirrorBusy):
        Mirror.open(mirrored.workspace, None)
    with Mirror.open(mirrored.workspace, None):
        pass


def test_fresh_store_is_filled_from_the_folders(mirrored: Any) -> None:
    """Also in a process that used the old file: MLflow caches its connections."""
    mirrored.run_all()
    mirrored.ship()
    with Mirror.open(mirrored.workspace, None, fresh=True) as mirror:
        assert mirror.ship(*mirrored.study()) == Shipped(4, 36)
    mirrored.check_equal()
    assert sorted(path.name for path in mirrored.workspace.path.iterdir()) == ["mirror", "mlflow.db", "runs"]


def test_store_breaks_and_is_mended(mirrored: Any) -> None:
    mirrored.run_all()
    database = mirrored.workspace.path / "mlflow.db"
    with Mirror.open(mirrored.workspace, None) as mirror:
        good = database.read_bytes()
        database.write_bytes(b"no database at all " * 1000)
        with pytest.raises(MirrorAway, match="not a database") as raised:
            mirror.ship(*mirrored.study())
        assert "\n" not in str(raised.value)
        database.write_bytes(good)
        assert mirror.ship(*mirrored.study()) == Shipped(4, 36)
    mirrored.check_equal()


def test_server_away(mirrored: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(MirrorAway, match=re.escape(uri)) as raised:
        Mirror.open(mirrored.workspace, uri)
    assert time.monotonic() - started < 5
    assert "\n" not in str(raised.value)
    with Mirror.open(mirrored.workspace, None):
        pass  # the lock is free again


def test_uri_of_the_environment_wins(mirrored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_uri(mirrored.workspace) == f"sqlite:///{mirrored.workspace.path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://example.org")
    assert default_uri(mirrored.workspace) == "https://example.org"
    assert ui_command(mirrored.workspace, None, 5000) == []
