"""What the settings of an arm mean: whether they match a pattern, what they are called, and which fields they set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from slws_lab.errors import UserError
from slws_lab.spec.levels import Level, Settings, brief, level_text
from slws_lab.spec.load import Study


def matches(settings: Settings, pattern: Mapping[str, Level | list[Level]]) -> bool:
    """Say whether settings hold every entry of a pattern; a list in it means any of its values."""
    return all(
        name in settings and (settings[name] in level if isinstance(level, list) else settings[name] == level)
        for name, level in pattern.items()
    )


def labels(settings: list[Settings]) -> list[str]:
    """Return a short, unique label an arm: what varies over the arms, by the last part of its path where that is clear."""
    names = list(dict.fromkeys(name for one in settings for name in one))
    varying = [name for name in names if len({repr(one.get(name, ...)) for one in settings}) > 1]
    clear = short_names(varying)
    texts = {name: _texts([one[name] for one in settings if name in one]) for name in varying}
    found = [
        ", ".join(f"{clear[n]}={texts[n][repr(one[n])]}" for n in varying if n in one) or "baseline" for one in settings
    ]
    times = Counter(found)
    return [text if times[text] == 1 else f"{text} #{i}" for i, text in enumerate(found)]


def _texts(levels: list[Level]) -> dict[str, str]:
    """Return each level's text by its repr; numbers with more digits than anybody writes are cut where that leaves them distinct."""
    whole = {repr(level): level_text(level) for level in levels}
    cut = {repr(level): brief(level) for level in levels}
    return cut if len(set(cut.values())) == len(set(whole.values())) else whole


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Map dotted fields to the last part of their path where that is clear (`model.name` to `model`), else to themselves."""
    short = {name: _short(name) for name in names}
    return {name: text if list(short.values()).count(text) == 1 else name for name, text in short.items()}


def changes(study: Study, settings: Settings) -> Settings:
    """Return the fields that settings change: those of their factors' levels, and over them those that they name.

    Raises:
        UserError: Two factors set a field to different values.
    """
    written = {name: level for name, level in settings.items() if name not in study.spec.factors}
    found: Settings = {}
    owner: dict[str, str] = {}
    for name in (name for name in settings if name not in written):
        factor = study.spec.factors[name]
        for field, value in (
            factor.subtrees[str(settings[name])] if factor.subtrees else {name: settings[name]}
        ).items():
            if field not in written and found.get(field, value) != value:
                raise UserError(f"factors '{owner[field]}' and '{name}' both set {field}",
                                where=study.source.where(("factors", name), of_key=True),
                                todo="let one of them set it, or exclude the arms that hold both")  # fmt: skip
            found[field], owner[field] = value, name
    return found | written


def unset(study: Study, settings: Settings) -> tuple[str, ...]:
    """Return the fields of factors that are off in these settings: their own defaults hold, not the recipe's values."""
    own = changes(study, settings)
    off = (factor.fields(name) for name, factor in study.spec.factors.items() if name not in settings)
    return tuple(field for fields in off for field in fields if field not in own)


def _short(name: str) -> str:
    *parents, leaf = name.split(".")
    return parents[-1] if leaf == "name" and parents else leaf
