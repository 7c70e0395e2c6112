"""How results look on the terminal: tables for people, JSON where a machine reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from slws_lab.analysis import Undeclared
from slws_lab.cli.show_plan import device_hours, plan_json, stale
from slws_lab.cli.show_tables import draw
from slws_lab.cli.terminal import as_json, as_written, err, line, out, table, whole_words
from slws_lab.errors import Interrupted
from slws_lab.lab.planning import Plan
from slws_lab.lab.project import Project, here
from slws_lab.lab.triage import Cluster, Lost, clusters, lost
from slws_lab.reports import Report, wording
from slws_lab.spec import Arm, study_argument
from slws_lab.tracking import RunRecord

if TYPE_CHECKING:  # what executes takes time to import
    from slws_lab.lab.executing import Outcome

COLOURS = {"finished": "green", "diverged": "magenta", "failed": "red", "running": "yellow", "pending": "dim"}
ARMS_SHOWN = 60  # nobody reads more on a screen
TABLES_SHOWN = 3  # of one's own, in one line
BROKEN_SHOWN = 5  # more would push the rest off the screen


def status(state: Plan, json: bool) -> None:
    """Show each arm's runs by status, and each failure with its cause, its log, and what to do."""
    if json:
        as_json(plan_json(state))
        return
    metric = state.project.study.spec.metric
    shown, rest = _arms_shown(state)
    kinds = [kind for kind in COLOURS if any(state.counts(arm.id)[kind] for arm in shown)]
    drawn, names = table("arm", *kinds, f"mean {metric.key}"), wording.row_names(state.project.design)
    for arm in shown:
        counts = state.counts(arm.id)
        values = [v for run in state.by_arm[arm.id] if (v := run.record.value(metric)) is not None]
        cells = [f"[{COLOURS[kind]}]{counts[kind]}[/]" if counts[kind] else "" for kind in kinds]
        mean = f"{wording.number(fmean(values), wording.decimals(metric))} (n={len(values)})" if values else ""
        drawn.add_row(escape(names[arm.id]), *cells, mean)
    out.print(whole_words(drawn, out.width))
    if rest:
        counts = Counter(run.record.status for arm in rest for run in state.by_arm[arm.id])
        line(f"and {len(rest)} further arms: {', '.join(f'{counts[kind]} {kind}' for kind in COLOURS if counts[kind])}; "
             f"all of them: slws status {study_argument(state.project.study.source.path)} --json")  # fmt: skip
    _lost(lost(state), state.project)
    for run in state.runs:
        if run.record.differs:
            line(f"{run.run_id}: its attempts differ in their numbers; see `slws why {run.run_id}`")
    stale(state)
    study = study_argument(state.project.study.source.path)
    _not_needed(state)
    line(f"{len(state.todo)} of {len(state.runs)} runs are missing: slws run {study}" if state.todo else "complete")


def _arms_shown(state: Plan) -> tuple[list[Arm], list[Arm]]:
    """Return the arms to be shown and the rest: all, or of very many those first in which something is lost or at work."""
    arms = state.project.design.arms
    if len(arms) <= ARMS_SHOWN:
        return list(arms), []
    calls = {arm.id for arm in arms if state.counts(arm.id) & Counter(failed=1, diverged=1, running=1)}
    first = sorted(arms, key=lambda arm: arm.id not in calls)[:ARMS_SHOWN]
    chosen = {arm.id for arm in first}
    return [arm for arm in arms if arm.id in chosen], [arm for arm in arms if arm.id not in chosen]


def _not_needed(state: Plan) -> None:
    """Say how many runs a study with seeds as needed may still want, or at its end has not needed."""
    design = state.project.design
    saved = len(design.arms) * len(design.seeds) - len(state.runs)
    if design.first_seeds is None or not saved:
        return
    if state.todo:
        line(f"up to {wording.plural(saved, 'further run')}, only while contrasts stay undecided")
    else:
        line(f"{saved} of {saved + len(state.runs)} runs are not needed: what they are for is decided")


