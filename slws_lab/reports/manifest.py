"""manifest.json: what a report was made from, and which runs stand behind each cell, written, read and checked. No time of rendering."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
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
SAID = ("study", "question", "run_sets", "tables")


@dataclass(frozen=True)
class Manifest:
    """What a report's manifest.json says, as far as a check needs it.

    Attributes:
        runs: Run id -> what the report was made from: attempt, attempts, status, and digests.
        files: Path within the folder -> digest of its content as written.
        sources: What the study and its recipe were: `study_file` and `recipe_file` -> path and digest.
        version: Of slws_lab, which made it.
        said: What it says besides of the study and of the cells of tables: `SAID` -> as it stands there.
    """

    runs: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, str]
    sources: Mapping[str, Mapping[str, str]]
    version: str
    said: Mapping[str, Any] = field(default_factory=dict)


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
        own, files, entries, version = (made[name] for name in ("manifest_sha256", "files", "runs", "slws_lab"))
        sources = {name: made[name] for name in SOURCES}
        whole = (
            isinstance(own, str) and isinstance(version, str) and _texts(files) and all(map(_texts, sources.values()))
        )
        whole = whole and isinstance(entries, dict) and all(isinstance(run, dict) for run in entries.values())
        said = {name: made[name] for name in SAID}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        whole = False
    if not whole:
        return Fault(path, "it is not there, or holds no manifest")
    if not sealed(content, own):
        return Fault(path, "it was changed after it was written")
    return Manifest(entries, files, sources, version, said)


def _texts(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(value, str) for value in found.values())


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
        rows: Whether with the digest of what records.csv says of the run, which takes all results to make.
    """
    digests = row_digests(table.to_csv()) if rows else {}
    return {
        run_id: {
            "attempt": record.attempt,
            "attempts": record.attempts,
            "status": record.status,
            "result_sha256": table.result_sha256(run_id),
            **({"row_sha256": digests[run_id]} if rows else {}),
            "code": record.digest.provenance.get("code"),
            "data_fingerprint": record.digest.data_fingerprint,
        }
        for run_id, record in table.records.items()
    }


def row_digests(records_csv: str) -> dict[str, str]:
    """Return run id -> digest of what a records.csv says of the run itself, as far as it can be read.

    It is of the cells that are not empty, by column: which columns there are, and in which row `made_by` stands, other runs decide.
    """
    rows, found = csv.reader(io.StringIO(records_csv, newline="")), dict[str, str]()
    try:
        header = next(rows, [])
        for row in rows:
            cells = {name: text for name, text in zip(header, row, strict=False) if text and name != "made_by"}
            found[cells.get("run_id", "")] = sha256(json.dumps(cells, sort_keys=True).encode())
    except csv.Error:
        pass  # the rows below it are as good as changed
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
