"""A report that knows when it is wrong: each way in which it can be is found, and named."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab.planted_report import attempt_of, end, made, opened, plant, rewrite, undrawn

from slws_lab.errors import UserError
from slws_lab.lab import checking, reporting
from slws_lab.lab.checking import Checked, check, stale
from slws_lab.lab.project import Project
from slws_lab.lab.reporting import report
from slws_lab.tracking.audit_digests import UNSEALED, seal


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    undrawn(monkeypatch)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return made(tmp_path / "project")


def kinds(found: Checked) -> set[str]:
    return {one.kind for one in found.findings}


def at(found: Checked, kind: str) -> list[tuple[str, str]]:
    return [(one.where, one.text) for one in found.findings if one.kind == kind]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
    assert any(where.endswith("records.csv: row 1 (schedule=none), column val/top1") for where, _ in at(found, "cell"))


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, bytes]]:
    """A project whose report is up to date, and its files. Whoever changes it changes it back."""
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        project = made(tmp_path_factory.mktemp("whole") / "project")
        files = reporting.files(project, reporting.results(project))
    paper = project.study.root / "paper"
    for name, content in files.items():
        if name.startswith("ta"):
            (paper / name).parent.mkdir(parents=True, exist_ok=True)
            (paper / name).write_bytes(content)
    prose = b"\\section{Results} 1234 and \\ref{slws:tiny}\n\n" + files["tables/results.tex"] + b"\nWe see 5.\n"
    (paper / "article.tex").write_bytes(prose)
    (paper / "article.html").write_bytes(b"<h1>7</h1>" + files["tables/contrasts.html"] + b"<p>8</p>")
    return project, files


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_changed_digit_of_a_report_or_of_a_copy_is_found(
    whole: tuple[Project, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    project, files = whole
    paper = project.study.root / "paper"
    monkeypatch.setattr(reporting, "files", lambda *_: files)
    reported = [project.report_folder / name for name in files]
    copied = [path for path in paper.rglob("*") if path.is_file() and not path.name.startswith("article")]
    path = data.draw(st.sampled_from(sorted(reported + copied)))
    content = path.read_bytes()
    places = [match.start() for match in re.finditer(rb"[0-9]", content)]
    if not places:
        return
    place, digit = data.draw(st.sampled_from(places)), data.draw(st.integers(1, 9))
    other = b"%d" % ((content[place] - ord("0") + digit) % 10)
    try:
        path.write_bytes(content[:place] + other + content[place + 1 :])
        found = check(project, [paper] if path in copied else [])
    finally:
        path.write_bytes(content)
    assert found.findings, (path, content[max(place - 40, 0) : place + 10])
    assert all(path.relative_to(project.study.root).as_posix() in one.where for one in found.findings)


def test_a_table_within_an_article_is_found_by_its_label_and_its_words_are_let_alone(
    whole: tuple[Project, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, files = whole
    paper = project.study.root / "paper"
    monkeypatch.setattr(reporting, "files", lambda *_: files)
    articles = [paper / "article.tex", paper / "article.html"]
    found = check(project, articles)
    assert found.up_to_date and {"paper/article.tex", "paper/article.html"} <= set(found.files)
    for path, part in zip(articles, ("slws:tiny", "table-tiny-contrasts"), strict=True):
        text = path.read_text()
        path.write_text(text.replace("1234 and", "4321 and").replace("<p>8", "<p>9"))
        assert check(project, articles).up_to_date
        places = [m.start() for m in re.finditer(r"\d\.\d", text)]
        path.write_text(text[: places[0]] + "9" + text[places[0] + 1 :])
        told = check(project, articles).findings
        path.write_text(text)
        assert told and all(f"{path.name} ({part})" in one.where for one in told)


def test_a_copy_with_other_line_ends_is_the_same(
    whole: tuple[Project, dict[str, bytes]], monkeypatch, tmp_path: Path
) -> None:
    project, files = whole
    monkeypatch.setattr(reporting, "files", lambda *_: files)
    (tmp_path / "results.tex").write_bytes(files["tables/results.tex"].replace(b"\n", b"\r\n"))
    assert check(project, [tmp_path]).up_to_date


def test_files_that_are_not_the_reports_are_named_and_nothing_else_is_refused(
    whole: tuple[Project, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project, files = whole
    monkeypatch.setattr(reporting, "files", lambda *_: files)
    other = files["tables/results.tex"].replace(b"slws:tiny", b"slws:other")
    for name, content in {"results.tex": other, "notes.txt": b"1", ".git/config": b"2", "plot.png": b"3"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="none of the 3 files given is of the report of tiny"):
        check(project, [tmp_path])
    (tmp_path / "contrasts.md").write_bytes(files["tables/contrasts.md"])
    found = check(project, [tmp_path])
    assert found.up_to_date
    assert sorted(Path(name).name for name in found.unchecked) == ["notes.txt", "plot.png", "results.tex"]
    with pytest.raises(UserError, match="there is no such file or folder"):
        check(project, [tmp_path / "nowhere"])


def clone(project: Project, path: Path) -> Project:
    """Return a colleague's copy: all but the workspace."""
    shutil.copytree(project.study.root, path, ignore=shutil.ignore_patterns(".slws"))
    return Project.open(str(path / "studies/tiny.yaml"))


