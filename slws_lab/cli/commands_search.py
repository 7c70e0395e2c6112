"""What the commands of a search do: calls the lab's verb and prints what it returns."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from slws_lab.cli import show_search
from slws_lab.cli.terminal import err, line, out


def study_from_search(
    search: str, name: str | None, trial: int | None, seeds: int, folder: Path | None, workspace: Path | None
) -> None:
    from slws_lab.lab.handoff import Wanted, from_search

    show_search.taken_apart(*from_search(search, Wanted(name, trial, seeds, folder), workspace))


def ui(search: str | None, host: str, port: int, workspace: Path | None) -> None:
    from slws_lab.lab.dashboard import storage_of

    address = storage_of(search, workspace)
    from slws_lab.search.dashboard import (
        is_loopback,
        make_dashboard,
    )  # only once there is something to show: Optuna takes long to load

    server = make_dashboard(address, host, port)
    shown = f"[{host}]" if ":" in host else host
    line(f"Optuna's dashboard on {address.shown}")
    line(f"http://{shown}:{server.server_port}/")
    if not is_loopback(host):
        err.print(f"[yellow]warning:[/] the dashboard asks for no password: whoever reaches port {port} of this machine can read, "
                  "change and delete searches. Without --host only this machine can.", soft_wrap=True)  # fmt: skip
    line("Ctrl-C ends it")
    out.file.flush()
    with server, suppress(KeyboardInterrupt):  # which is how it ends
        server.serve_forever()
