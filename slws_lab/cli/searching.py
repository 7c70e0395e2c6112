"""What `run`, `plan` and `status` do where the study is a search."""

from __future__ import annotations

from typing import Any

import typer

from slws_lab.cli import show, show_trials
from slws_lab.cli.progress import progress
from slws_lab.cli.show_data import waiting
from slws_lab.errors import UserError
from slws_lab.lab.project import Project

COMPLETE, INCOMPLETE = 0, 1


def run(project: Project, options: dict[str, Any], json: bool) -> None:
    """Search, confirm what was found, write the reports, and exit with the code that fits."""
    from slws_lab.lab.confirming import confirm
    from slws_lab.lab.reporting import report
    from slws_lab.lab.running import Options
    from slws_lab.lab.searching import search
    from slws_lab.lab.shipping import PATIENCE_S, attempt
    from slws_lab.lab.standing import Standing

    for name in ("only", "refresh", "retry"):
        if options[name]:
            raise UserError(
                f"--{name} is for designs: a search draws its own trials", where=f"--{name}", todo="leave it out"
            )
    chosen = Options(options["launcher"])
    with progress(project, quiet=json) as watch:
        outcome = search(project, chosen, watch)
        state, confirmed = Standing.of(project), None
        if not outcome.interrupted and state.confirming is not None:
            confirmed = confirm(state.project, state.trials, chosen, watch)
    interrupted = outcome.interrupted or (confirmed is not None and confirmed.outcome.interrupted)
    written = None if interrupted else report(state.project)
    mirror = outcome.mirror or (attempt(state.project, PATIENCE_S, report_only=True) if written else "")
    state = Standing.of(project)
    show_trials.outcome(state, outcome, confirmed, written, mirror, json)
    if interrupted:
        raise show.stopped(project, show_trials.tried(state))
    raise typer.Exit(COMPLETE if state.complete else INCOMPLETE)


def status(project: Project, json: bool) -> None:
    """Show how a search stands; exit code 0 if it is complete."""
    from slws_lab.lab.standing import Standing

    state = Standing.of(project)
    show_trials.status(state, json)
    raise typer.Exit(COMPLETE if state.complete else INCOMPLETE)


def plan(project: Project, launcher: str, probe: bool, json: bool) -> None:
    """Show where a search looks, how, and what it costs; nothing is started."""
    from slws_lab.lab.foreseeing import foresee
    from slws_lab.lab.planning import plan as make_plan
    from slws_lab.lab.searching import corners
    from slws_lab.lab.standing import Standing

    state = make_plan(corners(project))
    with waiting("measuring a few steps", quiet=json or not probe):
        ahead = foresee(state, launcher, probe=probe)
    show_trials.plan(Standing.of(project), ahead, json)