def outcome(project: Project, state: Plan, ended: Outcome, written: Any, mirror: str, json: bool) -> None:
    """Show how a study's running ended: its table, failures, where the report is, and how to open MLflow."""
    if json:
        as_json({**plan_json(state), "started": ended.started, "interrupted": ended.interrupted, "seconds": ended.seconds,
                 "report": str(project.report_folder), "mirror": mirror})  # fmt: skip
        return
    if written is not None:
        views(written)
    _lost(ended.failed, project)
    if ended.interrupted:
        return
    line(f"{wording.plural(ended.started, 'run')} executed in {ended.seconds:.0f} s; {with_result(state)}.")
    if ended.halted and (budget := project.study.spec.budget):
        hours = device_hours(budget.device_hours)
        line(f"The budget of {hours} ends it here; raise `budget` in the study to go on.")
    _not_needed(state)
    if written is not None:
        _report_paths(project)
    if mirror:
        err.print(f"[yellow]{escape(mirror)}[/]", soft_wrap=True)
        return
    line("Browse the runs in MLflow:  " + ui_command(project))


def with_result(state: Plan) -> str:
    """Say how many runs of a study have a result."""
    return f"{len(state.runs) - len(state.todo)} of {len(state.runs)} runs have a result"


def stopped(project: Project, how_far: str) -> Interrupted:
    """Return what ends a command that was running a study and was stopped.

    Args:
        project: The study.
        how_far: How far it is, in words.
    """
    again = f"slws run {study_argument(project.study.source.path)}"
    return Interrupted(
        f"stopped; {how_far}. What was running goes on from its checkpoint with the same command: {again}"
    )


def reruns(done: list[Any], ended: Outcome, json: bool) -> None:
    """Show for each rerun whether it is identical, or where it differs."""
    if json:
        as_json([{"run_id": one.run.run_id, "attempt": one.after.number, "status": one.after.status,
                  "compared_to": one.before.number if one.before else None,
                  "differences": [asdict(d) for d in one.differences]} for one in done])  # fmt: skip
        return
    for one in done:
        if one.after.status not in ("finished", "diverged"):
            verdict = "[red]no result[/]"
        elif one.before is None:
            verdict = "first result, nothing to compare it with"
        elif one.differences:
            verdict = f"[red]differs from attempt {one.before.number}[/]"
        else:
            verdict = f"[green]identical to attempt {one.before.number}[/]"
        out.print(f"{one.run.run_id}  attempt {one.after.number}: {verdict}", soft_wrap=True)
        for difference in one.differences[:5]:
            line(f"    {difference}")
    _lost(ended.failed)


def report(project: Project, written: Any, json: bool) -> None:
    """Show the report's table and paths."""
    if json:
        as_json({"report": str(project.report_folder), "files": [str(path) for path in written.files]})
        return
    views(written)
    _report_paths(project)


def refused(project: Project, found: tuple[Undeclared, ...], json: bool) -> None:
    """Show in what compared arms differ though the study does not declare it, for which no report was written."""
    if json:
        as_json({"report": None, "undeclared": found})
        return
    err.print("[red]No report written:[/] arms differ in what the study does not declare", soft_wrap=True)
    for one in found:
        err.print(f"    {one}", markup=False, soft_wrap=True)
    err.print("run them again alike, declare the field as a factor, or leave out --strict", soft_wrap=True)


def views(written: Report) -> None:
    """Draw a report's tables and say its answer."""
    for view in written.views:
        draw(view, f"All are in {_relative(written.folder)}/table.md.")
    out.print(f"[bold]{escape(written.answer)}[/]\n")


