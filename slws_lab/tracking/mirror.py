"""The mirror: brings an MLflow store up to date with a workspace's run folders; a pass sends only what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from slws_lab.errors import SlwsError
from slws_lab.spec import Arm, Design, Study
from slws_lab.tracking import journal, mirror_content, mirror_model
from slws_lab.tracking.claim import Claim
from slws_lab.tracking.files import Damaged, read_json
from slws_lab.tracking.folder import Attempt, RunFolder, Workspace
from slws_lab.tracking.mirror_content import MAX_TEXT, PARENT, TOLD, Content, Point, digest_of_outcome
from slws_lab.tracking.mirror_model import BEST, Weights
from slws_lab.tracking.mirror_state import Offsets
from slws_lab.tracking.mirror_store import (
    CONFIG,
    REPORT,
    MirrorAway,
    MirrorDamaged,
    Store,
    forget_artifacts,
    new_database,
    own_database,
    own_uri,
    reaching,
    set_environment,
)
from slws_lab.tracking.mirror_ui import default_uri, experiment_tags, ui_command

if TYPE_CHECKING:
    from mlflow.entities import Run

MANIFEST = "manifest.json"  # what `reports.manifest` writes
__all__ = ["Mirror", "MirrorAway", "MirrorBusy", "MirrorDamaged", "Shipped", "default_uri", "own_uri", "ui_command"]


class MirrorBusy(SlwsError):
    """Another process is the mirror's one writer."""


@dataclass(frozen=True)
class Shipped:
    """What a pass sent.

    Attributes:
        runs: Children created or changed.
        points: Values of metrics over epochs.
        note: What the user must know; empty where nothing.
    """

    runs: int
    points: int
    note: str = ""


class Mirror:
    """The one writer of a workspace's mirror. Use: `with Mirror.open(workspace, None) as mirror`."""

    def __init__(self, workspace: Workspace, store: Store, lock: Claim) -> None:
        self._workspace = workspace
        self._store = store
        self._lock = lock

    @classmethod
    def open(cls, workspace: Workspace, uri: str | None, *, fresh: bool = False) -> Mirror:
        """Connect to a store, making the workspace's own SQLite file if it is not there.

        Args:
            workspace: Its run folders are mirrored.
            uri: The MLflow tracking URI; None means MLFLOW_TRACKING_URI or else the workspace's own SQLite file.
            fresh: Replace the workspace's own SQLite file by an empty one; of other stores, see `forget`.

        Raises:
            MirrorAway: The store cannot be reached.
            MirrorBusy: Another process has it open.
        """
        set_environment()
        workspace.mirror.mkdir(parents=True, exist_ok=True)
        lock = Claim.take(workspace.mirror / "lock")
        if lock is None:
            raise MirrorBusy(f"another process mirrors {workspace.path}")
        try:
            return cls(workspace, _connect(workspace, uri or default_uri(workspace), fresh), lock)
        except BaseException:
            lock.__exit__()
            raise

    def ship(self, study: Study, design: Design, memory: Memory | None = None) -> Shipped:
        """Send what the store lacks of a study: experiment, parent, children, metric points, how they ended.

        Args:
            study: The study.
            design: Its arms and seeds.
            memory: Of this process's passes so far, for one of many beside a running study; None looks at everything.

        Raises:
            MirrorAway: The store cannot be reached; the next pass goes on from there.
        """
        self._still_alone()
        with reaching(self._workspace, self._store.uri):
            return _Pass(self._workspace, self._store, study, design, memory or Memory()).run()

    def forget(self, study: Study, design: Design) -> None:
        """Delete the study's runs in the store that this workspace's folders can make again, and no others.

        Those of seeds and arms that the study no longer has go too; they come back with these.

        Raises:
            MirrorAway: The store cannot be reached.
        """
        self._still_alone()
        with reaching(self._workspace, self._store.uri):
            for run in self._store.runs(self._experiment(study), study.spec.name):
                key = mirror_content.key_of(run)
                if key == PARENT or (is_of(study, design, key) and kept(self._workspace, key)):
                    self._store.delete(run, "rebuilt")

    def _still_alone(self) -> None:
        """Refuse to write where another process has taken the mirror over while this one was stopped."""
        if not self._lock.held():
            raise MirrorBusy(f"another process mirrors {self._workspace.path}")

    def attach_report(self, study: Study, folder: Path, told: dict[str, str] | None = None) -> None:
        """Make the parent run's artifacts hold the study's report, its file and its recipe, replacing older ones.

        Args:
            study: The study.
            folder: The report's.
            told: Tags that say what came out; `mirror_content.NOTE` is MLflow's description. None leaves them as they are.

        Raises:
            MirrorAway: The store cannot be reached, or the study was never shipped.
        """
        with reaching(self._workspace, self._store.uri):
            parent = next(iter(self._store.runs(self._experiment(study), study.spec.name, kind=PARENT)), None)
            if parent is None:
                raise MirrorAway(f"{self._store.uri}: study {study.spec.name} was never shipped there")
            for kind, files in artifacts(study, folder).items():
                self._store.replace_artifacts(parent, kind, files)
            if told is not None:
                tags = {name: text[:MAX_TEXT] for name, text in told.items()}
                self._store.tag(parent, {**tags, TOLD: digest_of_outcome(tags)})

    def attach_model(self, study: Study, attempt: Attempt, which: Weights) -> str:
        """Mark a run as the study's best, and make its artifacts hold its model; one that was the best keeps what it has.

        Args:
            study: The study.
            attempt: Of the best run, the one that counts.
            which: The weights that the study's metric is about.

        Returns:
            Why there is no model to send, the first time that this is found; else empty.

        Raises:
            MirrorAway: The store cannot be reached.
        """
        with reaching(self._workspace, self._store.uri):
            experiment, name = self._experiment(study), study.spec.name
            for former in self._store.runs(experiment, name, best="true"):
                if mirror_content.key_of(former) != attempt.run_id:
                    self._store.untag(former, BEST)
            for child in self._store.runs(experiment, name, run_id=attempt.run_id)[:1]:
                self._store.tag(child, {BEST: "true"})
                return mirror_model.send(self._store, child, attempt, which)
        return ""

    def close(self) -> None:
        """Let another process write."""
        self._lock.__exit__()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _experiment(self, study: Study) -> str:
        return self._store.experiment(study.spec.name, experiment_tags(study))


