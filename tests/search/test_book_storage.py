"""Where a book is kept: which one a study opens, and what is said of a file that is damaged, locked or not there."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

import pytest
from search.books import FIRST, SPACE, STUDY, Desk, draw

from slws_lab.errors import UserError
from slws_lab.search import storage
from slws_lab.search.book import Book, name_of
from slws_lab.tracking import Workspace


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have SQLite give up at once."""
    monkeypatch.setattr(storage, "WAIT_S", 0.05)
    yield


def test_sqlite_and_a_journal_hold_the_same(desk: Desk) -> None:
    found = []
    for kept in ("sqlite", "journal"):
        book = desk.book(desk.study(keys=f"  storage: {kept}\n{FIRST}"))
        draw(book, 6)
        trial = book.ask()
        assert trial is not None
        book.note_figures(trial.number, {"params": 7.0})
        book.report(trial.number, {1: 0.25, 2: 0.5})
        found.append([(t.number, t.settings, t.state, t.values, t.curve, t.figures) for t in book.trials()])
    assert found[0] == found[1]
    assert sorted(path.name for path in (desk.folder / ".slws/searches").iterdir()) == ["optuna.db", "optuna.log"]


def test_looking_at_a_search_that_has_not_begun_makes_nothing(desk: Desk) -> None:
    study = desk.study()
    assert Book.of(study, Workspace(desk.folder / ".slws")).trials() == []
    assert not (desk.folder / ".slws").exists()


@pytest.mark.parametrize("what", ["  trials: 200\n", "  seed: 9\n", "  sampler: random\n", "  pruner: median\n"])
def test_a_search_goes_on_when_what_is_changed_leaves_its_values_alone(desk: Desk, what: str) -> None:
    assert name_of(desk.study()) == name_of(
        desk.study(SPACE.replace("  trials: 100\n", what if "trials" in what else f"  trials: 100\n{what}"))
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[0.1, 0.7]", "[0.1, 0.6]"),
        ("seeds: 1", "seeds: 2"),
        ("{name: val/top1}", "{name: val/top1, at: best}"),
        ("  trials: 100\n", "  trials: 100\n  objectives: [metric, params]\n"),
        ("  trials: 100\n", "  trials: 100\n  constraints: {params: 5}\n"),
        ("recipe: ../experiments/tiny.yaml", "recipe: ../experiments/tiny.yaml\nset: {train.epochs: 3}"),
    ],
)
def test_a_search_begins_anew_when_its_values_would_mean_something_else(desk: Desk, old: str, new: str) -> None:
    changed = (STUDY + SPACE).replace(old, new)
    assert changed != STUDY + SPACE
    assert name_of(desk.study()) != name_of(desk.study("", head=changed))


@pytest.mark.parametrize(("kept", "file"), [("sqlite", "optuna.db"), ("journal", "optuna.log")])
def test_a_damaged_file_gives_one_message_and_stays(desk: Desk, kept: str, file: str) -> None:
    study = desk.study(keys=f"  storage: {kept}\n")
    draw(desk.book(study), 2)
    path = desk.folder / ".slws/searches" / file
    whole = path.read_bytes()
    for damaged in (b"no storage at all\n" * 300, whole[:700] + b"\xff\x00damage\n" + whole[800:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="cannot be used") as caught:
            book = Book.of(study, Workspace(desk.folder / ".slws"))
            book.trials()
            book.begin()
            draw(book, 1)
        assert file in str(caught.value) and "\n" not in caught.value.given
        assert path.read_bytes() == damaged
        path.write_bytes(whole)
    assert len(desk.book(study).trials()) == 2


def test_a_file_that_another_program_locks_gives_one_message_whatever_is_done(desk: Desk, soon: None) -> None:
    study = desk.study()
    book = desk.book(study)
    trial = book.ask()
    assert trial is not None
    doings: list[Callable[[], object]] = [
        book.trials, book.ask, book.orphans, lambda: book.report(0, {1: 0.5}), lambda: book.complete(0, [0.5]),
        lambda: book.note_figures(0, {"params": 5.0}), lambda: book.fail(0, "x"), lambda: desk.book(study),
        lambda: book.retry(trial),
    ]  # fmt: skip
    with sqlite3.connect(desk.folder / ".slws/searches/optuna.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        for doing in doings:
            with pytest.raises(UserError, match="locked"):
                doing()
        other.rollback()
    assert [trial.state for trial in book.trials()] == ["running"]
    book.complete(0, [0.5])
    assert [trial.values for trial in desk.book(study).trials()] == [(0.5,)]


def test_a_folder_that_cannot_be_made_gives_one_message(desk: Desk) -> None:
    study = desk.study()
    (desk.folder / ".slws").write_text("in the way")
    with pytest.raises(UserError, match="cannot be used"):
        desk.book(study)


def test_a_database_that_is_not_there_is_named_without_its_password(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_DATABASE", "postgresql://me:secret@127.0.0.1:1/none")
    with pytest.raises(UserError) as caught:
        desk.book(desk.study(keys="  storage: $OUR_DATABASE\n"))
    assert "secret" not in str(caught.value) and "is the server up" in caught.value.todo
    monkeypatch.setenv("OUR_DATABASE", "redis://there")
    with pytest.raises(UserError, match="no address of a database"):
        desk.book(desk.study(keys="  storage: $OUR_DATABASE\n"))
