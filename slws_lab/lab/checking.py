"""Is a report still true? What changed since it was made, in its runs and its files, and what of the runs themselves is amiss."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from slws_lab.analysis import ResultTable, undeclared
from slws_lab.errors import UserError
from slws_lab.lab import reporting
from slws_lab.lab.copies import Copy, copies
from slws_lab.lab.project import Project
from slws_lab.lab.reporting import FOLDERS, RECORDS, Results
from slws_lab.reports import looks
from slws_lab.reports.manifest import NAME, SAID, Manifest, changed, read, row_digests, runs, sha256, sources
from slws_lab.reports.printed import differences
from slws_lab.tracking import FINAL, RunRecord
from slws_lab.tracking.audit import Fault, audit

# What a finding is of, in the order in which they are shown. The last ones are so from the beginning, and no report mends them.
KINDS = ("tampered", "no report", "study", "added", "rerun", "replaced", "changed", "deleted", "file", "cell",
         "unfinished", "mixed code", "undeclared")  # fmt: skip
OF_THE_RUNS = ("unfinished", "mixed code", "undeclared")
IMAGES = (".png", ".svg", ".pdf")
# What of a page is no result: pictures, which are compared apart, and how it looks and behaves.
PICTURE = re.compile(rb"(?<=;base64,)[A-Za-z0-9+/=]+")
LOOKS = re.compile(PICTURE.pattern + rb"|(?<=<style>).*?(?=</style>)|(?<=<script>).*?(?=</script>)"
                   rb"|<meta http-equiv=\"Content-Security-Policy\"[^>]*>", re.DOTALL)  # fmt: skip
FOLDERS_WITHIN = ("tables", "figures", "search")  # in a report's folder all that stands there is the report's
SHOWN = 3  # what a sentence names of many


@dataclass(frozen=True)
class Finding:
    """One reason why a report, or a copy of one of its tables, is not to be relied on.

    Attributes:
        kind: One of `KINDS`.
        where: The run, arm, file, or cell of a file.
        text: What is the matter.
    """

    kind: str
    where: str
    text: str


@dataclass(frozen=True)
class Outdated:
    """A copy that is not what the report says.

    Attributes:
        path: The file.
        source: The report's file that it is a copy of.
        part: Label or id of the table, where the file holds that among other text; empty for the whole file.
    """

    path: str
    source: str
    part: str


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        findings: What is wrong; empty if the report is up to date.
        source: `run folders`, or `records.csv` where there are none.
        runs: How many runs were looked at.
        files: The files that were compared with what would be made now.
        unchecked: Files that were given and of which nothing shows that they are the report's.
        notes: What could not be looked at, and why.
        to_copy: What is to be copied again, see `Outdated`, where the report itself is as it would be made now; else empty.
    """

    findings: tuple[Finding, ...]
    source: str
    runs: int = 0
    files: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    to_copy: tuple[Outdated, ...] = ()

    @property
    def up_to_date(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def check(project: Project, given: Sequence[Path] = ()) -> Checked:
    """Compare a study's report, and copies of its tables elsewhere, with what would be made now. Nothing is written.

    Args:
        project: The study.
        given: Files and folders in which copies stand.

    Raises:
        UserError: A given file is not there, or none of them is of this report.
    """
    folder = project.report_folder
    read_from = FOLDERS if reporting.has_folders(project) or not (folder / RECORDS).is_file() else RECORDS
    made = read(folder)
    found = [_no_manifest(project, made)] if isinstance(made, Fault) else list(_written(project, made))
    manifest = None if isinstance(made, Fault) else made
    if manifest is None and not given:
        return Checked(tuple(found), read_from)
    try:
        results = reporting.results(project, kept=False)
    except UserError as error:
        return _as_written(project, manifest, error, given, found)
    return _compared(project, manifest, results, given, found)


def stale(project: Project) -> list[str]:
    """Say in a few sentences what of a study's runs changed since its report was made; nothing if nothing did.

    Only what is quick to look at is: no table is made. A study without a report or without run folders says nothing, but that a
    manifest is broken.
    """
    made = read(project.report_folder)
    if isinstance(made, Fault):
        broken = _no_manifest(project, made)
        return [] if broken.kind == "no report" else in_sum([broken])
    if not reporting.has_folders(project):
        return []
    table = ResultTable.of(project.study, project.design, project.workspace)
    found = list(_changes(made.runs, runs(table, rows=False)))
    return in_sum([*found, *(_edited(project, made) if found else ())])


def in_sum(findings: Iterable[Finding]) -> list[str]:
    """Return one sentence for all findings that say the same, naming the first few."""
    grouped: dict[str, list[str]] = {}
    for one in findings:
        grouped.setdefault(one.text, []).append(one.where)
    return [f"{_some(where)}: {text}" for text, where in grouped.items()]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _compared(
    project: Project, made: Manifest | None, results: Results, given: Sequence[Path], found: list[Finding]
) -> Checked:
    """Compare a report and copies with what would be made of the results now."""
    table, now, folder = results.table, reporting.files(project, results), project.report_folder
    edited = list(_edited(project, made)) if made else []
    there = [Copy(folder / name, name, (folder / name).read_bytes(), content)
             for name, content in now.items() if name != NAME and (folder / name).is_file()]  # fmt: skip
    others, unchecked = copies(given, now, project.study.spec.name)
    compared = [*(there if made else ()), *others]
    found += _tampered(project)
    found += _changes(made.runs, runs(table, rows=not edited)) if made else ()  # another study gives other rows to all
    differ = {
        copy: [*_differing(copy, _shown(project, copy.path), _own(project, made, copy.name))] for copy in compared
    }
    found += chain.from_iterable(differ.values())
    found += [*_only_one(project, made, now), *_said(project, made, now)] if made else ()
    wrong = {copy: differ[copy] for copy in others if differ[copy]}
    only_copies = {*found} == {*chain.from_iterable(wrong.values())}
    found += () if only_copies else edited
    found += _of_runs(project, table)
    if project.study.spec.search is not None:
        found += _confirmation(project)
    looked = tuple(dict.fromkeys(_shown(project, copy.path) for copy in compared))
    return Checked(_ordered(found), results.source, len(table.records), looked,
                   tuple(_shown(project, path) for path in unchecked), (results.lost,) if results.lost else (),
                   tuple(_outdated(project, copy) for copy in wrong) if only_copies else ())  # fmt: skip


def _as_written(
    project: Project, made: Manifest | None, error: UserError, given: Sequence[Path], found: list[Finding]
) -> Checked:
    """Compare a report with what it was when it was written, and copies with it, since what would be made now cannot be told."""
    names = tuple(made.files) if made else ()
    found += _unread(project, made, error) if made else ()
    own = {name: path.read_bytes() for name in names if (path := project.report_folder / name).is_file()}
    others, unchecked = copies(given, own, project.study.spec.name)
    for copy in others:
        found += _differing(copy, _shown(project, copy.path), _own(project, made, copy.name))
    looked = (
        *(_shown(project, project.report_folder / name) for name in names),
        *(_shown(project, copy.path) for copy in others),
    )
    note = f"what would be made now was not compared: {error.given}"
    return Checked(_ordered(found), RECORDS, len(made.runs) if made else 0, tuple(dict.fromkeys(looked)),
                   tuple(_shown(project, path) for path in unchecked), (note,))  # fmt: skip


def _no_manifest(project: Project, fault: Fault) -> Finding:
    path = Path(fault.file)
    if path.exists() or (path.parent / RECORDS).exists():
        return Finding("file", _shown(project, path), fault.what)
    return Finding("no report", _shown(project, path.parent), "there is no report")


def _written(project: Project, made: Manifest) -> Iterator[Finding]:
    """Yield the files of a report that are not as they were written."""
    for fault in changed(project.report_folder, made.files):
        yield Finding("file", _shown(project, Path(fault.file)), fault.what)


def _unread(project: Project, made: Manifest, error: UserError) -> Iterator[Finding]:
    """Yield what can be told of a report whose records.csv cannot be read, or is not all of it."""
    if project.study.spec.search is not None:  # its trials are where its storage is
        return
    path, now = project.report_folder / RECORDS, set(project.design.run_ids.values())
    rows = row_digests(path.read_bytes().decode(errors="replace"))
    for run_id, run in made.runs.items():
        if run_id not in now:
            yield Finding("study", run_id, "the study does not have it any more")
        if run.get("row_sha256") != rows.get(run_id):
            yield Finding("changed", run_id, f"its line in {RECORDS} is not as it was written")
    yield from _edited(project, made)
    yield Finding("file", _shown(project, Path(error.where or path)), error.given)


def _changes(then: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield the runs that are not what they were when a report was made."""
    for run_id in dict.fromkeys([*then, *now]):
        if run_id not in now:
            yield Finding("study", run_id, "the study does not have it any more")
        elif run_id not in then:
            yield Finding("added", run_id, "the study did not have it when the report was made")
        elif change := _change(then[run_id], now[run_id]):
            yield Finding(change[0], run_id, change[1])


def _change(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what happened to a run, as a kind of finding and in words; None for nothing."""
    was, is_, state = then.get("attempt"), now["attempt"], now["status"]
    result = _other(then, now, "result_sha256")
    ways = (
        (was and not is_, "deleted", "its run folder is gone"),
        (is_ and not was, "added", f"it has begun since the report was made: {state}"),
        (was != is_, "replaced", f"attempt {is_} counts now, attempt {was} did"),
        (_other(then, now, "attempts"), "rerun", "it was run again since the report was made"),
        (result and not then.get("result_sha256"), "added", f"it has ended since the report was made: {state}"),
        (result, "changed", "its result is another one"),
        (_other(then, now, "status"), "changed", f"it is {state}, was {then.get('status')}"),
        (_other(then, now, "row_sha256"), "changed", f"its line in {RECORDS} would be another one"),
        (
            _other(then, now, "code") or _other(then, now, "data_fingerprint"),
            "changed",
            f"its code or data is not what {NAME} says",
        ),
    )
    return next(((kind, text) for holds, kind, text in ways if holds), None)


def _other(then: Mapping[str, Any], now: Mapping[str, Any], name: str) -> bool:
    return name in now and then.get(name) != now[name]


def _own(project: Project, made: Manifest | None, name: str) -> bytes:
    """Return a file of the report that holds pictures, as it was when it was made; nothing if it is not that any more."""
    path = project.report_folder / name
    if made is None or path.suffix not in (*IMAGES, ".html") or not path.is_file():
        return b""
    content = path.read_bytes()
    return content if sha256(content) == made.files.get(name) else b""


def _differing(copy: Copy, where: str, own: bytes) -> Iterator[Finding]:
    """Yield in what a file is not what it would be now.

    Args:
        copy: The file beside what it would be.
        where: What it is called.
        own: The report's own as it was made, see `_own`; a picture may also be that one, since another machine draws other bytes of
            the same data, which are compared themselves.
    """
    kind = copy.path.suffix
    if kind in IMAGES:
        if copy.found not in (copy.expected, own):
            yield Finding("file", where, "it is another picture than the report's, and than would be drawn now")
        return
    pictures = [PICTURE.findall(text) for text in (copy.found, copy.expected, own)]
    if any(found not in others for found, *others in zip_longest(*pictures, fillvalue=b"") if found):
        yield Finding("file", where, "a picture within it is another than the report's, and than would be drawn now")
    found, expected = (LOOKS.sub(b"", text).decode(errors="replace") for text in (copy.found, copy.expected))
    for one in differences(found, expected, kind.removeprefix(".")):
        column = f", column {one.column}" if one.column else ""
        of = f" ({copy.part})" if copy.part else ""
        yield Finding(
            "cell" if one.column else "file",
            f"{where}{of}: {one.row}{column}",
            f"it says “{one.found}”, would say “{one.expected}”",
        )


def _outdated(project: Project, copy: Copy) -> Outdated:
    return Outdated(_shown(project, copy.path), _shown(project, project.report_folder / copy.name), copy.part)


def _only_one(project: Project, made: Manifest, now: Mapping[str, bytes]) -> Iterator[Finding]:
    """Yield the files that only the report has, or only what would be made now, and those that an earlier report left."""
    folder = project.report_folder
    for name in {**made.files, **now}:
        if name not in now:
            yield Finding("file", _shown(project, folder / name), "it would not be made any more")
        elif name not in made.files and name != NAME:
            yield Finding("file", _shown(project, folder / name), "it would be made now, and is not in the report")
    within = (path for name in FOLDERS_WITHIN for path in sorted((folder / name).glob("*")))
    for path in within:
        if path.relative_to(folder).as_posix() not in {**made.files, **now}:
            yield Finding("file", _shown(project, path), "an earlier report left it: remove it")


def _said(project: Project, made: Manifest, now: Mapping[str, bytes]) -> Iterator[Finding]:
    """Yield what a manifest says besides of runs and files, if it would say another thing now."""
    would = json.loads(now[NAME]) if NAME in now else made.said
    other = [name for name in SAID if made.said.get(name) != would.get(name)]
    if other:
        yield Finding(
            "file", _shown(project, project.report_folder / NAME), f"it would say other things of: {', '.join(other)}"
        )


def _tampered(project: Project) -> Iterator[Finding]:
    """Yield the files of runs that are not as they were written; weights and logs aside, on which no report stands."""
    folders = (project.workspace.run(run_id) for run_id in project.design.run_ids.values())
    for folder in (folder for folder in folders if folder.path.is_dir()):
        for fault in audit(folder, numbers_only=True).faults:
            yield Finding("tampered", _shown(project, Path(fault.file)), fault.what)


def _edited(project: Project, made: Manifest) -> Iterator[Finding]:
    """Yield the study's and the recipe's file, if they are not what they were."""
    for name, now in sources(project.study).items():
        if made.sources[name].get("sha256") != now["sha256"]:
            yield Finding("study", now["path"], "it was changed since the report was made")


def _of_runs(project: Project, table: ResultTable) -> Iterator[Finding]:
    """Yield what is amiss with the runs themselves, whatever the report says."""
    if project.study.spec.search is None:
        yield from _unfinished(table)
        yield from (Finding("undeclared", f"{one.names[0]} - {one.names[1]}", f"{one.field} {one.values[0]} against {one.values[1]}")
                    for one in undeclared(table))  # fmt: skip
    yield from (
        Finding("unfinished", f"trial {trial.number}", "it is still running")
        for trial in project.trials
        if trial.state == "running"
    )
    yield from _mixed_code([record for record in table.records.values() if record.status == "finished"])


def _unfinished(table: ResultTable) -> Iterator[Finding]:
    for arm in table.design.arms:
        due = {record.run_id: record for record in looks.due(table, arm.id)}
        own = ((seed, table.record(arm.id, seed).run_id) for seed in table.design.seeds_of(arm.id))
        seeds = {seed: due[run_id] for seed, run_id in own if run_id in due}
        missing = [f"{seed} ({record.status})" for seed, record in seeds.items() if record.status not in FINAL]
        if missing:
            yield Finding("unfinished", arm.label, f"{len(missing)} of {len(due)} seeds are missing: {_some(missing)}")


def _mixed_code(finished: Sequence[RunRecord]) -> Iterator[Finding]:
    """Yield the modules of which not all runs had one version. Runs are compared in what they loaded: models differ in that."""
    found: dict[str, dict[str, int]] = {}
    for record in finished:
        made = record.digest.provenance
        for name, digest in (made.get("modules") or {"the code": made.get("code") or "not recorded"}).items():
            versions = found.setdefault(name, {})
            versions[digest] = versions.get(digest, 0) + 1
    for name, versions in found.items():
        if len(versions) > 1:
            listed = ", ".join(f"{digest} ({count} of the runs)" for digest, count in versions.items())
            yield Finding("mixed code", name, f"the runs that count had {len(versions)} versions of it: {listed}")


def _confirmation(project: Project) -> tuple[Finding, ...]:
    """Return what is wrong with the report of a search's confirmation, if that was begun."""
    from slws_lab.lab.search_reporting import begun_confirmation  # Optuna is loaded for searches only

    again = begun_confirmation(project)
    return () if again is None else check(again.project).findings


def _ordered(found: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(dict.fromkeys(found), key=lambda one: KINDS.index(one.kind)))


def _shown(project: Project, path: Path) -> str:
    """Return a path as one names it from the project's folder."""
    absolute, root = path.absolute(), project.study.root.absolute()
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(path)
