"""How a data set looks on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.markup import escape

from slws_lab.cli.terminal import as_json, err, line, out, table
from slws_lab.lab.data_checking import DataCheck

NAMED = 10


@contextmanager
def waiting(what: str, quiet: bool = False) -> Iterator[None]:
    """Show, on a terminal, that something is being done."""
    if quiet or not err.is_terminal:
        yield
        return
    with err.status(escape(what)):
        yield


def check(done: DataCheck, json: bool) -> None:
    """Show what is in a data set, what is wrong with it first named, then summed up."""
    found = done.found
    if json:
        as_json({**found, "sound": done.sound})
        return
    out.print(
        f"[bold]{escape(found['name'])}[/bold]  {found['classes']} classes, fingerprint {found['fingerprint']}",
        soft_wrap=True,
    )
    drawn = table("split", "samples", "a class", "width", "height", "modes", "broken", "repeated")
    for name, split in found["splits"].items():
        broken, repeated = len(split["broken"]), split["duplicates"]["images"]
        drawn.add_row(name, f"{split['samples']:,}", _range(_counts(split)), _range(split["width"]), _range(split["height"]),
                      escape(", ".join(f"{mode} {count:,}" for mode, count in split["modes"].items())),
                      f"[red]{broken}[/]" if broken else "0", f"[yellow]{repeated}[/]" if repeated else "0")  # fmt: skip
    out.print(drawn)
    line(f"split by: {found['split_rule']}")
    line(
        f"a model sees {found['size']} px, {found['channels']} channel(s), mean {_numbers(found['mean'])}, std {_numbers(found['std'])}"
    )
    _broken(found)
    _repeated(found)
    line(f"{found['seconds']:.1f} s, {found['images_per_s']:,.0f} images/s")
    out.print(
        "[green]every image can be read, and none of test is in train[/]" if done.sound else f"[red]{_fault(done)}[/]"
    )


def downloaded(name: str, folder: Path) -> None:
    """Say where a data set is and how a recipe uses it."""
    line(f"{name} is in {folder}")
    line(f"in a recipe:  data: {{name: {name}, path: {folder}}}")


def _broken(found: dict[str, Any]) -> None:
    rows = [
        (name, sample, cause) for name, split in found["splits"].items() for sample, cause in split["broken"].items()
    ]
    for name, sample, cause in rows[:NAMED]:
        out.print(f"[red]broken[/] in {name}: {escape(sample)}: {escape(cause)}", soft_wrap=True)
    _more(len(rows))


def _repeated(found: dict[str, Any]) -> None:
    rows = [
        f"repeated in {name}: {' = '.join(ids)}"
        for name, split in found["splits"].items()
        for ids in split["duplicates"]["groups"]
    ]
    for pair in found["shared"]:
        one, other = pair["splits"]
        rows += [f"{one} and {other} share: {first} = {second}" for first, second in pair["examples"]]
    for row in rows[:NAMED]:
        out.print(f"[yellow]{escape(row)}[/]", soft_wrap=True)
    _more(len(rows))


def _more(count: int) -> None:
    if count > NAMED:
        line(f"... and {count - NAMED} more; --json names them")


def _fault(done: DataCheck) -> str:
    broken = f"{done.broken} broken image(s)" if done.broken else ""
    leaked = f"{done.leaked} image(s) of test are in train too" if done.leaked else ""
    return "; ".join(filter(None, (broken, leaked)))


def _counts(split: dict[str, Any]) -> list[int] | None:
    counts = split["per_class"].values()
    return [min(counts), max(counts)] if split["samples"] else None


def _range(ends: list[int] | None) -> str:
    if ends is None:
        return ""
    low, high = ends
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