@dataclass
class Memory:
    """What a process remembers of its passes over one study, so that the next looks at what has not ended yet and at nothing else.

    A run that is executed again, or changed in MLflow, after it was seen to have ended is left to a pass without memory.

    Attributes:
        stamp: The state of the noted offsets when the last pass ended: another one means that another process has shipped since.
        there: Run id -> child, and the parent by its own key.
        ended: Run id -> how and when it has ended.
    """

    stamp: tuple[int, ...] = ()
    there: dict[str, Run] = field(default_factory=dict)
    ended: dict[str, Content] = field(default_factory=dict)


class _Pass:
    """One pass over one study."""

    def __init__(self, workspace: Workspace, store: Store, study: Study, design: Design, memory: Memory) -> None:
        self._workspace, self._store, self._study, self._design = workspace, store, study, design
        self._memory = memory
        self._offsets = Offsets(workspace.mirror / f"{study.spec.name}.json")
        self._experiment = store.experiment(study.spec.name, experiment_tags(study))
        self._there: dict[str, Run] = {}
        self._parent: Run | None = None
        self._touched: set[str] = set()
        self._points = 0

    def run(self) -> Shipped:
        there, self._memory.there = self._memory.there, {}  # until this pass has ended well
        if not there or self._memory.stamp != self._offsets.stamp:
            self._memory.ended = {}
            self._there = self._one_each(self._store.runs(self._experiment, self._study.spec.name))
        else:
            self._remember(there)
        wanted = self._wanted()
        contents = self._memory.ended | {run_id: content for run_id, (_, content) in wanted.items()}
        parent_content = mirror_content.parent(self._study, self._design, contents)
        parent = self._parent or self._store.create(self._experiment, parent_content)
        parent_content = mirror_content.with_note_of(parent, parent_content)
        for run_id, (attempt, content) in wanted.items():
            content.tags["mlflow.parentRunId"] = parent.info.run_id
            self._ship_child(run_id, attempt, content)
            if content.status == "FINISHED":
                status = {"slws.status": content.tags["slws.status"]}
                self._memory.ended[run_id] = replace(
                    content, tags=status, params={}, figures={}
                )  # what the parent's needs
        self._store.update(parent, parent_content, [])
        self._offsets.close(run.info.run_id for run in self._there.values())
        self._memory.there = {**self._there, PARENT: parent}
        self._memory.stamp = self._offsets.stamp
        return Shipped(len(self._touched), self._points)

    def _remember(self, there: dict[str, Run]) -> None:
        """Ask the store anew for what had not ended, and for nothing else."""
        ended = self._memory.ended
        fresh = {key: run if key in ended else self._store.again(run) for key, run in there.items()}
        self._there = {key: run for key, run in fresh.items() if run is not None}
        self._parent = self._there.pop(PARENT, None)

    def _wanted(self) -> dict[str, tuple[Attempt, Content]]:
        """Return what each run that was begun should look like, breadth first; without those that are known to have ended."""
        wanted = {}
        for (arm_id, seed), run_id in self._design.run_ids.items():
            attempt = None if run_id in self._memory.ended else self._workspace.run(run_id).chosen()
            if attempt is not None and (run_id in self._there or mirror_content.begun(attempt)):
                wanted[run_id] = attempt, self._content(self._design.arm(arm_id), seed, attempt)
        return wanted

    def _content(self, arm: Arm, seed: int, attempt: Attempt) -> Content:
        return mirror_content.child(self._study, self._design, arm, seed, attempt)

    def _one_each(self, found: list[Run]) -> dict[str, Run]:
        """Return run id -> child. A creation whose answer got lost leaves an empty twin, which is deleted."""
        kept: dict[str, Run] = {}
        for run in found:
            if kept.setdefault(mirror_content.key_of(run), run) is not run:
                self._store.delete(run, "twin")
        self._parent = kept.pop(PARENT, None)
        return kept

    def _ship_child(self, run_id: str, attempt: Attempt, content: Content) -> None:
        child = self._there.get(run_id)
        if child is not None and self._offsets.rewritten(child.info.run_id, attempt.journal):
            self._store.delete(child, "its journal was written anew")
            child = None
        if child is not None and (other := mirror_content.another(child, content)):
            self._store.delete(child, other)
            child = None
        if child is None:
            child = self._there[run_id] = self._store.create(self._experiment, content)
            self._offsets.start(child.info.run_id)
            self._touched.add(run_id)
        points, end = self._new_points(child, attempt, content)
        if points:
            self._offsets.mark()
        if self._store.update(child, content, points):
            self._touched.add(run_id)
        self._offsets.set(child.info.run_id, end, attempt.journal)
        self._points += len(points)

    def _new_points(self, child: Run, attempt: Attempt, content: Content) -> tuple[list[Point], int]:
        """Return the journal's points that the store lacks, and where the journal ends."""
        offset = self._offsets.of(child.info.run_id)
        entries = list(journal.read(attempt.journal))
        end = entries[-1].end if entries else 0
        points = journal.points(iter(entries))
        content.tags.update(mirror_content.nonfinite(points))
        if end == offset:
            return [], end
        sent = {(name, entry.step) for entry in entries if entry.end <= offset for name in entry.metrics}
        if not self._offsets.sure(child.info.run_id):
            sent |= self._store.sent(child, points)
        return mirror_content.unsent(points, sent), end