def test_without_run_folders_the_report_is_checked_and_made_anew_from_itself(project: Project, tmp_path: Path) -> None:
    copy = clone(project, tmp_path / "clone")
    before = contents(copy.report_folder)
    found = check(copy, [copy.report_folder / "tables"])
    assert (found.findings, found.source) == ((), "records.csv")
    report(copy)
    assert contents(copy.report_folder) == before
    assert stale(copy) == []


def test_without_run_folders_a_changed_records_csv_is_found_and_never_made_a_report_of(
    project: Project, tmp_path: Path
) -> None:
    copy = clone(project, tmp_path / "clone")
    path = copy.report_folder / "records.csv"
    path.write_text(path.read_text().replace("73.1", "83.1"))
    found = check(copy)
    changed = [run_id for (_, seed), run_id in copy.design.run_ids.items() if seed == 1][1]
    assert at(found, "changed") == [(changed, "its line in records.csv is not as it was written")]
    assert ("reports/tiny/records.csv", "it was changed after it was written") in at(found, "file")
    assert not found.up_to_date and "not compared" in found.notes[0]
    with pytest.raises(UserError, match="not as it was written"):
        report(copy)


def test_a_report_without_runs_does_not_take_the_place_of_records(project: Project) -> None:
    shutil.rmtree(project.workspace.path)
    before = (project.report_folder / "records.csv").read_bytes()
    report(opened(project))
    assert (project.report_folder / "records.csv").read_bytes() == before
    assert b"finished" in before


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


