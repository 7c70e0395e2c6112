"""A YAML file with the place of every key and value in it, so that an error can say where."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.composer import Composer, ComposerError, MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.reader import ReaderError

from slws_lab.errors import UserError, nearest
from slws_lab.spec.recipe import Spec

MAX_BYTES = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 20
MAX_SHOWN = 300

Loc = tuple[str | int, ...]
S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class Source:
    """A loaded file: its plain data and where each part of it stands (line and column from 1)."""

    path: Path
    data: dict[str, Any]
    keys: dict[Loc, tuple[int, int]] = field(repr=False)
    values: dict[Loc, tuple[int, int]] = field(repr=False)
    aliases: Mapping[Loc, Loc] = field(default_factory=dict, repr=False)

    def where(self, loc: Loc, *, of_key: bool = False) -> str:
        """Say `file:line:column (key)` for a location, which may hold parts that the file does not (tags of unions)."""
        real = self._real(loc)
        marks = self.keys if of_key and real in self.keys else self.values
        line, column = marks.get(real, (1, 1))
        name = ".".join(map(str, real))
        return f"{self.path}:{line}:{column}" + (f" ({_short(name)})" if name else "")

    def where_field(self, field: str) -> str:
        """Say where a dotted field stands, or the nearest thing around it; list items are numbers, keys may hold dots."""
        loc: Loc = ()
        parts = field.split(".")
        while parts:
            names = [(n, ".".join(parts[:n])) for n in range(len(parts), 0, -1)]
            steps = [(n, int(name) if name.isdigit() else name) for n, name in names]
            taken, step = next(((n, step) for n, step in steps if (*loc, step) in self.values), (1, None))
            loc, parts = (loc if step is None else (*loc, step)), parts[taken:]
        return self.where(loc)

    def _real(self, loc: Loc) -> Loc:
        """Return the part of a location that the file holds, after what `aliases` says is written elsewhere."""
        for known, written in self.aliases.items():
            if loc[: len(known)] == known:
                loc = written + loc[len(known) :]
        real: Loc = ()
        for part in loc:
            if (*real, part) in self.values:
                real = (*real, part)
        return real


def read(path: Path) -> Source:
    """Read a YAML 1.2 file whose top is a mapping; nothing in it is ever executed.

    Raises:
        UserError: Absent, unreadable, not text, not YAML, too large, or holding what no recipe or study holds.
    """
    text = _text(path)
    try:
        tree = _yaml().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        deep = isinstance(error, MaxDepthExceededError)
        given = f"nested more than {MAX_DEPTH} deep" if deep else _first_line(error)
        raise UserError(given, where=where, todo="mend the YAML there") from None
    except (ReaderError, YAMLError, ValueError) as error:
        raise UserError(f"not YAML: {_first_line(error)}", where=str(path)) from None
    if tree is None:
        raise UserError("the file is empty", where=f"{path}:1:1", todo="`slws schema` prints what it may hold")
    if not isinstance(tree, CommentedMap):
        raise UserError("the top of the file is not a mapping of keys to values", where=f"{path}:1:1")
    reader = _Reader(path)
    return Source(path, reader.plain(tree, ()), reader.keys, reader.values)


def validate(model: type[S], source: Source) -> S:
    """Validate a file against a spec; a mistake becomes one `UserError` with its place."""
    try:
        return model.model_validate(source.data)
    except ValidationError as error:
        raise explain(error, source) from None


def explain(error: ValidationError, source: Source, at: Loc | None = None) -> UserError:
    """Turn pydantic's errors into one message: the first, with its place, and how many more there are.

    `at` is the place in `source` where the value came from, if it is not the error's own location.
    """
    errors = error.errors(include_url=False)
    first = errors[0]
    loc: Loc = first["loc"] if at is None else at
    more = "" if len({e["loc"][:3] for e in errors}) == 1 else f" (and {len(errors) - 1} more in this file)"
    given, allowed, todo = first["msg"].removeprefix("Value error, "), "", ""
    of_key = False
    if first["type"] == "unknown_key":
        key, names = str(first["ctx"]["key"]), list(first["ctx"]["allowed"])
        given, allowed, todo = f"unknown key '{key}'", ", ".join(names), nearest(key, names)
        loc, of_key = (loc if at else (*loc, key)), True
    elif first["type"] == "misplaced":
        loc = (*loc, *first["ctx"]["at"])
    elif first["type"] == "missing":
        name = first["loc"][-1]
        given, todo = f"`{name}` is missing", f"add `{name}:`"
    elif first["type"] == "literal_error":
        given, allowed = f"{first['input']!r} is not allowed here", str(first["ctx"]["expected"])
        todo = nearest(str(first["input"]), allowed.replace("'", "").replace(" or ", ", ").split(", "))
    elif first["type"] == "union_tag_invalid":
        given, allowed = f"{first['ctx']['tag']!r} is not allowed here", str(first["ctx"]["expected_tags"])
        todo = nearest(first["ctx"]["tag"], allowed.replace("'", "").split(", "))
    elif first["type"] == "union_tag_not_found":
        name = str(first["ctx"]["discriminator"]).strip("'")
        given, todo = f"`{name}` is missing", f"add `{name}:`"
    elif first["type"] == "too_short":
        least = first["ctx"]["min_length"]
        given = f"nothing is given where at least {least} item{'s' if least > 1 else ''} must be"
    elif first["type"] == "model_type":
        given = f"{first['input']!r}: keys with values are expected here"
    elif isinstance(first["input"], str | int | float | bool):
        given = f"{first['input']!r}: {given[0].lower()}{given[1:]}"
    return UserError(_short(given) + more, where=source.where(loc, of_key=of_key), allowed=allowed, todo=todo)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"larger than {MAX_BYTES} bytes", where=str(path))
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError("not a text file", where=str(path), allowed="YAML in UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        near = nearest(path.name, [p.name for p in path.parent.glob("*.yaml")]) if path.parent.is_dir() else ""
        raise UserError(f"cannot read the file: {reason}", where=str(path), todo=near or "check the path") from None


def _first_line(error: Exception) -> str:
    message = getattr(error, "problem", None) or str(error)
    return _short(str(message).strip().split("\n", 1)[0])


def _short(text: str) -> str:
    """Cut what is too long for a message, and write out what cannot be seen: in a file may stand anything."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:MAX_SHOWN])
    return shown if len(text) <= MAX_SHOWN else f"{shown} ... ({len(text):,} characters)"


