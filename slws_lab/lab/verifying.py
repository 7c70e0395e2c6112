"""Verifying a workspace: records by their digests, journals against results, the mirror and the reports against the records."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from slws_lab.analysis import ResultTable
from slws_lab.lab.project import Project, open_workspace
from slws_lab.reports.manifest import check
from slws_lab.tracking import Attempt, RunFolder, Workspace, is_held
from slws_lab.tracking.audit import Fault, audit
from slws_lab.tracking.audit_digests import LOG
from slws_lab.tracking.files import Damaged
from slws_lab.tracking.mirror import MirrorAway, MirrorDamaged, default_uri
from slws_lab.tracking.mirror_audit import audit_mirror

ELSEWHERE = "move {path} away, then give the command that made it again"


@dataclass
class Verdict:
    """What was looked at, and what is wrong.

    Attributes:
        runs: Run folders.
        results: Attempts that have ended.
        points: Values over epochs compared with MLflow's.
        reports: Reports.
        faults: What is wrong, in the order in which it is to be mended.
        notes: What could not be looked at.
    """

    runs: int = 0
    results: int = 0
    points: int = 0
    reports: int = 0
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def verify(projects: list[Project], folders: Iterable[RunFolder]) -> Verdict:
    """Audit run folders, then the report and the mirror of each study.

    Args:
        projects: The studies.
        folders: The run folders; those of no study are audited too.
    """
    verdict = Verdict()
    _folders(verdict, folders, {run_id: p for p in reversed(projects) for run_id in p.design.run_ids.values()})
    for project in projects:
        name = project.study.spec.name
        try:
            if project.study.spec.search is not None:
                _trials(verdict, project)
            whole = _report(verdict, project)
            _mirror(verdict, project, whole)
        except Damaged as error:
            verdict.notes.append(f"study {name} was not compared with MLflow and its report: {error}".splitlines()[0])
    return verdict


def run_folders(workspace: Workspace, projects: list[Project] | None = None) -> Iterator[RunFolder]:
    """Yield the run folders of studies; of the whole workspace if none are given, without regard to what is in them."""
    if projects is None:
        yield from (RunFolder(path) for path in sorted(workspace.runs.glob("*")) if path.is_dir())
    else:
        found = [workspace.run(run_id) for project in projects for run_id in project.design.run_ids.values()]
        yield from (folder for folder in found if folder.path.is_dir())


def _folders(verdict: Verdict, folders: Iterable[RunFolder], studies: dict[str, Project]) -> None:
    unrecorded = 0
    for folder in folders:
        found = audit(folder)
        verdict.runs += 1
        verdict.results += found.ended
        unrecorded += found.unrecorded
        verdict.faults += [
            replace(f, mend=f.mend or _mend(f, folder, studies.get(folder.run_id))) for f in found.faults
        ]
    if unrecorded:
        verdict.notes.append(f"digests not recorded in {unrecorded} results, which an older version wrote: only their "
                             "epochs and last metrics were compared with the journals")  # fmt: skip


def _mend(fault: Fault, folder: RunFolder, project: Project | None) -> str:
    """Say what makes a run anew. The attempt that counts is made again first, then what no table uses is removed."""
    path = Path(fault.file)
    if path.name in (
        "chosen.json",
        LOG,
    ):  # without the first the tables take the first attempt that ended; on the other nothing stands
        return f"rm {shlex.quote(str(path))}"
    if project is None or _outside(project):
        return ELSEWHERE.format(path=folder.path if path.name == "run.json" else _attempt_of(path, folder))
    word, options, place = _word(project), _options(project, out=True), _options(project)
    if path.name != "run.json" and Attempt(_attempt_of(path, folder)).result() is None:
        return f"slws run {word}{options}"  # cuts the damage off, and goes on from before it
    clean = f"slws clean --superseded --yes{place} && slws report {word}{options} && slws sync {word}{place}"
    again = f"slws rerun {word} {folder.run_id} --replace{options} && {clean}"
    if path.name == "run.json":
        return f"rm -f {shlex.quote(str(path))} && {again}"
    try:
        chosen = folder.chosen()
    except Damaged:
        chosen = None
    return again if chosen is None or chosen.path == _attempt_of(path, folder) else clean


def _attempt_of(path: Path, folder: RunFolder) -> Path:
    return folder.path / path.relative_to(folder.path).parts[0]


def _report(verdict: Verdict, project: Project) -> bool:
    """Check a study's report; return whether there is one and it is as it should be."""
    if not project.report_folder.is_dir():
        return False
    table = ResultTable.of(project.study, project.design, project.workspace, kept=False)
    found = check(project.report_folder, table)
    verdict.reports += 1
    mend = f"slws report {_word(project)}{_options(project, out=True)}"
    verdict.faults += [replace(fault, mend=mend) for fault in found]
    return not found


def _mirror(verdict: Verdict, project: Project, whole: bool) -> None:
    """Compare a study's mirror, its report too if that is whole."""
    workspace, uri = project.workspace, default_uri(project.workspace)
    name = project.study.spec.name
    if is_held(workspace.mirror / "lock"):
        verdict.notes.append(f"study {name} was not compared with MLflow: another process ships to it just now")
        return
    word = "" if _outside(project) else f" {_word(project)}"
    behind, rebuild = (f"slws sync{end}{_options(project)}" for end in (word, " --rebuild"))
    try:
        report = project.report_folder if whole else None
        found = audit_mirror(workspace, uri, project.study, project.design, report)
    except MirrorDamaged as error:
        verdict.faults.append(Fault(workspace.path / "mlflow.db", str(error), rebuild))
    except MirrorAway as error:
        verdict.faults.append(
            Fault(uri, f"it could not be compared: {error}", "give the command again when it answers")
        )
    else:
        verdict.points += found.points
        if found.alone:
            verdict.notes.append(
                f"study {name}: MLflow holds {found.alone} runs without a folder here, so they were not compared"
            )
        verdict.faults += [replace(fault, mend=behind) for fault in found.behind]
        verdict.faults += [replace(fault, mend=rebuild) for fault in found.wrong]


def _trials(verdict: Verdict, project: Project) -> None:
    """Compare what a search was told with what its runs say."""
    from slws_lab.lab.trial_audit import audit_trials  # Optuna is loaded for searches only

    found = audit_trials(project, f"slws run {_word(project)}{_options(project, out=True)}")
    verdict.faults += found.faults
    if found.elsewhere:
        verdict.notes.append(f"search {project.study.spec.name}: the runs of {found.elsewhere} trials are in another driver's workspace, "
                             "so their values were not compared")  # fmt: skip


def _outside(project: Project) -> bool:
    """Say whether this is a training of one recipe, which the commands for studies do not take."""
    return project.study.source is project.study.recipe


def _word(project: Project) -> str:
    """Return the study as the command line takes it: its name under studies/, else its path."""
    path = project.study.source.path
    return path.stem if path.resolve().parent == (project.study.root / "studies").resolve() else shlex.quote(str(path))


def _options(project: Project, *, out: bool = False) -> str:
    root = project.study.root
    own = open_workspace(root).path == project.workspace.path
    reports = not out or project.reports == root / "reports"
    given = [] if own else ["--workspace", str(project.workspace.path)]
    given += [] if reports else ["--out", str(project.reports)]
    return f" {shlex.join(given)}" if given else ""
