"""Published figures and related systems, each with its source; they are shown beside ours and never tested against them."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import TypeVar

from slws_lab.errors import UserError, nearest
from slws_lab.reports.view import Cell, Column, Group, TableView

Row = TypeVar("Row", "Published", "System")
ALL = "slws references lists all"
SEEN = ", SEEN"  # with it begins what the collector says of how a source was read
HEDGES = {  # what the collector says, and what the reader of a figure is told for it
    r"secondary": "secondary source",
    r"\bvalue [^;]*INFERRED": "value inferred",
    r"\bvariant [^;]*INFERRED": "variant inferred",
    r"from reviewer text": "parameters from a secondary source",
}


@dataclass(frozen=True)
class Published:
    """One published figure, as text as it was published; what the source does not say is empty.

    Attributes:
        key: What a study calls it in `report.references`; several figures may share it.
        system: Name of the method.
        variant: Which of its models or settings.
        dataset: What it was measured on.
        metric: What was measured.
        value: The figure.
        source: Where it stands, and behind it whether that is second-hand or something of it inferred.
        params_m: Parameters, in millions.
        flops_g: Cost of a forward pass in billions of operations, where the source counts so; else it stands in `flops`.
        resolution: Pixels of the images.
        epochs: Length of the training.
        unit: Unit of the value, where it is given.
        flops: The cost with its unit, in the source's words.
        latency: Time or memory, with the device.
        setting: How it was trained or tested: `supervised`, `zero-shot, web-scale`.
        rankable: `yes` or `no`: whether the setting is near enough to training from scratch on the same data to be ranked with it.
        order: Number of the related system that it belongs to; empty for the method's own field.
        remark: What the collector says of how it was found; no part of a printed table.
    """

    key: str
    system: str
    variant: str
    dataset: str
    metric: str
    value: str
    source: str
    params_m: str = ""
    flops_g: str = ""
    resolution: str = ""
    epochs: str = ""
    unit: str = ""
    flops: str = ""
    latency: str = ""
    setting: str = ""
    rankable: str = ""
    order: str = ""
    remark: str = ""


@dataclass(frozen=True)
class System:
    """A related system and how it could be covered; its figures are those `Published` of the same `order`.

    Attributes:
        order: Its number.
        short_name: What it is called.
        full_title: Title of its paper.
        year: When that came out.
        category: What it is about: `backbone`, `nas`.
        headline_results: What its paper reports first, in words.
        code_url: Where its code is.
        timm_models: Models of it in timm.
        how_it_could_be_covered: `baseline`, `recipe`, `search`, `metric`, `post` or `reference` (its published figure alone).
        note: How, in words: a proposal, not a feature.
        params_check: Parameters of timm's models, as counted.
        also_covers: A second way to cover it.
        timm_variants: Further variants in timm.
        timm_host_models: Models in timm that a method could be tried on.
        listing_date: When it was listed.
    """

    order: str
    short_name: str
    full_title: str
    year: str
    category: str
    headline_results: str
    code_url: str
    timm_models: str
    how_it_could_be_covered: str
    note: str
    params_check: str
    also_covers: str
    timm_variants: str
    timm_host_models: str
    listing_date: str


@dataclass(frozen=True)
class Filters:
    """Which figures are asked for; what is empty asks for all. Case does not matter.

    Attributes:
        text: What stands somewhere in the row.
        key: The key.
        dataset: The data set.
        metric: The metric.
    """

    text: str = ""
    key: str = ""
    dataset: str = ""
    metric: str = ""


def published(keys: Sequence[str], where: str = "") -> list[Published]:
    """Return the published rows of some keys, in the order of the keys.

    Args:
        keys: As in a study's `report.references`.
        where: The place of the keys in the study file, for the error.

    Raises:
        UserError: A key that no row has.
    """
    known = dict.fromkeys(row.key for row in figures())
    for key in keys:
        if key not in known:
            todo = nearest(key, known) or "slws references lists them"
            raise UserError(f"no published figures for '{key}'", where=where, allowed=", ".join(known), todo=todo)
    return [row for key in dict.fromkeys(keys) for row in figures() if row.key == key]


@cache
def figures() -> tuple[Published, ...]:
    """Return every published figure: those of the method's own field, then those of the related systems, whose source is their paper."""
    papers = {system.order: f"{system.full_title} ({system.year})" for system in systems()}
    own = (_parted(Published(**row)) for row in _rows("published_results.csv"))
    return (*own, *(Published(**row, source=papers[row["order"]]) for row in _rows("seed_references.csv")))


def _parted(row: Published) -> Published:
    """Part a row's source into what identifies it, with what a reader must know of it, and the collector's remark."""
    name, _, rest = row.source.partition(SEEN)
    first_hand = rest.partition("(primary for ")[2].partition(";")[0].split("/")
    if any(own and row.system.startswith(own) for own in first_hand):
        hedges = []
    else:
        hedges = [said for sign, said in HEDGES.items() if re.search(sign, rest)]
    return replace(row, variant=row.variant.replace("INFERRED", "inferred"),
                   source=name.strip() + (f" ({', '.join(hedges)})" if hedges else ""), remark=SEEN[2:] + rest)  # fmt: skip


