"""Fuzz what reads files: malformed studies, recipes and journals must be refused in one message or read correctly, and nothing else.

OMP_NUM_THREADS=1 python benchmarks/fuzz.py [--files 2000] [--seed 0] [--out benchmarks/results/NAME.md]

Every file is one of this repository's studies and recipes, or a journal made here, with one to three mutations of a kind. A study is
loaded and expanded, a recipe is loaded and its stages resolved, a journal is read, appended to and read again. *Refused* is one
`UserError` (of a journal: reading stops before the first bad line), *loaded* is a load that the checks below find sound; any other
exception, an unsound load, and more than `LIMIT_S` of processor time are *other*, and printed with what reproduces them.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from slws_lab.errors import UserError
from slws_lab.spec import Recipe, expand, load_any_recipe, load_study, parse_recipe, resolve_stages
from slws_lab.tracking import journal

ROOT = Path(__file__).parents[1]
LIMIT_S = 10
REFUSED, LOADED = "refused", "loaded"
Mutation = Callable[[bytes, random.Random], bytes]

STRANGE_VALUES = (
    "", "~", "null", "true", "yes", "[]", "{}", "[1, 2]", "{a: b}", '"text"', "'", "-1", "0", "1.5", ".nan", "-.inf", "1e400",
    "-1e-400", "1e", "0x7fffffffffffffffff", "0o17", "0b1", "1_000", "1:30", "9" * 40, "9" * 5000,
    "2026-01-01", "2026-99-99", "2026-01-01T99:00:00Z",
    "!!python/object/apply:os.system [true]", "!!binary aGk=", "!!binary *", "!!set {a}", "!!omap [a: 1]", "!!int x",
    "!!float x", "!!timestamp x", "!mine {a: 1}",
    "*nobody", "? a", "- - -", "|", ">-", "%YAML 9.9", "<<", "../../../etc/passwd", "~root", "$(id)", "a\\0b", "<b>&amp;",
)  # fmt: skip
STRANGE_CHARACTERS = (
    "\x00", "\x07", "\x1b[31m", "\x7f", "\x85", "\xa0", "\u2028", "\u202e", "\ufeff", "\ufffe", "\U0001f600", "e\u0301",
    "\uff11", "\r", "\ud800",
)  # fmt: skip
STRANGE_KEYS = ('""', '"step"', '"../../x"', '"a\\u001b[31m"', '"metrics"', "1", '"\\ud800"')
STRANGE_JSON = (
    "null", "true", "[]", "{}", "-1", "1.5", "1e400", "-1e400", "NaN", "Infinity", "-Infinity", '"nan"', '"inf"', '"1_0"',
    '" 3 "', '"x"', '""', "9" * 40, "1" + "0" * 400, "9" * 5000,
    "[" * 100_000, '{"a":' * 100_000, '"\\ud800"', '"\\u0000"', "1e", "0x1", "--1",
)  # fmt: skip


def flip(text: bytes, draw: random.Random) -> bytes:
    """Change a byte to any other."""
    at = draw.randrange(len(text)) if text else 0
    return text[:at] + bytes([draw.randrange(256)]) + text[at + 1 :]


def cut(text: bytes, draw: random.Random) -> bytes:
    """Leave out the end, or a part in the middle."""
    first, last = sorted(draw.randrange(len(text) + 1) for _ in range(2))
    return text[:first] if draw.randrange(2) else text[:first] + text[last:]


def repeat(text: bytes, draw: random.Random) -> bytes:
    """Give a line, and so mostly a key, once more, here or elsewhere."""
    lines = text.splitlines(keepends=True) or [b""]
    lines.insert(draw.randrange(len(lines) + 1), draw.choice(lines))
    return b"".join(lines)


def retype(text: bytes, draw: random.Random) -> bytes:
    """Replace a value by one of another type: other numbers, dates, tags, paths, nothing."""
    return _replaced(text, rb"(?<=[:\[,-] )[^\s,\[\]{}#][^,\]}#\n]*", draw.choice(STRANGE_VALUES), draw)


def renumber(text: bytes, draw: random.Random) -> bytes:
    """Replace a number by a huge, tiny or strange one."""
    whole, real = draw.choice((-1, 1)) * 10 ** draw.randrange(400), f"{draw.uniform(-9, 9)}e{draw.randrange(-400, 400)}"
    return _replaced(text, rb"\b\d[\d.e-]*\b", draw.choice((str(whole), real, "9" * 5000)), draw)


def strange(text: bytes, draw: random.Random) -> bytes:
    """Insert a character that text rarely holds."""
    at = draw.randrange(len(text) + 1)
    return text[:at] + draw.choice(STRANGE_CHARACTERS).encode(errors="surrogatepass") + text[at:]


def tab(text: bytes, draw: random.Random) -> bytes:
    """Replace blanks by a tab, or add or take away indentation."""
    return _replaced(text, rb"(?m)^ +| +", draw.choice(("\t", " \t", "", " ", "     ", "\n")), draw)


def anchor(text: bytes, draw: random.Random) -> bytes:
    """Anchor a value and use the anchor elsewhere: as a value, a key, by a merge, or within itself."""
    anchored = _replaced(text, rb"(?<=: )(?=\S)|(?<=- )(?=\S)", "&a ", draw)
    kind = draw.randrange(4)
    if kind == 0:
        return _replaced(anchored, rb"(?<=[:\[,] )(?!&a )[^\s,\[\]{}#][^,\]}#\n]*", "*a", draw)
    if kind == 1:
        return _replaced(anchored, rb"(?m)^( *)(?=\w+:)", "<<: *a\n", draw)
    if kind == 2:
        return _replaced(anchored, rb"(?<=&a )[\[{]", "[*a, ", draw)
    return _replaced(anchored, rb"(?m)^ *\w[\w.]*(?=:)", "? *a\n", draw)


def bomb(text: bytes, draw: random.Random) -> bytes:
    """Put a value there that means far more than it says: aliases of aliases, merges of merges, deep nesting."""
    width, depth, deep = draw.randrange(2, 12), draw.randrange(2, 40), 10 ** draw.randrange(1, 5)
    aliases = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]\n" for i in range(1, depth)]
    merges = [f"b{i}: &b{i} {{k{i}: 1, <<: [{', '.join([f'*b{i - 1}'] * width)}]}}\n" for i in range(1, depth)]
    laughs, joined = "".join(["a0: &a0 [x]\n", *aliases]), "".join(["b0: &b0 {x: 1}\n", *merges])
    nested = "a: " + draw.choice(
        ("[" * deep + "]" * deep, "{a: " * deep + "}" * deep, "\n- " + "- " * deep, "!!x " * deep)
    )
    text = _replaced(text, rb"(?<=: )\S.*", draw.choice((f"*a{depth - 1}", f"*b{depth - 1}", nested)), draw)
    return draw.choice((laughs, joined, laughs + joined, nested + "\n")).encode() + text


def splice(text: bytes, draw: random.Random) -> bytes:
    """Move a part elsewhere."""
    first, last = sorted(draw.randrange(len(text) + 1) for _ in range(2))
    rest = text[:first] + text[last:]
    at = draw.randrange(len(rest) + 1)
    return rest[:at] + text[first:last] + rest[at:]


def rejson(text: bytes, draw: random.Random) -> bytes:
    """Replace a JSON value by one of another type, size or depth."""
    return _replaced(text, rb'(?<=": )[^,}]+', draw.choice(STRANGE_JSON), draw)


def rekey(text: bytes, draw: random.Random) -> bytes:
    """Rename a JSON key: to nothing, to another that is there, to a path, to what escapes mean something in."""
    return _replaced(text, rb'"[^"]+"(?=:)', draw.choice(STRANGE_KEYS), draw)


YAML_KINDS: dict[str, Mutation] = {
    "a byte changed": flip, "truncated, or a part missing": cut, "a line twice": repeat, "another type": retype,
    "huge and strange numbers": renumber, "strange characters": strange, "tabs and indentation": tab,
    "anchors, aliases, merges": anchor, "bombs: aliases, merges, nesting": bomb, "a part moved": splice,
}  # fmt: skip
JOURNAL_KINDS: dict[str, Mutation] = {
    "a byte changed": flip, "truncated, or a part missing": cut, "a line twice": repeat, "another type": rejson, "other keys": rekey,
    "huge and strange numbers": renumber, "strange characters": strange, "a part moved": splice,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One file to try.

    Attributes:
        reader: study, recipe or journal.
        kind: Name of the kind of mutation.
        origin: What was mutated.
        content: The file's bytes.
    """

    reader: str
    kind: str
    origin: str
    content: bytes


