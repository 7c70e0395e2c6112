"""Auditing the mirror: what MLflow holds of a study against the run folders. Reads only; nothing is made or mended here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from slws_lab.spec import Arm, Design, Study, digest, parse_recipe
from slws_lab.tracking import journal, mirror_content, mirror_model
from slws_lab.tracking.audit import Fault
from slws_lab.tracking.files import Damaged
from slws_lab.tracking.folder import Attempt, Workspace
from slws_lab.tracking.mirror import artifacts, is_of, kept
from slws_lab.tracking.mirror_content import (
    BEST_RUN,
    MLFLOW_STATUS,
    OUTCOME,
    PARENT,
    TOLD,
    Content,
    Points,
    digest_of_outcome,
    milliseconds,
)
from slws_lab.tracking.mirror_model import FOLDER
from slws_lab.tracking.mirror_state import Offsets
from slws_lab.tracking.mirror_store import (
    DATASET_SOURCE,
    OUR_ARTIFACTS,
    WORKSPACE,
    Store,
    digest_of,
    named,
    own_database,
    own_uri,
    reaching,
    set_environment,
    workspace_id,
)

if TYPE_CHECKING:
    from mlflow.entities import Run

OF_ROLES = ("slws.role", "slws.reference")  # tags that only a design can tell


@dataclass
class MirrorAudit:
    """What an audit of one study's mirror found.

    Attributes:
        behind: What MLflow lacks, or holds an older version of; the next pass sends it.
        wrong: What MLflow holds and the folders do not say; no pass touches it.
        points: How many values over epochs were compared.
        alone: How many of its runs have no folder any more, so that nothing can be compared.
    """

    behind: list[Fault] = field(default_factory=list)
    wrong: list[Fault] = field(default_factory=list)
    points: int = 0
    alone: int = 0


def audit_mirror(workspace: Workspace, uri: str, study: Study, design: Design, report: Path | None) -> MirrorAudit:
    """Compare a study's runs in a store with the folders: points, params, names, tags, data, states, times, parents, artifacts.

    Args:
        workspace: Its run folders are the truth.
        uri: The MLflow tracking URI.
        study: The study.
        design: Its design.
        report: The report's folder, whose files the parent holds; None leaves them out.

    Raises:
        MirrorAway: The store cannot be reached, or is damaged.
    """
    set_environment()
    place = own_database(workspace) if uri == own_uri(workspace) else uri
    if isinstance(place, Path) and not place.exists():
        return MirrorAudit(behind=[Fault(place, "there is no MLflow store yet")])
    with reaching(workspace, uri):
        store = Store(workspace, uri)
        offsets = Offsets(workspace.mirror / f"{study.spec.name}.json")
        return _Comparison(workspace, store, place, offsets).run(study, design, report)


class _Comparison:
    """One study's mirror against its folders."""

    def __init__(self, workspace: Workspace, store: Store, place: Path | str, offsets: Offsets) -> None:
        self._workspace, self._store, self._place, self._offsets = workspace, store, place, offsets
        self._found = MirrorAudit()

    def run(self, study: Study, design: Design, report: Path | None) -> MirrorAudit:
        name = study.spec.name
        experiment = self._store.find(name)
        runs = self._store.runs(experiment, name) if experiment else []
        held: dict[str, Run] = {}
        for run in runs:
            key = mirror_content.key_of(run)
            if held.setdefault(key, run) is not run:
                self._behind(f"{key} is there twice")
        parent = held.get(PARENT)
        if parent is None:
            self._behind(f"study {name} was never sent")
            return self._found
        wanted = self._wanted(study, design)
        for run_id, (attempt, content) in wanted.items():
            content.tags["mlflow.parentRunId"] = parent.info.run_id
            self._child(run_id, held.get(run_id), attempt, content)
        for key in held.keys() - {PARENT, *wanted}:
            if is_of(study, design, key):
                self._former(study, held[key], parent)
        if study.source is not study.recipe:  # a recipe's trainings share a parent, which tells of the last one
            self._parent(parent, study, design, {run_id: content for run_id, (_, content) in wanted.items()})
        self._artifacts(parent, study, report)
        best = held.get(parent.data.tags.get(BEST_RUN, ""))
        if best is not None and (lack := mirror_model.lacking_tags(best.data.tags)):
            self._behind(f"{mirror_content.key_of(best)}, the best run, lacks {' and '.join(lack)}")
        return self._found

    def _wanted(self, study: Study, design: Design) -> dict[str, tuple[Attempt, Content]]:
        wanted = {}
        for (arm_id, seed), run_id in design.run_ids.items():
            attempt = self._workspace.run(run_id).chosen()
            if attempt is not None and mirror_content.begun(attempt):
                content = mirror_content.child(study, design, design.arm(arm_id), seed, attempt)
                wanted[run_id] = attempt, content
        return wanted

    def _child(self, run_id: str, child: Run | None, attempt: Attempt, content: Content) -> None:
        """Compare a child. Of a run that has not ended only what MLflow holds is compared: the rest is on its way."""
        if child is None and content.status == MLFLOW_STATUS["running"]:
            return  # it was begun a moment ago, and the next pass sends it
        if child is None or (other := mirror_content.another(child, content)):
            self._behind(f"{run_id}: {other if child else 'it is not there'}")
            return
        self._note(run_id, *self._compared(child, attempt, content))

    def _former(self, study: Study, child: Run, parent: Run) -> None:
        """Compare a child whose seed or arm the study no longer has, as far as its folder says; no pass sends it again."""
        key = mirror_content.key_of(child)
        folder = kept(self._workspace, key)
        attempt = folder.chosen() if folder else None
        try:
            run = folder.spec() if folder and attempt else None
        except Damaged:
            run = None
        if run is None or attempt is None:
            self._found.alone += 1
            return
        recipe = parse_recipe(run.model_dump(mode="json", exclude={"seed"}))
        arm = Arm(digest(recipe), child.data.tags.get("slws.arm", ""), {}, recipe, ())
        content = mirror_content.child(study, Design((arm,), (run.seed,)), arm, run.seed, attempt)
        content.tags["mlflow.parentRunId"] = parent.info.run_id
        for name in OF_ROLES:
            del content.tags[name]
        behind, wrong = self._compared(child, attempt, content)
        other = mirror_content.another(child, content)
        self._note(f"{key}, which the study no longer has", [], [*([other] if other else []), *behind, *wrong])

    def _compared(self, child: Run, attempt: Attempt, content: Content) -> tuple[list[str], list[str]]:
        """Return what the next pass mends of a child, and what only a rebuild does."""
        content.tags[WORKSPACE] = workspace_id(self._workspace.mirror)
        entries = list(journal.read(attempt.journal))
        points = journal.points(iter(entries))
        ended = attempt.status is not None
        lack, wrong = _params(child, content)
        behind = list(lack)
        if ended:
            content.tags.update(mirror_content.nonfinite(points))
            lack, other = _dataset(child, content)
            behind += [*_name(child, content), *_tags(child, content), *_state(child, content), *lack]
            wrong += other
        lacking, false = self._points(child, points, content)
        sent = self._offsets.sure(child.info.run_id) and self._offsets.of(child.info.run_id) >= (
            entries[-1].end if entries else 0
        )
        moved = self._place_of(child)
        wrong += [*false, *(moved or self._changed(child))]
        (wrong if sent else behind).extend(lacking if ended else [])  # no pass sends again what it has noted as sent
        return behind, wrong

    def _parent(self, parent: Run, study: Study, design: Design, children: dict[str, Content]) -> None:
        content = mirror_content.parent(study, design, children)
        content.tags[WORKSPACE] = workspace_id(self._workspace.mirror)
        content = mirror_content.with_note_of(parent, content)
        still = all(child.status != MLFLOW_STATUS["running"] for child in children.values())
        lack, other = _params(parent, content)
        behind = [*_name(parent, content), *_tags(parent, content), *_state(parent, content)] if still else []
        tags = parent.data.tags
        if tags.keys() & {TOLD, *OUTCOME[1:]} and tags.get(TOLD) != digest_of_outcome(tags):
            behind.append("what it says of the outcome is not what was sent")
        self._note(f"study {study.spec.name}", [*lack, *other, *behind], [])  # a pass mends them by tags

    def _artifacts(self, parent: Run, study: Study, report: Path | None) -> None:
        """Compare what the parent's artifacts hold with what was sent, and that with what there is now."""
        if wrong := self._place_of(parent):
            self._note(f"study {study.spec.name}", [], wrong)
            return
        now = artifacts(study, report) if report else {}
        self._note(f"study {study.spec.name}", [], list(self._changed(parent)))
        for kind in OUR_ARTIFACTS:
            sent = parent.data.tags.get(f"slws.artifacts.{kind}")
            if kind in now and sent != digest_of(now[kind]):
                self._behind(f"study {study.spec.name}: MLflow holds an older {kind}")

    def _changed(self, run: Run) -> Iterator[str]:
        """Yield which of a run's artifacts are not what was sent."""
        for kind in OUR_ARTIFACTS:
            sent = run.data.tags.get(f"slws.artifacts.{kind}")
            if sent is not None:
                with self._store.artifacts(run, kind) as held:
                    whole = digest_of(held) == sent
                if kind == FOLDER and (found := mirror_model.tags_of(run)).items() - run.data.tags.items():
                    yield f"its tags {' and '.join(found)} do not name its model"
                if not whole:
                    yield f"its artifacts in {kind}/ are not what was sent"

    def _place_of(self, run: Run) -> list[str]:
        at_home = self._store.is_at_home(run)
        return [] if at_home else [f"its artifacts lie in another place, {run.info.artifact_uri}"]

    def _points(self, child: Run, points: Points, content: Content) -> tuple[list[str], list[str]]:
        """Return what a child lacks of the journal's points and the result's figures, and what it holds instead."""
        wanted = {
            name: {step: (value, milliseconds(time)) for step, (value, time) in curve.items() if math.isfinite(value)}
            for name, curve in points.items()
        }
        wanted |= {name: {0: (value, milliseconds(content.ended or 0.0))} for name, value in content.figures.items()}
        held, latest = self._store.history(child), self._store.latest(child)
        lacking, false = [], []
        for name in sorted({*wanted, *held}):
            curve = wanted.get(name, {})
            self._found.points += len(curve)
            steps = [step for step, *_ in held.get(name, [])]
            lacking += [f"{name} lacks step {step}" for step in curve.keys() - set(steps)]
            for step, value, time in held.get(name, []):
                if (value, time) != curve.get(step):
                    false.append(f"{name} is {value} at step {step}, time {time}, not {_told(curve.get(step))}")
            if held.get(name) and latest.get(name) not in (held[name][-1], held[name][-1][1]):
                false.append(f"the last {name} is shown as {latest.get(name)}")
        return lacking, false

    def _note(self, what: str, behind: list[str], wrong: list[str]) -> None:
        if behind:
            self._behind(f"{what}: {_first(behind)}")
        if wrong:
            self._found.wrong.append(Fault(self._place, f"{what}: {_first(wrong)}"))

    def _behind(self, what: str) -> None:
        self._found.behind.append(Fault(self._place, what))


