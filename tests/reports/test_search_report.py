"""The report of a search: whole, traceable, the same bytes again, and there also when nothing was found."""

from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from slws_lab.analysis import ResultTable, searching
from slws_lab.analysis.searching import Gap, SearchFindings
from slws_lab.analysis.statistics import Paired
from slws_lab.reports import Report
from slws_lab.reports.manifest import check
from slws_lab.reports.search.page import Confirmed
from slws_lab.reports.search.report import write_search_report
from slws_lab.search.findings import findings
from slws_lab.search.trial import Trial
from slws_lab.spec import Study, expand, load_study
from slws_lab.spec.trials import with_trials
from slws_lab.tracking import RunRecord

HERE = Path(__file__).parents[2]
SEARCH = """
search:
  space:
    shuffle.schedule: [none, linear]
    shuffle.max_rate: {float: [0.1, 0.7], when: {shuffle.schedule: [linear]}}
    train.weight_decay: {log: [1e-3, 0.3]}
  trials: 20
"""
PRUNED = "  pruner: median\n  confirm: {top: 1}\n"
BASELINE = {"shuffle.schedule": "none", "train.weight_decay": 0.05}
CAUSE = "RuntimeError: <script>alert(1)</script> out of memory"
TESTED = searching.Tested(
    "rate & decay", "top1", "last", {1: 93.0, 2: 95.0, 3: 94.5}, {1: 91.0, 2: 92.0, 3: 91.5},
    Paired(3, 2.6667, 1.2324, 4.1009), Path("kept.json"),
)  # fmt: skip
ONE = {"history", "importance", "slices", "contour", "contour-surface", "parallel"}


@dataclass(frozen=True)
class Made:
    study: Study
    table: ResultTable
    found: SearchFindings

    def write(self, out: Path, confirmed: Confirmed | None = None) -> Report:
        return write_search_report(self.found, self.table, self.study, out, confirmed)


def make(folder: Path, trials: list[Trial], search: str = SEARCH, seeds: int = 1) -> Made:
    """Make a search's study with these trials as its arms, and what it found."""
    shutil.copytree(HERE / "experiments", folder / "experiments")
    (folder / "pyproject.toml").touch()
    (folder / "studies").mkdir()
    path = folder / "studies" / "hunt.yaml"
    head = "name: hunt\nquestion: Which <b>rate</b>?\nrecipe: ../experiments/shufflemamba_micro_digits.yaml\n"
    path.write_text(f"{head}set: {{shuffle.schedule: none}}\nseeds: {seeds}\n{search}")
    study = with_trials(load_study(path), [trial.settings for trial in trials if trial.settings])
    design = expand(study)
    values = {json.dumps(t.settings, sort_keys=True): t for t in trials}
    records = {}
    for (arm_id, _), run_id in design.run_ids.items():
        trial = values.get(json.dumps(design.arm(arm_id).settings, sort_keys=True))
        done = trial is not None and trial.state == "complete"
        curves = {study.spec.metric.key: {10: trial.values[0]}} if trial is not None and done else {}
        result = {"epochs": 10, "seconds": 30.0, "device": "cpu"} if done else {}
        records[run_id] = RunRecord(
            run_id, "finished" if done else "pending", int(done), int(done), curves=curves, result=result
        )
    found = findings(trials, study.spec, baseline=design.arms[0].settings)
    return Made(study, ResultTable(study.spec, design, records), found)


def settings(i: int) -> dict[str, Any]:
    draw = random.Random(i)
    return {
        "shuffle.schedule": "linear",
        "shuffle.max_rate": draw.uniform(0.1, 0.7),
        "train.weight_decay": 10 ** draw.uniform(-3, -0.6),
    }


def some(count: int = 14) -> list[Trial]:
    """Return a baseline, trials of known value of which the last is the best, a pruned and a failed one."""
    times = {"begun": 100.0, "ended": 160.0}
    found = [Trial(0, BASELINE, "complete", (91.0,), {1: 60.0, 10: 91.0}, **times)]
    found += [
        Trial(i, settings(i), "complete", (92.0 + i / 4,), {1: 62.0, 10: 92.0 + i / 4}, **times)
        for i in range(1, count)
    ]
    pruned = Trial(count, settings(count), "pruned", (), {1: 50.0, 3: 55.0}, **times)
    return [*found, pruned, Trial(count + 1, settings(count + 1), "failed", cause=CAUSE, **times)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("hunt"), some(), SEARCH + PRUNED)


