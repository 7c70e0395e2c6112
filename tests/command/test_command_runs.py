"""Runs of commands as a worker executes them: results, failures, divergence, stops, kills, and what is left of them."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest
from command.trainer import attempt_of, job_file, make_command_project, place
from conftest import Folder

from slws_lab import worker
from slws_lab.command import prepare
from slws_lab.spec import CommandRun, load_any_recipe
from slws_lab.tracking import Attempt, differences, journal
from slws_lab.tracking.causes import kind_of

RESUME = 'resume: [--resume, "{run.dir}/checkpoint.pth"]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return make_command_project(tmp_path / "project")


def run_of(folder: Folder, more: str = "", **values: Any) -> CommandRun:
    """Return a run of the recipe with these lines added and these values of its fields."""
    if more:
        folder.recipe.write_text(folder.recipe.read_text() + more)
    recipe = load_any_recipe(folder.recipe)
    fields = {
        name: field.model_copy(update={"value": values.get(name, field.value)}) for name, field in recipe.fields.items()
    }  # type: ignore[union-attr]
    return CommandRun.of(recipe.model_copy(update={"fields": fields}), 0)  # type: ignore[arg-type]


def executed(folder: Folder, run: CommandRun, number: int = 1) -> tuple[Attempt, dict[str, Any]]:
    attempt = attempt_of(folder, run, number)
    worker.execute(attempt, place(folder))
    return attempt, attempt.result() or {}


def argv(attempt: Attempt) -> list[str]:
    return list(json.loads((attempt.files / "argv.json").read_text()))


def after(path: Path, lines: int) -> bool:
    return path.exists() and len(path.read_text().splitlines()) >= lines


def test_a_deit_style_script_gives_a_whole_record(folder: Folder) -> None:
    attempt, result = executed(folder, run_of(folder))
    entries = list(journal.read(attempt.journal))
    lines = [json.loads(line) for line in (attempt.files / "log.txt").read_text().splitlines()]
    assert [(e.step, e.metrics) for e in entries] == [
        (i + 1, {"val/top1": one["test_acc1"], "train/loss": one["train_loss"]}) for i, one in enumerate(lines)
    ]
    assert (result["status"], result["epochs"], result["device"]) == ("finished", 3, "cpu")
    assert result["metrics"] == entries[-1].metrics
    assert list(result["provenance"]["modules"]) == ["main.py"]
    assert "| * Epoch 2 Acc@1" in attempt.log.read_text()
    assert attempt.lacks() == ""


def test_a_worker_of_commands_loads_no_torch(folder: Folder) -> None:
    job = job_file(folder, attempt_of(folder, run_of(folder)))
    code = f"import sys; from pathlib import Path; from slws_lab.worker import run_job; run_job(Path({str(job)!r})); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], input="", capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_value_is_one_argument_whatever_is_in_it(folder: Folder) -> None:
    note = "\"; touch x; $(touch y) 'z' {lr} $HOME *"
    attempt, result = executed(folder, run_of(folder, note=note, amp=True))
    assert result["status"] == "finished"
    given = argv(attempt)
    assert given[given.index("--note") + 1] == note
    assert "--amp" in given and "--do" not in given
    assert sorted(path.name for path in folder.path.iterdir()) == [
        ".slws",
        "experiments",
        "main.py",
        "pyproject.toml",
        "studies",
    ]


def test_variables_of_the_environment_are_read_in_the_recipe_alone_and_change_no_id(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(folder, "env: {WHERE: '$DATA/{seed}'}\n")
    text = folder.path / "main.py"
    text.write_text(
        "import os; print('where', os.environ['WHERE'], os.environ['OMP_NUM_THREADS'])\n" + text.read_text()
    )
    monkeypatch.setenv("DATA", "/data sets")
    attempt, _ = executed(folder, run)
    assert "| where /data sets/0 1\n" in attempt.log.read_text()
    assert "/data" not in (attempt.path.parent / "run.json").read_text()


@pytest.mark.parametrize(
    ("do", "cause", "kind"),
    [
        ("raise", "exit code 1: ValueError: bad batch, token <MY_TOKEN>", "error"),
        ("memory", "exit code 1: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "memory"),
        ("memory-kill", "the command was ended by SIGKILL: RuntimeError: DataLoader worker: Cannot allocate memory", "memory"),
        ("silent", "the command ended well and never gave train/loss, val/top1: nothing was found where the recipe says that metrics are", "error"),
    ],
)  # fmt: skip
def test_a_failure_has_the_line_that_says_most_as_its_cause(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, do: str, cause: str, kind: str
) -> None:
    monkeypatch.setenv("MY_TOKEN", "hunter2hunter2")
    attempt, result = executed(folder, run_of(folder, do=do))
    assert (result["status"], result["cause"], kind_of(result["cause"]).name) == ("failed", cause, kind)
    assert "hunter2" not in attempt.log.read_text()


def test_a_metric_that_never_comes_is_named_with_the_keys_that_did(folder: Folder) -> None:
    folder.recipe.write_text(folder.recipe.read_text().replace("test_acc1", "test_acc"))
    _, result = executed(folder, run_of(folder))
    assert result["cause"] == (
        "the command ended well and never gave val/top1: keys found: train_lr, train_loss, test_acc1, test_loss, epoch, n_parameters"
    )


def test_a_metric_that_is_not_finite_ends_the_command_as_diverged(folder: Folder) -> None:
    started = time.monotonic()
    attempt, result = executed(folder, run_of(folder, do="diverge", pause=0.3, **{"train.epochs": 1000}))
    assert (result["status"], result["cause"]) == ("diverged", "val/top1 became nan in step 2")
    assert time.monotonic() - started < 60
    assert "val/top1" not in result["metrics"] or result["metrics"]["val/top1"] == result["metrics"]["val/top1"]
    assert attempt.lacks() == ""


def test_a_command_that_is_killed_goes_back_and_fails_when_that_helps_no_more(folder: Folder) -> None:
    attempt = attempt_of(folder, run_of(folder, do="kill"))
    outcomes = [worker.execute(attempt, place(folder)) for _ in range(4)]
    assert outcomes == ["lost", "lost", "lost", "failed"]
    assert kind_of((attempt.result() or {})["cause"]).name == "lost"


def test_patterns_give_the_same_numbers_as_the_file(folder: Folder) -> None:
    text = folder.recipe.read_text().split("metrics:")[0]
    pattern = r"metrics: {stdout: 'Epoch (?P<epoch>\d+) Acc@1 (?P<acc>\S+)', step: epoch, counts_from: 0, names: {val/top1: acc}}"
    folder.recipe.write_text(text + pattern + "\n")
    attempt, result = executed(folder, run_of(folder))
    lines = [json.loads(line) for line in (attempt.files / "log.txt").read_text().splitlines()]
    assert result["status"] == "finished"
    assert [e.metrics["val/top1"] for e in journal.read(attempt.journal)] == [
        round(one["test_acc1"], 3) for one in lines
    ]


def test_two_lines_of_python_are_enough_to_log(folder: Folder) -> None:
    text = folder.recipe.read_text().split("metrics:")[0]
    folder.recipe.write_text(text + "metrics: {names: [val/top1]}\n")
    attempt, result = executed(folder, run_of(folder, do="log"))
    assert (result["status"], result["epochs"]) == ("finished", 3)
    assert [sorted(e.metrics) for e in journal.read(attempt.journal)] == [["train/extra", "val/top1"]] * 3


@pytest.mark.parametrize("resume", ["", RESUME])
def test_a_stop_is_no_death_and_the_run_ends_as_undisturbed(folder: Folder, resume: str) -> None:
    run = run_of(folder, resume, pause=0.1)
    undisturbed, _ = executed(folder, run, 1)
    stopped = attempt_of(folder, run, 2)
    assert worker.execute(stopped, place(folder, lambda: after(stopped.journal, 1))) == "interrupted"
    done = len(list(journal.read(stopped.journal)))
    assert 1 <= done < 3
    assert psutil.Process().children(recursive=True) == []
    assert worker.execute(stopped, place(folder)) == "finished"
    assert ("--resume" in argv(stopped)) == bool(resume)
    assert differences(undisturbed, stopped) == []
    assert (stopped.result() or {})["resumes"] == 1
    assert len((stopped.files / "log.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize("resume", ["resume: ['--resume={run.dir}/checkpoint.pth']\n", "resume: [--auto-resume]\n"])
def test_a_run_goes_on_by_an_option_with_its_file_or_by_one_that_names_none(folder: Folder, resume: str) -> None:
    script = folder.path / "main.py"
    auto = "sys.argv = [f'--resume={sys.argv[-2]}/checkpoint.pth' if one == '--auto-resume' else one for one in sys.argv]\n"
    script.write_text(script.read_text().replace("\nparser =", f"\n{auto}parser =", 1))
    run = run_of(folder, resume, pause=0.1)
    stopped = attempt_of(folder, run)
    assert worker.execute(stopped, place(folder, lambda: after(stopped.journal, 1))) == "interrupted"
    assert worker.execute(stopped, place(folder)) == "finished"
    assert any(argument.startswith("--resume=") for argument in argv(stopped))
    assert "starting over" not in stopped.log.read_text()


@pytest.mark.parametrize(
    ("resume", "there", "goes_on"),
    [
        ("['--resume={run.dir}/{seed}.pth']", "0.pth", True),
        ("['--resume={run.dir}/{seed}.pth']", "1.pth", False),
        ("[--resume, '{run.dir}/$STEM.pth']", "last.pth", True),
        ("[--from, '{run.dir}/a', --and, '{run.dir}/b']", "a", False),
        ("[--auto-resume]", "anything", True),
        ("[--auto-resume]", ".slws_log.jsonl", False),
        ("[--auto-resume]", "", False),
        ("['--auto-resume={run.dir}']", "", False),
        ("[]", "anything", False),
    ],
)
def test_a_run_goes_on_where_its_files_are(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: str, there: str, goes_on: bool
) -> None:
    monkeypatch.setenv("STEM", "last")
    run, files = run_of(folder, f"resume: {resume}\n"), tmp_path / "files"
    assert not prepare.goes_on(run, files)
    files.mkdir()
    if there:
        (files / there).write_text("epoch 1")
    assert prepare.goes_on(run, files) == goes_on


def archive(path: Path) -> bytes:
    """Write as `torch.save` does, and return what was written."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", bytes(range(256)) * 40)
        file.writestr("archive/data/0", bytes(range(256)) * 400)
    return path.read_bytes()