def _params(run: Run, content: Content) -> tuple[list[str], list[str]]:
    """Return the params that a run lacks, and those that are others.

    Those of a study may change, and then stand as tags, see `Store.update`; those of a run may not.
    """
    lack, other = list[str](), list[str]()
    for name, value in content.params.items():
        now = run.data.params.get(name)
        if mirror_content.key_of(run) == PARENT:
            now = run.data.tags.get(f"slws.now.{name}", now)
        if now != value:
            (lack if now is None else other).append(f"param {name} is {now}, not {value}")
    return lack, other


def _tags(run: Run, content: Content) -> Iterator[str]:
    for name, value in content.tags.items():
        if run.data.tags.get(name) != value:
            yield f"tag {name} is {run.data.tags.get(name)}, not {value}"


def _name(run: Run, content: Content) -> Iterator[str]:
    if named(run) != {content.name}:
        yield f"it is named {' and '.join(sorted(map(str, named(run))))}, not {content.name}"


def _dataset(run: Run, content: Content) -> tuple[list[str], list[str]]:
    """Return whether a run lacks its data, and whether they are others."""
    if content.dataset is None:
        return [], []
    name, fingerprint = content.dataset
    found = [one.dataset for one in run.inputs.dataset_inputs] if run.inputs else []
    told = [(data.name, data.digest, data.source_type, data.source) for data in found]
    if not told:
        return [f"its data, {name} {fingerprint}, are not there"], []
    return [], [] if told == [(name, fingerprint, DATASET_SOURCE, name)] else [
        f"its data are {told}, not {name} {fingerprint}"
    ]


def _state(run: Run, content: Content) -> Iterator[str]:
    if run.info.status != content.status:
        yield f"its status is {run.info.status}, not {content.status}"
    if content.ended is not None and run.info.end_time != milliseconds(content.ended):
        yield f"its end is {run.info.end_time}, not {milliseconds(content.ended)}"


def _told(point: tuple[float, int] | None) -> str:
    return "there" if point is None else f"{point[0]}, time {point[1]}"


def _first(differences: list[str]) -> str:
    more = len(differences) - 1
    return differences[0] + (f" (and {more} more)" if more else "")