@pytest.fixture(scope="module")
def written(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Return the report of a search that was confirmed."""
    folder = tmp_path_factory.mktemp("reports")
    runs = tuple(made.table.records)[:2]
    gaps = (
        Gap("rate & decay", 13, 95.25, 94.0, 93.25, 94.75, 5, runs),
        Gap("baseline", None, math.nan, 91.5, None, None, 1, runs[:1]),
    )
    confirming = Report(folder / "hunt-confirm", (), "Of 1 arm compared with the baseline, 1 helps.", ())
    return made.write(folder / "hunt", Confirmed(confirming, gaps, TESTED))


def text(report: Report, name: str = "report.html") -> str:
    return (report.folder / name).read_text()


def test_the_same_trials_give_the_same_bytes(made: Made, written: Report, tmp_path: Path) -> None:
    made.write(tmp_path / "again")
    confirmed = {"table.md", "table.tex", "table.html", "report.html", "manifest.json"}
    for path in written.files:
        name = path.relative_to(written.folder).as_posix()
        again = tmp_path / "again" / name
        if name.startswith("tables/confirmation."):
            assert not again.exists()
            continue
        assert (again.read_bytes() == path.read_bytes()) == (name not in confirmed), name


def test_every_figure_stands_as_picture_as_data_and_in_the_page(written: Report) -> None:
    names = {path.relative_to(written.folder).as_posix() for path in written.files}
    assert {f"search/{name}.csv" for name in (*ONE, "curves")} <= names
    assert {
        f"figures/{name}.{kind}" for name in (*ONE - {"contour-surface"}, "curves") for kind in ("pdf", "png", "svg")
    } <= names
    page = text(written)
    assert page.count("data:image/svg+xml;base64,") == 6 == page.count("<img ") and 'alt=""' not in page


def test_the_data_of_a_figure_reads_back_as_it_was(made: Made, written: Report) -> None:
    history = pd.read_csv(written.folder / "search" / "history.csv")
    points = made.found.aspects[0].history
    assert list(history["number"]) == [p.number for p in points]
    assert history["value"].dropna().tolist() == [p.value for p in points if p.value is not None]
    trials = pd.read_csv(written.folder / "trials.csv")
    assert trials["shuffle.max_rate"].dropna().tolist() == [settings(i)["shuffle.max_rate"] for i in range(1, 16)]
    assert list(trials["state"])[-2:] == ["pruned", "failed"] and trials["step"].iloc[-2] == 3
    assert trials["run_ids"].iloc[3] in made.table.records


def test_every_cell_of_the_best_trials_knows_its_runs(made: Made, written: Report) -> None:
    manifest = json.loads(text(written, "manifest.json"))
    files = {
        path.relative_to(written.folder).as_posix(): path.read_bytes()
        for path in written.files
        if path.name != "manifest.json"
    }
    assert manifest["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    arm = next(arm for arm in made.table.design.arms if arm.settings == settings(13))
    first = [cell for cell in manifest["tables"]["hunt"] if cell["row"] == 0]
    assert [cell["text"] for cell in first][:2] == ["13", "linear"] and first[-1]["text"] == "95.25"
    assert all(manifest["run_sets"][cell["runs"]] == [made.table.design.run_ids[arm.id, 0]] for cell in first)
    assert {"hunt", "confirmation", "trials"} == set(manifest["tables"])
    assert check(written.folder, made.table) == []


def test_the_baseline_is_marked_and_stands_in_the_table_whatever_its_place(
    made: Made, written: Report, tmp_path: Path
) -> None:
    rows = [[cell.text for cell in row] for row in written.views[0].rows]
    assert rows[-1][0] == "0 (baseline)" and rows[-1][2] == "–" and len(rows) == 14
    many = make(tmp_path, some(30))
    from slws_lab.reports.search.tables import best_view

    view = best_view(many.found, many.table)
    assert len(view.rows) == 21 and view.rows[-1][0].text == "0 (baseline)"
    assert "10 further settings" in " ".join(view.notes)


def test_the_answer_names_the_best_and_what_fresh_seeds_say_and_no_verdict(written: Report) -> None:
    assert written.answer.startswith(
        "Of 16 trials, trial 13 has the best val/top1 (%), 95.25, with schedule=linear, max_rate=0."
    )
    assert "The baseline (trial 0) had 91.00." in written.answer
    assert (
        "With seeds that the search never saw, trial 13 has 94.00 (n = 5), the baseline has 91.50 (n = 1)."
        in written.answer
    )
    page = text(written)
    assert "The best of many trials looks better than it is" in page and "only fresh seeds tell" in page
    assert "helps" not in page.replace("1 helps", "")


def test_the_gap_is_what_the_search_saw_less_what_fresh_seeds_had(written: Report) -> None:
    rows = [[cell.text for cell in row] for row in written.views[1].rows]
    assert rows[0] == ["rate & decay", "13", "95.25", "5", "94.00 [93.25, 94.75]", "+1.25", "–"]
    assert rows[1] == ["baseline", "baseline", "–", "1", "91.50", "–", "–"]
    assert '<a href="../hunt-confirm/report.html">' in text(written)


def test_where_small_is_good_a_gap_turns_its_sign(tmp_path: Path) -> None:
    from slws_lab.reports.search.tables import gap_view

    loss = make(tmp_path, [Trial(0, BASELINE, "complete", (0.5,))], "metric: {name: val/loss, goal: minimize}" + SEARCH)
    view = gap_view([Gap("x", 0, 0.5, 0.75, None, None, 2, ())], loss.table)
    assert [cell.text for cell in view.rows[0]][-2:] == ["+0.2500", "–"]


def test_a_gap_is_told_beyond_what_the_searchs_seeds_did_to_the_baseline_with_unit_and_level(tmp_path: Path) -> None:
    from slws_lab.reports.search.tables import gap_view
    from slws_lab.reports.search.words import looked_text

    made = make(tmp_path, [Trial(0, BASELINE, "complete", (91.0,))], "comparisons: {alpha: 0.1}" + SEARCH)
    gaps = [Gap("x", 1, 95.25, 94.0, 93.0, 95.0, 2, ("a", "b")), Gap("usual", None, 91.0, 90.5, None, None, 1, ("c",))]
    view = gap_view(gaps, made.table)
    assert [column.name for column in view.columns][-3:] == [
        "val/top1 (%), fresh mean [90 % interval]", "looked better by (points)", "beyond the baseline (points)"
    ]  # fmt: skip
    assert [[cell.text for cell in row][-2:] for row in view.rows] == [["+1.25", "+0.75"], ["+0.50", "–"]]
    assert view.rows[0][-1].run_ids == ("a", "b", "c") and view.rows[1][1].text == "baseline"
    said = "trial 1 looked better in the search than with fresh seeds by +1.25 points, beyond the baseline by"
    assert looked_text(gaps, made.study.spec) == f"{said} +0.75 points"
    unknown = replace(gaps[1], searched=math.nan)
    assert looked_text([gaps[0], unknown], made.study.spec) == f"{said} unknown"
    assert looked_text([replace(gaps[0], confirmed=math.nan), gaps[1]], made.study.spec) == ""


def test_the_page_says_what_the_test_split_had_and_by_how_much_it_differs(written: Report) -> None:
    assert (
        "On the test split, read once, rate &amp; decay has 94.17 and the baseline 91.50: mean test/top1 (%) of 3 seeds; difference "
        "+2.67 points [1.23, 4.10] (95 % interval, paired by seed)."
    ) in text(written)
    assert "draw by draw, if nothing interrupts it" in " ".join(text(written).split())


def test_what_was_read_of_the_test_split_is_named_with_its_weights_and_without_a_unit_that_it_has_not(
    made: Made,
) -> None:
    from slws_lab.reports.search.words import tested_text

    loss = replace(
        TESTED, figure="loss", weights="ema", values={1: 0.5}, baseline={1: 0.75}, difference=Paired(1, -0.25)
    )
    assert tested_text(loss, made.study.spec).endswith(
        "has 0.5000 and the baseline 0.7500: mean test/loss, EMA of 1 seed; difference −0.2500."
    )


def test_pruned_and_failed_trials_are_told_apart(written: Report) -> None:
    page = text(written)
    assert "1 trial pruned: 1 after epoch 3." in page and "<strong>1 failed</strong>" in page
    assert "16 trials: 14 completed, 1 pruned, 1 failed" in page
    assert "Pruning ended 1 trial early: 7 of 150 epochs not run (5 %)" in page


def test_the_page_is_self_contained_and_escaped(written: Report) -> None:
    page = text(written)
    assert "Which &lt;b&gt;rate&lt;/b&gt;?" in page and "&lt;script&gt;alert(1)" in page and page.count("<script") == 2
    plain = page.replace("http-equiv", "").replace("http://127.0.0.1:5000", "").replace('("http")', "")
    assert "http" not in plain and "Content-Security-Policy" in page
    digest = page.partition("style-src 'sha256-")[2].partition("'")[0]
    import base64

    style = page.partition("<style>")[2].partition("</style>")[0]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() == digest
    assert "slws rerun hunt" in page


@pytest.mark.parametrize(
    ("trials", "says"),
    [
        ([], "No trial has been made"),
        ([Trial(0, BASELINE, "failed", cause="x"), Trial(1, {}, "infeasible")], "None of 2 trials has a value that counts (1 over a budget and not trained, 1 failed)"),
        ([Trial(0, BASELINE, "complete", (90.0,), {1: 90.0})], "Of 1 trial, none has a better val/top1 (%) than the baseline (trial 0): 90.00."),
    ],
)  # fmt: skip
def test_a_search_with_next_to_nothing_says_so(tmp_path: Path, trials: list[Trial], says: str) -> None:
    made = make(tmp_path, trials)
    report = made.write(tmp_path / "out")
    assert says in report.answer and says in text(report)
    assert ("10 completed trials are needed" in text(report)) == bool(trials)
    assert check(report.folder, made.table) == []
    assert "confirm: {top: 3, seeds: 5}" in text(report)


def test_two_objectives_show_the_front_and_name_no_best(tmp_path: Path) -> None:
    search = SEARCH + "  objectives: [metric, latency_ms]\n  constraints: {latency_ms: 9, params: 5000}\n"
    values = [(90.0, 5.0), (92.0, 6.0), (89.0, 6.0), (95.0, 9.5)]
    trials = [
        Trial(i, BASELINE if i == 0 else settings(i), "complete", pair, figures={"params": 4000.0}, feasible=i < 3)
        for i, pair in enumerate(values)
    ]  # fmt: skip
    made = make(tmp_path, trials, search)
    report = made.write(tmp_path / "out")
    assert report.answer.startswith("Of 4 trials, 2 are on the Pareto front")
    assert [row[0].text for row in report.views[0].rows] == ["1", "0 (baseline)"]
    assert [c.name for c in report.views[0].columns][-3:] == ["val/top1 (%)", "latency (ms)", "parameters"]
    front = pd.read_csv(report.folder / "search" / "front.csv")
    assert list(front["standing"]) == ["front", "front", "dominated", "infeasible"]
    page = text(report)
    assert "(1 of the completed over a budget)" in page and "slws study from-search hunt --trial NUMBER" in page
    assert (report.folder / "figures" / "slices-2.png").exists() and (report.folder / "figures" / "front.svg").exists()


def test_values_of_several_seeds_are_means_and_lead_to_all_their_runs(tmp_path: Path) -> None:
    from slws_lab.reports.search.tables import best_view

    made = make(
        tmp_path, [Trial(0, BASELINE, "complete", (90.0,)), Trial(1, settings(1), "complete", (91.0,))], seeds=3
    )
    view = best_view(made.found, made.table)
    assert len(view.rows[0][0].run_ids) == 3 and "the mean over 3 seeds" in view.notes[0]


def test_names_with_dollars_are_no_formulas(made: Made) -> None:
    from slws_lab.reports.search.figures import draw_search

    axes = tuple(replace(axis, label=f"${axis.label}^{{") for axis in made.found.axes)
    aspect = replace(made.found.aspects[0], history=(), contours=())
    drawn = draw_search(replace(made.found, axes=axes, aspects=(aspect,), curves=()), made.table.study)
    assert [one.name for one in drawn] == ["importance", "slices", "parallel"]


@pytest.mark.browser
def test_it_fits_and_fetches_nothing(written: Report, chromium: Callable[[], Any]) -> None:
    page = chromium()
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    url = (written.folder / "report.html").as_uri()
    for width in (1500, 400):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(url)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
    assert {request for request in requests if not request.startswith("data:")} == {url} and complaints == []


@pytest.fixture
def chromium() -> Any:
    path = Path("/usr/bin/chromium")
    if not path.exists():
        pytest.skip(f"{path} is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        opened = playwright.chromium.launch(executable_path=str(path), args=flags)
        yield opened.new_page
        opened.close()
