"""manifest.json: what a report was made from, and which runs stand behind each cell, written, read and checked. No time of rendering."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from slws_lab.analysis import ResultTable
from slws_lab.reports.view import TableView
from slws_lab.spec import Study
from slws_lab.tracking.audit import Fault
from slws_lab.tracking.audit_digests import UNSEALED, seal, sealed

NAME = "manifest.json"
SOURCES = ("study_file", "recipe_file")


@dataclass(frozen=True)
class Manifest:
    """What a report's manifest.json says, as far as a check needs it.

    Attributes:
        runs: Run id -> what the report was made from: attempt, attempts, status, and digests.
        files: Path within the folder -> digest of its content as written.
        sources: What the study and its recipe were: `study_file` and `recipe_file` -> path and digest.
        version: Of slws_lab, which made it.
    """

    runs: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, str]
    sources: Mapping[str, Mapping[str, str]]
    version: str


def manifest(table: ResultTable, study: Study, views: list[TableView], written: dict[str, bytes]) -> str:
    """Return the content of manifest.json.

    Args:
        table: The results.
        study: The study as loaded: its files are named and digested.
        views: The tables that were printed.
        written: Path within the report's folder to content, of every other file.
    """
    sets: dict[tuple[str, ...], int] = {}
    tables = {view.name: _cells(view, sets) for view in views}
    made = {
        "study": table.study.name,
        "question": table.study.question,
        **sources(study),
        "slws_lab": version("slws-lab"),
        "runs": runs(table),
        "files": {name: sha256(content) for name, content in sorted(written.items())},
        "run_sets": [list(run_ids) for run_ids in sets],
        "tables": tables,
        "manifest_sha256": UNSEALED,
    }
    return seal(json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read(folder: Path) -> Manifest | Fault:
    """Return what a report's manifest.json says, or what is wrong with it."""
    path = folder / NAME
    try:
        content = path.read_bytes()
        made = json.loads(content)
        own, files, entries = made.get("manifest_sha256"), dict(made["files"]), dict(made["runs"])
        found = Manifest(entries, files, {name: dict(made[name]) for name in SOURCES}, str(made["slws_lab"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Fault(path, "it is not there, or holds no manifest")
    if own is not None and not sealed(content, str(own)):
        return Fault(path, "it was changed after it was written")
    return found


def check(folder: Path, table: ResultTable) -> list[Fault]:
    """Return what is wrong with a report: files that are not as written, or made from other records than there are now.

    Args:
        folder: The report's folder.
        table: The results as the run folders say now.
    """
    made, path = read(folder), folder / NAME
    if isinstance(made, Fault):
        return [made]
    found, now = changed(folder, made.files), runs(table)
    other = [run_id for run_id in sorted({*made.runs, *now}) if made.runs.get(run_id) != now.get(run_id)]
    if other:
        found.append(Fault(path, f"the report was made from other records of {len(other)} runs, the first {other[0]}"))
    elif not found and (folder / "records.csv").read_bytes() != table.to_csv().encode():
        found.append(Fault(folder / "records.csv", "it is not what the run folders say now"))
    return found


def runs(table: ResultTable, *, rows: bool = True) -> dict[str, dict[str, Any]]:
    """Return what a report says of each run, by run id.

    Args:
        table: The results.
        rows: Whether with the digest of the run's line in records.csv, which takes all results to make.
    """
    return {
        run_id: {
            "attempt": record.attempt,
            "attempts": record.attempts,
            "status": record.status,
            "result_sha256": table.result_sha256(run_id),
            **({"row_sha256": sha256(table.lines[run_id].encode())} if rows else {}),
            "code": record.digest.provenance.get("code"),
            "data_fingerprint": record.digest.data_fingerprint,
        }
        for run_id, record in table.records.items()
    }


def row_digests(records_csv: str) -> set[str]:
    """Return the digests of the rows of a records.csv; one of which a text has several lines goes on to where its quotes close."""
    found, row = set(), ""
    for line in records_csv.splitlines(keepends=True):
        row += line
        if row.count('"') % 2 == 0:
            found.add(sha256(row.encode()))
            row = ""
    return found


def sources(study: Study) -> dict[str, dict[str, str]]:
    """Return path and digest of the study file and of the recipe, as they are now."""
    files = (study.source.path, study.recipe.path)
    return {name: _file(path, study.root) for name, path in zip(SOURCES, files, strict=True)}


def changed(folder: Path, files: Mapping[str, str]) -> list[Fault]:
    """Return which files of a report are gone, or are not as they were written."""
    found = []
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            found.append(Fault(path, "it is gone"))
        elif sha256(path.read_bytes()) != digest:
            found.append(Fault(path, "it was changed after it was written"))
    return found


def sha256(content: bytes) -> str:
    """Return the hex digest of some bytes."""
    return hashlib.sha256(content).hexdigest()


def _file(path: Path, root: Path) -> dict[str, str]:
    resolved, home = path.resolve(), root.resolve()
    name = resolved.relative_to(home).as_posix() if resolved.is_relative_to(home) else path.name
    return {"path": name, "sha256": sha256(path.read_bytes())}


def _cells(view: TableView, sets: dict[tuple[str, ...], int]) -> list[dict[str, Any]]:
    """Return a row's cells by column, each with the number of its set of runs; cells without runs are left out.

    Args:
        view: The table.
        sets: The sets of runs so far, numbered; it grows. Many cells stand on the same runs, some on all.
    """
    return [
        {"row": i, "column": column.name, "text": cell.text, "runs": sets.setdefault(cell.run_ids, len(sets))}
        for i, row in enumerate(view.rows)
        for column, cell in zip(view.columns, row, strict=True)
        if cell.run_ids
    ]
