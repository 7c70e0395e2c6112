"""Showing whether a report is up to date."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.markup import escape

from slws_lab.cli.terminal import as_json, line, out
from slws_lab.lab.project import Project
from slws_lab.lab.reporting import RECORDS, Results

if TYPE_CHECKING:
    from slws_lab.lab.checking import Checked, Finding, Outdated

LISTED = 8  # findings of a kind that are shown
TITLES = {
    "tampered": "Runs that are not as they were written",
    "no report": "No report",
    "study": "The study was changed",
    "added": "Runs since",
    "rerun": "Runs made again",
    "replaced": "Runs replaced",
    "changed": "Runs changed",
    "deleted": "Runs deleted",
    "file": "Files",
    "cell": "What tables say",
    "unfinished": "Seeds missing",
    "mixed code": "Runs of mixed code",
    "undeclared": "Differences that the study does not declare",
}


def source(project: Project, found: Results, json: bool) -> None:
    """Say so if a report is made of an earlier one's records.csv, and what cannot be made again of it."""
    if found.source == RECORDS and not json:
        line(f"No run folders here: from {project.report_folder.name}/{RECORDS} of the report itself.")
    if found.lost and not json:
        line(found.lost)


def checked(project: Project, found: Checked, json: bool) -> None:
    """Show what a check found."""
    if json:
        as_json({"study": project.study.spec.name, "up_to_date": found.up_to_date, "source": found.source, "runs": found.runs,
                 "findings": found.findings, "files": found.files, "unchecked": found.unchecked, "notes": found.notes})  # fmt: skip
        return
    if found.source == RECORDS:
        line(f"No run folders here: checked against {RECORDS} and manifest.json of the report itself.")
    for note in found.notes:
        line(note)
    for kind, group in groupby(found.findings, key=lambda one: one.kind):
        _listed(TITLES[kind], list(group))
    if found.unchecked:
        line(f"Not checked, since nothing shows that they are this report's: {', '.join(found.unchecked)}")
    if found.up_to_date:
        out.print(
            f"[green]up to date:[/] {escape(project.study.spec.name)}, {found.runs} runs, {len(found.files)} files",
            soft_wrap=True,
        )
        return
    of = escape(project.study.spec.name)
    if found.to_copy:
        names = ", ".join(dict.fromkeys(one.path for one in found.to_copy))
        out.print(f"[red]not what the report of {of} says:[/] {escape(names)}", soft_wrap=True)
    else:
        out.print(f"[red]not up to date:[/] {of}", soft_wrap=True)
    for todo in _todo(project, found):
        line(f"To do: {todo}")


def _listed(title: str, findings: Sequence[Finding]) -> None:
    out.print(f"[bold]{title}[/]", soft_wrap=True)
    for one in findings[:LISTED]:
        line(f"    {one.where}: {one.text}")
    if len(findings) > LISTED:
        line(f"    and {len(findings) - LISTED} more (--json lists all)")


def _todo(project: Project, found: Checked) -> list[str]:
    from slws_lab.lab.checking import OF_THE_RUNS
    from slws_lab.spec.handoff import known_as

    name = known_as(project.study)
    if any(one.kind == "tampered" for one in found.findings):
        return ["`slws verify` says how to mend the runs; a new report would print what they say now"]
    of_runs = any(one.kind in OF_THE_RUNS for one in found.findings)
    todo = [f"copy {_whole_or_part(one)} again" for one in found.to_copy]
    if of_runs and (todo or all(one.kind in OF_THE_RUNS for one in found.findings)):
        run = (
            f"`slws run {name}` (with --refresh for mixed code), or live with it: the report is as it would be made now"
        )
        return [run, *todo]
    return todo or [f"`slws report {name}` makes it anew; then copy its tables again"]


def _whole_or_part(one: Outdated) -> str:
    return f"table {one.part} of {one.source} into {one.path}" if one.part else f"{one.source} to {one.path}"
