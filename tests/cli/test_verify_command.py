"""`slws verify`: its exit codes, what it prints, and that it writes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import Folder, Slws, make_project

from slws_lab.spec import RunSpec, load_recipe
from slws_lab.tracking import Attempt, Workspace, journal, write_text
from slws_lab.tracking.audit_digests import result_text


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A project with one finished run, of no study that is known here. Do not change it: copy it."""
    folder = make_project(tmp_path_factory.mktemp("recorded") / "project")
    run = RunSpec.of(load_recipe(folder.recipe), 7)
    place = Workspace(folder.workspace).run(run)
    place.create(run)
    attempt = place.new_attempt()
    for epoch in (1, 2):
        journal.append(attempt.journal, epoch, 1e9 + epoch, {"val/top1": 10.5 * epoch})
    result = {"status": "finished", "cause": "", "epochs": 2, "metrics": {"val/top1": 21.0}}
    write_text(attempt.path / "result.json", result_text(attempt.path, result))
    return folder


@pytest.fixture
def copied(recorded: Folder, tmp_path: Path) -> Folder:
    return Folder(Path(shutil.copytree(recorded.path, tmp_path / "project")))


def the_attempt(folder: Folder) -> Attempt:
    (run,) = Workspace(folder.workspace).folders()
    return run.attempts()[0]


def test_a_sound_workspace_is_complete(copied: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    before = copied.listing()
    assert slws("verify", cwd=copied.path) == 0
    printed = capsys.readouterr().out
    assert "1 runs, 1 results, 0 reports, 0 points" in printed
    assert "sound" in printed
    assert slws("verify", "--json", cwd=copied.path) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["sound"], told["runs"], told["faults"], told["notes"]) == (True, 1, [], [])
    assert copied.listing() == before


def test_a_fault_names_its_file_and_what_to_do(copied: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    path = the_attempt(copied).journal
    path.write_text(path.read_text().replace("21.0", "22.0"))
    assert slws("verify", cwd=copied.path) == 1
    printed = capsys.readouterr().out
    assert f"{path.relative_to(copied.path)}: it was changed after the run ended" in printed
    assert f"move {path.parent} away" in printed
    assert slws("verify", "--json", cwd=copied.path) == 1
    told = json.loads(capsys.readouterr().out)
    assert ([fault["file"] for fault in told["faults"]], told["sound"]) == ([str(path)], False)


def test_a_result_of_an_older_version_is_a_note(copied: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    path = the_attempt(copied).path / "result.json"
    old = {name: value for name, value in json.loads(path.read_text()).items() if name != "digests"}
    path.write_text(json.dumps(old))
    assert slws("verify", cwd=copied.path) == 0
    assert "digests not recorded in 1 results" in capsys.readouterr().out


def test_a_study_that_was_never_mirrored_is_told_how(
    copied: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    copied.study.write_text(copied.study.read_text().replace("seeds: 3", "seeds: [7]"))
    assert slws("verify", "tiny", "--json", cwd=copied.path) == 1
    (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert (fault["what"], fault["mend"]) == ("there is no MLflow store yet", "slws sync tiny")
    other = copied.workspace.rename(copied.path / "else where")
    assert slws("verify", "tiny", "--workspace", other, "--json", cwd=copied.path) == 1
    (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert fault["mend"] == f"slws sync tiny --workspace '{other}'"


@pytest.mark.parametrize(("arguments", "said"), [((), "nothing to verify yet"), (("tiny",), "nothing to verify yet"), (("nothing",), "nothing")])  # fmt: skip
def test_a_mistake_is_one_message(
    arguments: tuple[str, ...], said: str, project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    before = project.listing()
    assert slws("verify", *arguments, cwd=project.path) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert project.listing() == before
