"""manifest.json: what a report was made from, and which runs stand behind each cell, written and checked. No time of rendering."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from slws_lab.analysis import ResultTable
from slws_lab.reports.view import TableView
from slws_lab.spec import Study
from slws_lab.tracking import RunRecord
from slws_lab.tracking.audit import Fault
from slws_lab.tracking.audit_digests import UNSEALED, seal, sealed

NAME = "manifest.json"


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
        "study_file": _file(study.source.path, study.root),
        "recipe_file": _file(study.recipe.path, study.root),
        "slws_lab": version("slws-lab"),
        "runs": {run_id: _run(record) for run_id, record in table.records.items()},
        "files": {name: sha256(content) for name, content in sorted(written.items())},
        "run_sets": [list(run_ids) for run_ids in sets],
        "tables": tables,
        "manifest_sha256": UNSEALED,
    }
    return seal(json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def check(folder: Path, table: ResultTable) -> list[Fault]:
    """Return what is wrong with a report: files that are not as written, or made from other records than there are now.

    Args:
        folder: The report's folder.
        table: The results as the run folders say now.
    """
    path = folder / NAME
    try:
        content = path.read_bytes()
        made = json.loads(content)
        runs, files, own = dict(made["runs"]), dict(made["files"]), made.get("manifest_sha256")
    except (OSError, ValueError, TypeError, KeyError):
        return [Fault(path, "it is not there, or holds no manifest")]
    if own is not None and not sealed(content, str(own)):
        return [Fault(path, "it was changed after it was written")]
    found = _changed(folder, files)
    now = {run_id: _run(record) for run_id, record in table.records.items()}
    other = [run_id for run_id in sorted({*runs, *now}) if runs.get(run_id) != now.get(run_id)]
    if other:
        found.append(Fault(path, f"the report was made from other records of {len(other)} runs, the first {other[0]}"))
    elif not found and (folder / "records.csv").read_bytes() != table.to_csv().encode():
        found.append(Fault(folder / "records.csv", "it is not what the run folders say now"))
    return found


def _changed(folder: Path, files: dict[str, str]) -> list[Fault]:
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


def _run(record: RunRecord) -> dict[str, Any]:
    result = json.dumps(dict(record.result), sort_keys=True, separators=(",", ":"))
    digest = sha256(result.encode()) if record.result else None
    return {"attempt": record.attempt, "status": record.status, "result_sha256": digest}


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
