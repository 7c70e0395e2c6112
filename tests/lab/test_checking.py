"""A report that knows when it is wrong: each way in which it can be is found, and named."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from lab.planted_report import at, attempt_of, contents, end, kinds, made, opened, plant, rewrite, undrawn

from slws_lab.lab import checking, reporting
from slws_lab.lab.checking import check, stale
from slws_lab.lab.project import Project
from slws_lab.lab.reporting import report
from slws_lab.tracking.audit_digests import UNSEALED, seal


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    undrawn(monkeypatch)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return made(tmp_path / "project")


def test_a_fresh_report_is_up_to_date_and_looking_writes_nothing(project: Project) -> None:
    before = contents(project.study.root)
    found = check(project)
    assert (found.findings, found.source, found.runs, found.notes) == ((), "run folders", 6, ())
    assert "reports/tiny/tables/results.tex" in found.files
    assert contents(project.study.root) == before
    assert stale(project) == []


def test_without_a_report_there_is_nothing_to_rely_on(project: Project) -> None:
    shutil.rmtree(project.report_folder)
    assert at(check(project), "no report") == [("reports/tiny", "there is no report")]
    assert stale(project) == []


def test_runs_that_ended_since_are_named(tmp_path: Path) -> None:
    project = made(tmp_path / "project", leave_out=[4])
    assert kinds(check(project)) == {"unfinished"}
    run_id = list(project.design.run_ids.values())[4]
    plant(project, [i for i in project.design.run_ids.values() if i != run_id])
    found = check(opened(project))
    assert at(found, "added") == [(run_id, "it has begun since the report was made: finished")]
    assert "unfinished" not in kinds(found) and {"cell"} <= kinds(found)
    assert stale(project) == [f"{run_id}: it has begun since the report was made: finished"]
    report(opened(project))
    assert check(opened(project)).up_to_date


def test_a_rerun_and_then_a_replaced_run_are_named(project: Project) -> None:
    first = attempt_of(project)
    folder = project.workspace.run(first.run_id)
    second = folder.new_attempt()
    end(second, 70)
    found = check(project)
    assert at(found, "rerun") == [(first.run_id, "it was run again since the report was made")]
    folder.choose(second)
    found = check(project)
    assert at(found, "replaced") == [(first.run_id, "attempt 2 counts now, attempt 1 did")]
    assert stale(project) == [f"{first.run_id}: attempt 2 counts now, attempt 1 did"]


def test_deleted_runs_are_named(project: Project) -> None:
    gone = attempt_of(project)
    shutil.rmtree(gone.path.parent)
    found = check(project)
    assert at(found, "deleted") == [(gone.run_id, "its run folder is gone")]
    assert at(found, "unfinished") == [("schedule=none", "1 of 3 seeds are missing: 0 (pending)")]


def test_a_changed_result_is_named_also_if_no_table_shows_it(project: Project) -> None:
    attempt = attempt_of(project)
    rewrite(attempt, note="another")
    assert at(check(project), "changed") == [(attempt.run_id, "its result is another one")]
    assert len(stale(project)) == 1


def test_a_changed_journal_is_named(project: Project) -> None:
    attempt = attempt_of(project)
    attempt.journal.unlink()
    result = json.loads((attempt.path / "result.json").read_text())
    end(attempt, 71.5)
    (attempt.path / "result.json").write_text(json.dumps(result))
    found = check(project)
    assert at(found, "changed") == [(attempt.run_id, "its line in records.csv would be another one")]
    assert any(
        where.endswith("records.csv: row 1 (schedule=none, 0), column val/top1") for where, _ in at(found, "cell")
    )


def test_an_edited_study_is_named_only_if_the_report_would_be_another(project: Project) -> None:
    path = project.study.source.path
    path.write_text(path.read_text() + "# a remark\n")
    assert check(opened(project)).up_to_date
    path.write_text(path.read_text().replace("margin: 1.0", "margin: 2.0"))
    found = check(opened(project))
    assert at(found, "study") == [("studies/tiny.yaml", "it was changed since the report was made")]
    assert "changed" not in kinds(found)
    path.write_text(path.read_text().replace("seeds: 3", "seeds: 4"))
    found = check(opened(project))
    assert [text for _, text in at(found, "added")] == ["the study did not have it when the report was made"] * 2
    path.write_text(path.read_text().replace("seeds: 4", "seeds: 2"))
    assert [text for _, text in at(check(opened(project)), "study")][:2] == ["the study does not have it any more"] * 2


def test_an_edited_recipe_is_named(project: Project) -> None:
    path = project.study.recipe.path
    path.write_text(path.read_text().replace("epochs: 2", "epochs: 3"))
    found = check(opened(project))
    assert ("experiments/tiny.yaml", "it was changed since the report was made") in at(found, "study")
    assert found.source == "records.csv", "none of the runs that the study has now has a folder"
    assert any("any more" in text for _, text in at(found, "study"))


def test_runs_of_mixed_code_are_named_by_module(project: Project) -> None:
    attempt = attempt_of(project)
    result = json.loads((attempt.path / "result.json").read_text())
    made_by = {**result["provenance"], "modules": {"slws_lab.scan.port": "456", "slws_lab.models.vim": "7"}}
    rewrite(attempt, provenance=made_by)
    report(project)
    found = check(project)
    assert at(found, "mixed code") == [
        ("slws_lab.scan.port", "the runs that count had 2 versions of it: 456 (1 of the runs), 123 (5 of the runs)")
    ]


def test_undeclared_differences_are_named(project: Project) -> None:
    rewrite(attempt_of(project), threads=2)
    report(project)
    assert at(check(project), "undeclared") == [("linear - none", "threads 1 against 2")]


def test_a_file_that_is_gone_or_changed_is_named_with_its_cells(project: Project) -> None:
    (project.report_folder / "tables/results.tex").unlink()
    path = project.report_folder / "tables/results.csv"
    path.write_text(path.read_text().replace("73.1", "78.1"))
    found = check(project)
    assert ("reports/tiny/tables/results.tex", "it is gone") in at(found, "file")
    assert ("reports/tiny/tables/results.csv", "it was changed after it was written") in at(found, "file")
    ((where, text),) = at(found, "cell")
    assert where.startswith("reports/tiny/tables/results.csv: row 2 (linear), column val/top1")
    assert text.startswith("it says “78.1") and "would say “73.1" in text


def test_a_changed_picture_is_found_and_one_that_another_machine_drew_is_not(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = reporting.files

    def drawn_elsewhere(*given: object) -> dict[str, bytes]:
        return {**files(*given), "figures/accuracy.png": b"other dots"}  # type: ignore[arg-type]

    monkeypatch.setattr(reporting, "files", drawn_elsewhere)
    assert check(project).up_to_date
    (project.report_folder / "figures/accuracy.png").write_bytes(b"forged")
    assert [where for where, _ in at(check(project), "file")] == ["reports/tiny/figures/accuracy.png"] * 2


def test_files_that_only_one_side_has_are_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    files = reporting.files

    def others(*given: object) -> dict[str, bytes]:
        now = files(*given)  # type: ignore[arg-type]
        return {**{k: v for k, v in now.items() if not k.startswith("tables/contrasts")}, "tables/new.md": b""}

    monkeypatch.setattr(reporting, "files", others)
    (project.report_folder / "tables/old.tex").write_text("a table of before")
    told = dict(at(check(project), "file"))
    assert told["reports/tiny/tables/old.tex"] == "an earlier report left it: remove it"
    assert told["reports/tiny/tables/contrasts.md"] == "it would not be made any more"
    assert told["reports/tiny/tables/new.md"] == "it would be made now, and is not in the report"


def test_the_report_of_a_confirmation_is_checked_with_its_search(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    (project.report_folder / "table.md").write_text("forged")
    monkeypatch.setattr("slws_lab.lab.search_reporting.begun_confirmation", lambda _: SimpleNamespace(project=project))
    assert {one.where.partition(":")[0] for one in checking._confirmation(project)} == {"reports/tiny/table.md"}


def test_a_damaged_manifest_is_named(project: Project) -> None:
    path = project.report_folder / "manifest.json"
    path.write_text(path.read_text().replace('"attempt": 1', '"attempt": 2', 1))
    assert at(check(project), "file") == [("reports/tiny/manifest.json", "it was changed after it was written")]


def test_what_is_said_in_sum_names_the_first_few() -> None:
    ones = [checking.Finding("deleted", f"run{i}", "it is gone") for i in range(5)]
    assert checking.in_sum(ones) == ["run0, run1, run2 and 2 more: it is gone"]


def test_a_run_that_was_changed_is_named_as_such_and_first(project: Project) -> None:
    attempt = attempt_of(project)
    path = attempt.path / "journal.jsonl"
    path.write_text(path.read_text().replace("70.0", "79.0"))
    journal = path.relative_to(project.study.root).as_posix()
    assert at(check(project), "tampered") == [(journal, "it was changed after the run ended")]
    assert check(project).findings[0].kind == "tampered"
    run = attempt.path.parent / "run.json"
    whole = run.read_text()
    run.write_text(whole.replace('"seed": 0', '"seed": 7'))
    assert run.relative_to(project.study.root).as_posix() in dict(at(check(project), "tampered"))
    run.write_text(whole)
    result = (attempt.path / "result.json").read_bytes()
    path.unlink()
    end(attempt, 71.5)  # lines that are whole, of another value
    (attempt.path / "result.json").write_bytes(result)
    report(project)
    assert kinds(check(project)) == {"tampered"}, "a report of the forged value is as it would be made now"


def test_weights_and_logs_are_no_matter_of_a_report(project: Project) -> None:
    attempt = attempt_of(project)
    attempt.checkpoint.mkdir()
    (attempt.checkpoint / "last.safetensors").write_bytes(b"1")
    attempt.log.write_text("a line")
    rewrite(attempt)
    report(project)
    (attempt.checkpoint / "last.safetensors").write_bytes(b"2")
    attempt.log.write_text("b line")
    assert check(project).up_to_date


def test_only_the_runs_that_changed_are_called_so(project: Project) -> None:
    first, last = attempt_of(project), attempt_of(project, 5)
    made_by = json.loads((first.path / "result.json").read_text())["provenance"]
    rewrite(last, provenance={**made_by, "code": "other"}, peak_memory=5)  # a value that no run had
    assert [where for where, _ in at(check(project), "changed")] == [last.run_id]
    rewrite(first, provenance={**made_by, "code": "first"})  # what made the others stands in another row then
    assert {where for where, _ in at(check(project), "changed")} == {first.run_id, last.run_id}


def reseal(path: Path, **changed: object) -> None:
    """Change a manifest, and seal it well."""
    made = {**json.loads(path.read_text()), **changed, "manifest_sha256": UNSEALED}
    path.write_text(seal(json.dumps(made)))


def test_a_manifest_without_its_seal_or_with_other_kinds_of_content_is_none(project: Project) -> None:
    path = project.report_folder / "manifest.json"
    whole = path.read_text()
    run_id = next(iter(project.design.run_ids.values()))
    for wrong in (
        {"runs": {run_id: 1}},
        {"files": {"table.md": 1}},
        {"study_file": []},
        {"runs": []},
        {"slws_lab": None},
    ):
        reseal(path, **wrong)  # type: ignore[arg-type]
        assert at(check(project), "file") == [("reports/tiny/manifest.json", "it is not there, or holds no manifest")]
        path.write_text(whole)
    path.write_text(re.sub(r',\s*"manifest_sha256": "\w+"', "", whole))
    assert not check(project).up_to_date
    assert stale(project) == ["reports/tiny/manifest.json: it is not there, or holds no manifest"]
    path.write_text(whole.replace('"attempt": 1', '"attempt": 2', 1))
    assert stale(project) == ["reports/tiny/manifest.json: it was changed after it was written"]


@pytest.mark.parametrize("name", ["question", "tables", "run_sets", "study"])
def test_what_a_manifest_says_of_cells_is_compared(project: Project, name: str) -> None:
    path = project.report_folder / "manifest.json"
    reseal(path, **{name: []})
    assert at(check(project), "file") == [("reports/tiny/manifest.json", f"it would say other things of: {name}")]