class Unsound(Exception):
    """A file was loaded, and not as it must be."""


class Hang(BaseException):
    """Reading a file took too long; no `except Exception` may swallow this."""


def originals() -> dict[str, dict[str, bytes]]:
    """Return reader -> name -> content of the sound files that are mutated."""
    studies = [*sorted((ROOT / "studies").glob("*.yaml")), ROOT / "tests/golden/design_section_6.yaml"]
    recipes = sorted((ROOT / "experiments").glob("*.yaml"))
    return {
        "study": {path.name: path.read_bytes() for path in studies},
        "recipe": {path.name: path.read_bytes() for path in recipes},
        "journal": {f"{epochs} epochs": _journal(epochs) for epochs in (1, 5, 30)},
    }


def case(reader: str, kind: str, origin: str, draw: random.Random) -> Case:
    """Mutate a file once to three times."""
    content = originals_of(reader)[origin]
    mutation = (JOURNAL_KINDS if reader == "journal" else YAML_KINDS)[kind]
    for _ in range(1 + draw.randrange(3)):
        content = mutation(content, draw)
    return Case(reader, kind, origin, content)


def originals_of(reader: str) -> dict[str, bytes]:
    """Return the sound files of a reader, read once."""
    if not _ORIGINALS:
        _ORIGINALS.update(originals())
    return _ORIGINALS[reader]


