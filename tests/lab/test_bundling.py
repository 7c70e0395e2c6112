"""A study as one zip: the same bytes again, a project elsewhere, the same report; what must not go in or come out."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Folder, make_project

from slws_lab.errors import UserError
from slws_lab.lab import archive, bundling, reporting, unbundling
from slws_lab.lab.bundling import bundle
from slws_lab.lab.project import Project
from slws_lab.lab.unbundling import unbundle
from slws_lab.reports.manifest import manifest
from slws_lab.tracking import Claim, journal


def plant(folder: Folder, *, runs: int = 6) -> Project:
    """Write the first runs of the study, breadth first, as a worker leaves them: weights, a log and a leftover checkpoint too."""
    project = Project.open(str(folder.study))
    for i, run in enumerate(project.design.runs[:runs]):
        place = project.workspace.run(run)
        place.create(run)
        attempt = place.new_attempt()
        for epoch in (1, 2):
            metrics = {"train/loss": 2.0 / epoch, "val/loss": 1.0 / epoch, "val/top1": 80.0 + i + epoch}
            journal.append(attempt.journal, epoch, 1e9 + epoch, metrics)
        attempt.log.write_text(f"reading {folder.path}/data\n")
        attempt.checkpoint.mkdir()
        for name in ("last.safetensors", "ema.safetensors", "resume.pt"):
            (attempt.checkpoint / name).write_bytes(bytes([i]) * 1000)
        attempt.finish({
            "status": "finished", "cause": "", "epochs": 2, "metrics": {}, "seconds": 9.0, "threads": 1, "device": "cpu", "host": "box",
            "provenance": {"commit": None, "code": "abc", "modules": {}, "packages": {"torch": "2.6"}, "machine": {}},
        })  # fmt: skip
    return project


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real bundle, its report drawn. Do not change it: copy it."""
    place = tmp_path_factory.mktemp("sent")
    return bundle(plant(make_project(place / "project")), place / "tiny.zip").path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reports be their records alone: drawing takes seconds, and one test draws."""

    def files(project: Project, found: reporting.Results) -> dict[str, bytes]:
        records = found.table.to_csv().encode()
        made = manifest(found.table, project.study, [], {"records.csv": records})
        return {"records.csv": records, "manifest.json": made.encode()}

    monkeypatch.setattr(reporting, "files", files)


def names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as zipped:
        return set(zipped.namelist())


def test_a_bundle_opens_elsewhere_with_the_same_report_byte_for_byte(sent: Path, tmp_path: Path) -> None:
    opened = unbundle(sent, tmp_path / "elsewhere")
    assert (opened.differing, opened.same, opened.runs) == ((), True, (6, 6))
    assert {"records.csv", "table.tex", "report.html", "manifest.json", "figures/effects.svg"} <= {*opened.files}
    project = Project.open(str(opened.folder / opened.study))
    assert project.workspace.path == opened.folder / ".slws"
    assert all(project.record(run_id).status == "finished" for run_id in project.design.run_ids.values())
    assert sorted(path.name for path in opened.folder.iterdir()) == [
        ".slws", "bundle-requirements.txt", "bundle.json", "experiments", "reports", "studies",
    ]  # fmt: skip


def test_the_same_study_gives_the_same_bytes(project: Folder, tmp_path: Path, quick: None) -> None:
    opened = plant(project)
    first = bundle(opened, tmp_path / "a.zip").path.read_bytes()
    for path in project.path.rglob("*"):
        path.touch()
    assert bundle(opened, tmp_path / "a.zip").path.read_bytes() == first
    there = unbundle(tmp_path / "a.zip", tmp_path / "there")
    assert bundle(Project.open(str(there.folder / there.study)), tmp_path / "b.zip").path.read_bytes() == first


def test_records_go_in_and_weights_logs_and_checkpoints_do_not(project: Folder, tmp_path: Path, quick: None) -> None:
    made = bundle(plant(project), tmp_path / "a.zip")
    run = next(iter(Project.open(str(project.study)).design.run_ids.values()))
    own = {
        name.removeprefix(f".slws/runs/{run}/") for name in names(made.path) if name.startswith(f".slws/runs/{run}/")
    }
    assert own == {"run.json", "attempt-1/journal.jsonl", "attempt-1/result.json"}
    assert {
        "studies/tiny.yaml",
        "experiments/tiny.yaml",
        "reports/tiny/records.csv",
        "bundle-requirements.txt",
    } < names(made.path)
    assert made.notes == ()  # no file of it names a folder of this machine
    with zipfile.ZipFile(made.path) as zipped:
        assert not any(str(tmp_path).encode() in zipped.read(name) for name in zipped.namelist())
        about = json.loads(zipped.read("bundle.json"))
    assert about["packages"].keys() >= {"torch", "matplotlib", "python", "slws-lab"}


def test_the_best_runs_weights_go_in_when_asked_for(project: Folder, tmp_path: Path, quick: None) -> None:
    opened = plant(project)
    made = bundle(opened, tmp_path / "a.zip", weights=True)
    best = list(opened.design.runs)[-1]  # each was planted better than the one before
    place = f".slws/runs/{opened.workspace.run(best).run_id}/attempt-1/checkpoint/"
    assert {name for name in names(made.path) if "checkpoint" in name} == {
        f"{place}last.safetensors",
        f"{place}ema.safetensors",
    }
    there = unbundle(made.path, tmp_path / "there")
    assert (there.folder / place / "ema.safetensors").read_bytes() == bytes([5]) * 1000
    shutil.rmtree(opened.workspace.run(best).attempts()[0].checkpoint)
    with pytest.raises(UserError, match="the weights of the best run"):
        bundle(opened, tmp_path / "b.zip", weights=True)
    assert not (tmp_path / "b.zip").exists()


def test_an_attempt_that_left_nothing_is_counted_there_too(project: Folder, tmp_path: Path, quick: None) -> None:
    opened = plant(project)
    folder = opened.workspace.run(opened.design.runs[0])
    folder.new_attempt()
    assert unbundle(bundle(opened, tmp_path / "a.zip").path, tmp_path / "there").same
    there = Project.open(str(tmp_path / "there" / "studies" / "tiny.yaml"))
    assert there.record(folder.run_id).attempts == 2


def test_missing_runs_are_told(project: Folder, tmp_path: Path, quick: None) -> None:
    made = bundle(plant(project, runs=4), tmp_path / "a.zip")
    assert made.runs == (4, 6)
    assert "2 of 6 runs have no result yet" in made.notes[0]
    assert unbundle(made.path, tmp_path / "there").runs == (4, 6)


def test_folders_of_this_machine_that_remain_are_told(project: Folder, tmp_path: Path, quick: None) -> None:
    opened = plant(project)
    (opened.workspace.run(opened.design.runs[0]).attempts()[0].path / "diff.patch").write_text(
        f"+open('{project.path}/x')\n"
    )
    assert "diff.patch" in bundle(opened, tmp_path / "a.zip").notes[0]


@pytest.mark.parametrize("case", ["held", "none", "search", "outside"])
def test_what_cannot_be_bundled_is_refused_in_one_message(
    case: str, project: Folder, tmp_path: Path, quick: None
) -> None:
    opened = plant(project, runs=0 if case == "none" else 2)
    said = {
        "held": "1 run is in hand",
        "none": "no run of the study has a result",
        "search": "is a search",
        "outside": "outside the project",
    }
    if case == "held":
        claim = Claim.take(opened.workspace.run(opened.design.runs[0]).attempts()[0].claim)
        assert claim is not None
    elif case == "search":
        head, tail = project.study.read_text().split("factors:")
        rest = tail[tail.index("seeds:") :]
        project.study.write_text(
            f"{head}search: {{space: {{train.lr: [8e-3, 1e-2]}}, sampler: random, trials: 2}}\n{rest}"
        )
        opened = Project.open(str(project.study))
    elif case == "outside":
        (tmp_path / "far.yaml").write_text(project.study.read_text())
        project.study.unlink()
        project.study.symlink_to(tmp_path / "far.yaml")
        opened = Project(opened.study, opened.workspace, opened.reports)
    with pytest.raises(UserError, match=said[case]):
        bundle(opened, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_what_is_no_bundle_is_not_written_over(project: Folder, quick: None) -> None:
    opened = plant(project)
    before = project.study.read_bytes()
    with pytest.raises(UserError, match="something else than a bundle"):
        bundle(opened, project.study)
    assert project.study.read_bytes() == before


def test_a_report_that_comes_out_otherwise_is_kept_beside_the_one_that_came(
    project: Folder, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "_code", lambda: "c" * 12)
    made = bundle(plant(project), tmp_path / "a.zip")

    def files(project: Project, found: reporting.Results) -> dict[str, bytes]:
        return {"records.csv": found.table.to_csv().encode(), "manifest.json": b"other\n", "new.txt": b""}

    here: dict[str, Any] = bundling.made_with()
    packages = {**here["packages"], "matplotlib": "0.1"}
    monkeypatch.setattr(reporting, "files", files)
    monkeypatch.setattr(unbundling, "made_with", lambda: {**here, "packages": packages})
    opened = unbundle(made.path, tmp_path / "there")
    assert opened.differing == ("manifest.json", "new.txt")
    assert not opened.same_numbers
    assert replace(opened, differing=("figures/effects.svg", "manifest.json", "report.html")).same_numbers
    assert not replace(opened, differing=("figures/effects.csv",)).same_numbers
    (reason,) = opened.reasons
    assert reason.startswith("matplotlib was ")
    assert reason.endswith("here it is 0.1")
    reports = tmp_path / "there" / "reports"
    assert (reports / "tiny" / "manifest.json").read_bytes() == b"other\n"
    with zipfile.ZipFile(made.path) as zipped:
        assert (reports / "tiny-sent" / "manifest.json").read_bytes() == zipped.read("reports/tiny/manifest.json")


def test_other_code_and_another_processor_are_named_only_if_they_are_others(
    project: Folder, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    monkeypatch.setattr(bundling, "_code", lambda: "c" * 12)
    opened = plant(project)
    results = reporting.results(opened)
    reporting.report(opened, results)
    sent, about = opened.report_folder, bundling.made_with()

    def reasons(**other: str) -> list[str]:
        return unbundling._reasons({**about, **other}, sent, results.table)

    assert "other code" in reasons(code="0" * 12)[0]
    assert "may depend on the processor" in reasons(processor="another")[0]
    assert reasons() == ["nothing known explains it: records, versions, code and processor are the same"]


def rewritten(made: Path, changed: dict[str, bytes]) -> None:
    """Put other contents into a bundle, whose list is made anew, as a forger would."""
    with zipfile.ZipFile(made) as zipped:
        members: dict[str, bytes | Path] = {n: zipped.read(n) for n in zipped.namelist() if n != archive.LIST}
        listed = json.loads(zipped.read(archive.LIST))
    about = {key: value for key, value in listed.items() if key not in ("files", archive.SEAL)}
    archive.write(made, members | changed, about)


@pytest.mark.parametrize("forged", ["journal", "result", "report", "manifest"])
def test_a_forged_bundle_is_told_as_one_that_contradicts_itself(
    forged: str, project: Folder, tmp_path: Path, quick: None
) -> None:
    opened = plant(project)
    attempt = opened.workspace.run(opened.design.runs[0]).attempts()[0]
    made = bundle(opened, tmp_path / "a.zip").path
    place, records = attempt.path.relative_to(project.path).as_posix(), "reports/tiny/records.csv"
    with zipfile.ZipFile(made) as zipped:
        other = {
            "journal": {f"{place}/journal.jsonl": attempt.journal.read_bytes().replace(b"82.0", b"99.0")},
            "result": {f"{place}/result.json": (attempt.path / "result.json").read_bytes().replace(b"9.0", b"8.0")},
            "report": {records: zipped.read(records).replace(b"82.0", b"99.0")},
            "manifest": {"reports/tiny/manifest.json": zipped.read("reports/tiny/manifest.json")[:-3] + b" }\n"},
        }[forged]
    rewritten(made, other)
    told = unbundle(made, tmp_path / "there").reasons[0]
    if forged in ("journal", "result"):
        assert told.endswith(f"that its report was made from: 1 run, first {attempt.run_id}")
    else:
        assert told.startswith(
            "the report in the bundle is not as" if forged == "report" else "the manifest.json in the bundle"
        )


def test_a_folder_that_holds_something_is_not_written_into(sent: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="there is something already"):
        unbundle(sent, tmp_path / "there")
    assert [path.name for path in tmp_path.rglob("*")] == ["there", "mine.txt"]


def test_a_models_file_goes_along_and_is_named_but_not_executed(project: Folder, tmp_path: Path, quick: None) -> None:
    (project.path / "mine.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    project.recipe.write_text(project.recipe.read_text() + "models: [mine.py]\n")
    opened = unbundle(bundle(plant(project), tmp_path / "a.zip").path, tmp_path / "there")
    assert opened.scripts == ("mine.py",)
    assert not (tmp_path / "executed").exists()


def test_weights_that_a_study_starts_from_go_along_since_its_run_ids_need_them(
    project: Folder, tmp_path: Path, quick: None
) -> None:
    (project.path / "start.safetensors").write_bytes(b"weights")
    project.recipe.write_text(
        project.recipe.read_text().replace("drop_path: 0.1", "drop_path: 0.1, init_from: start.safetensors")
    )
    opened = unbundle(bundle(plant(project), tmp_path / "a.zip").path, tmp_path / "there")
    assert (opened.same, opened.runs, opened.scripts) == (True, (6, 6), ())
    assert (opened.folder / "start.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize(
    "change", [{"epochs": "x"}, {"provenance": ["x"]}, {"seconds": {}}, {"params": 10**30}, {"status": None}]
)
def test_a_forged_record_is_refused_or_read_but_never_a_crash(
    change: dict[str, Any], project: Folder, tmp_path: Path, quick: None
) -> None:
    opened = plant(project)
    path = opened.workspace.run(opened.design.runs[0]).attempts()[0].path / "result.json"
    made = bundle(opened, tmp_path / "a.zip").path
    changed = json.dumps(json.loads(path.read_text()) | change).encode()
    rewritten(made, {path.relative_to(project.path).as_posix(): changed})
    before = sorted(tmp_path.iterdir())
    try:
        unbundle(made, tmp_path / "there")
    except UserError as error:
        assert "cannot be reported here" in error.given
        assert sorted(tmp_path.iterdir()) == before
