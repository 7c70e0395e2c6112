"""What each command does: calls the lab's verb and prints what it returns."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from slws_lab.cli import show
from slws_lab.cli.progress import progress
from slws_lab.cli.show_data import waiting
from slws_lab.cli.terminal import as_json, err
from slws_lab.errors import Interrupted, UserError, nearest
from slws_lab.lab.project import Project, here

COMPLETE, INCOMPLETE = 0, 1


def plan(study: str, launcher: str, only: list[str], probe: bool, workspace: Path | None, json: bool) -> None:
    from slws_lab.cli import show_plan
    from slws_lab.lab.foreseeing import foresee
    from slws_lab.lab.planning import plan as make_plan

    project = Project.open(study, workspace)
    if project.study.spec.search is not None:
        from slws_lab.cli import searching

        return searching.plan(project, launcher, probe, json)
    state = make_plan(project, _pairs(only))
    with waiting("measuring a few steps", quiet=json or not probe):
        ahead = foresee(state, launcher, probe=probe)
    show_plan.plan(state, ahead, json)


def run(study: str, options: dict[str, Any], workspace: Path | None, out: Path | None, json: bool) -> None:
    from slws_lab.lab.running import Options
    from slws_lab.lab.running import run as run_study

    project = Project.open(study, workspace, out)
    if project.study.spec.search is not None:
        from slws_lab.cli import searching

        searching.run(project, options, json)
    with progress(project, quiet=json) as watch:
        outcome = run_study(project, Options(**{**options, "only": _pairs(options["only"])}), watch)
    _conclude(project, outcome, json)


def _conclude(project: Project, outcome: Any, json: bool) -> None:
    """Write and show the report of what there is, say what failed, and exit with the code that fits."""
    from slws_lab.lab.planning import plan as make_plan
    from slws_lab.lab.reporting import report as write_report

    written = write_report(project) if not outcome.interrupted else None
    mirror = outcome.mirror or (_attach(project) if written else "")
    state = make_plan(project)
    show.outcome(project, state, outcome, written, mirror, json)
    if outcome.interrupted:
        raise show.stopped(project, show.with_result(state))
    raise typer.Exit(INCOMPLETE if state.todo else COMPLETE)


def _attach(project: Project) -> str:
    """Send the report to MLflow, which has all else; return what the user must know if that failed."""
    from slws_lab.lab.shipping import PATIENCE_S, attempt

    return attempt(project, patience_s=PATIENCE_S, report_only=True)


def status(study: str, workspace: Path | None, json: bool) -> None:
    from slws_lab.lab.planning import plan as make_plan

    project = Project.open(study, workspace)
    if project.study.spec.search is not None:
        from slws_lab.cli import searching

        searching.status(project, json)
    state = make_plan(project)
    show.status(state, json)
    raise typer.Exit(INCOMPLETE if state.todo else COMPLETE)


def rerun(
    study: str,
    name: str,
    verify: bool,
    replace: bool,
    launcher: str,
    workspace: Path | None,
    out: Path | None,
    json: bool,
) -> None:
    from slws_lab.lab.reporting import report as write_report
    from slws_lab.lab.rerunning import rerun as rerun_runs

    project = _part_with(name, Project.open(study, workspace, out))
    with progress(project, quiet=json) as watch:
        outcome, reruns = rerun_runs(project, name, launcher=launcher, replace=replace, watch=watch)
    show.reruns(reruns, outcome, json)
    if outcome.interrupted:
        raise Interrupted("stopped")
    if replace:
        write_report(project)
        _attach(project)
    differing = verify and any(one.differences or one.before is None for one in reruns)
    raise typer.Exit(INCOMPLETE if differing or outcome.failed else COMPLETE)


def _part_with(name: str, project: Project) -> Project:
    """Return a search's confirmation where that, and not the search, has a run or arm of the name; else the study itself."""
    from slws_lab.lab.planning import find_runs
    from slws_lab.lab.shipping import with_confirmation

    if project.study.spec.search is None:
        return project
    for part in with_confirmation(project):
        with suppress(UserError):  # which the search itself then says
            find_runs(part, name)
            return part
    return project


def report(
    study: str, files: list[Path], workspace: Path | None, out: Path | None, options: dict[str, bool], json: bool
) -> None:
    from slws_lab.cli import commands_report

    if options["check"]:
        return commands_report.check(Project.open(study, workspace, out), files, json)
    commands_report.only_with_check(files)
    commands_report.report(Project.open(study, workspace, out), options["strict"], options["forget"], json)


def why(name: str, workspace: Path | None, json: bool) -> None:
    from slws_lab.lab.explaining import why as explain

    show.explanation(explain(*here(workspace), name), json)


def train(
    recipe: Path, seed: int, resources: dict[str, int | None], launcher: str, workspace: Path | None, json: bool
) -> None:
    from slws_lab.lab.running import Options
    from slws_lab.lab.running import run as run_study
    from slws_lab.spec import Resources

    project = Project.of_recipe(recipe, seed, workspace, Resources.model_validate(resources))
    with progress(project, quiet=json) as watch:
        outcome = run_study(project, Options(launcher), watch)
    record = project.record(next(iter(project.design.run_ids.values())))
    show.training(project, record, outcome, json)
    if outcome.interrupted:
        raise Interrupted("stopped; the training goes on from its checkpoint with the same command")
    raise typer.Exit(COMPLETE if record.done else INCOMPLETE)