_ORIGINALS: dict[str, dict[str, bytes]] = {}


def cases(count: int, seed: int) -> Iterator[Case]:
    """Yield so many cases: readers, kinds and originals in turn, each case's draws from a generator of its own."""
    kinds = [(reader, kind) for kind in YAML_KINDS for reader in ("study", "recipe")]
    kinds += [("journal", kind) for kind in JOURNAL_KINDS]
    for number, (reader, kind) in enumerate(islice(cycle(kinds), count)):
        draw = random.Random(f"{seed}/{number}")
        yield case(reader, kind, draw.choice(sorted(originals_of(reader))), draw)


def try_it(one: Case, folder: Path) -> str:
    """Read a case as a user's command would; return `REFUSED` or `LOADED`.

    Args:
        one: The case.
        folder: An empty project, as `prepare` makes it.

    Raises:
        Unsound: It was loaded wrongly.
        Exception: Whatever else reading raises; none should.
    """
    if one.reader == "journal":
        return _try_journal(one, folder / "journal.jsonl")
    path = folder / ("studies" if one.reader == "study" else "experiments") / "mutated.yaml"
    path.write_bytes(one.content)
    try:
        if one.reader == "study":
            _check_design(path)
        else:
            _check_recipe(path)
    except UserError as error:
        if len(str(error)) > 5000:
            raise Unsound(f"a message of {len(str(error))} characters") from None
        return REFUSED
    return LOADED


def prepare(folder: Path) -> Path:
    """Make a folder a project that holds this repository's recipes; return it."""
    (folder / "studies").mkdir()
    (folder / "experiments").mkdir()
    (folder / "pyproject.toml").touch()
    for name, content in originals_of("recipe").items():
        (folder / "experiments" / name).write_bytes(content)
    return folder


def _check_design(path: Path) -> None:
    design = expand(load_study(path))
    names = {arm.id: arm.recipe.title for arm in design.arms}
    if len(names) < len(design.arms) or any(not re.fullmatch(r"[\w.-]+", name) for name in names.values()):
        raise Unsound(f"arms {names}")


