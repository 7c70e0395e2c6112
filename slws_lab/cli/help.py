"""How the help of a command looks: panels by theme. Typer's own drawing first imports Rich's Markdown, tracebacks and lexers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

Row = tuple[str, str]
NAME = "bold cyan"
NARROW = 60  # columns below which names and what is said of them do not fit side by side
STYLES = {
    r"(?<![\w-])--?[a-zA-Z][\w-]*": NAME,
    r"<[\w ]+>": "bold yellow",
    r"\[required\]": "red",
    r"\[(default|env var|\d|x).*?\]": "dim",
}


class Command(TyperCommand):
    """A command whose help is drawn here."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        _draw(self, ctx, {})


class Group(TyperGroup):
    """A command with others below it, in the panels that they name."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        panels: dict[str, list[Row]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            if command.hidden:
                continue
            first = " ".join((command.help or "").split("\n\n")[0].split())
            panels.setdefault(command.rich_help_panel or "Commands", []).append((name, first))
        _draw(self, ctx, panels)


def _draw(command: TyperCommand | TyperGroup, ctx: Any, commands: dict[str, list[Row]]) -> None:
    from rich.console import Console
    from rich.padding import Padding

    console = Console(highlight=False)
    console.print(Padding(_styled(command.get_usage(ctx)), (1, 1)), style="bold")
    for paragraph in (command.help or "").split("\n\n"):
        console.print(Padding(_styled(" ".join(paragraph.split())), (0, 1, 1, 1)))
    for title, rows in {**_parameters(command, ctx), **commands}.items():
        console.print(_panel(title, rows, narrow=console.width < NARROW))
    if command.epilog:
        console.print(Padding(_styled(command.epilog), 1))


def _parameters(command: TyperCommand | TyperGroup, ctx: Any) -> dict[str, list[Row]]:
    """Return what may stand behind a command: arguments first."""
    panels: dict[str, list[Row]] = {"Arguments": [], "Options": []}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None:
            panels["Arguments" if parameter.param_type_name == "argument" else "Options"].append(record)
    return {title: rows for title, rows in panels.items() if rows}


def _panel(title: str, rows: Iterable[Row], narrow: bool) -> Any:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, show_header=False, padding=(0, 1), expand=True)
    drawn.add_column(style=NAME, no_wrap=not narrow)
    drawn.add_column(ratio=1)
    for name, said in rows:
        if narrow:  # the one below the other
            drawn.add_row(Text.assemble(_styled(name), "\n", _styled(said)))
        else:
            drawn.add_row(_styled(name), _styled(said))
    return Panel(drawn, title=title, title_align="left", border_style="dim")


def _styled(said: str) -> Any:
    """Return a text with options, types and defaults marked, and what stands between backticks."""
    from rich.text import Text

    text = Text.assemble(*((part, NAME if i % 2 else "") for i, part in enumerate(said.split("`"))))
    for pattern, style in STYLES.items():
        text.highlight_regex(pattern, style)
    return text
