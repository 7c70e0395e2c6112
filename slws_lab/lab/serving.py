"""What `slws ui` serves beside MLflow's UI: reports, and addresses by our names that lead to the pages of studies and runs."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slws_lab.errors import SlwsError, UserError
from slws_lab.lab.checking import stale
from slws_lab.lab.project import Project
from slws_lab.lab.shipping import with_confirmation
from slws_lab.spec import load_study
from slws_lab.spec.handoff import CONFIRM
from slws_lab.tracking import Workspace
from slws_lab.tracking.mirror import MirrorAway, report_files, ui_command
from slws_lab.tracking.mirror_links import Links

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

# How the server, another process, knows what `slws ui` was asked for.
ROOT, WORKSPACE, OPENS = "SLWS_UI_ROOT", "SLWS_UI_WORKSPACE", "SLWS_UI_OPENS"
APP = "slws"  # of the entry points `mlflow.app`: `beside`
PAGE = "report.html"
PATIENCE_S = 120.0
# A report may come from anybody's repository: its scripts get an origin of their own, from which they cannot ask MLflow's server.
HEADERS = {
    "Content-Security-Policy": "sandbox allow-scripts allow-modals allow-downloads allow-popups allow-popups-to-escape-sandbox",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}
OTHER = '<p role="alert">This report was written by another version; <code>slws report</code> writes it anew.</p>'
DISPLAYS = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME")


@dataclass(frozen=True)
class Asked:
    """What `slws ui` was asked for.

    Attributes:
        root: The project's folder.
        workspace: Whose store is shown.
        host: Address to listen on.
        port: Port there.
        opens: Address to open in the browser once the server answers; empty for none.
    """

    root: Path
    workspace: Workspace
    host: str
    port: int
    opens: str = ""

    @property
    def address(self) -> str:
        """The server's, without a slash behind it."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def command(asked: Asked) -> list[str]:
    """Return what starts the server: MLflow's with our pages in it, or only these where the store is a server, which has a UI.

    What it must know goes to it by variables, see `mirror_ui.ui_command`.

    Raises:
        UserError: The port is taken.
    """
    _check_port(asked)
    os.environ |= {ROOT: str(asked.root), WORKSPACE: str(asked.workspace.path), OPENS: asked.opens}
    if with_mlflow := ui_command(asked.workspace, None, asked.port, asked.host):
        return [*with_mlflow, "--app-name", APP]
    os.environ["PYTHONSAFEPATH"] = "1"
    place = ["--host", asked.host, "--port", str(asked.port), "--log-level", "warning"]
    return [sys.executable, "-P", "-m", "uvicorn", *place, "--factory", f"{__name__}:{alone.__name__}"]