@cache
def systems() -> tuple[System, ...]:
    """Return the related systems, as listed."""
    return tuple(System(**row) for row in _rows("seed_systems.csv"))


def find_figures(asked: Filters) -> list[Published]:
    """Return the figures that pass every filter.

    Raises:
        UserError: A filter that leaves none, with what there is and the nearest to it.
    """
    found = list(figures())
    tests: tuple[tuple[str, str, Callable[[Published], str]], ...] = (
        ("--key", asked.key, lambda row: row.key),
        ("--dataset", asked.dataset, lambda row: row.dataset),
        ("--metric", asked.metric, lambda row: row.metric),
    )
    for option, wanted, read in tests:
        left = [row for row in found if not wanted or read(row).casefold() == wanted.casefold()]
        if not left:
            raise _nothing(f"{option} {wanted}", wanted, map(read, found))
        found = left
    return _holding(asked.text, found, lambda row: (row.key, row.system), ALL)


def find_systems(text: str = "") -> list[System]:
    """Return the related systems in whose rows a text stands, all for an empty one.

    Raises:
        UserError: A text that no row holds, with all names and the nearest.
    """
    return _holding(text, systems(), lambda system: (system.short_name,), "slws references --systems lists all")


def figures_view(rows: Sequence[Published]) -> TableView:
    """Return published figures as a table of their own, by system; its notes are the sources with the collector's remarks."""
    sources = list(dict.fromkeys(map(_told, rows)))
    texts, groups = list[tuple[str, ...]](), list[Group]()
    for (key, system), own in groupby(rows, key=lambda row: (row.key, row.system)):
        groups.append(Group(len(texts), f"{key}: {system}"))
        texts += [
            (row.variant, row.dataset, row.metric, f"{row.value} {row.unit}".rstrip(), f"[{sources.index(_told(row)) + 1}]",
             row.params_m, _cost(row), row.resolution, row.epochs, row.setting, row.latency) for row in own]  # fmt: skip
    columns = (
        Column("variant"), Column("data set"), Column("metric"), Column("value", True), Column("source"),
        Column("params (M)", True), Column("FLOPs", True), Column("resolution", True), Column("epochs", True),
        Column("setting"), Column("latency"),
    )  # fmt: skip
    told = [bool(any(own)) for own in zip(*texts, strict=True)] or [True] * len(columns)
    return TableView(
        "references", "Published figures (their settings differ; not tested against ours)",
        tuple(column for column, some in zip(columns, told, strict=True) if some),
        tuple(tuple(Cell(text) for text, some in zip(row, told, strict=True) if some) for row in texts),
        tuple(f"[{i}] {source}" for i, source in enumerate(sources, 1)), tuple(groups),
    )  # fmt: skip


def systems_view(found: Sequence[System]) -> TableView:
    """Return related systems with what each could be covered as, and the keys of their published figures."""
    keys: dict[str, dict[str, None]] = {}
    for row in figures():
        keys.setdefault(row.order, {})[row.key] = None
    columns = (Column("system"), Column("year", True), Column("category"), Column("covered as"), Column("keys"))
    rows = tuple(
        tuple(map(Cell, (one.short_name, one.year, one.category, _ways(one), ", ".join(keys.get(one.order, ())))))
        for one in found
    )
    notes = ("How a system could be covered is a proposal; reference is its published figure alone.",)
    return TableView("systems", "Related systems", columns, rows, notes)


def _told(row: Published) -> str:
    return f"{row.source}; remark: {row.remark}" if row.remark else row.source


def _ways(system: System) -> str:
    return ", ".join(way for way in (system.how_it_could_be_covered, system.also_covers) if way)


def _cost(row: Published) -> str:
    return row.flops or (f"{row.flops_g} G" if row.flops_g else "")


def _holding(text: str, rows: Iterable[Row], name: Callable[[Row], tuple[str, ...]], todo: str) -> list[Row]:
    """Return the rows that hold a text; the first of a row's names is what is offered where none does."""
    given = list(rows)
    found = [row for row in given if text.casefold() in " ".join(vars(row).values()).casefold()]
    if not found:
        names: list[str] = [part for row in given for part in name(row)]
        offered = dict.fromkeys(name(row)[0] for row in given)
        raise _nothing(f"'{text}'", text, [*names, *" ".join(names).split()], ", ".join(offered), todo)
    return found


def _nothing(given: str, wanted: str, there: Iterable[str], allowed: str = "", todo: str = ALL) -> UserError:
    known = {one.casefold(): one for one in there if one}
    close = difflib.get_close_matches(wanted.casefold(), known, n=1)
    return UserError(f"no published row of {given}", allowed=allowed or ", ".join(dict.fromkeys(known.values())),
                     todo=f"did you mean '{known[close[0]]}'?" if close else todo)  # fmt: skip


def _rows(name: str) -> list[dict[str, str]]:
    text = (files("slws_lab.reports") / "cited" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))
