"""What comparing studies and handing them on do on the command line: calls the lab's verb and shows what it returns."""

from __future__ import annotations

from pathlib import Path

from slws_lab.cli import show_bundle
from slws_lab.cli.show_data import waiting
from slws_lab.lab.project import Project


def compare(first: str, second: str, workspace: Path | None, out: Path | None, json: bool) -> None:
    from slws_lab.lab.comparing import compare as compare_studies
    from slws_lab.lab.comparing import write_comparison

    projects = [Project.open(study, workspace) for study in (first, second)]
    with waiting("reading the records of both studies", quiet=json):
        found = compare_studies(*projects)
    show_bundle.comparison(found, write_comparison(found, out) if out is not None else [], json)


def make(study: str, out: Path | None, weights: bool, workspace: Path | None, json: bool) -> None:
    from slws_lab.lab.bundling import bundle

    project = Project.open(study, workspace)
    with waiting("making the report and the bundle", quiet=json):
        made = bundle(project, out, weights=weights)
    show_bundle.made(made, json)


def unpack(file: Path, folder: Path | None, json: bool) -> None:
    from slws_lab.lab.unbundling import unbundle

    with waiting("unpacking the bundle and making its report again", quiet=json):
        opened = unbundle(file, folder)
    show_bundle.opened(opened, json)
