"""Two studies side by side, with planted results whose differences are worked out by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import STUDY, Folder, make_project

from slws_lab.lab.comparing import compare, write_comparison
from slws_lab.lab.project import Project
from slws_lab.reports.comparison import Comparison
from slws_lab.reports.tables.comparison import arms_view, comparison_views, costs_view, summary, verdicts_view
from slws_lab.tracking import journal

FIRST = {("none", 0): 90.0, ("none", 1): 91.0, ("none", 2): 92.0,
         ("linear", 0): 91.0, ("linear", 1): 93.0, ("linear", 2): 95.0}  # fmt: skip
SECOND = {("none", 0): 91.0, ("none", 1): 91.0, ("none", 2): 94.0,
          ("linear", 0): 93.0, ("linear", 1): 93.1, ("linear", 2): 95.9}  # fmt: skip
T_HALF = 2.4841377  # half the 95 % interval of three differences with a standard deviation of 1: t(0.975, 2) / sqrt(3)
LONGER = STUDY.replace("name: tiny", "name: longer").replace("factors:", "set: {train.epochs: 3}\nfactors:")


def plant(project: Project, values: dict[tuple[str, int], float], **result: Any) -> Project:
    """Write a finished run for each value, as a worker does."""
    for arm in project.design.arms:
        for seed in project.design.seeds:
            value = values.get((str(arm.settings["shuffle.schedule"]), seed))
            folder = project.workspace.run(arm.run(seed))
            if value is None or folder.path.exists():
                continue
            folder.create(arm.run(seed))
            attempt = folder.new_attempt()
            epochs = arm.recipe.train.epochs  # type: ignore[union-attr]
            for epoch in range(1, epochs + 1):
                metrics = {"val/top1": value - epochs + epoch, "val/loss": 1 - value / 100, "train/images_per_s": 100.0}
                journal.append(attempt.journal, epoch, 1e9 + epoch, metrics)
            attempt.finish({
                "status": "finished", "cause": "", "epochs": epochs, "metrics": {}, "seconds": 36.0, "threads": 1, "device": "cpu",
                "provenance": {"commit": "c" * 40, "dirty": False, "diff": None, "code": "abc", "untracked": [],
                               "modules": {"slws_lab.models.vim": "1" * 12}, "packages": {"torch": "2.6", "numpy": "2.1"},
                               "machine": {"processor": "CPU", "cores": 2}},
                **result,
            })  # fmt: skip
    return project


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Project]:
    """Return a function that opens a study of the text, planted with values; `place` is its project's folder."""

    def open_study(text: str, values: dict[tuple[str, int], float], place: str = "one", **result: Any) -> Project:
        folder = Folder(tmp_path / place)
        if not folder.recipe.exists():
            make_project(folder.path)
        name = text.partition("\n")[0].removeprefix("name: ")
        (folder.path / "studies" / f"{name}.yaml").write_text(text)
        return plant(Project.open(str(folder.path / "studies" / f"{name}.yaml")), values, **result)

    return open_study


def texts(found: Comparison) -> dict[str, list[str]]:
    """Return the arms' table, by arm."""
    return {row[0].text: [cell.text for cell in row[1:]] for row in arms_view(found).rows}


def test_alike_arms_of_other_recipes_are_compared_seed_by_seed(study: Callable[..., Project]) -> None:
    found = compare(study(STUDY, FIRST), study(LONGER, SECOND))
    none, linear = found.pairs
    assert [pair.training for pair in found.pairs] == [False, False]
    assert none.changed == linear.changed == ("train.epochs",)
    assert none.test is not None
    assert (none.seeds, none.test.delta) == ((0, 1, 2), pytest.approx(1.0))  # 1, 0 and 2
    assert (none.test.low, none.test.high) == (pytest.approx(1 - T_HALF), pytest.approx(1 + T_HALF))
    assert linear.test is not None
    assert linear.test.delta == pytest.approx(1.0)  # 2, 0.1 and 0.9
    assert texts(found)["baseline"] == [
        "3",
        "91.00 ± 1.00",
        "3",
        "92.00 ± 1.73",
        "3",
        "+1.00 [−1.48, +3.48]",
        "train.epochs",
    ]
    assert none.beside == linear.beside == ()  # the epochs are declared