def _yaml() -> YAML:
    """Return a loader that keeps places, and stops at what is nested too deeply or means too much, before anything is built of it."""
    yaml = YAML(typ="rt", pure=True)
    yaml.max_depth = MAX_DEPTH + 1
    yaml.Composer = _Composer
    return yaml


class _Composer(Composer):
    """Refuses tags, aliases within themselves, and too many nodes; an alias counts as all that it stands for.

    A few lines of aliases of aliases can stand for more than a memory holds.
    """

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader=loader)
        self.warn_double_anchors = False  # an anchor may be given anew, and a warning is not for users
        self._count = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event, before = self.parser.peek_event(), self._count
        alias = isinstance(event, AliasEvent)
        if not alias and event.ctag is not None:
            raise ComposerError(None, None, f"the tag {event.ctag} is not allowed here", event.start_mark)
        node = super().compose_node(parent, index)
        if alias and id(node) not in self._sizes:
            raise ComposerError(
                None, None, f"the alias *{event.anchor} stands within what it stands for", event.start_mark
            )
        self._count += self._sizes.get(id(node), 1)
        self._sizes.setdefault(id(node), self._count - before)
        if parent is not None and index is None and not isinstance(node, ScalarNode):
            raise ComposerError(None, None, "a key is a word, no list or mapping", event.start_mark)
        if self._count > MAX_NODES:
            raise ComposerError(None, None, f"more than {MAX_NODES:,} values, aliases written out", event.start_mark)
        return node


class _Reader:
    """Turns ruamel's round-trip nodes into plain data and notes their places."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: dict[Loc, tuple[int, int]] = {}
        self.values: dict[Loc, tuple[int, int]] = {(): (1, 1)}

    def plain(self, node: Any, loc: Loc) -> Any:
        if isinstance(node, CommentedMap):
            return {self._key(node, key, loc): self.plain(item, (*loc, key)) for key, item in node.items()}
        if isinstance(node, CommentedSeq):
            return [self._item(node, i, item, loc) for i, item in enumerate(node)]
        if isinstance(node, bool) or node is None:
            return node
        for kind in (int, float, str):
            if isinstance(node, kind):
                if isinstance(node, float) and not math.isfinite(node):
                    raise self._error(f"{float(node)} is not a finite number", loc)
                if isinstance(node, int) and abs(node) >= 2**63:
                    raise self._error(f"{int(node)} is too large a number", loc)
                return kind(node)
        raise self._error(f"a {type(node).__name__} is not allowed here; quote it if it is text", loc)

    def _key(self, node: CommentedMap, key: Any, loc: Loc) -> str:
        if not isinstance(key, str):
            raise self._error(f"key {key!r} is not text; quote it", loc)
        try:
            line, column = node.lc.key(key)
            at_line, at_column = node.lc.value(key)
        except KeyError:  # a key that came in by a YAML merge has no place of its own
            line, column = at_line, at_column = node.lc.line, node.lc.col
        self.keys[(*loc, key)] = (line + 1, column + 1)
        self.values[(*loc, key)] = (at_line + 1, at_column + 1)
        return str(key)

    def _item(self, node: CommentedSeq, i: int, item: Any, loc: Loc) -> Any:
        line, column = node.lc.item(i)
        self.values[(*loc, i)] = (line + 1, column + 1)
        return self.plain(item, (*loc, i))

    def _error(self, given: str, loc: Loc) -> UserError:
        line, column = self.values.get(loc, (1, 1))
        return UserError(_short(given), where=f"{self.path}:{line}:{column} ({_short('.'.join(map(str, loc)))})")
