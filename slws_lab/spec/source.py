"""A YAML file with the place of every key and value in it, so that an error can say where."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from slws_lab.errors import UserError, nearest
from slws_lab.spec.recipe import Spec

MAX_BYTES = 1_000_000
MAX_NODES = 100_000
MAX_DEPTH = 20

Loc = tuple[str | int, ...]
S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class Source:
    """A loaded file: its plain data and where each part of it stands (line and column from 1)."""

    path: Path
    data: dict[str, Any]
    keys: dict[Loc, tuple[int, int]] = field(repr=False)
    values: dict[Loc, tuple[int, int]] = field(repr=False)

    def where(self, loc: Loc, *, of_key: bool = False) -> str:
        """Say `file:line:column (key)` for a location, which may hold parts that the file does not (tags of unions)."""
        real = self._real(loc)
        marks = self.keys if of_key and real in self.keys else self.values
        line, column = marks.get(real, (1, 1))
        name = ".".join(map(str, real))
        return f"{self.path}:{line}:{column}" + (f" ({name})" if name else "")

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
        tree = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise UserError(_first_line(error), where=where, todo="mend the YAML there") from None
    except (ReaderError, YAMLError, ValueError) as error:
        raise UserError(f"not YAML: {_first_line(error)}", where=str(path)) from None
    except RecursionError:
        raise UserError("nested too deeply", where=str(path)) from None
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
    elif first["type"] == "missing":
        name = first["loc"][-1]
        given, todo = f"`{name}` is missing", f"add `{name}:`"
    elif first["type"] == "literal_error":
        given, allowed = f"{first['input']!r} is not allowed here", str(first["ctx"]["expected"])
        todo = nearest(str(first["input"]), allowed.replace("'", "").replace(" or ", ", ").split(", "))
    elif isinstance(first["input"], str | int | float | bool):
        given = f"{first['input']!r}: {given[0].lower()}{given[1:]}"
    return UserError(given + more, where=source.where(loc, of_key=of_key), allowed=allowed, todo=todo)


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
    return str(message).strip().split("\n", 1)[0]


class _Reader:
    """Turns ruamel's round-trip nodes into plain data and notes their places."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self.keys: dict[Loc, tuple[int, int]] = {}
        self.values: dict[Loc, tuple[int, int]] = {(): (1, 1)}

    def plain(self, node: Any, loc: Loc) -> Any:
        self.count += 1
        if len(loc) > MAX_DEPTH or self.count > MAX_NODES:
            raise self._error("nested too deeply or too large (an alias that contains itself?)", loc)
        tag = getattr(getattr(node, "tag", None), "value", None)
        if tag is not None:
            raise self._error(f"the tag {tag} is not allowed here", loc)
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
        return UserError(given, where=f"{self.path}:{line}:{column} ({'.'.join(map(str, loc))})")