def evaluate(
    what: str, recipe: Path | None, options: Any, out: Path | None, workspace: Path | None, json: bool
) -> None:
    from slws_lab.cli import show_evaluation
    from slws_lab.lab.data_checking import folder_at
    from slws_lab.lab.evaluating import evaluate_file, evaluate_run, write_evaluation

    folder = folder_at(out) if out else None
    with waiting(f"evaluating on {options.split}", quiet=json):
        found = evaluate_file(Path(what), recipe, options) if recipe else evaluate_run(what, options, workspace)
    show_evaluation.evaluation(found, write_evaluation(found, folder) if folder else [], json)


def sync(study: str | None, rebuild: bool, workspace: Path | None, json: bool) -> None:
    from slws_lab.lab.shipping import studies_with_runs, with_confirmation
    from slws_lab.lab.shipping import sync as sync_studies

    root, _ = here(workspace)
    if rebuild and study:
        raise UserError("--rebuild is for the whole store", todo="leave STUDY out: slws sync --rebuild")
    away: list[str] = []
    projects = (
        with_confirmation(Project.open(study, workspace)) if study else studies_with_runs(root, workspace, away=away)
    )
    _left_out(away)
    if not projects:
        raise UserError("no study under studies/ has runs in this workspace", where=str(root / "studies"),
                        todo="name the study: slws sync STUDY")  # fmt: skip
    show.shipped(sync_studies(projects, rebuild=rebuild), json)


def verify(study: str | None, workspace: Path | None, out: Path | None, json: bool) -> None:
    from slws_lab.cli import show_verify
    from slws_lab.lab.shipping import studies_with_runs, with_confirmation
    from slws_lab.lab.verifying import run_folders
    from slws_lab.lab.verifying import verify as audit

    root, _ = here(workspace)
    given = with_confirmation(Project.open(study, workspace, out)) if study else None
    place = given[0].workspace if given else here(workspace)[1]
    folders = list(run_folders(place, given))
    if not folders:
        raise UserError(
            "there is nothing to verify yet", where=str(place.path), todo="run a study first: slws run STUDY"
        )
    with waiting(f"verifying {len(folders)} runs", quiet=json):
        away: list[str] = []
        verdict = audit(given or studies_with_runs(root, workspace, out, away), folders)
    _left_out(away)
    show_verify.verdict(verdict, json)
    raise typer.Exit(COMPLETE if verdict.sound else INCOMPLETE)


def clean(weights: bool, superseded: bool, yes: bool, workspace: Path | None, json: bool) -> None:
    from slws_lab.lab.cleaning import remove, waste

    found = waste(here(workspace)[1], weights=weights, superseded=superseded)
    if yes:
        remove(found)
    show.waste(found, removed=yes, json=json)


def schema(kind: str) -> None:
    from slws_lab.spec import json_schema

    kinds = ("study", "recipe")
    if kind not in kinds:
        raise UserError(f"no schema of '{kind}'", allowed=" or ".join(kinds), todo=nearest(kind, kinds))
    as_json(json_schema(kind))


def models(json: bool) -> None:
    from slws_lab.lab.science import ask

    show.models(ask("models"), json)


def doctor(workspace: Path | None, json: bool) -> None:
    from slws_lab.lab.examining import examine

    findings = examine(*here(workspace))
    show.findings(findings, json)
    raise typer.Exit(COMPLETE if all(finding.good for finding in findings) else INCOMPLETE)


def data_check(source: str, workers: int, json: bool) -> None:
    from slws_lab.cli import show_data
    from slws_lab.lab.data_checking import check_data

    with waiting("reading every image", quiet=json):
        found = check_data(source, workers)
    show_data.check(found, json)
    raise typer.Exit(COMPLETE if found.sound else INCOMPLETE)


def data_download(name: str, folder: Path | None) -> None:
    from slws_lab.cli import show_data
    from slws_lab.lab.data_checking import download

    with waiting(f"downloading {name}"):
        place = download(name, folder)
    show_data.downloaded(name, place)


def study_new(name: str, template: str | None, recipe: Path | None) -> None:
    from slws_lab.cli import show_study
    from slws_lab.lab.drafting import draft

    show_study.drafted(draft(name, template, recipe))


def study_show(study: str) -> None:
    from slws_lab.cli import show_study
    from slws_lab.spec import expand, find_study, load_study

    loaded = load_study(find_study(study))
    if loaded.spec.search is not None:
        raise UserError("a search has no design: it draws its arms", where=loaded.source.where(("search",)),
                        todo=f"slws plan {study} shows where it looks, slws status {study} what it tried")  # fmt: skip
    show_study.show(loaded, expand(loaded))


def _left_out(away: list[str]) -> None:
    """Say which searches a command for all studies goes on without."""
    for message in away:
        err.print(f"[yellow]{escape(message)}[/]", soft_wrap=True)


def _pairs(given: list[str]) -> dict[str, str]:
    """Read `--only NAME=LEVEL ...`."""
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UserError(f"--only {text}", allowed="NAME=LEVEL, e.g. shuffle.schedule=none or seed=0")
        if name in pairs:
            raise UserError(
                f"--only {name} is given twice", allowed="one level a name; give the command twice for two levels"
            )
        pairs[name] = value
    return pairs
