"""Published figures and related systems, each with its source; they are shown beside ours and never tested against them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import TypeVar

from slws_lab.errors import UserError, nearest
from slws_lab.reports.view import Cell, Column, Group, TableView

Row = TypeVar("Row", "Published", "System")


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
        source: Where it stands.
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
    own = (Published(**row) for row in _rows("published_results.csv"))
    return (*own, *(Published(**row, source=papers[row["order"]]) for row in _rows("seed_references.csv")))


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
    return _holding(asked.text, found, lambda row: (row.system, row.key))


def find_systems(text: str = "") -> list[System]:
    """Return the related systems in whose rows a text stands, all for an empty one.

    Raises:
        UserError: A text that no row holds, with the nearest name.
    """
    return _holding(text, systems(), lambda system: (system.short_name,))


def figures_view(rows: Sequence[Published]) -> TableView:
    """Return published figures as a table of their own, under each system what is published of it; the sources are its notes."""
    sources = list(dict.fromkeys(row.source for row in rows))
    texts, groups = list[tuple[str, ...]](), list[Group]()
    for (key, system), own in groupby(rows, key=lambda row: (row.key, row.system)):
        groups.append(Group(len(texts), f"{key}: {system}"))
        texts += [
            (row.variant, row.dataset, row.metric, f"{row.value} {row.unit}".rstrip(), f"[{sources.index(row.source) + 1}]",
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
    """Return related systems with how each could be covered, and the keys of their published figures."""
    keys: dict[str, dict[str, None]] = {}
    for row in figures():
        keys.setdefault(row.order, {})[row.key] = None
    columns = (
        Column("system"),
        Column("year", True),
        Column("category"),
        Column("covered as"),
        Column("how"),
        Column("keys"),
    )
    rows = tuple(
        tuple(
            map(
                Cell, (one.short_name, one.year, one.category, _ways(one), one.note, ", ".join(keys.get(one.order, ())))
            )
        )
        for one in found
    )
    notes = ("How a system could be covered is a proposal; reference is its published figure alone.",)
    return TableView("systems", "Related systems", columns, rows, notes)


def _ways(system: System) -> str:
    return ", ".join(way for way in (system.how_it_could_be_covered, system.also_covers) if way)


def _cost(row: Published) -> str:
    return row.flops or (f"{row.flops_g} G" if row.flops_g else "")


def _holding(text: str, rows: Iterable[Row], name: Callable[[Row], tuple[str, ...]]) -> list[Row]:
    given = list(rows)
    found = [row for row in given if text.casefold() in " ".join(vars(row).values()).casefold()]
    if not found:
        names: list[str] = []
        for row in given:
            names += name(row)
        raise _nothing(f"'{text}'", text, [*names, *" ".join(names).split()])
    return found


def _nothing(given: str, wanted: str, there: Iterable[str]) -> UserError:
    known = {one.casefold(): one for one in there if one}
    allowed = ", ".join(known.values()) if given.startswith("--") else ""
    todo = nearest(wanted.casefold(), known) or "slws references lists all"
    return UserError(f"no published row of {given}", allowed=allowed, todo=todo)


def _rows(name: str) -> list[dict[str, str]]:
    text = (files("slws_lab.reports") / "cited" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))
