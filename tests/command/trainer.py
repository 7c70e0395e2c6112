"""What tests of commands share: a training script in DeiT's style that needs nothing but Python, and a project with a study of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conftest import Folder, make_project

from slws_lab.spec import CommandRun, Resources
from slws_lab.tracking import Attempt, Workspace, write_json
from slws_lab.worker import Place

SCRIPT = '''\
"""Writes a JSON line an epoch as DeiT's main.py does; each number depends on seed, rate and epoch alone."""
import argparse, json, os, random, subprocess, sys, time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--pause", type=float, default=0.0)
parser.add_argument("--do", default="")
parser.add_argument("--note")
parser.add_argument("--amp", action="store_true")
parser.add_argument("--resume", type=Path)
parser.add_argument("--output_dir", type=Path, required=True)
args = parser.parse_args()
(args.output_dir / "argv.json").write_text(json.dumps(sys.argv[1:]))
state = args.output_dir / "checkpoint.pth"
first = json.loads(args.resume.read_text()) if args.resume else 0
if args.do == "child":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
for epoch in range(first, args.epochs):
    time.sleep(args.pause)
    draw = random.Random(f"{args.seed} {args.lr} {epoch}").random()
    acc = float("nan") if args.do == "diverge" and epoch == 1 else 60 + epoch + 20 * args.lr + draw
    stats = {"train_lr": args.lr, "train_loss": 2 - draw, "test_acc1": acc, "test_loss": 1 - draw, "epoch": epoch, "n_parameters": 5}
    if args.do != "silent":
        with (args.output_dir / "log.txt").open("a") as file:
            file.write(json.dumps(stats) + "\\n")
    print(f"* Epoch {epoch} Acc@1 {acc:.3f}")
    if args.do == "log":
        import slws_lab
        slws_lab.log({"val/top1": acc, "train/extra": draw}, step=epoch + 1)
    state.write_text(json.dumps(epoch + 1))
    if args.do == "raise" and epoch == 1:
        raise ValueError(f"bad batch, token {os.environ['MY_TOKEN']}")
    if args.do == "memory" and epoch == 1:
        print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
        print("wandb: run ended")
        sys.exit(1)
    if args.do == "memory-kill" and epoch == 1:
        print("RuntimeError: DataLoader worker: Cannot allocate memory", flush=True)
        os.kill(os.getpid(), 9)
    if args.do == "kill" and epoch == 1:
        os.kill(os.getpid(), 9)
'''

RECIPE = """\
kind: command
name: deit
command: "{python} main.py --lr {lr} --epochs {train.epochs} --seed {seed} --pause {pause} {do:--do} {note:--note} {amp:--amp}
  --output_dir {run.dir}"
fields:
  lr: {type: float, value: 0.1, min: 0, max: 10}
  train.epochs: {type: int, value: 3, min: 1}
  pause: {type: float, value: 0, shape: false}
  do: {type: str, value: null}
  note: {type: str, value: null}
  amp: {type: bool, value: false}
metrics: {file: log.txt, step: epoch, counts_from: 0, names: {val/top1: test_acc1, train/loss: train_loss}}
epochs: train.epochs
"""

STUDY = """\
name: tiny
question: Does the rate matter?
recipe: ../experiments/tiny.yaml
factors:
  lr: [0.1, 0.3]
designs:
  - grid: [lr]
seeds: 3
metric: {name: val/top1}
resources: {gpus: 0}
"""


def make_command_project(path: Path, study: str = STUDY, recipe: str = RECIPE) -> Folder:
    """Make a project whose study `tiny` is of the script."""
    folder = make_project(path, study, recipe)
    (path / "main.py").write_text(SCRIPT)
    return folder


def place(folder: Folder, should_stop: Any = lambda: False) -> Place:
    """Return where a worker in this process executes a project's runs."""
    return Place(folder.path, Resources(gpus=0), should_stop)


def attempt_of(folder: Folder, run: CommandRun, number: int = 1) -> Attempt:
    """Make the folder of an attempt, as `slws run` does."""
    place = Workspace(folder.workspace).run(run)
    place.create(run)
    return place.attempt(number)


def job_file(folder: Folder, *attempts: Attempt) -> Path:
    """Write the list of a worker process."""
    path = folder.path / "job.json"
    resources = Resources(gpus=0).model_dump(mode="json")
    write_json(path, {"root": str(folder.path), "resources": resources, "attempts": [str(a.path) for a in attempts]})
    return path