def _check_recipe(path: Path) -> None:
    recipe = load_any_recipe(path)
    for one in resolve_stages(recipe) if isinstance(recipe, Recipe) else (recipe,):
        if parse_recipe(one.model_dump(mode="json")) != one:
            raise Unsound("a recipe that is another one when it is written and read again")


def _try_journal(one: Case, path: Path) -> str:
    """Read, append, read again: what was read before stays, and the new line is the last."""
    path.write_bytes(one.content)
    before = list(journal.read(path))
    for entry in before:
        sound = type(entry.step) is int and math.isfinite(entry.time)
        if not sound or any(type(value) is not float for value in entry.metrics.values()):
            raise Unsound(f"read {entry}")
    journal.points(iter(before))
    whole = bool(before) and before[-1].end == len(one.content)
    journal.append(path, 10**6, 1e9, {"val/top1": 50.0})
    after = list(journal.read(path))
    if repr(after[:-1]) != repr(before) or after[-1].step != 10**6 or after[-1].end != path.stat().st_size:
        raise Unsound("an appended line does not follow what was read before")
    return LOADED if whole else REFUSED


def _journal(epochs: int) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        for epoch in range(1, epochs + 1):
            values = {"train/loss": 2.3 / epoch, "val/top1": 100 - 80 / epoch}
            values["val/loss"] = math.inf if epoch == 3 else 0.5
            journal.append(path, epoch, 1.7e9 + epoch, values)
        return path.read_bytes()


def _replaced(text: bytes, pattern: bytes, by: str, draw: random.Random) -> bytes:
    """Replace one place that matches a pattern; without any, put the text at the start."""
    found = list(re.finditer(pattern, text))
    if not found:
        return by.encode() + text
    place = draw.choice(found)
    return text[: place.start()] + by.encode() + text[place.end() :]


def _out_of_time(*_: object) -> None:
    raise Hang(f"more than {LIMIT_S} s of processor time")


def run(count: int, seed: int) -> tuple[dict[tuple[str, str], Counter[str]], list[str], float]:
    """Try all cases; return the counts by reader and kind, what went wrong, and the longest time in seconds."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    wrong, longest = [], 0.0
    signal.signal(signal.SIGVTALRM, _out_of_time)
    with TemporaryDirectory() as name:
        folder = prepare(Path(name))
        for number, one in enumerate(cases(count, seed)):
            started = time.process_time()
            signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
            try:
                ended = try_it(one, folder)
            except (Exception, Hang) as error:
                ended = "other"
                what = f"{type(error).__name__}: {str(error)[:200]}"
                wrong.append(f"case {number} of seed {seed} ({one.reader}, {one.kind}, {one.origin}): {what}")
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            longest = max(longest, time.process_time() - started)
            counts.setdefault((one.reader, one.kind), Counter())[ended] += 1
    return counts, wrong, longest


def report(count: int, seed: int) -> Iterator[str]:
    """Yield the lines of the report."""
    counts, wrong, longest = run(count, seed)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield f"# Malformed files\n\n`python benchmarks/fuzz.py --files {count} --seed {seed}`, Python {sys.version.split()[0]}.\n"
    yield "| file | kind of mutation | tried | refused | loaded | other |\n|---|---|---:|---:|---:|---:|"
    for (reader, kind), found in sorted(counts.items()):
        yield f"| {reader} | {kind} | {found.total()} | {found[REFUSED]} | {found[LOADED]} | {found['other']} |"
    total = sum(counts.values(), Counter[str]())
    yield f"| all | | {total.total()} | {total[REFUSED]} | {total[LOADED]} | {total['other']} |"
    yield f"\nLongest: {longest:.2f} s of processor time. The process's largest memory: {peak_mb:.0f} MB."
    yield from ("", *(f"- {line}" for line in wrong)) if wrong else ()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = []
    for line in report(options.files, options.seed):
        print(line, flush=True)
        lines.append(line)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
