"""What a study and its runs should look like in MLflow, read from the folders and the design. Pure: no MLflow here."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slws_lab.spec import AnyRun, Arm, CommandRun, Design, Study, dotted
from slws_lab.tracking import journal, starts
from slws_lab.tracking.claim import is_held
from slws_lab.tracking.folder import FINAL, Attempt

if TYPE_CHECKING:
    from mlflow.entities import Run

RUNNING, PENDING, PRUNED = "running", "pending", "pruned"
MLFLOW_STATUS = {
    "finished": "FINISHED", "diverged": "FINISHED", "failed": "FAILED", RUNNING: "RUNNING", PENDING: "KILLED",
    PRUNED: "KILLED",
}  # fmt: skip
FIGURES = ("params", "flops", "epochs", "seconds")  # of a result; metrics, since MLflow sorts tags as text
FACTS = ("cause", "host", "device", "scan_backend", "threads", "resumes")
MAX_TEXT = 5000
BEGUN = "slws.begun"
NOTE = "mlflow.note.content"  # what MLflow shows as a run's description, in Markdown
PARENT = "study"
BEST_RUN = "slws.best_run"
OUTCOME = (NOTE, "slws.answer", "slws.verdicts", BEST_RUN)  # tags of a parent that are told when its report is sent
TOLD = "slws.told"  # their digest

Point = tuple[str, float, int, float]  # name, value, step, seconds since 1970
Points = dict[str, dict[int, tuple[float, float]]]  # name -> step -> (value, seconds since 1970)


@dataclass(frozen=True)
class Content:
    """What one MLflow run should hold, its metrics over epochs aside.

    Attributes:
        name: Name shown in the UI.
        tags: All of its tags.
        params: Flat parameters.
        status: MLflow's word for how it stands.
        started: Seconds since 1970.
        ended: Seconds since 1970; None while it goes on.
        figures: Numbers of the result, which have one value.
        dataset: Name and fingerprint of the data; None before the run has a result.
    """

    name: str
    tags: dict[str, str]
    params: dict[str, str]
    status: str
    started: float | None
    ended: float | None
    figures: dict[str, float] = field(default_factory=dict)
    dataset: tuple[str, str] | None = None


def child(study: Study, design: Design, arm: Arm, seed: int, attempt: Attempt) -> Content:
    """Return what the child run of one (study, run) should hold; role and arm come from the design."""
    result = attempt.result() or {}
    status = status_of(attempt)
    if status == PENDING and arm.tags.get("trial_state", "").startswith(PRUNED):
        status = PRUNED
    run = arm.run(seed)
    return Content(
        name=f"{arm.label} · seed {seed}",
        tags=_from_design(study, design, arm, seed, attempt) | _from_result(status, result) | _from_journal(attempt),
        params=_clipped({key: as_text(value) for key, value in dotted(run).items()}),
        status=MLFLOW_STATUS[status],
        started=_started(attempt, result),
        ended=None if status == RUNNING else result.get("finished", _last_sign(attempt)),
        figures={f"whole_run/{name}": float(result[name]) for name in FIGURES if name in result},
        dataset=_dataset(run, result),
    )


def parent(study: Study, design: Design, children: dict[str, Content]) -> Content:
    """Return what the parent run of a study should hold, given its children by run id."""
    spec = study.spec
    total = sum(design.arm(arm_id).wanted for arm_id, _ in design.run_ids)
    counts = Counter(content.tags["slws.status"] for content in children.values())
    counts[PENDING] += max(0, total - len(children))
    params = {"metric": spec.metric.key, "seeds": len(design.seeds), "arms": len(design.arms), "runs": total}
    tags = {
        "slws.kind": "study",
        "slws.study": spec.name,
        "slws.status": ", ".join(f"{counts[status]} {status}" for status in MLFLOW_STATUS if counts[status]),
        NOTE: spec.question,
        **_report(study),
        **_source(study),
    }
    status = _overall(counts)
    ends = [content.ended for content in children.values() if content.ended]
    return Content(
        name=spec.name,
        tags=_clipped(tags),
        params={f"study.{name}": as_text(value) for name, value in params.items()},
        status=status,
        started=min((c.started for c in children.values() if c.started), default=None),
        ended=max(ends, default=None) if status in ("FINISHED", "FAILED") else None,
    )


def with_note_of(held: Run, content: Content) -> Content:
    """Leave the note out of a parent's content where it holds one that goes on after the question: what came out was told there."""
    if not held.data.tags.get(NOTE, "").startswith(content.tags[NOTE] + "\n"):
        return content
    return replace(content, tags={name: text for name, text in content.tags.items() if name != NOTE})


def digest_of_outcome(tags: Mapping[str, str]) -> str:
    """Return a digest of what a parent was told of its outcome."""
    told = sorted((name, text) for name, text in tags.items() if name in OUTCOME)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


def status_of(attempt: Attempt) -> str:
    """Return finished, diverged or failed; running while someone works on it; else pending."""
    return attempt.status or (RUNNING if is_held(attempt.claim) else PENDING)


def begun(attempt: Attempt) -> bool:
    """Say whether anybody has worked on an attempt yet."""
    return attempt.starts.exists() or attempt.journal.exists() or attempt.status is not None or is_held(attempt.claim)


