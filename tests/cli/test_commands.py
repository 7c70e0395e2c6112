"""Commands that start nothing: help, plan, schema, models, doctor."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from conftest import REPOSITORY, Folder, Slws

from slws_lab.cli.show_plan import _unknown
from slws_lab.lab import examining, science
from slws_lab.lab.planning import plan
from slws_lab.lab.project import Project
from slws_lab.spec import expand, load_any_recipe, load_study
from slws_lab.tracking import Workspace, journal

COMMANDS = (
    "plan",
    "run",
    "status",
    "rerun",
    "report",
    "compare",
    "references",
    "why",
    "ui",
    "train",
    "eval",
    "data",
    "sync",
    "clean",
    "schema",
    "models",
    "doctor",
)


def test_help_names_every_command(slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws("--help") == 0
    printed = capsys.readouterr().out
    assert [command for command in COMMANDS if command not in printed] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws(command, "--help") == 0
    assert "Usage: slws" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_plan_is_machine_readable_and_creates_no_run(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slws("plan", "tiny", "--only", "seed=1", "--json", cwd=project.path) == 0
    told = json.loads(capsys.readouterr().out)
    assert [arm["label"] for arm in told["arms"]] == ["schedule=none", "schedule=linear"]
    assert [(run["seed"], run["status"]) for run in told["runs"]] == [(1, "pending"), (1, "pending")]
    assert told["todo"] == 2
    assert not (project.workspace / "runs").exists()


def test_plan_says_what_the_seeds_can_find(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"params": 1000, "data_fingerprint": "aa"}  # what the science tower would take seconds to say
    monkeypatch.setattr(science, "check", lambda project, asked=None: {arm.id: known for arm in project.design.arms})
    assert slws("plan", "tiny", "--json", cwd=project.path) == 0
    found = json.loads(capsys.readouterr().out)["prospects"]
    assert (found["contrasts"], found["seeds"], found["spread"], found["margin_seeds"]) == (1, 3, None, None)
    assert found["smallest"] == pytest.approx(3.26, abs=0.005) and found["power"] == 0.8
    assert slws("plan", "tiny", cwd=project.path) == 0
    said = capsys.readouterr().out
    assert "1 contrast; 3 seeds find a mean difference of 3.26 standard deviations" in said
    assert "how many seeds the margin of 1 point needs is known once" in said
    _plant(project)
    assert slws("plan", "tiny", cwd=project.path) == 0
    told = capsys.readouterr().out
    assert "differences, now 3.26 points (80% power" in told  # the deltas 1, 2, 3 have a standard deviation of 1
    assert "the margin of 1 point needs 11 seeds" in told


def test_plan_says_what_it_costs_what_is_left_of_the_budget_and_what_changes_together(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"params": 1000, "data_fingerprint": "aa"}
    monkeypatch.setattr(science, "check", lambda project, asked=None: {arm.id: known for arm in project.design.arms})
    text = project.study.read_text().replace("seeds: 3", "seeds: {min: 3, max: 5}\nbudget: {device_hours: 0.5}")
    text = text.replace("  shuffle.schedule: [none, linear]\n", "  train.lr: [1e-3, 2e-3]\n  train.eps: [1e-8, 1e-7]\n")
    project.study.write_text(text.replace("grid: [shuffle.schedule]", "zip: [train.lr, train.eps]"))
    assert slws("plan", "tiny", cwd=project.path) == 0
    said = capsys.readouterr().out
    assert "2 arms x 3 to 5 seeds, as needed: 6 runs, 6 to run; 10 runs at most" in said
    assert "cost of any arm: not known before a run of it has finished" in said and "--probe" in said
    assert "disk: " in said and "GB free" in said
    assert "budget: 0.5 device-hours, 0 spent; running stops before it is exceeded" in said
    assert "train.lr and train.eps change together" in said
    assert slws("plan", "tiny", "--json", cwd=project.path) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["confounded"] == [["train.lr", "train.eps"]] and found["most_runs"] == 10
    assert found["cost"]["device_hours"] is None and len(found["cost"]["unknown"]) == 2
    assert (found["budget"], found["spent"]) == (0.5, 0.0)


def test_a_strict_report_refuses_what_is_not_declared(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    _plant(project, device="NVIDIA A100")
    assert slws("report", "tiny", "--strict", cwd=project.path) == 1
    assert "device NVIDIA A100 against cpu (seed 1)" in capsys.readouterr().err
    assert slws("report", "tiny", "--strict", "--json", cwd=project.path) == 1
    (found,) = json.loads(capsys.readouterr().out)["undeclared"]
    assert (found["field"], found["values"], found["seeds"]) == ("device", ["NVIDIA A100", "cpu"], [1])
    assert not (project.path / "reports").exists()


def test_a_strict_report_of_comparable_arms_is_written(project: Folder, slws: Slws) -> None:
    _plant(project)
    assert slws("report", "tiny", "--strict", cwd=project.path) == 0
    assert "| 3 |" in (project.path / "reports/tiny/table.md").read_text()


def _plant(project: Folder, device: str = "cpu") -> None:
    """Plant finished runs: the second arm is better by seed + 1, and ran its seed 1 on the device."""
    study = load_study(project.study)
    for (arm_id, seed), run_id in (design := expand(study)).run_ids.items():
        second = arm_id == design.arms[1].id
        folder = Workspace(project.workspace).run(run_id)
        folder.create(design.arm(arm_id).run(seed))
        attempt = folder.new_attempt()
        value = 50.0 + 7 * seed + (seed + 1) * second
        for epoch in (1, 2):
            journal.append(attempt.journal, epoch, 1e9, {"val/top1": value, "train/loss": 1.0})
        attempt.finish({"status": "finished", "cause": "", "host": "box", "started": 1e9, "finished": 1e9, "epochs": 2,
                        "device": device if second and seed == 1 else "cpu", "metrics": {"val/top1": value},
                        "params": 1000 + second, "data_fingerprint": "aa", "threads": 1,
                        "provenance": {"commit": None, "dirty": False, "code": "aa", "modules": {}, "packages": {}}})  # fmt: skip


@pytest.mark.parametrize("kind", ["study", "recipe"])
def test_schema_accepts_our_own_files(kind: str, slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws("schema", kind) == 0
    schema = json.loads(capsys.readouterr().out)
    kinds = [schema] if kind == "study" else [schema["$defs"][name] for name in ("Recipe", "CommandRecipe")]
    assert all(one["additionalProperties"] is False for one in kinds)
    assert all(
        name in one["properties"]
        for name, one in zip(["factors"] if kind == "study" else ["train", "command"], kinds, strict=True)
    )


def test_schema_of_something_else_is_refused(slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws("schema", "studdy") == 2
    assert "did you mean 'study'?" in capsys.readouterr().err


def test_models_are_listed_with_their_sizes(slws: Slws, capsys: pytest.CaptureFixture[str]) -> None:
    assert slws("models", "--json") == 0
    sizes = {row["name"]: row["params"] for row in json.loads(capsys.readouterr().out)}
    assert sizes["shufflemamba_tiny"] == 7_148_008


def test_doctor_names_the_back_ends_and_the_store(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    slws("doctor", "--json", cwd=project.path)
    found = json.loads(capsys.readouterr().out)
    assert {finding["topic"] for finding in found} >= {"python", "gpu", "scan", "packages", "mlflow", "disk", "git"}
    assert any("chunked" in finding["text"] for finding in found)
    assert not project.workspace.exists()


def test_a_folder_that_is_no_git_repository_is_a_remark_of_the_doctor(
    tmp_path: Path, slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examining.science, "ask", lambda *_: {"reference": "works"})
    monkeypatch.setattr(examining, "LOW_DISK_GB", 0.0)
    assert slws("doctor", cwd=tmp_path) == 0
    assert f"ok  git       {tmp_path} is no git repository" in capsys.readouterr().out


def test_a_plan_ends_with_the_name_of_a_study_that_is_found_by_it(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"params": 1000, "data_fingerprint": "aa"}
    monkeypatch.setattr(science, "check", lambda project, asked=None: {arm.id: known for arm in project.design.arms})
    (project.path / "studies/deep").mkdir()
    deep = project.path / "studies/deep/tiny.yaml"
    deep.write_text(project.study.read_text().replace("../", "../../"))
    elsewhere = project.path.parent
    for cwd, given, said in (
        (project.path, "studies/tiny.yaml", "tiny"),
        (project.path / "studies", "tiny.yaml", "tiny"),
        (project.path, "studies/deep/tiny.yaml", "studies/deep/tiny.yaml"),
        (elsewhere, project.study, project.study),
    ):
        assert slws("plan", given, cwd=cwd) == 0
        assert capsys.readouterr().out.endswith(f"run it: slws run {said}\n")
        assert slws("status", given, cwd=cwd) == 1
        assert capsys.readouterr().out.endswith(f"6 of 6 runs are missing: slws run {said}\n")


def test_the_status_prints_means_with_the_decimals_of_the_tables(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"params": 1000, "data_fingerprint": "aa"}
    monkeypatch.setattr(science, "check", lambda project, asked=None: {arm.id: known for arm in project.design.arms})
    _plant(project)
    slws("status", "tiny", cwd=project.path)
    printed = capsys.readouterr().out
    assert "57.00 (n=3)" in printed and "59.00 (n=3)" in printed


def test_of_many_arms_whose_cost_nobody_knows_the_first_are_named_shortly(
    project: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"params": 1000, "data_fingerprint": "aa"}
    monkeypatch.setattr(science, "check", lambda project, asked=None: {arm.id: known for arm in project.design.arms})
    text = project.study.read_text().replace(
        "[none, linear]", "[none, linear, constant]\n  shuffle.max_rate: [0.5, 0.1]"
    )
    project.study.write_text(text.replace("grid: [shuffle.schedule]", "grid: [shuffle.schedule, shuffle.max_rate]"))
    state = plan(Project.open(str(project.study)))
    labels = [arm.label for arm in state.project.design.arms]
    assert len(labels) == 5
    assert _unknown(state, labels) == "any arm: not known before a run of it"
    assert _unknown(state, labels[2:3]) == "schedule=linear, max_rate=0.1: not known before a run of it"
    told = "4 arms (schedule=linear; schedule=linear, max_rate=0.1; schedule=constant; ...): not known before a run of each"
    assert _unknown(state, labels[1:]) == told


@pytest.mark.usefixtures("here")
def test_a_plan_keeps_the_workspace_out_of_git(project: Folder, slws: Slws) -> None:
    subprocess.run(["git", "init", "--quiet", project.path], check=True)
    assert slws("plan", "tiny", cwd=project.path) == 0
    assert slws("plan", "tiny", "--workspace", "other", cwd=project.path) == 0
    assert (project.path / "other" / "cache").is_dir()
    status = ["git", "status", "--porcelain", "--untracked-files=all"]
    said = subprocess.run(status, cwd=project.path, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["??", "experiments/tiny.yaml", "??", "pyproject.toml", "??", "studies/tiny.yaml"]


def test_every_study_and_recipe_of_the_repository_loads() -> None:
    for path in (REPOSITORY / "studies").glob("*.yaml"):
        load_study(path)
    for path in (REPOSITORY / "experiments").glob("*.yaml"):
        load_any_recipe(path)
