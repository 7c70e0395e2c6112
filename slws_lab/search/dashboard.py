"""Optuna's dashboard on a search's storage, served by this process: an address with a password never stands in a command."""

from __future__ import annotations

import ipaddress
import socket
import warnings
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.exceptions import ExperimentalWarning

from slws_lab.errors import UserError
from slws_lab.search.storage import Address

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
LOOPBACK_NAMES = ("localhost",)


def make_dashboard(address: Address, host: str, port: int) -> WSGIServer:
    """Return a server of the dashboard that listens already; `serve_forever` answers.

    On a loopback address it answers only who calls it by one: else any web page could reach it through a name of its own.

    Args:
        address: The storage.
        host: Address to listen on.
        port: Port on it; 0 for any that is free.

    Raises:
        UserError: optuna-dashboard is not installed, the storage cannot be used, or the port is taken.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise UserError(
            "optuna-dashboard is not installed", where="--optuna", todo="pip install optuna-dashboard"
        ) from None
    storage = address.connect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        app: App = wsgi(storage)
    try:
        return make_server(host, port, _guarded(app, host), _server(host), _Quiet)
    except OSError as error:
        raise UserError(f"cannot listen on {host}, port {port}: {error.strerror or error}", where="--port",
                        todo="choose another with --port") from None  # fmt: skip


def is_loopback(host: str) -> bool:
    """Say whether a name or an address means this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host in LOOPBACK_NAMES


def _guarded(app: App, host: str) -> App:
    if not is_loopback(host):
        return app

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        called = str(environ.get("HTTP_HOST", ""))
        name = called if called.endswith("]") else called.rpartition(":")[0] or called
        if is_loopback(name):
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"this dashboard is for the machine on which it runs\n"]

    return answer


def _server(host: str) -> type[WSGIServer]:
    class Server(ThreadingMixIn, WSGIServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

    return Server


class _Quiet(WSGIRequestHandler):
    """Prints no line a request: the terminal says where the dashboard is."""

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""