def key_of(held: Run) -> str:
    """Return which run of its study an MLflow run mirrors: a run id, or `PARENT`; its own id if it mirrors none."""
    tags = held.data.tags
    return PARENT if tags.get("slws.kind") == "study" else tags.get("slws.run_id", held.info.run_id)


def another(held: Run, content: Content) -> str:
    """Say why an MLflow run cannot be brought to a content and must be made anew; empty if it can."""
    attempt, begun_at = (content.tags.get(name) for name in ("slws.attempt", BEGUN))
    if held.data.tags.get("slws.attempt") != attempt:
        return f"it holds attempt {held.data.tags.get('slws.attempt')}, not {attempt}"
    if BEGUN in held.data.tags and held.data.tags[BEGUN] != begun_at:
        return "the attempt was begun again"
    if content.started is not None and held.info.start_time != milliseconds(content.started):
        return "it began at another time"
    return ""


def nonfinite(points: Points) -> dict[str, str]:
    """Return tags for the values that MLflow has no number for: name -> `step: value` of each."""
    found = {
        name: ", ".join(f"{step}: {value}" for step, (value, _) in sorted(curve.items()) if not math.isfinite(value))
        for name, curve in points.items()
    }
    return _clipped({f"slws.nonfinite.{name}": text for name, text in found.items() if text})


def unsent(points: Points, sent: set[tuple[str, int]]) -> list[Point]:
    """Return the finite points whose (name, step) was not sent, by step."""
    found = [
        (name, value, step, time)
        for name, curve in points.items()
        for step, (value, time) in curve.items()
        if math.isfinite(value) and (name, step) not in sent
    ]
    return sorted(found, key=lambda point: point[2])


def milliseconds(seconds: float) -> int:
    """Return a time as MLflow keeps it."""
    return round(seconds * 1000)


def as_text(value: Any) -> str:
    """Return a value as MLflow shows it: text bare, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _from_design(study: Study, design: Design, arm: Arm, seed: int, attempt: Attempt) -> dict[str, str]:
    references = {role.reference for role in arm.roles if role.reference and role.reference != arm.id}
    tags = {
        "slws.kind": "run",
        "slws.study": study.spec.name,
        "slws.arm": arm.label,
        "slws.arm_id": arm.id,
        "slws.role": ", ".join(sorted({role.kind for role in arm.roles})),
        "slws.reference": ", ".join(sorted(design.arm(reference).label for reference in references)),
        "slws.seed": str(seed),
        "slws.run_id": design.run_ids[arm.id, seed],
        **_report(study),
        "slws.attempt": str(attempt.number),
        **{f"slws.{name}": text for name, text in arm.tags.items()},
        **_source(study),
    }
    return _clipped(tags)


def _from_result(status: str, result: dict[str, Any]) -> dict[str, str]:
    tags = {f"slws.{name}": as_text(result[name]) for name in FACTS if result.get(name) not in (None, "")}
    provenance = result.get("provenance") or {}
    if provenance.get("commit"):
        tags |= {"slws.commit": provenance["commit"], "mlflow.source.git.commit": provenance["commit"]}
    if provenance.get("dirty") is not None:
        tags["slws.dirty"] = as_text(provenance["dirty"])
    return _clipped({"slws.status": status, **tags})


def _from_journal(attempt: Attempt) -> dict[str, str]:
    """Tell a journal from one that was begun again in the same attempt, whose points are others."""
    first = next((entry.time for entry in journal.read(attempt.journal)), None)
    return {} if first is None else {BEGUN: repr(first)}


def _source(study: Study) -> dict[str, str]:
    path = study.source.path.resolve()
    root = study.root.resolve()
    name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    return {"mlflow.source.name": name, "mlflow.source.type": "LOCAL"}


def _report(study: Study) -> dict[str, str]:
    """Say where the study's report goes, relative to the project's folder; the training of a recipe alone has none."""
    return {} if study.source is study.recipe else {"slws.report": f"reports/{study.spec.name}/report.html"}


def _dataset(run: AnyRun, result: dict[str, Any]) -> tuple[str, str] | None:
    fingerprint = result.get("data_fingerprint")
    return (run.data.name, fingerprint) if fingerprint and not isinstance(run, CommandRun) else None


def _started(attempt: Attempt, result: dict[str, Any]) -> float | None:
    """Return when the first process began, so that it stays the same when others go on with the attempt."""
    times = [line["time"] for line in starts.lines(attempt) if "pid" in line]
    if times:
        return float(times[0])
    if "started" in result:
        return float(result["started"])
    return next((entry.time for entry in journal.read(attempt.journal)), None)


def _last_sign(attempt: Attempt) -> float:
    """Return when a stopped attempt was last seen alive: its heartbeat or its last line."""
    signs: list[Path] = [p for p in (attempt.claim, attempt.journal, attempt.path) if p.exists()]
    return max(path.stat().st_mtime for path in signs)


def _overall(counts: Counter[str]) -> str:
    if counts[RUNNING]:
        return "RUNNING"
    if counts[PENDING]:
        return "SCHEDULED"
    return "FAILED" if counts.total() > sum(counts[status] for status in (*FINAL, PRUNED)) else "FINISHED"


def _clipped(texts: dict[str, str]) -> dict[str, str]:
    return {name: value[:MAX_TEXT] for name, value in texts.items()}
