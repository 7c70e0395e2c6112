"""How comparisons and bundles look on the terminal."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape

from slws_lab.analysis import Contrast
from slws_lab.cli.show_tables import draw
from slws_lab.cli.terminal import as_json, err, line, out
from slws_lab.lab.bundling import Bundle
from slws_lab.lab.unbundling import SENT, Opened
from slws_lab.reports.comparison import Comparison, Pair
from slws_lab.reports.wording import plural

NAMED = 6
MB = 2**20
ELSEWHERE = "All are shown on a wider terminal, or written by --out FOLDER."


def comparison(found: Comparison, files: list[Path], json: bool) -> None:
    """Show two studies side by side, and which files were written."""
    from slws_lab.reports.tables.comparison import comparison_views, summary

    if json:
        as_json({**_comparison(found), "summary": summary(found), "files": files})
        return
    for view in comparison_views(found):
        draw(view, ELSEWHERE)
    out.print(f"[bold]{escape(summary(found))}[/]")
    if files:
        line(f"written: {', '.join(map(_near, files))}")


def made(bundle: Bundle, json: bool) -> None:
    """Show what was bundled, and what whoever hands it on should know."""
    if json:
        as_json(bundle)
        return
    ended, runs = bundle.runs
    weights = f", with the weights of {bundle.weights}" if bundle.weights else ", without weights"
    line(
        f"{_near(bundle.path)}: {bundle.size / MB:.1f} MB, {plural(bundle.files, 'file')}, {ended} of {plural(runs, 'run')}{weights}"
    )
    for note in bundle.notes:
        err.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    line(f"open it anywhere:  slws bundle open {shlex.quote(bundle.path.name)}")


def opened(found: Opened, json: bool) -> None:
    """Show where a bundle was opened, whether its report came out the same, and what works there."""
    if json:
        as_json({**asdict(found), "same": found.same, "same_numbers": found.same_numbers})
        return
    ended, runs = found.runs
    folder = shlex.quote(_near(found.folder))
    line(f"{folder}: study {found.study}, {ended} of {plural(runs, 'run')} with a result")
    count = plural(len(found.files), "file")
    if found.same:
        out.print(f"[green]the report made here has the same bytes[/]: {count}")
    else:
        report, names = f"reports/{found.name}", escape(_some(found.differing))
        differs = f"[yellow]the report made here differs[/] in {len(found.differing)} of {count}: {names}"
        out.print(differs, soft_wrap=True)
        if found.same_numbers:
            line("  only drawings differ, and what holds them: all tables and the data of all figures are the same")
        for reason in found.reasons:
            line(f"  why that may be: {reason}")
        line(f"  made here: {report}, as it came: {report}{SENT}")
    if found.scripts:
        executed = f"plan, status and run there may execute {escape(_some(found.scripts))}: read it first"
        err.print(f"[yellow]note:[/] {executed}", soft_wrap=True)
    line(f"go on there:  cd {folder} && slws status {shlex.quote(found.study)}")


def _comparison(found: Comparison) -> dict[str, Any]:
    sides = [
        {"name": side.name, "study": side.table.study.name, "metric": side.table.study.metric.model_dump(), "costs": costs,
         "only_here": [arm.label for arm in alone]}
        for side, costs, alone in zip(found.sides, found.costs, found.alone, strict=True)
    ]  # fmt: skip
    return {
        "studies": sides, "same_metric": found.comparable, "designs": found.settings, "origins": found.made_by,
        "arms": [_pair(pair) for pair in found.pairs],
        "verdicts": [{"first": _judged(one), "second": _judged(other)} for one, other in found.judged],
    }  # fmt: skip


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "labels": [arm.label for arm in pair.arms], "same_training": pair.training, "same_runs": pair.runs,
        "estimates": pair.estimates, "changed": pair.changed, "seeds": pair.seeds, "difference": pair.test,
        "undeclared": pair.beside,
    }  # fmt: skip


def _judged(contrast: Contrast) -> dict[str, Any]:
    names = ("arm_id", "reference", "names", "seeds", "delta", "low", "high", "p_adjusted", "verdict", "below_margin")
    return {name: getattr(contrast, name) for name in names}


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _near(path: Path) -> str:
    """Return a path as seen from here, if it lies below."""
    absolute = path.absolute()
    return os.path.relpath(absolute) if absolute.is_relative_to(Path.cwd()) else str(absolute)
