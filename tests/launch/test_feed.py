"""Lists that grow: what a reader makes of each state of the file, and what a job takes from them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from full_disk import room_for

from slws_lab.launch import Feed, feed
from slws_lab.launch.feed import Line, Listed, pause_s
from slws_lab.tracking import Attempt, Claim
from slws_lab.tracking.files import Damaged, NotWritten
from slws_lab.worker.job import awaited


@pytest.fixture
def fed(tmp_path: Path) -> Feed:
    return Feed.create(Feed.name(tmp_path / "jobs"))


def runs(folder: Path, count: int) -> list[Path]:
    paths = [folder / "runs" / f"r{i}" / "attempt-1" for i in range(count)]
    for path in paths:
        path.mkdir(parents=True)
    return paths


def test_a_list_says_what_is_wanted_in_the_order_in_which_it_was_last_asked_for(fed: Feed) -> None:
    a, b, c = (Path(name) for name in "abc")
    fed.add([a, b, c])
    fed.drop(a)
    fed.drop(b)
    fed.add([a])
    found = Feed.read(fed.path)
    assert (list(found.wanted), list(found.known), found.open) == ([c, a], [a, b, c], True)
    fed.close()
    assert not Feed.read(fed.path).open


def test_a_list_is_read_on_from_where_it_was_left_and_never_half_a_line(fed: Feed) -> None:
    listed = Listed(fed.path, [Path("first")])
    fed.add([Path("a")])
    whole = fed.path.read_bytes()
    seen = []
    for end in (5, len(whole) - 1, len(whole)):
        fed.path.write_bytes(whole[:end])
        seen.append((listed.look(), [str(path) for path in listed.wanted]))
    assert seen == [(False, ["first"]), (False, ["first"]), (True, ["first", "a"])]
    assert listed.look() is False


def test_names_with_any_character_come_back_as_they_were(fed: Feed) -> None:
    odd = Path("/a b/\n\u2028\x85/ü")
    fed.add([odd])
    assert list(Feed.read(fed.path).wanted) == [odd]


def test_a_list_that_is_gone_has_ended_and_one_with_another_content_is_damaged(fed: Feed) -> None:
    listed = Listed(fed.path)
    fed.remove()
    assert (listed.look(), listed.open) == (True, False)
    for line in (b"no json\n", b"[1]\n", b'{"add": 3}\n', b'{"add": "a", "drop": "b"}\n', b'{"what": "a"}\n'):
        fed.path.write_bytes(line)
        with pytest.raises(Damaged, match="is damaged"):
            Feed.read(fed.path)


def test_a_list_has_one_writer_and_what_a_full_disk_refuses_is_not_in_it(fed: Feed) -> None:
    with pytest.raises(ValueError, match="one writer"):
        Feed.create(fed.path)
    fed.add([Path("a")])
    with room_for(fed.path.stat().st_size + 9), pytest.raises(NotWritten):
        fed.add([Path("b"), Path("c")])
    fed.add([Path("d")])
    assert list(Feed.read(fed.path).wanted) == [Path("a"), Path("d")]


def test_who_waits_gives_up_when_nobody_has_touched_the_list_for_long(
    fed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "TOUCH_S", 0.0)
    line = Line([], fed.path)
    assert line.take() is None
    monkeypatch.setattr(feed, "ABANDONED_S", -1.0)
    assert line.abandoned
    assert awaited(line.take, line, threading.Event()) is None
    monkeypatch.setattr(feed, "ABANDONED_S", 3600.0)
    line._listed._changed -= 3601  # type: ignore[union-attr]
    assert line.abandoned
    fed.touch()
    assert line.take() is None
    assert not line.abandoned


def test_a_touch_is_no_work_for_the_file_system_until_it_is_due(fed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fed.path.stat().st_mtime_ns
    fed.touch()
    assert fed.path.stat().st_mtime_ns == before
    monkeypatch.setattr(feed, "TOUCH_S", 0.0)
    fed.touch()
    assert fed.path.stat().st_mtime_ns > before


def test_without_a_list_each_attempt_is_tried_once_in_order_whoever_holds_it(tmp_path: Path) -> None:
    paths = runs(tmp_path, 2)
    line = Line(paths, None)
    with Claim.take(Attempt(paths[0]).claim):  # type: ignore[union-attr]
        assert [line.first(), line.take(), line.take(), line.take()] == [paths[0], *map(Attempt, paths), None]
    assert (line.open, line.abandoned) == (False, False)


def test_a_job_takes_the_first_that_is_free_and_goes_back_to_what_was_given_back(
    fed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HELD_S", 0.0)
    paths = runs(tmp_path, 3)
    line = Line(paths[:1], fed.path)
    fed.add(paths[1:])
    with Claim.take(Attempt(paths[0]).claim):  # type: ignore[union-attr]
        assert (line.first(), line.take()) == (paths[0], Attempt(paths[1]))
    assert line.take() == Attempt(paths[0])
    Attempt(paths[0]).finish({"status": "finished"})
    assert line.take() == Attempt(paths[1])
    line.put_aside()
    assert line.take() == Attempt(paths[2])
    assert line.wants()
    fed.drop(paths[2])
    assert not line.wants()
    assert line.take() is None
    fed.add([paths[1]])
    assert line.take() == Attempt(paths[1])


def test_pauses_grow_with_the_wait_and_stay_short() -> None:
    assert [pause_s(waited) for waited in (0.0, 20.0, 3600.0)] == [0.1, 0.4, 1.0]