def is_of(study: Study, design: Design, run_id: str) -> bool:
    """Say whether a run that stands under a study in the store is this design's to look at.

    What its seeds or arms were once is; but the trainings of one recipe share a parent, and each is a design of its own.
    """
    return study.source is not study.recipe or run_id in design.run_ids.values()


def kept(workspace: Workspace, key: str) -> RunFolder | None:
    """Return the folder that a run in the store mirrors, if it has an attempt; a store's word is no path."""
    folder = workspace.run(key) if key == Path(key).name and key != ".." else None
    return folder if folder and folder.attempts() else None


def artifacts(study: Study, folder: Path) -> dict[str, dict[str, Path]]:
    """Return what the parent run's artifacts should hold: folder -> path within it -> source.

    Of a report, what its manifest names; without one that can be read, what was sent before stays.
    """
    made_of = (("study", study.source.path), ("recipe", study.recipe.path))
    report = report_files(folder)
    found = {REPORT: report} if report else {}
    return found | {CONFIG: {f"{kind}/{path.name}": path for kind, path in made_of}}


def report_files(folder: Path) -> dict[str, Path]:
    """Return the files that a report consists of, by their paths within its folder; what somebody put beside them is none of it."""
    try:
        names = {MANIFEST, *read_json(folder / MANIFEST)["files"]}
    except (Damaged, TypeError, KeyError):
        return {}
    there = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if not path.is_symlink()}
    return {name: path for name, path in there.items() if name in names and path.is_file()}


def _connect(workspace: Workspace, uri: str, fresh: bool) -> Store:
    with reaching(workspace, uri):
        database = own_database(workspace)
        if uri == own_uri(workspace) and (fresh or not database.exists()):
            new_database(database)
            forget_artifacts(workspace)
        return Store(workspace, uri)