@pytest.mark.parametrize("part", [0.0, 1e-5, 0.05, 0.5, 0.999])
def test_a_checkpoint_that_a_kill_has_torn_is_as_none(folder: Folder, tmp_path: Path, part: float) -> None:
    run, checkpoint = run_of(folder, RESUME), tmp_path / "checkpoint.pth"
    whole = archive(checkpoint)
    assert prepare.goes_on(run, tmp_path)
    checkpoint.write_bytes(whole[: int(part * len(whole))])
    assert not prepare.goes_on(run, tmp_path)


def test_a_run_that_was_killed_while_it_wrote_its_checkpoint_starts_over_and_ends_as_undisturbed(
    folder: Folder,
) -> None:
    script = folder.path / "main.py"
    once = (
        "    if epoch == 1 and not (twice := args.output_dir / '../twice').exists():\n"
        "        twice.touch(); state.open('w').close(); os.kill(os.getpid(), 9)\n"
    )
    write = "    state.write_text("
    script.write_text(script.read_text().replace(write, once + write))
    run = run_of(folder, RESUME)
    attempt = attempt_of(folder, run, 2)
    assert worker.execute(attempt, place(folder)) == "lost"
    assert (attempt.files / "checkpoint.pth").read_bytes() == b""
    assert worker.execute(attempt, place(folder)) == "finished"
    assert "--resume" not in argv(attempt)
    assert "it cannot go on from where it stands" in attempt.log.read_text()
    undisturbed = attempt_of(folder, run, 1)
    (undisturbed.path / "twice").touch()
    assert worker.execute(undisturbed, place(folder)) == "finished"
    assert differences(undisturbed, attempt) == []


