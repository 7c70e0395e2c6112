"""Opening a bundle: a project of its own in a new folder, with its report made again and compared. Nothing of it is executed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slws_lab.analysis import ResultTable
from slws_lab.errors import SlwsError, UserError
from slws_lab.lab import archive, reporting
from slws_lab.lab.bundling import FORMAT, RENDER, REQUIREMENTS, made_with
from slws_lab.lab.project import Project
from slws_lab.reports.manifest import NAME, changed, read, runs
from slws_lab.tracking.audit import Fault
from slws_lab.tracking.files import write_all

SENT = "-sent"  # what the name of the report that came with the bundle ends in, where the one made here differs
IMAGES, HOLD_IMAGES = (".png", ".svg", ".pdf"), ("report.html", "manifest.json")
# What a record of a stranger's making may end in: its values are of kinds that no run writes, and nothing checked them before.
FORGED = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)
TEXTS = ("study", "study_file", "report", "weights", "code", "processor")


@dataclass(frozen=True)
class Opened:
    """A bundle that was opened.

    Attributes:
        folder: The project that it is now.
        name: The study's name.
        study: The study file, within the folder.
        runs: Runs with a result, and all runs of the study.
        files: The files of the report.
        differing: Those that are not, byte for byte, what came with the bundle.
        reasons: Why that may be, a sentence each.
        scripts: Files that commands other than `report` and `why` may execute, by their paths within the folder.
        weights: The run whose weights came with it; empty for none.
    """

    folder: Path
    name: str
    study: str
    runs: tuple[int, int]
    files: tuple[str, ...]
    differing: tuple[str, ...]
    reasons: tuple[str, ...]
    scripts: tuple[str, ...]
    weights: str

    @property
    def same(self) -> bool:
        """Whether the report made here has the same bytes."""
        return not self.differing

    @property
    def same_numbers(self) -> bool:
        """Whether at most drawings differ, and the two files that hold them: all tables and the data of all figures are the same."""
        return all(name.endswith(IMAGES) or name in HOLD_IMAGES for name in self.differing)


def unbundle(file: Path, folder: Path | None = None) -> Opened:
    """Open a bundle as a project in a new folder, and make its report again with what is installed here.

    Where that differs from the one in the bundle, both stand in `reports/`, the one that came as `<study>-sent`.

    Args:
        file: The zip.
        folder: Where to; None for the zip's name without `.zip`, in the current folder. It must not be there, or be empty.

    Raises:
        UserError: The folder is taken, or the bundle is damaged, harmful, or cannot be read by this version. Nothing is left then.
    """
    target = _free(folder if folder is not None else Path(file.stem))
    stage = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"))
    try:
        place = stage / "project"
        place.mkdir()
        about = _understood(archive.unpack(file, place), file)
        opened = _rendered(place, about, target, file)
        place.rename(target)
    finally:
        shutil.rmtree(stage)
    return opened


def _free(folder: Path) -> Path:
    target = folder.absolute()
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise UserError("there is something already", where=str(target), allowed="a new folder, or an empty one",
                        todo="name another: slws bundle open FILE FOLDER")  # fmt: skip
    if not target.parent.is_dir():
        raise UserError("there is no such folder", where=str(target.parent), todo="make it, or name another")
    return target


def _understood(about: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return a bundle's list if it is one of ours."""
    if about.get("bundle") != FORMAT:
        raise UserError(f"the bundle is of format {about.get('bundle')!r}", where=str(file), allowed=f"format {FORMAT}",
                        todo="open it with the slws_lab that made it")  # fmt: skip
    packages, files = about.get("packages"), about["files"]
    whole = all(isinstance(about.get(name), str) for name in TEXTS) and isinstance(packages, dict)
    report = f"reports/{about.get('study')}"
    if (
        not whole
        or about["study_file"] not in files
        or about["report"] != report
        or f"{report}/manifest.json" not in files
    ):
        raise UserError("the bundle's list does not say what it holds", where=str(file), todo="make the bundle anew")
    return about


