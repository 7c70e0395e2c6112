"""How the verdict on a workspace looks on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from slws_lab.cli.terminal import as_json, line, out
from slws_lab.lab.verifying import Verdict

NAMED = 20


def verdict(found: Verdict, json: bool) -> None:
    """Show what is wrong, file by file, then each command that mends it once, in the order to give them."""
    if json:
        faults = [{"file": str(f.file), "what": f.what, "mend": f.mend} for f in found.faults]
        as_json({**vars(found), "faults": faults, "sound": found.sound})
        return
    line(
        f"{found.runs} runs, {found.results} results, {found.reports} reports, {found.points} points in MLflow looked at"
    )
    for fault in found.faults[:NAMED]:
        out.print(f"[red]wrong[/]  {escape(_near(fault.file))}: {escape(fault.what)}", soft_wrap=True)
    if len(found.faults) > NAMED:
        line(f"... and {len(found.faults) - NAMED} more; --json names them")
    for note in found.notes:
        out.print(f"[yellow]note[/]   {escape(note)}", soft_wrap=True)
    commands = list(dict.fromkeys(fault.mend for fault in found.faults))
    if not commands:
        out.print("[green]sound: nothing was changed, and all of it fits together[/]")
        return
    line("to mend it:")
    for command in commands[:NAMED]:
        line(f"  {command}")
    if len(commands) > NAMED:
        line(f"  ... and {len(commands) - NAMED} more; --json has them")


def _near(file: Path | str) -> str:
    """Return a path as seen from here, if it lies below."""
    return (
        str(file.relative_to(Path.cwd())) if isinstance(file, Path) and file.is_relative_to(Path.cwd()) else str(file)
    )
