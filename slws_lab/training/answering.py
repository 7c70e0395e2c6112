"""How a module of the science tower answers the lab: a question on standard input, its answer on standard output, both JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

from slws_lab.errors import SlwsError, UserError

Json = dict[str, Any]


def told(answer: Callable[[Json], Json], question: Json) -> Json:
    """Return an answer, or what stood in its way: `error` with the parts of a `UserError`, or `failed` with a message."""
    try:
        return answer(question)
    except UserError as error:
        return {"error": {name: getattr(error, name) for name in ("given", "where", "allowed", "todo")}}
    except SlwsError as error:
        return {"failed": str(error)}


def reply(answer: Callable[[Json], Json]) -> None:
    """Read a question from standard input and write its answer to standard output, which nothing else may write to."""
    with redirect_stdout(sys.stderr):
        found = told(answer, json.load(sys.stdin))
    json.dump(found, sys.stdout)