def test_what_differs_in_the_designs_is_named_and_nothing_else(study: Callable[..., Project]) -> None:
    found = compare(study(STUDY, FIRST), study(LONGER, SECOND))
    differing = {one.name: one.texts for one in found.settings}
    assert differing["train.epochs"] == ("2", "3")
    assert differing.keys() == {"train.epochs", "Recipe"}  # which says what is changed for every run
    other = STUDY.replace("[none, linear]", "[none, linear, constant]").replace("name: tiny", "name: more")
    more = {one.name: one.texts for one in compare(study(STUDY, FIRST), study(other, FIRST)).settings}
    assert more["Factor shuffle.schedule"] == ("none, linear", "none, linear, constant")
    assert more.keys() == {"Factor shuffle.schedule", "Size"}


def test_levels_in_another_order_are_the_same_factor_but_another_baseline(study: Callable[..., Project]) -> None:
    turned = STUDY.replace("[none, linear]", "[linear, none]").replace("name: tiny", "name: turned")
    found = {one.name: one.texts for one in compare(study(STUDY, FIRST), study(turned, FIRST)).settings}
    assert found == {"Baseline": ("schedule=none", "schedule=linear")}


def test_a_verdict_that_differs_is_shown_with_both_differences(study: Callable[..., Project]) -> None:
    found = compare(study(STUDY, FIRST), study(LONGER, SECOND))
    ((one, other),) = found.overturned
    assert (one.verdict, other.verdict) == ("inconclusive", "helps")  # 1, 2 and 3 against 2, 2.1 and 1.9
    (row,) = verdicts_view(found).rows
    assert [cell.text for cell in row] == [
        "schedule=linear", "baseline", "3", "+2.00 [−0.48, +4.48]", "inconclusive", "3", "+2.00 [+1.75, +2.25]", "helps",
    ]  # fmt: skip
    assert "1 comparison that both make, 1 has another verdict" in summary(found)


def test_runs_that_both_studies_stand_on_are_said_to_be_the_same(study: Callable[..., Project]) -> None:
    shifted = STUDY.replace("name: tiny", "name: shifted").replace("seeds: 3", "seeds: [1, 2, 5]")
    found = compare(study(STUDY, FIRST), study(shifted, FIRST | {("none", 5): 99.0}))
    none, linear = found.pairs
    assert (none.training, none.runs, none.seeds) == (True, True, (1, 2))
    assert texts(found)["baseline"][4:] == ["2", "the same runs", "nothing: the same runs"]
    assert costs_view(found).notes == ("4 runs of these stand in both and were paid once.",)
    assert (none.estimates[0].n, none.estimates[1].n, linear.estimates[1].n) == (3, 3, 2)


def test_one_training_executed_in_two_projects_is_compared(study: Callable[..., Project]) -> None:
    second = study(STUDY, SECOND, place="other", device="cuda")
    found = compare(study(STUDY, FIRST), second)
    assert [side.name for side in found.sides] == ["tiny (first)", "tiny (second)"]
    none, _ = found.pairs
    assert (none.training, none.runs) == (True, False)
    assert texts(found)["baseline"][5:] == ["+1.00 [−1.48, +3.48]", "executed twice"]


def test_runs_that_were_copied_with_their_results_are_the_same_runs(
    study: Callable[..., Project], tmp_path: Path
) -> None:
    first = study(STUDY, FIRST)
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    found = compare(first, Project.open(str(tmp_path / "copy" / "studies" / "tiny.yaml")))
    assert [pair.runs for pair in found.pairs] == [True, True]
    assert costs_view(found).notes == ("6 runs of these stand in both and were paid once.",)


def test_what_no_study_declares_is_told_with_a_mark(study: Callable[..., Project]) -> None:
    made = {"commit": "d" * 40, "dirty": False, "diff": None, "code": "def", "untracked": [],
            "modules": {"slws_lab.models.vim": "2" * 12}, "packages": {"torch": "2.7", "numpy": "2.1"}}  # fmt: skip
    second = study(LONGER, SECOND, device="cuda", provenance=made, data_fingerprint="f" * 16)
    found = compare(study(STUDY, FIRST), second)
    told = {one.field: (one.values, one.seeds) for one in found.pairs[0].beside}
    assert told == {
        "data fingerprint": (("not recorded", "f" * 16), (0, 1, 2)),
        "device": (("cpu", "cuda"), (0, 1, 2)),
        "torch": (("2.6", "2.7"), (0, 1, 2)),
        "code of slws_lab.models.vim": (("1" * 12, "2" * 12), (0, 1, 2)),
    }
    view = arms_view(found)
    assert [row[-1].mark for row in view.rows] == ["†", "†"]  # one note for both
    assert view.notes[0].startswith(
        "† The runs also differ in what no study declares: data fingerprint not recorded and ffff"
    )
    origins = {one.name: one.texts for one in found.made_by}
    assert origins["Packages"] == ("torch 2.6", "torch 2.7")
    assert origins["Device"] == ("cpu", "cuda")
    assert "In 2 shared arms the runs also differ in what no study declares." in summary(found)