def _rendered(place: Path, about: Mapping[str, Any], target: Path, file: Path) -> Opened:
    """Make the report of an unpacked project, and compare it with the one that came."""
    try:
        project = Project.open(str(place / about["study_file"]), place / ".slws")
        if project.study.root.resolve() != place.resolve() or project.study.spec.name != about["study"]:
            raise UserError("its study is not the one that its list names")
        results = reporting.results(project, kept=False)
        made = reporting.files(project, results)
    except (SlwsError, *FORGED) as error:
        why = error.given if isinstance(error, UserError) else (str(error).splitlines() or [""])[0]
        why = (
            why
            if isinstance(error, SlwsError)
            else f"its records hold what no run writes ({type(error).__name__}: {why})"
        )
        told = why.replace(str(place), str(target))
        raise UserError(f"the bundle cannot be reported here: {told}", where=str(file),
                        todo="open it with the slws_lab that made it, see its bundle.json") from error  # fmt: skip
    sent = place / about["report"]
    came = {path.relative_to(sent).as_posix(): path for path in sent.rglob("*") if path.is_file()}
    differing = tuple(
        sorted(n for n in {*came, *made} if n not in came or n not in made or came[n].read_bytes() != made[n])
    )
    reasons = _reasons(about, sent, results.table) if differing else []
    if differing:
        sent.rename(sent.with_name(sent.name + SENT))
        write_all({sent / name: content for name, content in made.items()})
    records = results.table.records.values()
    return Opened(
        target, about["study"], about["study_file"], (sum(bool(record.result) for record in records), len(records)), tuple(sorted(made)),
        differing, tuple(reasons), _scripts(about, project), about["weights"],
    )  # fmt: skip


def _reasons(about: Mapping[str, Any], sent: Path, table: ResultTable) -> list[str]:
    """Say what is other here than where the bundle was made, of all that decides a report's bytes: its records first.

    Args:
        about: The bundle's list.
        sent: The folder of the report that came.
        table: The results that came.
    """
    now, then = made_with(), about["packages"]
    found = _not_as_sent(sent, table, same_code=about["code"] == now["code"])
    found += [
        f"{name} was {then.get(name, 'not recorded')}, here it is {now['packages'].get(name, 'not installed')}"
        for name in ("slws-lab", *RENDER)
        if then.get(name) != now["packages"].get(name)
    ]
    if about["code"] != now["code"] and then.get("slws-lab") == now["packages"].get("slws-lab"):
        found.append(
            f"slws_lab has other code here ({now['code']}) than where the bundle was made ({about['code']}), under one version"
        )
    if not found and about["processor"] != now["processor"]:
        found.append("versions and code are the same; the last digits of computed numbers may depend on the processor "
                     f"({about['processor']} there, {now['processor']} here)")  # fmt: skip
    return found or ["nothing known explains it: records, versions, code and processor are the same"]


def _not_as_sent(sent: Path, table: ResultTable, *, same_code: bool) -> list[str]:
    """Say in what a bundle contradicts itself: records and files that are not those of its report's manifest.

    Args:
        sent: The folder of the report that came.
        table: The results that came.
        same_code: Whether the code that made it is the one here; another one may write other lines of the same records.
    """
    made = read(sent)
    if isinstance(made, Fault):
        return [f"the {NAME} in the bundle: {made.what}"]
    now = runs(table, rows=same_code)
    other = [
        run_id
        for run_id in sorted({*made.runs, *now})
        if not now.get(run_id, {"": ""}).items() <= made.runs.get(run_id, {}).items()
    ]
    found = []
    if other:
        found.append("the records in the bundle are not those that its report was made from: "
                     f"{len(other)} run{'s' * (len(other) > 1)}, first {other[0]}")  # fmt: skip
    if faults := changed(sent, made.files):
        count, first = len(faults), Path(faults[0].file).relative_to(sent).as_posix()
        found.append("the report in the bundle is not as it was written: "
                     f"{count} file{'s' * (count > 1)}, first {first}")  # fmt: skip
    return found


def _scripts(about: Mapping[str, Any], project: Project) -> tuple[str, ...]:
    """Return the files of a bundle that are neither records, report, nor the study's own YAML."""
    own = {path.resolve() for path in (project.study.source.path, project.study.recipe.path)}
    passive = (".slws/", f"{about['report']}/", REQUIREMENTS)
    others = (name for name in about["files"] if not name.startswith(passive) and not name.endswith(".safetensors"))
    return tuple(name for name in others if (project.study.root / name).resolve() not in own)
