"""Rerunning single runs: a new attempt each, compared with the one that counts. Old attempts are kept."""

from __future__ import annotations

from dataclasses import dataclass

from slws_lab.errors import UserError
from slws_lab.lab import science
from slws_lab.lab.executing import Batch, Outcome, Place, Watch, execute, make_launcher
from slws_lab.lab.planning import PlannedRun, find_runs
from slws_lab.lab.project import Project
from slws_lab.lab.watching import Task
from slws_lab.spec import Resources
from slws_lab.tracking import FINAL, Attempt, Difference, differences


@dataclass(frozen=True)
class Rerun:
    """One run executed again.

    Attributes:
        run: The run.
        before: The attempt that counted; None if the run had no result yet.
        after: The new attempt.
        differences: Where they differ; empty if identical.
    """

    run: PlannedRun
    before: Attempt | None
    after: Attempt
    differences: tuple[Difference, ...]


def rerun(project: Project, name: str, *, launcher: str, replace: bool, watch: Watch) -> tuple[Outcome, list[Rerun]]:
    """Execute a run, or all runs of an arm, once more, with the threads and device that were recorded.

    Args:
        project: The study.
        name: A run id, an arm's label or id, or the start of an id.
        launcher: Name of the launcher.
        replace: Make the tables use the new attempts.
        watch: Called with the progress.

    Raises:
        UserError: No such run or arm.
    """
    launching = make_launcher(launcher)
    runs, _ = find_runs(project, name)
    science.check(project)
    resources = _recorded(project, runs)
    launching.slots(resources, project.design.ranks)
    folders = [project.workspace.run(run.run_id) for run in runs]
    before = [_counting(folder.chosen()) for folder in folders]
    tasks = tuple(Task.of(project, run, replace=replace) for run in runs)
    outcome = execute(Place(project, launching, resources, watch), [Batch(tasks)])
    return outcome, [
        Rerun(
            task.run,
            old,
            task.attempt,
            tuple(differences(old, task.attempt)) if old and task.attempt.status in FINAL else (),
        )
        for task, old in zip(tasks, before, strict=True)
    ]


def _counting(attempt: Attempt | None) -> Attempt | None:
    return attempt if attempt is not None and attempt.status in FINAL else None


def _recorded(project: Project, runs: list[PlannedRun]) -> Resources:
    """Return the study's resources with the threads, the kind of device and the scan that the runs were made with."""
    resources = project.study.spec.resources
    results = [run.record.result for run in runs if run.record.done]
    made = {
        (int(result["threads"]), result["device"] == "cpu", result.get("scan_backend") or "auto") for result in results
    }
    if len(made) > 1:
        raise UserError("these runs were made with different threads, devices or scans", todo="rerun them one by one")
    for threads, on_cpu, scan in made:
        resources = resources.model_copy(update={"threads": threads, "gpus": 0 if on_cpu else 1, "scan": scan})
    return resources