def test_studies_of_different_metrics_are_shown_without_differences(study: Callable[..., Project]) -> None:
    loss = LONGER.replace("{name: val/top1, weights: raw}", "{name: val/loss, goal: minimize, weights: raw}")
    found = compare(study(STUDY, FIRST), study(loss, SECOND))
    assert not found.comparable
    assert [pair.test for pair in found.pairs] == [None, None]
    assert "Their metrics differ (val/top1 (%) and val/loss)" in summary(found)
    assert texts(found)["baseline"] == ["3", "91.00 ± 1.00", "3", "0.0800 ± 0.0173", "train.epochs"]
    assert any("different metrics" in note for note in arms_view(found).notes)


def test_arms_of_one_study_alone_stand_below(study: Callable[..., Project]) -> None:
    other = STUDY.replace("[none, linear]", "[none, constant]").replace("name: tiny", "name: constant")
    found = compare(study(STUDY, FIRST), study(other, FIRST))
    assert [[arm.label for arm in arms] for arms in found.alone] == [["schedule=linear"], ["schedule=constant"]]
    view = arms_view(found)
    assert [group.title for group in view.groups] == ["The same training in both", "Only in tiny", "Only in constant"]
    assert texts(found)["schedule=linear"] == ["3", "93.00 ± 2.00", "–", "–", "–", "–", "–"]
    assert found.judged == ()


def test_costs_add_up(study: Callable[..., Project]) -> None:
    rows = costs_view(compare(study(STUDY, FIRST), study(LONGER, SECOND))).rows
    assert [cell.text for cell in rows[0]] == ["tiny", "2", "6", "0.06", "36.0", "100", "0"]  # 6 runs of 36 s


def test_files_are_written_whole_and_the_same_again(study: Callable[..., Project], tmp_path: Path) -> None:
    found = compare(study(STUDY, FIRST), study(LONGER, SECOND))
    written = {path: path.read_bytes() for path in write_comparison(found, tmp_path / "out")}
    names = sorted(path.name for path in written)
    assert names == [
        "arms.csv",
        "comparison.html",
        "comparison.md",
        "comparison.tex",
        "costs.csv",
        "designs.csv",
        "verdicts.csv",
    ]
    assert str(tmp_path).encode() not in b"".join(written.values())
    write_comparison(compare(study(STUDY, FIRST), study(LONGER, SECOND)), tmp_path / "out")
    assert {path: path.read_bytes() for path in written} == written


def test_every_number_knows_its_runs(study: Callable[..., Project]) -> None:
    found = compare(study(STUDY, FIRST), study(LONGER, SECOND))
    (known,) = ({*table.records} for table in found.tables[:1])
    row = arms_view(found).rows[0]
    assert {*row[1].run_ids, *row[2].run_ids} <= known
    assert len(row[6].run_ids) == 6  # three pairs
    assert all(len(view.columns) == len(row) for view in comparison_views(found) for row in view.rows)


def test_a_study_without_run_folders_is_read_from_its_report(study: Callable[..., Project], tmp_path: Path) -> None:
    from slws_lab.reports.manifest import manifest

    first, second = study(STUDY, FIRST), study(LONGER, SECOND, place="other")
    before = compare(first, second)
    records = before.second.table.to_csv().encode()
    second.report_folder.mkdir(parents=True)
    (second.report_folder / "records.csv").write_bytes(records)
    made = manifest(before.second.table, second.study, [], {"records.csv": records})
    (second.report_folder / "manifest.json").write_text(made)
    second.workspace.runs.rename(tmp_path / "gone")
    after = compare(first, Project.open(str(second.study.source.path)))
    assert [pair.test for pair in after.pairs] == [pair.test for pair in before.pairs]
    assert json.loads(made)["study"] == "longer"