def two_studies(project: Project, files: dict[str, bytes], folder: Path) -> None:
    """Put tables of this study beside those of another one into a folder, which are called alike."""
    other = {name: text.replace(b"73.", b"55.").replace(b"tiny", b"small") for name, text in files.items()}
    for place, own in (("a", files), ("b", other)):
        for name, content in own.items():
            path = folder / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def test_a_folder_with_tables_of_two_studies_is_told_apart(
    whole: tuple[Project, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project, files = whole
    monkeypatch.setattr(reporting, "files", lambda *_: files)
    two_studies(project, {name: text for name, text in files.items() if name != "manifest.json"}, tmp_path / "paper")
    found = check(project, [tmp_path / "paper"])
    assert found.up_to_date
    shown = {Path(name).relative_to(tmp_path / "paper").parts for name in found.unchecked}
    assert {("b", "tables", f"results.{kind}") for kind in ("tex", "md", "html", "csv")} <= shown
    assert ("b", "report.html") in shown and not any(parts[0] == "a" for parts in shown)
    for name in ("tables/results.csv", "tables/results.md", "tables/results.html", "table.md"):
        path = tmp_path / "paper/a" / name
        path.write_bytes(path.read_bytes().replace(b"73.1", b"73.2"))
        assert any(str(path) in one.where for one in check(project, [tmp_path / "paper"]).findings), name
        path.write_bytes(files[name])


def test_a_file_that_nothing_tells_apart_is_compared_only_if_it_is_given_itself(
    whole: tuple[Project, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project, files = whole
    monkeypatch.setattr(reporting, "files", lambda *_: files)
    (tmp_path / "contrasts.md").write_bytes(files["tables/contrasts.md"])
    path = tmp_path / "results.csv"
    path.write_bytes(files["tables/results.csv"].replace(b"73.1", b"73.2"))
    found = check(project, [tmp_path])
    assert found.up_to_date and [Path(name).name for name in found.unchecked] == ["results.csv"]
    assert kinds(check(project, [path])) == {"cell"}


def test_a_commented_table_is_none_and_indentation_is_no_difference(
    whole: tuple[Project, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project, files = whole
    monkeypatch.setattr(reporting, "files", lambda *_: files)
    table = files["tables/results.tex"].decode()
    old = "".join(f"% {line}\n" for line in table.replace("73.1", "11.1").splitlines())
    indented = "".join(f"\t  {line.strip().replace(' & ', '   &  ')}\n" for line in table.splitlines())
    path = tmp_path / "article.tex"
    path.write_text(f"{old}\n{indented}")
    assert check(project, [path]).up_to_date
    path.write_text(path.read_text().replace("73.10", "73.20"))
    assert [one.kind for one in check(project, [path]).findings] == ["cell"]


def test_a_changed_picture_in_a_page_is_found(
    whole: tuple[Project, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project, files = whole
    monkeypatch.setattr(reporting, "files", lambda *_: files)
    assert b";base64,PHN2Zy8+" in files["report.html"]
    page = tmp_path / "supplement.html"
    page.write_bytes(files["report.html"])
    assert check(project, [page]).up_to_date
    page.write_bytes(files["report.html"].replace(b";base64,PHN2Zy8+", b";base64,PHN2Zz8+"))
    ((where, text),) = at(check(project, [page]), "file")
    assert where == str(page) and text.startswith("a picture within it is another")
    drawn = {**files, "report.html": files["report.html"].replace(b";base64,PHN2Zy8+", b";base64,AAAA")}
    monkeypatch.setattr(reporting, "files", lambda *_: drawn)
    page.write_bytes(files["report.html"])
    assert check(project, [page]).up_to_date, "the report's own picture, which another machine drew"


def test_a_clone_with_one_run_does_not_lose_the_others(project: Project, tmp_path: Path) -> None:
    copy = clone(project, tmp_path / "clone")
    again = attempt_of(project)
    shutil.copytree(again.path.parent, copy.workspace.run(again.run_id).path)
    before = contents(copy.report_folder)
    with pytest.raises(UserError, match="5 runs of the report have no result here"):
        report(copy, forget=False)
    assert contents(copy.report_folder) == before
    report(copy)  # as `slws run` does
    kept = copy.report_folder.with_name("tiny-before")
    assert {path.relative_to(kept): text for path, text in contents(kept).items()} == {
        path.relative_to(copy.report_folder): text for path, text in before.items()
    }
    assert contents(copy.report_folder) != before
    report(copy, forget=False)  # whose report has no more than what is here
    assert sorted(path.name for path in copy.report_folder.parent.iterdir()) == ["tiny", "tiny-before"]


def test_a_failed_run_that_is_tried_again_is_no_lost_result(project: Project) -> None:
    attempt = attempt_of(project)
    rewrite(attempt, status="failed")
    report(project)
    project.workspace.run(attempt.run_id).new_attempt()
    report(project, forget=False)
    assert not project.report_folder.with_name("tiny-before").exists()


def test_without_a_manifest_the_records_say_what_would_be_lost(project: Project) -> None:
    (project.report_folder / "manifest.json").unlink()
    shutil.rmtree(attempt_of(project).path.parent)
    with pytest.raises(UserError, match="1 run of the report has no result here"):
        report(project, forget=False)


def test_broken_training_curves_are_one_message_that_names_their_file(project: Project, tmp_path: Path) -> None:
    copy = clone(project, tmp_path / "clone")
    figures = copy.report_folder / "figures/training.csv"
    for text in ("", "name,arm_id\n1,2\n", "name,arm_id,step,mean,low,high\na,b,x,1,1,1\n", '"'):
        figures.write_text(text)
        with pytest.raises(UserError, match=r"training\.csv cannot be read") as told:
            report(copy)
        assert told.value.where == str(figures)
    found = check(copy)
    assert any(where == "reports/tiny/figures/training.csv" for where, _ in at(found, "file"))
    assert not any(where == "reports/tiny/records.csv" for where, _ in at(found, "file"))


def test_curves_that_cannot_be_made_again_are_told(project: Project, tmp_path: Path) -> None:
    copy = clone(project, tmp_path / "clone")
    assert reporting.results(copy).lost == "", "the report never had any"
    (copy.report_folder / "manifest.json").unlink()
    assert "training curves are left out" in reporting.results(copy).lost
    assert any("training curves are left out" in note for note in check(copy, [copy.report_folder / "table.md"]).notes)
