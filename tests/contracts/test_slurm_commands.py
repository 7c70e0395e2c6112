"""The Slurm launcher against commands that only note what they are asked: what is submitted, and what it makes of each answer."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import ValidationError
from slurm_cluster import wait_for

from slws_lab.errors import UserError
from slws_lab.launch import LaunchError, Slurm, Work, slurm
from slws_lab.launch.launcher import FRESH
from slws_lab.spec import Resources

COMMAND = """\
#!/bin/sh
cd {folder}
echo "$0 $*" >> asked
[ "{name}" = sbatch ] && cat "$1" > script && [ ! -f sbatch.fails ] && sed -n 's/^#SBATCH --job-name=\\(.*\\)/0|None|\\1/p' "$1" > squeue.says
cat {name}.says
[ ! -f {name}.fails ] || {{ cat {name}.fails >&2; exit 1; }}
"""


@dataclass
class Commands:
    """Slurm's commands. `NAME.says` is what one prints, and with a file `NAME.fails` it fails and says that."""

    folder: Path

    def put(self, file: str, text: str) -> None:
        (self.folder / file).write_text(text)

    def asked(self, name: str) -> list[str]:
        """Return the arguments of each call of a command."""
        calls = [line.split(" ", 1) for line in (self.folder / "asked").read_text().splitlines()]
        return [arguments for path, arguments in calls if Path(path).name == name]

    def options(self) -> dict[str, str]:
        """Return the options of the last script that was submitted."""
        lines = [line.removeprefix("#SBATCH --") for line in self.script.splitlines() if line.startswith("#SBATCH")]
        words = [shlex.split(line)[0].partition("=") for line in lines]
        return {name: value for name, _, value in words}

    @property
    def script(self) -> str:
        return (self.folder / "script").read_text()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands(tmp_path / "slurm")
    (tmp_path / "slurm/bin").mkdir(parents=True)
    for name in ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun"):
        made.put(f"{name}.says", "Submitted batch job 7\n" if name == "sbatch" else "")
        path = tmp_path / "slurm/bin" / name
        path.write_text(COMMAND.format(folder=made.folder, name=name))
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'slurm/bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "LOOK_S", 0.0)
    return made


def work(root: Path, attempts: int = 1, **resources: object) -> Work:
    folders = tuple(root / "runs" / f"r{i}" / "attempt-1" for i in range(attempts))
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    return Work(root, folders, Resources.model_validate({"gpus": 0, **resources}), root / "jobs")


def test_what_the_study_asks_for_is_what_slurm_is_asked_for(commands: Commands, tmp_path: Path) -> None:
    asked = {"partition": "gpu", "account": "lab-1", "qos": "long", "constraint": "a100|h100", "gpu_type": "a100", "mem": "32G",
             "array_parallelism": 3, "extra": {"nodelist": "node[1-3]", "exclusive": True, "nice": 5}}  # fmt: skip
    jobs = Slurm().start(work(tmp_path, 4, gpus=1, threads=2, workers=3, minutes=10.5, slurm=asked))
    options = commands.options()
    expected = {"partition": "gpu", "account": "lab-1", "qos": "long", "constraint": "a100|h100", "mem": "32G", "gpus-per-node": "a100:1",
                "cpus-per-task": "5", "array": "0-2", "nodelist": "node[1-3]", "exclusive": "", "nice": "5", "requeue": "",
                "time": "26", "signal": "B:USR1@120", "nodes": "1", "open-mode": "append"}  # fmt: skip
    assert {name: options.get(name) for name in expected} == expected
    assert "wckey" not in options
    assert "export OMP_NUM_THREADS=2" in commands.script
    assert "CUDA_VISIBLE_DEVICES" not in commands.script
    assert len(jobs) == 3


def test_without_wishes_the_cluster_decides_and_no_gpu_is_used_that_was_not_asked_for(
    commands: Commands, tmp_path: Path
) -> None:
    commands.put("sinfo.says", "gpu gpu:a100:4\nlow* (null)\n")
    Slurm().start(work(tmp_path, gpus=None))
    assert not {"partition", "time", "mem", "gpus-per-node"} & set(commands.options())
    assert "export CUDA_VISIBLE_DEVICES=\n" in commands.script
    (file,) = (tmp_path / "jobs").glob("*/job.json")
    assert json.loads(file.read_text())["resources"]["gpus"] == 0


