"""What `slws ui` does: says what is where, and becomes the server."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from slws_lab.cli.terminal import err, line, out
from slws_lab.errors import UserError
from slws_lab.lab.project import here, open_workspace
from slws_lab.spec import Study, find_study, load_study
from slws_lab.tracking import Workspace
from slws_lab.tracking.mirror_ui import TRAINING

if TYPE_CHECKING:
    from slws_lab.lab.serving import Asked
    from slws_lab.tracking.mirror_links import Links

LIST = f"#/experiments?{TRAINING}"


@dataclass(frozen=True)
class Options:
    """The options of `slws ui`.

    Attributes:
        host: Address to listen on.
        port: Port there.
        opens: Whether a browser may be opened.
    """

    host: str
    port: int
    opens: bool


def ui(study: str | None, options: Options, workspace: Path | None) -> None:
    from slws_lab.lab.serving import Asked, can_open, command
    from slws_lab.tracking.mirror_links import Links

    named = load_study(find_study(study)) if study else None
    root, place = here(workspace) if named is None else (named.root, open_workspace(named.root, workspace))
    links = Links(place)
    _check(links, place, named)
    asked = Asked(root, place, options.host, options.port)
    first = f"{asked.address}/slws/studies/{named.spec.name}" if named else _list(asked, links)
    opens = options.opens and can_open() and (named is not None or out.is_terminal)
    started = command(replace(asked, opens=first if opens else ""))
    _say(asked, links)
    out.file.flush()
    os.execv(started[0], started)


def _check(links: Links, place: Workspace, named: Study | None) -> None:
    """Refuse to show what is not there."""
    again = f"run it first: slws run {named.spec.name}" if named else "run a study first: slws run STUDY"
    if named is not None and named.spec.search is not None:
        again += f"; its trials in Optuna's dashboard: slws ui {named.spec.name} --optuna"
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        if not (place.path / "mlflow.db").exists():
            raise UserError("there is nothing to show yet", where=str(place.path), todo=again)
    elif links.elsewhere:
        links.check()
    if named is not None and named.spec.name not in links.sent():
        raise UserError(f"MLflow has nothing of study '{named.spec.name}'", where=str(named.source.path), todo=again)


def _say(asked: Asked, links: Links) -> None:
    """Print where everything is, and whom the server lets in."""
    from slws_lab.lab.shipping import studies_with_runs
    from slws_lab.tracking.mirror_ui import is_loopback

    away: list[str] = []
    found = studies_with_runs(asked.root, asked.workspace.path, away=away)
    for message in away:
        err.print(f"[yellow]{escape(message)}[/]", soft_wrap=True)
    line(f"MLflow UI: {_list(asked, links)}")
    for name, project in {one.study.spec.name: one for one in found}.items():  # a recipe is one for each seed
        line(f"  {name}: {asked.address}/slws/studies/{name}")
        if (project.report_folder / "report.html").is_file():
            line(f"    report: {asked.address}/slws/reports/{name}/report.html")
    if not is_loopback(asked.host):
        what = "can read the reports" if links.elsewhere else "can read, change and delete runs"
        err.print(f"[yellow]warning:[/] MLflow asks for no password: whoever reaches port {asked.port} of this machine {what}. "
                  "Without --host only this machine can.", soft_wrap=True)  # fmt: skip
    line("starting; Ctrl-C ends it")


def _list(asked: Asked, links: Links) -> str:
    """Return where MLflow lists all studies."""
    return (links.base if links.elsewhere else f"{asked.address}/") + LIST
