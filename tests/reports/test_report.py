"""A written report: whole, traceable, the same bytes again, and there also when hardly anything has run."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slws_lab.errors import UserError
from slws_lab.reports import write_report
from slws_lab.tracking.audit_digests import UNSEALED, seal

ALWAYS = {"records.csv", "manifest.json", "table.md", "table.tex", "table.html", "report.html"}
TABLES = ("results", "grid", "effects", "doses", "contrasts")
FIGURES = ("effects", "accuracy", "doses", "interaction", "heat_map", "training", "shuffle", "cost")
GRID_FILES = {
    *ALWAYS,
    *(f"tables/{name}.{kind}" for name in TABLES for kind in ("md", "tex", "html", "csv")),
    *(f"figures/{name}.{kind}" for name in FIGURES for kind in ("pdf", "svg", "png", "csv")),
}
ONE = "designs: [{list: [{}]}]\nseeds: 1"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_results_give_the_same_bytes(project, tmp_path: Path) -> None:
    made = project()
    report = write_report(made.table, made.study, tmp_path / "a")
    write_report(made.table, made.study, tmp_path / "b")
    first = contents(tmp_path / "a")
    assert set(first) == GRID_FILES == {p.relative_to(report.folder).as_posix() for p in report.files}
    assert first == contents(tmp_path / "b")


def test_what_an_earlier_report_left_goes_and_what_others_put_there_stays(project, tmp_path: Path) -> None:
    made, out = project(), tmp_path / "out"
    write_report(made.table, made.study, out)
    earlier = {"tables/sweep.md": b"old", "tables/edited.md": b"old"}
    for name, content in earlier.items():
        (out / name).write_bytes(content)
    content = (out / "manifest.json").read_text()
    names = {name: hashlib.sha256(content).hexdigest() for name, content in earlier.items()}
    planted = json.loads(content)
    planted["files"] |= names
    planted["manifest_sha256"] = UNSEALED
    (out / "manifest.json").write_text(seal(json.dumps(planted)))
    (out / "tables" / "edited.md").write_text("mine now")
    (out / "tables" / "notes.md").write_text("mine")
    write_report(made.table, made.study, out)
    assert set(contents(out)) == {*GRID_FILES, "tables/edited.md", "tables/notes.md"}


def test_the_manifest_leads_from_every_cell_to_its_runs(project, tmp_path: Path) -> None:
    made = project(lambda i, seed: "failed" if (i, seed) == (2, 1) else None if i == 3 else "finished")
    write_report(made.table, made.study, tmp_path / "out")
    files = contents(tmp_path / "out")
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    assert manifest["study_file"]["path"] == "studies/planted.yaml"
    assert manifest["study_file"]["sha256"] == hashlib.sha256(made.study.source.path.read_bytes()).hexdigest()
    for run_id, record in made.table.records.items():
        run = manifest["runs"][run_id]
        assert (run["status"], run["attempt"]) == (record.status, record.attempt)
        assert (run["result_sha256"] is None) == (record.status == "pending")
    cell = next(c for c in manifest["tables"]["planted"] if c["row"] == 1 and c["column"].startswith("val/top1"))
    assert manifest["run_sets"][cell["runs"]] == [
        made.table.design.run_ids[made.table.design.arms[1].id, seed] for seed in range(4)
    ]


@pytest.mark.parametrize(
    ("plan", "body", "says"),
    [
        (lambda i, seed: None, None, "No run has finished"),
        (lambda i, seed: "failed", None, "No run has finished"),
        (lambda i, seed: "finished" if (i, seed) == (1, 0) else None, None, "too few pairs"),
        (lambda i, seed: "finished", ONE, "One arm, nothing to compare"),
    ],
)
def test_partial_results_are_reported_as_such(project, tmp_path: Path, plan, body, says: str) -> None:
    made = project(plan, body) if body else project(plan)
    report = write_report(made.table, made.study, tmp_path / "out")
    assert set(contents(tmp_path / "out")) == {p.relative_to(report.folder).as_posix() for p in report.files} > ALWAYS
    assert says in report.answer and says in (tmp_path / "out" / "report.html").read_text()


def test_the_tables_that_the_design_allows_stand_in_every_file(project, tmp_path: Path) -> None:
    made = project()
    report = write_report(made.table, made.study, tmp_path / "out")
    effects, doses = "Main effects and interactions: schedule × max_rate", "Dose and response"
    text, html = ((tmp_path / "out" / name).read_text() for name in ("table.md", "report.html"))
    assert text.index("**planted:") < text.index(f"**{effects}**") < text.index(f"**{doses}**")
    assert html.index("Every contrast in full") < html.index(effects) < html.index(doses)
    tex = (tmp_path / "out" / "table.tex").read_text()
    assert r"\label{slws:planted-effects}" in tex and r"\label{slws:planted-doses}" in tex
    tables = json.loads((tmp_path / "out" / "manifest.json").read_text())["tables"]
    assert list(tables) == ["planted", "grid", "effects", "doses", "contrasts"] and all(tables.values())
    assert [view.name for view in report.views] == ["planted"]


@pytest.mark.latex
def test_the_latex_of_a_report_compiles(project, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    made = project()
    write_report(made.table, made.study, tmp_path)
    document = r"\documentclass{article}\usepackage{booktabs,xcolor,amssymb,graphicx}\begin{document}\input{table}\end{document}"
    (tmp_path / "t.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_a_table_that_cannot_be_made_is_a_note_and_nothing_in_latex(project, tmp_path: Path) -> None:
    factors = "factors: {model.drop_path: [0.0, 0.1], train.smoothing: [0.0, 0.1], train.clip_grad: [null, 1.0]}"
    made = project(
        body=f"{factors}\ndesigns: [{{leave_one_out: [model.drop_path, train.smoothing, train.clip_grad]}}]\nseeds: 3"
    )
    write_report(made.table, made.study, tmp_path / "out")
    files = {kind: (tmp_path / "out" / f"table.{kind}").read_text() for kind in ("md", "tex", "html")}
    title = "**Shapley attribution of 3 components: drop_path, smoothing, clip_grad**"
    assert f"{title}\n\n- Not made: " in files["md"]
    assert files["html"].count("<table>") == 2 and "4 of them are missing" in files["html"]
    assert "Shapley" not in files["tex"] and len(re.findall(r"\\begin{table\*?}", files["tex"])) == 2


def test_published_rows_stand_apart_and_only_if_named(project, tmp_path: Path) -> None:
    made = project(lambda i, seed: None, ONE + "\nreport: {references: [swin]}", name="with")
    report = write_report(made.table, made.study, tmp_path / "out")
    text = (tmp_path / "out" / "table.md").read_text()
    assert len(report.views) == 2 and "not tested against ours" in text
    assert r"\label{slws:with-methods}" in (tmp_path / "out" / "table.tex").read_text()
    unknown = project(lambda i, seed: None, ONE + "\nreport: {references: [swim]}")
    with pytest.raises(UserError, match=r"planted.yaml:\d+:\d+"):
        write_report(unknown.table, unknown.study, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_page_is_self_contained_and_escaped(project, tmp_path: Path) -> None:
    question = "Is <img src=x onerror=alert(1)> & 5% {{ 7*7 }} better?"
    made = project(lambda i, seed: "failed" if (i, seed) == (1, 1) else "finished", question=question)
    write_report(made.table, made.study, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Is &lt;img src=x onerror=alert(1)&gt; &amp; 5% {{ 7*7 }} better?" in page
    assert page.count("<script") == 2 and "<img src=x" not in page  # its own, and its data
    assert "out of memory &lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://127.0.0.1:5000", "").replace('("http")', "")
    drawn = list((tmp_path / "out" / "figures").glob("*.svg"))
    assert "Content-Security-Policy" in page and page.count("data:image/svg+xml;base64,") == len(drawn) > 3
    assert "slws rerun planted &#39;schedule=linear, max_rate=0.5&#39;" in page
    assert "with uncommitted changes" in page and "(4 runs)" in page


def test_the_import_is_light() -> None:
    heavy = "{'matplotlib', 'scipy', 'statsmodels', 'pandas', 'torch'}"
    code = f"import slws_lab.reports, sys; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