def test_where_the_study_leaves_it_open_a_partition_with_gpus_gives_one(commands: Commands, tmp_path: Path) -> None:
    commands.put("sinfo.says", "gpu gpu:a100:4\n")
    Slurm().start(work(tmp_path, gpus=None, slurm={"partition": "gpu"}))
    assert commands.options()["gpus-per-node"] == "1"
    assert "--partition=gpu" in commands.asked("sinfo")[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"queue": "x"}, "unknown key"),
        ({"extra": {"array": "0-7"}}, "the launcher sets it"),
        ({"extra": {"mem": "1G"}}, "set `slurm.mem`"),
        ({"extra": {"Nice": 1}}, "pattern"),
        ({"extra": {"exclusive": False}}, "should be True"),
        ({"partition": "a b"}, "pattern"),
        ({"mem": "much"}, "pattern"),
        ({"time": 1}, "greater than or equal to 10"),
        ({"array_parallelism": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_asked_of_slurm_is_refused_when_the_study_is_read(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Resources.model_validate({"slurm": given})


def test_slots_are_the_jobs_at_a_time(commands: Commands) -> None:
    assert [Slurm().slots(Resources.model_validate(r)) for r in ({}, {"slurm": {"array_parallelism": 40}})] == [8, 40]


def test_without_slurm_or_submitit_the_message_says_what_to_do(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install 'slws-lab\[slurm\]'"):
        Slurm().slots(Resources())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=r"(?s)no Slurm here.*login node"):
        Slurm().slots(Resources())


def test_a_refused_submission_is_slurms_message_once_and_leaves_nothing(
    commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.put("sbatch.fails", "sbatch: error: invalid partition specified: nope")
    with pytest.raises(LaunchError, match="invalid partition specified: nope"):
        Slurm().start(work(tmp_path))
    assert list((tmp_path / "jobs").iterdir()) == []
    assert capsys.readouterr().err == ""


def test_a_submission_whose_answer_was_lost_is_not_made_twice(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call fails, as by a timeout, and the controller is away; when it is back the jobs stand in the queue."""
    commands.put("sbatch.fails", "Socket timed out on send/recv operation")
    commands.put("scontrol.fails", "down")

    def back_with_the_jobs(_: float) -> None:
        if (commands.folder / "script").exists():
            commands.put("squeue.says", f"0|None|{commands.options()['job-name']}\n")

    monkeypatch.setattr(time, "sleep", back_with_the_jobs)
    (job,) = Slurm().start(work(tmp_path))
    assert len(commands.asked("sbatch")) == 1
    assert job.poll()


def test_a_controller_that_is_away_for_a_moment_ends_nothing_and_one_that_stays_away_is_named(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = Slurm().start(work(tmp_path))
    commands.put("squeue.fails", "Unable to contact slurm controller (connect failure)")
    assert job.poll()
    monkeypatch.setattr(slurm, "PATIENCE_S", 0.0)
    with pytest.raises(LaunchError, match=r"(?s)does not answer any more.*Unable to contact"):
        job.poll()


def test_a_job_that_slurm_will_never_start_is_an_error_and_not_waited_for(commands: Commands, tmp_path: Path) -> None:
    (job,) = Slurm().start(work(tmp_path))
    waiting = (commands.folder / "squeue.says").read_text()
    commands.put("squeue.says", waiting.replace("None", "Priority"))
    assert job.poll()
    commands.put("squeue.says", waiting + waiting.replace("None", "JobHeldAdmin").replace("0|", "1|", 1))
    assert job.poll()
    commands.put("squeue.says", waiting.replace("None", "PartitionTimeLimit"))
    with pytest.raises(LaunchError, match=r"PartitionTimeLimit.*resources\.slurm"):
        job.poll()


def test_jobs_that_vanish_before_they_start_a_run_are_an_error(commands: Commands, tmp_path: Path) -> None:
    (job,) = Slurm().start(work(tmp_path))
    commands.put("squeue.says", "")
    with pytest.raises(LaunchError, match=r"before they start a run; there is no log"):
        job.poll()


def test_jobs_that_vanish_after_they_started_a_run_are_only_ended(commands: Commands, tmp_path: Path) -> None:
    todo = work(tmp_path)
    (job,) = Slurm().start(todo)
    (todo.attempts[0] / "starts.jsonl").write_text("{}\n")
    commands.put("squeue.says", "")
    assert not job.poll()
    assert list(todo.jobs.iterdir()) == []


def test_the_jobs_of_a_living_command_are_waited_for_and_not_ended(commands: Commands, tmp_path: Path) -> None:
    todo = work(tmp_path, 2)
    Slurm().start(todo)
    (job,) = Slurm().start(work(tmp_path, 1))
    assert len(commands.asked("sbatch")) == 1
    assert job.poll()
    job.cancel()
    assert not job.poll()
    job.kill()
    assert not any("scancel" in line for line in (commands.folder / "asked").read_text().splitlines())
    assert len(list(todo.jobs.glob("*/job.json"))) == 1


def test_jobs_that_come_to_some_of_the_attempts_are_waited_for_unless_they_were_asked_for_otherwise(
    commands: Commands, tmp_path: Path
) -> None:
    Slurm().start(work(tmp_path, 1))
    Slurm().start(work(tmp_path, 2))
    assert len(commands.asked("sbatch")) == 1
    Slurm().start(work(tmp_path, 2, threads=2))
    assert len(commands.asked("sbatch")) == 2


def test_the_jobs_of_a_command_that_died_are_taken_over_and_can_be_ended(commands: Commands, tmp_path: Path) -> None:
    start = f"import os, sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_slurm_commands import *\n"
    start += f"Slurm().start(work(Path({str(tmp_path)!r}), 2)); os._exit(0)"
    subprocess.run([sys.executable, "-c", start], check=True)
    (job,) = Slurm().start(work(tmp_path, 1))
    assert len(commands.asked("sbatch")) == 1
    job.cancel()
    assert [call.split()[2:] for call in commands.asked("scancel")] == [
        ["--state=PENDING"],
        ["--batch", "--signal=TERM"],
    ]
    commands.put("squeue.says", "")
    job.kill()
    assert list((tmp_path / "jobs").iterdir()) == []


@pytest.mark.parametrize(("sent", "requeued"), [(signal.SIGTERM, False), (signal.SIGUSR1, True)])
def test_a_stopped_job_stops_its_worker_and_goes_back_in_the_queue_only_at_its_time_limit(
    sent: signal.Signals, requeued: bool, commands: Commands, tmp_path: Path
) -> None:
    commands.put("asked", "")
    worker = (
        f"sh -c 'trap \"echo >> {tmp_path}/stopped; exit 0\" TERM; touch {tmp_path}/up; while :; do sleep 0.02; done'"
    )
    process = run_task(tmp_path, worker)
    wait_for((tmp_path / "up").exists, "worker")
    process.send_signal(sent)
    assert process.wait(10) == 0
    assert (tmp_path / "stopped").read_text() == "\n"
    assert commands.asked("scontrol") == (["requeue 7_3"] if requeued else [])
    assert (tmp_path / "3.code").exists() is not requeued


@pytest.mark.parametrize(
    ("codes", "starts", "code"), [("0", 1, 0), ("9 9 0", 3, 0), ("9 9 9 0", 3, 9), (f"{FRESH} " * 5 + "0", 6, 0)]
)
def test_a_worker_that_died_is_replaced_thrice_at_most_unless_it_wants_so(
    codes: str, starts: int, code: int, commands: Commands, tmp_path: Path
) -> None:
    (tmp_path / "codes").write_text(codes.replace(" ", "\n") + "\n")
    (tmp_path / "3.code").write_text("1\n")  # of the job's last life
    worker = "sh -c 'echo >> starts; exit $(sed -n $(wc -l < starts)p codes)'"
    assert run_task(tmp_path, worker).wait(10) == code
    assert (tmp_path / "starts").read_text().count("\n") == starts
    assert (tmp_path / "3.code").read_text() == f"{code}\n"


def run_task(folder: Path, worker: str) -> subprocess.Popen[bytes]:
    """Start what an array's job does, as task 3 of job 7."""
    script = slurm.TASK.format(folder=folder, worker=worker, fresh=FRESH)
    numbers = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
    return subprocess.Popen(["bash", "-c", script], env={**os.environ, **numbers})
