"""Plain facts of a report beside its numbers: the design, the runs, what failed, and where the runs came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slws_lab.analysis import CORRECTIONS, ResultTable
from slws_lab.reports import looks, wording
from slws_lab.reports.page.runs import rerun
from slws_lab.reports.tables.cells import cell
from slws_lab.reports.view import Cell, Column, TableView
from slws_lab.spec import Block
from slws_lab.tracking import RunRecord

ENDED = ("finished", "diverged", "failed")
CHANGED = "+"  # behind the commit of a run that was made with uncommitted changes


@dataclass(frozen=True)
class Fact:
    """A name and what is known under it: one text, or several where the runs differ."""

    name: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """Runs that failed or diverged for one cause."""

    status: str
    cause: str
    run_ids: tuple[str, ...]


def failures(table: ResultTable) -> list[Failure]:
    """Return the failed and diverged runs, grouped by cause."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for record in table.records.values():
        if record.status in ("failed", "diverged"):
            grouped.setdefault((record.status, record.cause or "no cause recorded"), []).append(record.run_id)
    return [Failure(status, cause, tuple(runs)) for (status, cause), runs in grouped.items()]


def design_facts(table: ResultTable) -> list[Fact]:
    """Return what was planned."""
    study, design = table.study, table.design
    rules = study.comparisons
    blocks = [f"{i}. {_block(block)}" for i, block in enumerate(study.designs, 1)]
    margin = "no margin" if rules.margin is None else f"margin {wording.sized(rules.margin, study.metric)}"
    judged = f"paired t, {CORRECTIONS[rules.correction]} within {rules.family}, alpha {rules.alpha:g}, {margin}"
    duplicates = [f"{_settings(d.settings)} is {design.arm(d.arm).label}" for d in design.duplicates]
    facts = [
        Fact("Baseline", (wording.baseline(design).label,)),
        Fact("Size", (_size(table),)),
        Fact("Seeds", _seeds(table)),
        Fact("Blocks", tuple(blocks)),
        Fact("Recipe", (study.recipe, *([f"changed for every run: {_settings(study.set)}"] if study.set else []))),
        Fact("Metric", (f"{wording.metric_title(study.metric)}, {study.metric.goal}",)),
        Fact("Judged by", (judged,)),
        Fact("Excluded", (wording.plural(design.excluded, "setting"),) if design.excluded else ()),
        Fact("Duplicates, not run twice", tuple(duplicates)),
    ]  # fmt: skip
    return [fact for fact in facts if fact.texts]


def provenance_facts(table: ResultTable) -> list[Fact]:
    """Return where the runs that ended came from; several texts under a name mean that the runs differ."""
    ended = [record for record in table.records.values() if record.result]
    facts = [Fact(name, _distinct(ended, read)) for name, read in ORIGINS.items()]
    return [fact for fact in facts if fact.texts]


def arms_view(table: ResultTable) -> TableView:
    """Return the arms: what each is called in figures, its settings, its role in each block."""
    names = wording.arm_names(table.design)
    rows = []
    for arm in table.design.arms:
        runs = tuple(record.run_id for record in table.arm_records(arm.id))
        roles = "; ".join(f"{role.text} in block {role.block + 1}" for role in arm.roles)
        rows.append(tuple(Cell(text, runs) for text in (names[arm.id], arm.label, roles, arm.id)))
    return TableView("arms", "Arms", (Column("called"), Column("settings"), Column("role"), Column("id")), tuple(rows))


def runs_view(table: ResultTable) -> TableView:
    """Return every run, arm by arm and seed by seed, with all that one asks of a single run."""
    names, metric = wording.arm_names(table.design), table.study.metric
    due = {record.run_id for record in looks.all_due(table)}
    rows = []
    for arm in table.design.arms:
        for seed, record in zip(table.design.seeds_of(arm.id), table.arm_records(arm.id), strict=True):
            value = wording.number(record.value(metric), wording.decimals(metric))
            status = record.status if record.run_id in due else "not needed"
            attempt = str(record.attempt or wording.NOTHING)
            texts = (names[arm.id], str(seed), record.run_id, status, value, attempt, _short_commit(record))
            rows.append(tuple(cell(text, (record.run_id,)) for text in texts))
    columns = (Column("arm"), Column("seed", True), Column("run"), Column("status"),
               Column(wording.metric_title(metric), True), Column("attempt", True), Column("commit"))  # fmt: skip
    changed = any(row[-1].text.endswith(CHANGED) for row in rows)
    notes = (f"{CHANGED} behind a commit: with uncommitted changes.",) if changed else ()
    return TableView("runs", "Every run", columns, tuple(rows), notes)


