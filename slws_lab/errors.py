"""The errors that a user sees: one message that teaches. Failures of a run are not errors of the tool; see `worker`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SlwsError(Exception):
    """Something that the user must know and that is no mistake of theirs: one message, exit code 1, no traceback."""

    exit_code = 1


class Interrupted(SlwsError):
    """A command that was stopped (Ctrl-C, a scheduler's stop): one message, exit code 130, no traceback."""

    exit_code = 130


class UserError(SlwsError):
    """A mistake the user can mend: shown as one message, exit code 2, no traceback.

    Args:
        given: What was found, in the user's own words.
        where: Place of it, `file:line:column` and the key where there is one; empty when there is no place.
        allowed: What would have been accepted; empty when everything said in `given` suffices.
        todo: What to do next; empty when `allowed` already says it.
    """

    exit_code = 2

    def __init__(self, given: str, *, where: str = "", allowed: str = "", todo: str = "") -> None:
        self.given, self.where, self.allowed, self.todo = given, where, allowed, todo
        lines = [given]
        lines += [f"  where:   {where}"] if where else []
        lines += [f"  allowed: {allowed}"] if allowed else []
        lines += [f"  to do:   {todo}"] if todo else []
        super().__init__("\n".join(lines))

    def at(self, where: str) -> UserError:
        """Return the same message with a place, from a caller who knows it."""
        return UserError(self.given, where=where, allowed=self.allowed, todo=self.todo)


class AwayError(UserError):
    """What one study needs cannot be reached now; what concerns all studies goes on without it."""

    def at(self, where: str) -> AwayError:
        """Return the same message with a place, from a caller who knows it."""
        return AwayError(self.given, where=where, allowed=self.allowed, todo=self.todo)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the closest allowed name, or an empty string when none is close."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else ""
