"""Tables and pictures of a report, and copies of them elsewhere: what was changed is found, what is not ours is let alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab.planted_report import at, kinds, made, undrawn

from slws_lab.errors import UserError
from slws_lab.lab import reporting
from slws_lab.lab.checking import check
from slws_lab.lab.project import Project


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    undrawn(monkeypatch)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return made(tmp_path / "project")


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


def test_what_latex_leaves_in_a_folder_is_not_named_unless_it_is_given_itself(
    whole: tuple[Project, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project, files = whole
    monkeypatch.setattr(reporting, "files", lambda *_: files)
    (tmp_path / "results.tex").write_bytes(files["tables/results.tex"])
    ours = next(Path(name).name for name in files if name.endswith(".pdf"))
    for name in ("paper.aux", "paper.log", "paper.synctex.gz", "paper.pdf", "data.gz", "paper.tex", ours):
        (tmp_path / name).write_text("1")
    found = check(project, [tmp_path, tmp_path / "paper.log"])
    assert sorted(Path(name).name for name in found.unchecked) == sorted([ours, "data.gz", "paper.log", "paper.tex"])


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
