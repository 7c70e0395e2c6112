"""How a module of the science tower answers the lab: a question on standard input, its answer on standard output, both JSON."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

from slws_lab.errors import SlwsError, UserError

Json = dict[str, Any]
WATCH_S = 1.0


def told(answer: Callable[[Json], Json], question: Json) -> Json:
    """Return an answer, or what stood in its way: `error` with the parts of a `UserError`, or `failed` with a message."""
    try:
        return answer(question)
    except UserError as error:
        return {"error": {name: getattr(error, name) for name in ("given", "where", "allowed", "todo")}}
    except SlwsError as error:
        return {"failed": str(error)}


def end_with_asker() -> None:
    """End this process soon after the one that asked is gone, killed perhaps: nobody waits for the answer."""
    asker = os.getppid()

    def watch() -> None:
        while os.getppid() == asker:
            time.sleep(WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def reply(answer: Callable[[Json], Json]) -> None:
    """Read a question from standard input and write its answer to standard output, which nothing else may write to."""
    end_with_asker()
    with redirect_stdout(sys.stderr):
        found = told(answer, json.load(sys.stdin))
    json.dump(found, sys.stdout)
