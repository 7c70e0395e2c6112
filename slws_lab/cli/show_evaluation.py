"""How an evaluation looks on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.markup import escape

from slws_lab.cli.terminal import as_json, line, out, table
from slws_lab.lab.evaluating import confusion_matrix

DRAWN_CLASSES = 12  # a larger matrix does not fit a terminal
NAMED = 10
PER_CLASS = ("recall", "precision", "f1")
FIGURES = {"loss": ".4f", "top1": ".2f", "top5": ".2f", "ece": ".2f", "n": ",", "images_per_s": ",.0f"}


def evaluation(found: dict[str, Any], files: list[Path], json: bool) -> None:
    """Show an evaluation's figures, its classes, and what was taken for what."""
    if json:
        as_json({**found, "files": files})
        return
    what = found.get("run_id") or found["checkpoint"]
    where = f"{found['data']}, split {found['split']}, {found['size']} px"
    out.print(f"[bold]{escape(what)}[/bold]  {escape(found['model'])} on {escape(where)}", soft_wrap=True)
    drawn = table("weights")
    for name in FIGURES:
        drawn.add_column(name + (" %" if name in ("top1", "top5", "ece") else ""), justify="right")
    for kind, one in found["weights"].items():
        drawn.add_row(kind, *(_number(one[name], style) for name, style in FIGURES.items()))
    out.print(drawn)
    _classes(found)
    kind = "ema" if "ema" in found["weights"] else "last"
    if len(found["outputs"]) <= DRAWN_CLASSES:
        _matrix(found, kind)
    else:
        _confusions(found, kind)
    _circumstances(found)
    for path in files:
        line(f"written: {path}")


def _classes(found: dict[str, Any]) -> None:
    """Draw every class, or the worst ones."""
    drawn = table("class", "n")
    for kind in found["weights"]:
        for name in PER_CLASS:
            drawn.add_column(f"{kind}\n{name} %", justify="right")
    rows = list(zip(*(one["per_class"] for one in found["weights"].values()), strict=True))
    if len(rows) > DRAWN_CLASSES:
        rows = sorted((row for row in rows if row[-1]["n"]), key=lambda row: row[-1]["recall"])[:NAMED]
        line(f"the {len(rows)} worst of {found['classes']:,} classes:")
    for row in rows:
        cells = [_number(one[name], ".1f") for one in row for name in PER_CLASS]
        drawn.add_row(escape(row[0]["class"]), str(row[0]["n"]), *cells)
    out.print(drawn)


def _matrix(found: dict[str, Any], kind: str) -> None:
    line(f"confusion, {kind} weights:")
    drawn = table("true \\ said")
    for name in found["outputs"]:
        drawn.add_column(escape(name), justify="right", overflow="fold")
    for i, row in enumerate(confusion_matrix(found, kind)):
        cells = [
            f"[green]{count}[/]" if i == j else f"[red]{count}[/]" if count else "[dim]0[/]"
            for j, count in enumerate(row)
        ]
        drawn.add_row(escape(found["outputs"][i]), *cells)
    out.print(drawn)


def _confusions(found: dict[str, Any], kind: str) -> None:
    wrong = [(count, true, output) for true, output, count in found["weights"][kind]["confusion"] if true != output]
    line(f"most frequent confusions, {kind} weights:")
    drawn = table("true", "said", "times")
    for count, true, output in sorted(wrong, key=lambda row: (-row[0], row[1:]))[:NAMED]:
        drawn.add_row(escape(found["outputs"][true]), escape(found["outputs"][output]), str(count))
    out.print(drawn)


def _circumstances(found: dict[str, Any]) -> None:
    for kind, one in found["weights"].items():
        resized = f"; resized: {', '.join(one['resized'])}" if one["resized"] else ""
        bins = len(one["calibration"])
        line(f"{kind}: {one['source']}{resized}")
    scan = f", scan {found['scan_backend']}" if found["scan_backend"] else ""
    line(f"images_per_s is the forward alone, {found['precision']}{scan}: {found['device']}, {found['threads']} thread(s), "
         f"batches of {found['batch_size']}, after one to warm up")  # fmt: skip
    line(f"ece is the expected calibration error over {bins} bins of equal width; --json holds the bins")
    if found["broken"]:
        out.print(
            f"[yellow]{len(found['broken'])} of {found['samples']:,} images cannot be read and are left out:[/]",
            soft_wrap=True,
        )
        for sample, cause in list(found["broken"].items())[:NAMED]:
            line(f"    {sample}: {cause}")
    for note in found["notes"]:
        out.print(f"[yellow]note: {escape(note)}[/]", soft_wrap=True)


def _number(value: float | None, style: str) -> str:
    return "" if value is None else format(value, style)