def test_packages_are_recorded_where_the_command_runs_in_our_python_alone(folder: Folder) -> None:
    ours, _ = executed(folder, run_of(folder), 1)
    folder.recipe.write_text(folder.recipe.read_text().replace("{python}", sys.executable))
    theirs, _ = executed(folder, run_of(folder), 1)
    assert "torch" in (ours.result() or {})["provenance"]["packages"]
    assert (theirs.result() or {})["provenance"]["packages"] == {}


def test_the_commit_of_another_repository_that_it_runs_in_is_recorded(folder: Folder, tmp_path: Path) -> None:
    theirs, _ = make_repository(tmp_path / "theirs"), make_repository(folder.path)
    (folder.path / "main.py").rename(tmp_path / "theirs/main.py")
    more = f"cwd: {tmp_path / 'theirs'}\n"
    made = (executed(folder, run_of(folder, more))[1])["provenance"]
    assert made["cwd"] == {"commit": theirs, "dirty": True}
    (tmp_path / "theirs/main.py").rename(folder.path / "main.py")
    (folder.path / "inside").mkdir()
    folder.recipe.write_text(folder.recipe.read_text().replace(more, "cwd: inside\n").replace("main.py", "../main.py"))
    assert "cwd" not in (executed(folder, run_of(folder))[1])["provenance"]


