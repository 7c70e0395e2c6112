"""Time the report of a study of 1,000 and 10,000 runs of 10 epochs: writing it from the run folders, and opening the page.

python benchmarks/report.py [--runs 1000 10000] [--out benchmarks/results/NAME.md]

The runs are written down, not executed: a grid over the shuffle's largest rate, the learning rate, and for 10,000 the weight decay, each
of 10 levels, with 10 seeds, and curves whose last values follow the settings with noise over seeds. The first command reads every
journal, the second what was kept of them. The page is opened in Chromium, where there is one: until `load`, and from a click to the
runs of a cell.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from scale import Cost, timed

from slws_lab.lab.project import Project
from slws_lab.spec import Arm
from slws_lab.tracking import Attempt, journal
from slws_lab.tracking.files import write_text
from slws_lab.tracking.provenance import machine

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
AIMS = {1000: (10.0, 2.0), 10_000: (60.0, None)}  # seconds of the command, of opening the page
EPOCHS = 10
STUDY = """\
name: many
question: What does the report of so many runs take?
recipe: ../experiments/shufflemamba_micro_digits.yaml
set: {{train.epochs: {epochs}}}
factors:
  shuffle.max_rate: {{linspace: [0.05, 0.5, 10]}}
  train.lr: {{logspace: [1e-3, 3e-2, 10]}}
  train.weight_decay: [{decays}]
designs: [{{grid: [shuffle.max_rate, train.lr, train.weight_decay]}}]
seeds: 10
metric: {{name: val/top1, weights: ema}}
"""


def make_project(folder: Path, runs: int) -> Path:
    """Write a project with a study of so many runs and all that they left behind, and return the study's file."""
    for name in ("studies", "experiments"):
        (folder / name).mkdir()
    (folder / "pyproject.toml").touch()
    recipe = Path(__file__).parents[1] / "experiments" / "shufflemamba_micro_digits.yaml"
    (folder / "experiments" / recipe.name).write_text(recipe.read_text())
    study = folder / "studies" / "many.yaml"
    decays = ", ".join(f"{0.01 * (i + 1):.2f}" for i in range(runs // 1000))
    study.write_text(STUDY.format(epochs=EPOCHS, decays=decays))
    project = Project.open(str(study))
    for i, arm in enumerate(project.design.arms):
        for seed in project.design.seeds:
            run = arm.run(seed)
            place = project.workspace.run(run)
            place.create(run)
            write_down(place.new_attempt(), arm, i, seed)
    return study


def write_down(attempt: Attempt, arm: Arm, i: int, seed: int) -> None:
    """Leave behind what a run of an arm would have."""
    rate = float(arm.recipe.shuffle.max_rate)  # type: ignore[union-attr]
    noise = random.Random(f"{i}-{seed}").gauss(0, 0.4) + random.Random(seed).gauss(0, 0.5)
    for epoch in range(1, EPOCHS + 1):
        top1 = min(99.9, 97 - 60 / (epoch + 1) - 20 * (rate - 0.25) ** 2 + noise)
        metrics = {"train/loss": 2.0 / epoch, "train/images_per_s": 900.0 + seed, "train/peak_memory_mb": 300.0,
                   "val/loss": 2 - top1 / 100, "val/top1": top1, "val/top1_ema": top1 - 0.3}  # fmt: skip
        journal.append(attempt.journal, epoch, 1e9 + epoch, metrics)
    provenance = {"commit": "c" * 40, "dirty": False, "diff": None, "code": "abcdef012345", "modules": {"a.py": "0"},
                  "packages": {"torch": "2"}, "machine": {"processor": "CPU", "cores": 2}}  # fmt: skip
    attempt.finish({
        "status": "finished", "cause": "", "host": "box", "device": "cpu", "started": 1e9, "finished": 1e9 + 9, "seconds": 9.0,
        "provenance": provenance, "metrics": {}, "epochs": EPOCHS, "params": 100_000, "shuffle_rates": [0.0, rate / 2, rate],
        "data_fingerprint": "fedcba", "scan_backend": "native", "threads": 1, "resumes": 0,
    })  # fmt: skip


def opened(page: Path) -> tuple[float, float] | None:
    """Return the seconds until a page is loaded, and from a click on a cell to its runs; None without a Chromium."""
    if not CHROMIUM.exists():
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        tab = browser.new_page(viewport={"width": 1500, "height": 900})
        tab.goto("about:blank")
        started = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="load")
        loaded = time.perf_counter() - started
        started = time.perf_counter()
        tab.locator("td[data-runs]").first.click()
        tab.locator("dialog[open]").first.wait_for()
        shown = time.perf_counter() - started
        browser.close()
    return loaded, shown


def measured(runs: int) -> list[str]:
    """Return a row of the table for a study of so many runs."""
    with TemporaryDirectory(prefix="report-") as name:
        folder = Path(name)
        study = make_project(folder, runs)
        time.sleep(2.5)  # what has ended less than 2 s ago is not kept for the next reader
        first, again = (timed(folder, ["report", str(study)]) for _ in range(2))
        page = folder / "reports" / "many" / "report.html"
        seen = opened(page)
        size, every = page.stat().st_size, sum(f.stat().st_size for f in page.parent.rglob("*") if f.is_file())
    aims = [f"under {aim:g} s" for aim in AIMS.get(runs, ()) if aim]
    loads = [f"{value:.2f} s" for value in seen] if seen else ["no Chromium"] * 2
    return [
        f"{runs:,}",
        *map(said, (first, again)),
        *loads,
        f"{size / 1e6:.1f} MB",
        f"{every / 1e6:.1f} MB",
        "; ".join(aims),
    ]


def said(cost: Cost) -> str:
    return f"{cost.clock_s:.1f} ({cost.cpu_s:.1f}) s, {cost.mb:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    os.fsync = lambda _: None  # type: ignore[assignment]  # of this process, which only writes the runs down
    here, load = machine(), psutil.getloadavg()[0]
    headers = [
        "runs",
        "report, journals read",
        "report again",
        "page opened",
        "a cell's runs",
        "page",
        "all files",
        "aim",
    ]
    rows = [measured(runs) for runs in given.runs]
    lines = [
        "# The report of many runs", "",
        f"{here['processor']}, {here['cores']} cores. Load average at the start {load:.1f}. Seconds by the clock (by the processor), "
        "MB of the largest process. The runs were written down, not executed.", "",
        *(f"| {' | '.join(cells)} |" for cells in (headers, ["---:"] * len(headers), *rows)),
    ]  # fmt: skip
    text = "\n".join(lines) + "\n"
    print(text)
    if given.out:
        write_text(given.out, text)


if __name__ == "__main__":
    main()
