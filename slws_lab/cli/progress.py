"""Progress of a running study, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from slws_lab.cli.terminal import err
from slws_lab.lab.project import Project

if TYPE_CHECKING:
    from slws_lab.lab.executing import Progress as RunProgress
    from slws_lab.lab.executing import Watch


@contextmanager
def progress(project: Project, quiet: bool) -> Iterator[Watch]:
    """Show a bar for the study and one for each run in hand; on no terminal, a line whenever a run has ended."""
    if quiet or not err.is_terminal:
        yield _lines(quiet)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        whole = bars.add_task(f"[bold]{project.study.spec.name}[/bold] runs", total=None)
        tasks: dict[str, Any] = {}

        def watch(state: RunProgress) -> None:
            bars.update(whole, total=state.total, completed=state.done)
            for label in [label for label in tasks if label not in state.running]:
                bars.remove_task(tasks.pop(label))
            for label, (epoch, epochs) in state.running.items():
                if label not in tasks:
                    tasks[label] = bars.add_task(f"  {escape(label)}", total=epochs)
                bars.update(tasks[label], completed=epoch)

        yield watch


def _lines(quiet: bool) -> Watch:
    shown = -1

    def watch(state: RunProgress) -> None:
        nonlocal shown
        if state.done != shown and not quiet:
            shown = state.done
            failed = f", {state.failed} failed" if state.failed else ""
            err.print(f"{state.done} of {state.total} runs ended{failed}", soft_wrap=True)

    return watch