def repeat_view(table: ResultTable, known_as: str) -> TableView:
    """Return the command that repeats each arm, and so each row of the result table."""
    names, rows = wording.arm_names(table.design), []
    for arm in table.design.arms:
        runs = tuple(record.run_id for record in table.arm_records(arm.id))
        rows.append((Cell(names[arm.id], runs), Cell(rerun(known_as, arm), runs)))
    return TableView("commands", "How to repeat each row", (Column("arm"), Column("command")), tuple(rows))


def _size(table: ResultTable) -> str:
    """Say how many runs the study has: a range where seeds are spent as needed."""
    design, arms, last = table.design, len(table.design.arms), len(table.design.seeds)
    if design.first_seeds is None:
        return f"{wording.plural(arms, 'arm')} × {wording.seeds(design)} = {wording.plural(len(design.run_ids), 'run')}"
    first = len(design.first_seeds)
    return f"{wording.plural(arms, 'arm')} × {first} to {last} seeds = {arms * first} to {arms * last} runs"


def _seeds(table: ResultTable) -> tuple[str, ...]:
    """Name the seeds, and of how many arms not all are asked; where they are spent as needed, also how many were."""
    design = table.design
    if design.first_seeds is None:
        few = Counter(arm.seeds for arm in design.arms if arm.seeds is not None)
        fewer = (f"only the first {n} for {wording.plural(count, 'arm')}" for n, count in sorted(few.items()))
        return (", ".join(map(str, design.seeds)), *fewer)
    ended = [sum(record.status in ENDED for record in table.arm_records(arm.id)) for arm in design.arms]
    each = str(ended[0]) if len(set(ended)) == 1 else f"{min(ended)} to {max(ended)}"
    return (
        f"{len(design.first_seeds)} to {len(design.seeds)} seeds, spent as needed",
        f"so far {each} an arm, in {wording.plural(sum(ended), 'run')} that ended",
    )


def _commit(record: RunRecord) -> str:
    found = _provenance(record)
    if not found.get("commit"):
        return ""
    changed = f", with uncommitted changes (diff {found.get('diff') or 'of new files only'})"
    return f"{found['commit'][:12]}{changed if found.get('dirty') else ''}"


def _short_commit(record: RunRecord) -> str:
    found = _provenance(record)
    commit = str(found.get("commit") or "")[:8]
    return commit + CHANGED * bool(found.get("dirty")) if commit else wording.NOTHING


def _machine(record: RunRecord) -> str:
    found = _provenance(record).get("machine") or {}
    parts = [found.get("processor"), f"{found['cores']} cores" if found.get("cores") else None,
             f"{found['memory_gb']} GB" if found.get("memory_gb") else None, found.get("platform")]  # fmt: skip
    return ", ".join(part for part in parts if part)


def _packages(record: RunRecord) -> str:
    return ", ".join(f"{name} {number}" for name, number in (_provenance(record).get("packages") or {}).items())


def _provenance(record: RunRecord) -> dict[str, Any]:
    return record.result.get("provenance") or {}


ORIGINS: dict[str, Callable[[RunRecord], str]] = {
    "Commit": _commit,
    "Digest of the numeric code": lambda record: _provenance(record).get("code") or "",
    "Data fingerprint": lambda record: record.result.get("data_fingerprint") or "",
    "Packages": _packages,
    "Machine": _machine,
    "Device": lambda record: record.result.get("device") or "",
    "Scan back-end": lambda record: record.result.get("scan_backend") or "",
    "Threads a run": lambda record: str(record.result.get("threads") or ""),
}


def _distinct(records: list[RunRecord], read: Callable[[RunRecord], str]) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for record in records:
        text = read(record)
        counts[text] = counts.get(text, 0) + 1
    if len(counts) == 1:
        return tuple(text for text in counts if text)
    return tuple(f"{text or 'not recorded'} ({wording.plural(count, 'run')})" for text, count in counts.items())


def _block(block: Block) -> str:
    items = [_settings(item) if isinstance(item, dict) else str(item) for item in block.content]
    seeds = f" ({wording.plural(block.seeds, 'seed')})" if block.seeds else ""
    return f"{block.kind.replace('_', ' ')}: {'; '.join(items)}{seeds}"


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or "the recipe as it is"