def explanation(known: Any, json: bool) -> None:
    """Show all that is known of a run."""
    record: RunRecord = known.record
    if json:
        as_json({"run_id": record.run_id, "status": record.status, "identity": known.canonical, "spec": known.run.model_dump(mode="json"),
                 "attempts": [{"number": a.number, "status": a.status, "path": a.path} for a in known.attempts],
                 "trials": [asdict(one) for one in known.tried], "stale": known.stale, "result": record.result})  # fmt: skip
        return
    out.print(
        f"[bold]{record.run_id}[/]  {record.status}" + (f": {escape(record.cause)}" if record.cause else ""),
        soft_wrap=True,
    )
    for one in known.tried:
        line(str(one))
    drawn = table("what makes its id", "value")
    for name, value in known.canonical.items():
        drawn.add_row(escape(name), escape(as_written(value)))
    out.print(drawn)
    for attempt in known.attempts:
        result = attempt.result() or {}
        counts = "  <- the tables use this one" if attempt.number == record.attempt else ""
        began = f", {_time(result['started'])}, {result['host']}, {result['device']}" if "started" in result else ""
        line(f"attempt {attempt.number}: {attempt.status or 'not ended'}{began}{counts}\n    log: {attempt.log}")
    made_by = record.result.get("provenance", {})
    if made_by:
        dirty = " with uncommitted changes" if made_by.get("dirty") else ""
        line(f"made by commit {made_by.get('commit') or 'unknown'}{dirty}, code {made_by['code']}, "
             f"data {record.result.get('data_fingerprint', 'unknown')}, scan {record.result.get('scan_backend') or 'none'}, "
             f"{record.result.get('threads', 'unknown')} thread(s)")  # fmt: skip
        if cwd := made_by.get("cwd"):
            line(f"in a folder at commit {cwd['commit']}{' with uncommitted changes' if cwd['dirty'] else ''}")
        packages = ", ".join(f"{name} {version}" for name, version in made_by["packages"].items())
        line(f"with {packages or 'packages that are not known: the command has its own'}")
    _notes(record.result)
    for reason in known.stale:
        out.print(f"[yellow]stale: {escape(reason)}[/]", soft_wrap=True)
    if record.done and not known.stale:
        line(f"fresh: code {'and packages are' if made_by.get('packages') else 'is'} the same now")
    elif known.stale:
        line("`slws run STUDY --refresh` reruns what is stale")


def _notes(result: Mapping[str, Any]) -> None:
    """Say which weights a run started from, and name the first few images that it left out since they could not be read."""
    for text in (result.get("started_from") or "").splitlines():
        line(text)
    broken: dict[str, str] = result.get("broken") or {}
    if broken:
        out.print(f"[yellow]{len(broken)} images could not be read and were left out:[/]")
        for sample_id, cause in list(broken.items())[:BROKEN_SHOWN]:
            line(f"    {sample_id}: {cause}")
        if len(broken) > BROKEN_SHOWN:
            line("`slws data check RECIPE` names all")


def training(project: Project, record: RunRecord, ended: Outcome, json: bool) -> None:
    """Show a single training's last metrics."""
    if json:
        as_json({"run_id": record.run_id, "status": record.status, "cause": record.cause, "result": record.result})
        return
    _lost(ended.failed)
    if record.done:
        drawn = table("metric", "last epoch")
        for name, value in record.result["metrics"].items():
            drawn.add_row(name, f"{value:.5g}")
        _notes(record.result)
        out.print(drawn)
    line(f"{record.run_id}: {record.status}  ({project.workspace.run(record.run_id).path})")
    if ended.mirror:
        err.print(f"[yellow]{escape(ended.mirror)}[/]", soft_wrap=True)
    line(f"Look at it:  slws why {record.run_id}{_elsewhere(project)}, {ui_command(project)}")


def shipped(done: list[tuple[Project, Any]], json: bool) -> None:
    """Show what a sync sent."""
    if json:
        as_json([{"study": project.study.spec.name, **asdict(sent)} for project, sent in done])
        return
    for project, sent in done:
        line(f"{project.study.spec.name}: {sent.runs} runs and {sent.points} points sent to MLflow")
        if sent.note:
            err.print(f"[yellow]{escape(sent.note)}[/]", soft_wrap=True)