def can_open() -> bool:
    """Say whether there is a browser with a window; one of those that take the terminal over is not opened."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in DISPLAYS)


def beside() -> ASGIApp:
    """Return MLflow's app with our pages in it; MLflow's server calls it by the entry point."""
    from slws_lab.tracking.mirror_app import before_mlflow

    return before_mlflow(_of_environment())


def alone() -> ASGIApp:
    """Return our pages alone."""
    from slws_lab.tracking.mirror_app import without_mlflow

    return without_mlflow(_of_environment())


def pages(root: Path, workspace: Workspace) -> ASGIApp:
    """Return what is served under `/slws`: `runs/<run_id>` and `studies/<name>` lead on to MLflow, `reports/<study>/<file>` are files.

    Of the copies that a run has where several studies share it, `?study=<name>` asks for one.

    Args:
        root: The project's folder, of whose studies the reports are.
        workspace: Whose store is shown.
    """
    from starlette.responses import RedirectResponse
    from starlette.routing import Route, Router

    links, reports = Links(workspace), Reports(root, workspace)

    def leading(what: str, find: Callable[[Request, str], str | None]) -> Callable[[Request], Response]:
        def lead(request: Request) -> Response:
            name = request.path_params["name"]
            try:
                page = find(request, name)
            except MirrorAway as error:
                return _said(f"MLflow cannot be reached: {error}", 503)
            if page is None:
                return _said(f"MLflow has no {what} '{name}' of this workspace; `slws sync` sends what is missing", 404)
            return RedirectResponse(links.base + page)

        return lead

    def report(request: Request) -> Response:
        if not request.path_params["file"]:
            return RedirectResponse(PAGE)
        return reports.answer(request.path_params["name"], request.path_params["file"])

    return Router(routes=[
        Route("/runs/{name}", leading("run", lambda request, name: links.run(name, request.query_params.get("study", "")))),
        Route("/studies/{name}", leading("study", lambda _, name: links.study(name))),
        Route("/reports/{name}/{file:path}", report),
    ])  # fmt: skip


class Reports:
    """The reports of a project's studies, as files: what a report's manifest names, and nothing else."""

    def __init__(self, root: Path, workspace: Workspace) -> None:
        self._root, self._workspace = root, workspace

    def answer(self, study: str, name: str) -> Response:
        """Return a file of a study's report; of its page, with a banner on top where it is stale."""
        from starlette.responses import FileResponse, HTMLResponse

        from slws_lab.reports.page.page import with_banner

        studies = self._studies()
        folder = self._root / "reports" / study
        found = report_files(folder).get(name) if study in studies and folder.resolve().parent == self._home else None
        if found is None:
            return _said(
                f"there is no file '{name}' in a report of a study '{study}' here; `slws report` writes one", 404
            )
        if name != PAGE:
            return FileResponse(found, headers=HEADERS)
        page = found.read_text(encoding="utf-8")
        try:
            page = with_banner(page, self._doubts(study, studies[study]))
        except ValueError:
            page = OTHER + page
        return HTMLResponse(page, headers=HEADERS)

    @property
    def _home(self) -> Path:
        return (self._root / "reports").resolve()

    def _studies(self) -> dict[str, Path]:
        """Return the studies that may have a report by name, each with its file; one that cannot be loaded by its file's name."""
        found: dict[str, Path] = {}
        for path in sorted((self._root / "studies").glob("*.yaml")):
            try:
                spec = load_study(path).spec
            except UserError:
                found[path.stem] = path
                continue
            found |= {spec.name: path} | ({spec.name + CONFIRM: path} if spec.search is not None else {})
        return found

    def _doubts(self, study: str, path: Path) -> list[str]:
        """Say why a report may not show what there is now."""
        try:
            parts = with_confirmation(Project.open(str(path), self._workspace.path))
            part = next((part for part in parts if part.study.spec.name == study), None)
            return stale(part) if part is not None else [f"the study '{study}' is no more"]
        except SlwsError as error:
            return [f"whether it is up to date cannot be told: {str(error).splitlines()[0]}"]


def _of_environment() -> ASGIApp:
    if opens := os.environ.get(OPENS):
        threading.Thread(target=_open, args=(opens,), name="opening", daemon=True).start()
    return pages(Path(os.environ[ROOT]), Workspace(Path(os.environ[WORKSPACE])))


def _open(address: str) -> None:
    """Open an address in the browser as soon as its server answers."""
    place = address.split("/")[2]
    host, _, port = place.rpartition(":")
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.1)
            continue
        webbrowser.open(address)
        return


def _check_port(asked: Asked) -> None:
    """Refuse a port that is taken: MLflow would say so in many lines, and the browser would open somebody else's page."""
    with socket.socket(socket.AF_INET6 if ":" in asked.host else socket.AF_INET) as trying:
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trying.bind((asked.host, asked.port))
        except OSError as error:  # what else is wrong with the address, the server says
            if error.errno == errno.EADDRINUSE:
                raise UserError(
                    f"port {asked.port} of {asked.host} is taken", todo="choose another with --port"
                ) from None


def _said(text: str, status: int) -> Response:
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(text + "\n", status)
