"""Bundling: a study with its records and its report as one zip, which `unbundling` opens elsewhere."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from slws_lab.analysis import ResultTable
from slws_lab.command import prepare
from slws_lab.errors import UserError
from slws_lab.lab import archive, reporting
from slws_lab.lab.project import Project
from slws_lab.lab.reporting import Results
from slws_lab.spec import CommandRecipe, Recipe
from slws_lab.tracking import Attempt, RunFolder, is_held, provenance

FORMAT = 1
LONGEST_TEXT = 64 * 2**20  # bytes: what is longer is weights
REQUIREMENTS = "bundle-requirements.txt"
ENDED = ("finished", "diverged", "failed")
ATTEMPT = (
    "result.json",
    "journal.jsonl",
    "starts.jsonl",
    "diff.patch",
)  # log.txt stays: it tells of folders of this machine
# The packages beside slws_lab that decide a report's bytes.
RENDER = ("matplotlib", "numpy", "pandas", "scipy", "statsmodels", "jinja2", "pillow")
CODE = (".py", ".j2", ".css", ".js", ".json", ".csv", ".mplstyle")


@dataclass(frozen=True)
class Bundle:
    """A bundle that was written.

    Attributes:
        path: The zip.
        size: Its bytes.
        runs: Runs with a result, and all runs of the study.
        files: How many files are in it.
        weights: The run whose weights are in it; empty for none.
        notes: What whoever hands it on should know.
    """

    path: Path
    size: int
    runs: tuple[int, int]
    files: int
    weights: str
    notes: tuple[str, ...]


def bundle(project: Project, out: Path | None = None, *, weights: bool = False) -> Bundle:
    """Write a study with all that its report is made from as one zip: the same bytes for the same study.

    In it are the study file, the recipe and the files that it names, package versions, every run's records, records.csv and the
    rest of the report as it would be made now. Checkpoints, logs and what commands left are not.

    Args:
        project: The study.
        out: The zip; None for `<study>.zip` in the current folder. A bundle that stands there is replaced.
        weights: Also the weights of the run with the best value.

    Raises:
        UserError: Runs are in hand, there are no results, a file that belongs to the study lies outside the project, or it is a search.
    """
    study = project.study
    if study.spec.search is not None:
        raise UserError(f"{study.spec.name} is a search, whose trials are in Optuna's storage: that is no file to hand on",
                        where=str(study.source.path), todo=f"bundle its ablation (slws study from-search {study.spec.name}), "
                        "or hand on the folder of its report")  # fmt: skip
    path = _free(out or Path(f"{study.spec.name}.zip"))
    results = reporting.results(project, kept=False)
    runs = _ended(project, results)
    best = _best(results.table) if weights else ""
    members = {**_sources(project, results.table), **dict(_records(project)), **_weights(project, best)}
    texts, place = {name: member for name, member in members.items() if _is_text(member)}, f"reports/{study.spec.name}"
    members |= {f"{place}/{name}": content for name, content in reporting.files(project, results).items()}
    members[REQUIREMENTS] = _requirements().encode()
    about = {
        "bundle": FORMAT, "study": study.spec.name, "study_file": _within(project, study.source.path),
        "report": place, "weights": best, **made_with(),
    }  # fmt: skip
    archive.write(path, members, about)
    return Bundle(path, path.stat().st_size, runs, len(members) + 1, best, tuple(_notes(project, runs, texts)))


def made_with() -> dict[str, Any]:
    """Return what decides a report's bytes beside the records: slws_lab's code, packages, and the processor."""
    packages = {name: found for name in RENDER if (found := _version(name))}
    return {
        "code": _code(), "packages": provenance.packages() | packages,
        "processor": provenance.machine()["processor"],
    }  # fmt: skip


def _free(path: Path) -> Path:
    if path.is_dir() or (path.exists() and not zipfile.is_zipfile(path)):
        raise UserError(
            "there is something else than a bundle", where=str(path), todo="name another file: --out FILE.zip"
        )
    if not path.absolute().parent.is_dir():
        raise UserError(
            "there is no such folder", where=str(path.parent), todo="make it, or name another: --out FILE.zip"
        )
    return path


def _ended(project: Project, results: Results) -> tuple[int, int]:
    """Return how many runs have ended, and of how many."""
    records, study = results.table.records.values(), project.study
    attempts = (attempt for folder in _folders(project) for attempt in folder.attempts())
    held = sum(is_held(attempt.claim) for attempt in attempts)
    if held:
        raise UserError(f"{held} run{'s are' if held > 1 else ' is'} in hand, so the records still change",
                        where=str(project.workspace.path), todo=f"wait or stop: slws status {study.source.path}")  # fmt: skip
    ended = sum(record.status in ENDED for record in records)
    if not ended or results.source != reporting.FOLDERS:
        raise UserError("no run of the study has a result here", where=str(project.workspace.path),
                        todo=f"run it first: slws run {study.source.path}")  # fmt: skip
    return ended, len(records)


def _folders(project: Project) -> Iterator[RunFolder]:
    folders = (project.workspace.run(run_id) for run_id in project.design.run_ids.values())
    return (folder for folder in folders if folder.path.is_dir())


def _records(project: Project) -> Iterator[tuple[str, bytes | Path]]:
    """Yield what is kept of each run: what it was, and of each attempt journal, starts, result and uncommitted changes."""
    for folder in _folders(project):
        place = f".slws/runs/{folder.run_id}"
        yield from (
            (f"{place}/{name}", folder.path / name)
            for name in ("run.json", "chosen.json")
            if (folder.path / name).is_file()
        )
        for attempt in folder.attempts():
            own = {f"{place}/{attempt.path.name}/{name}": attempt.path / name for name in ATTEMPT}
            there = {name: path for name, path in own.items() if path.is_file()}
            yield from there.items() if there else [(f"{place}/{attempt.path.name}/", b"")]


def _sources(project: Project, table: ResultTable) -> dict[str, Path]:
    """Return the files of the project that the study and its recipe are made of: path within the project -> file."""
    study, root = project.study, project.study.root
    named = [study.source.path, study.recipe.path]
    for arm in table.design.arms:
        if isinstance(arm.recipe, CommandRecipe):
            named += [root / name for name in prepare.named_files(arm.recipe, root)]
        elif isinstance(arm.recipe, Recipe):
            start = arm.recipe.model.init_from
            named += [root / Path(name).expanduser() for name in (*arm.recipe.models, *([start.path] if start else []))]
    found = {_within(project, path): path for path in dict.fromkeys(named) if path.is_file()}
    if (study.source.path.resolve().parent / study.spec.recipe).resolve() != study.recipe.path.resolve():
        raise UserError("the study file is a link, from whose end the recipe is not found", where=str(study.source.path),
                        todo="name the study by its own path")  # fmt: skip
    return found


def _within(project: Project, path: Path) -> str:
    """Return a file's place within the project, as the study's own references reach it."""
    root = project.study.root.resolve()
    if not path.resolve().is_relative_to(root):
        raise UserError("a file that belongs to the study lies outside the project", where=str(path),
                        allowed=f"a file within {root}", todo="move it there, and name it so in the study")  # fmt: skip
    return path.resolve().relative_to(root).as_posix()


def _best(table: ResultTable) -> str:
    from slws_lab.lab.telling import best_run  # it knows of searches, which take long to import

    return best_run(table)


def _weights(project: Project, run_id: str) -> Mapping[str, Path]:
    attempt: Attempt | None = project.workspace.run(run_id).chosen() if run_id else None
    if attempt is None:
        return {}
    files = sorted(attempt.checkpoint.glob("*.safetensors"))
    if not files:
        raise UserError(f"the weights of the best run, {run_id}, are not here", where=str(attempt.checkpoint),
                        todo="leave --weights out, or make them again: slws rerun STUDY RUN --replace")  # fmt: skip
    return {f".slws/runs/{run_id}/{attempt.path.name}/checkpoint/{file.name}": file for file in files}


def _notes(project: Project, runs: tuple[int, int], members: Mapping[str, bytes | Path]) -> Iterator[str]:
    if runs[0] < runs[1]:
        yield f"{runs[1] - runs[0]} of {runs[1]} runs have no result yet; the report in the bundle says so too"
    places = {str(project.study.root.resolve()), str(project.workspace.path.resolve()), str(Path.home())} - {"/"}
    told = re.compile(
        rb"(?<![\w/])(" + b"|".join(re.escape(place.encode()) for place in sorted(places)) + rb")(?![\w.-])"
    )
    found = [
        name
        for name, member in members.items()
        if told.search(member if isinstance(member, bytes) else member.read_bytes())
    ]
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        yield f"folders of this machine are named in {found[0]}{more}"


def _is_text(member: bytes | Path) -> bool:
    """Say whether a file may tell something: weights do not."""
    return isinstance(member, bytes) or (member.suffix != ".safetensors" and member.stat().st_size <= LONGEST_TEXT)


def _requirements() -> str:
    lines = [f"{'# ' * (name == 'python')}{name}=={found}" for name, found in sorted(made_with()["packages"].items())]
    return "\n".join(lines) + "\n"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _code() -> str:
    """Return a digest of slws_lab's own files: a version's number does not tell what was changed since."""
    files = sorted(path for path in provenance.HOME.rglob("*") if path.suffix in CODE)
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()[:12]
