"""The commands that compare two studies and hand one on, with their options; parts of `app`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slws_lab.cli.help import Command, Group
from slws_lab.cli.options import Json, Study, Workspace

bundle_app = typer.Typer(cls=Group, no_args_is_help=True, help="Hand a study on as one file, or open one.")


def compare(
    first: Annotated[str, typer.Argument(metavar="STUDY_A", help="Path of a study file, or its name under studies/.")],
    second: Annotated[str, typer.Argument(metavar="STUDY_B", help="Another one, of this project or another.")],
    workspace: Workspace = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables as Markdown, LaTeX, HTML and CSV.")] = None,
    json: Json = False,
) -> None:
    """Put two studies side by side: designs, the arms that both have, verdicts that differ, costs, what made their runs."""
    from slws_lab.cli import commands_bundle

    commands_bundle.compare(first, second, workspace, out, json)


@bundle_app.command("make", cls=Command)
def bundle_make(
    study: Study,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The zip; default STUDY.zip in this folder.")] = None,
    weights: Annotated[bool, typer.Option("--weights", help="Also the weights of the best run.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Write a study as one zip: study file, recipe, package versions, records, journals, report."""
    from slws_lab.cli import commands_bundle

    commands_bundle.make(study, out, weights, workspace, json)


@bundle_app.command("open", cls=Command)
def bundle_open(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A zip that slws bundle make wrote.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="A new folder; default the zip's name, in this folder.")
    ] = None,
    json: Json = False,
) -> None:
    """Open a bundle as a project of its own, make its report again, and say whether it comes out the same. Executes nothing of it."""
    from slws_lab.cli import commands_bundle

    commands_bundle.unpack(file, folder, json)