def waste(found: list[Any], removed: bool, json: bool) -> None:
    """Show what cleaning removed, or would remove."""
    if json:
        as_json({"removed": removed, "files": [asdict(item) for item in found]})
        return
    by_why: dict[str, list[int]] = {}
    for item in found:
        by_why.setdefault(item.why, []).append(item.size)
    for why, sizes in by_why.items():
        line(f"{len(sizes):5} x {why}: {sum(sizes) / 2**20:.1f} MB")
    total = f"{sum(item.size for item in found) / 2**20:.1f} MB"
    line(f"removed {total}" if removed else f"would remove {total}; --yes does it" if found else "nothing to remove")


def models(rows: list[dict[str, Any]], json: bool) -> None:
    """Show the package's models."""
    if json:
        as_json(rows)
        return
    drawn = table("model", "params", "width", "depth", "tokens")
    for row in rows:
        drawn.add_row(row["name"], *(f"{row[key]:,}" for key in ("params", "width", "depth", "tokens")))
    out.print(drawn)
    line("Any other name in timm's registry is a model too: python -c 'import timm; print(timm.list_models())'")


def findings(found: list[Any], json: bool) -> None:
    """Show what the doctor found."""
    if json:
        as_json(found)
        return
    for finding in found:
        mark = "[green]ok[/]" if finding.good else "[red]!![/]"
        out.print(f"{mark}  [bold]{finding.topic:9}[/] {escape(finding.text)}", soft_wrap=True)


def _lost(found: Iterable[Lost], project: Project | None = None) -> None:
    """Say what failed or diverged: a line in sum, then for each cause its first log, what to do, and the command that retries it."""
    grouped = clusters(found)
    for status in dict.fromkeys(cluster.status for cluster in grouped):
        ones = [cluster for cluster in grouped if cluster.status == status]
        count = sum(len(cluster.runs) for cluster in ones)
        brief = (
            ", ".join(f"{len(cluster.runs)} {cluster.cause}" for cluster in ones) if len(ones) > 1 else ones[0].cause
        )
        out.print(f"[{COLOURS[status]}]{count} {status}:[/] {escape(brief)}", soft_wrap=True)
        for cluster in ones:
            _cluster(cluster, project)


def _cluster(cluster: Cluster, project: Project | None) -> None:
    first = cluster.runs[0]
    shut = (
        cluster.kind is not None and cluster.kind.name == "folder"
    )  # it never began: there is no log, and no failure to retry
    line(f"    e.g. {first.label}, seed {first.seed}: {_relative(first.log.parent if shut else first.log)}")
    if cluster.kind is None:
        line("    diverging is a result: it is counted, and not tried again")
        return
    line(f"    {cluster.kind.todo}")
    if project is not None and not shut:
        line(f"    retry: slws run {study_argument(_relative(project.study.source.path))} --retry {cluster.kind.name}")


def _report_paths(project: Project) -> None:
    folder = _relative(project.report_folder)
    line(f"Report:  {folder}/report.html   ({folder}/: table.md, table.tex, table.html, records.csv, figures/)")
    names = [table.name for table in project.study.spec.report.tables]
    own = [name for name in names if (project.report_folder / "tables" / f"{name}.tex").is_file()]
    label = f"slws:{project.study.spec.name}"
    said = [f"{folder}/tables/{name}.tex \\label{{{label}-{name}}}" for name in own[:TABLES_SHOWN]]
    if said:
        line(f"Tables:  {', '.join([*said, *['...'] * (len(own) > TABLES_SHOWN)])}")


def ui_command(project: Project) -> str:
    return "slws ui" + _elsewhere(project)


def _elsewhere(project: Project) -> str:
    """Return the option that names a workspace which is not the one of the current folder."""
    own = project.workspace.path != here()[1].path
    return f" --workspace {_relative(project.workspace.path)}" if own else ""


def _relative(path: Path) -> Path:
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