def make_repository(path: Path) -> str:
    """Make a repository with one commit, and return that."""
    path.mkdir(exist_ok=True)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x", "-C", str(path)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", path.name], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("argument", ["a" * 5000, "a\0b", "x/" * 2000])
def test_an_argument_that_can_be_no_path_is_no_file_of_the_project(folder: Folder, argument: str) -> None:
    run = run_of(folder)
    longer = run.model_copy(update={"command": (*run.command, argument)})
    assert prepare.named_files(longer, folder.path) == ["main.py"]


def test_a_worker_that_is_killed_leaves_no_orphan_and_the_run_ends_as_undisturbed(folder: Folder) -> None:
    run = run_of(folder, pause=0.3, do="child")
    undisturbed, _ = executed(folder, run_of(folder, pause=0.3), 1)
    killed = attempt_of(folder, run, 1)
    process = subprocess.Popen(
        [sys.executable, "-m", "slws_lab.worker", str(job_file(folder, killed))], stdin=subprocess.PIPE
    )
    while not after(killed.journal, 1):
        assert process.poll() is None
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) == 3
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert psutil.wait_procs(family, timeout=20)[1] == []
    assert killed.status is None
    assert worker.execute(killed, place(folder)) == "finished"
    first, second = (list(journal.read(attempt.journal)) for attempt in (undisturbed, killed))
    assert [(e.step, e.metrics) for e in first] == [(e.step, e.metrics) for e in second]


def test_a_script_that_has_changed_begins_the_attempt_again(folder: Folder) -> None:
    run = run_of(folder, RESUME, pause=0.1)
    attempt = attempt_of(folder, run)
    assert worker.execute(attempt, place(folder, lambda: after(attempt.journal, 1))) == "interrupted"
    script = folder.path / "main.py"
    script.write_text(script.read_text() + "# changed\n")
    assert worker.execute(attempt, place(folder)) == "finished"
    assert "--resume" not in argv(attempt)
    assert "starting over" in attempt.log.read_text()


@pytest.mark.parametrize(
    ("keep", "left"),
    [("", ["argv.json", "checkpoint.pth", "log.txt"]), ("keep: ['*.pth']\n", ["checkpoint.pth"]), ("keep: []\n", [])],
)
def test_after_a_result_only_the_files_stay_that_the_recipe_keeps(folder: Folder, keep: str, left: list[str]) -> None:
    attempt, result = executed(folder, run_of(folder, keep))
    assert result["status"] == "finished"
    assert sorted(path.name for path in attempt.files.iterdir()) == left


def test_a_command_whose_claim_was_taken_is_ended_and_writes_no_more(folder: Folder) -> None:
    attempt = attempt_of(folder, run_of(folder, pause=0.1, **{"train.epochs": 1000}))
    steps = itertools.count()

    def steal() -> bool:
        if next(steps) == 5:
            (desk,) = attempt.claim.iterdir()
            desk.rename(attempt.path / "stolen")
        return False

    assert worker.execute(attempt, place(folder, steal)) == "taken"
    assert psutil.Process().children(recursive=True) == []
    assert attempt.status is None


def test_a_shell_reads_the_command_where_the_recipe_asks_for_one(folder: Folder) -> None:
    text = folder.recipe.read_text().replace("kind: command\n", "kind: command\nshell: true\n")
    folder.recipe.write_text(
        text.replace("--output_dir {run.dir}", "--output_dir {run.dir} | tee {run.dir}/printed && echo both")
    )
    attempt, result = executed(folder, run_of(folder, note="a b; touch x"))
    assert result["status"] == "finished"
    assert argv(attempt)[argv(attempt).index("--note") + 1] == "a b; touch x"
    assert len((attempt.files / "printed").read_text().splitlines()) == 3
    assert attempt.log.read_text().count("| both\n") == 1
    assert not (folder.path / "x").exists()
