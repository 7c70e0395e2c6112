"""How many runs share a GPU: by measured memory, and by what more of them have been seen to give. Pure arithmetic."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from slws_lab.launch.packing import HEADROOM, KEPT_FREE, Room, Wanted, allowance, choose, fitting, processes


def wanted(*needs: tuple[str, float | None]) -> list[Wanted]:
    return [Wanted(Path(f"{i}-{shape}"), shape, gb) for i, (shape, gb) in enumerate(needs)]


def name(found: Wanted | None) -> str | None:
    return None if found is None else found.attempt.name


def many(shape: str) -> int:
    return 100


def test_an_attempt_of_unknown_need_gets_only_an_empty_gpu() -> None:
    unknown = wanted(("a", None))
    assert name(choose(unknown, Room(80, 0, []), many)) == "0-a"
    assert choose(unknown, Room(80, 0, [("b", 1.0)]), many) is None


def test_nothing_goes_beside_a_worker_whose_need_is_not_known() -> None:
    assert choose(wanted(("b", 1.0)), Room(80, 0, [("a", None)]), many) is None


def test_the_first_in_order_that_fits_is_chosen() -> None:
    asked = wanted(("a", 50.0), ("b", None), ("c", 30.0), ("c", 20.0))
    assert name(choose(asked, Room(80, 0, []), many)) == "0-a"
    assert name(choose(asked, Room(80, 0, [("a", 45.0)]), many)) == "2-c"
    assert name(choose(asked, Room(80, 10, [("a", 45.0)]), many)) == "3-c"
    assert choose(asked, Room(80, 30, [("a", 45.0)]), many) is None


def test_a_need_above_the_whole_gpu_is_tried_alone_and_one_for_which_others_leave_no_room_waits() -> None:
    assert name(choose(wanted(("a", 100.0)), Room(80, 0, []), many)) == "0-a"
    assert choose(wanted(("a", 50.0)), Room(80, 40, []), many) is None


def test_of_several_shapes_the_one_that_bears_the_fewest_neighbours_says_how_many() -> None:
    room = Room(80, 0, [("a", 5.0), ("a", 5.0)])
    assert name(choose(wanted(("b", 5.0)), room, {"a": 4, "b": 4}.__getitem__)) == "0-b"
    assert choose(wanted(("b", 5.0)), room, {"a": 4, "b": 2}.__getitem__) is None
    assert choose(wanted(("b", 5.0)), room, {"a": 2, "b": 4}.__getitem__) is None


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({}, 1),
        ({1: 100}, 2),
        ({1: 100, 2: 150}, 4),
        ({1: 100, 2: 109}, 1),
        ({1: 100, 2: 111}, 4),
        ({1: 100, 2: 190, 4: 200}, 2),
        ({1: 100, 2: 190, 3: 500}, 4),
        ({1: 100, 2: 190, 3: 195}, 2),
        ({1: 100, 2: 80}, 1),
        ({1: 100, 2: 200, 4: 400, 8: 800, 16: 850}, 8),
    ],
)
def test_processes_are_doubled_as_long_as_that_gave_a_tenth_more(rates: dict[int, float], expected: int) -> None:
    assert processes(rates) == expected


def test_what_is_said_to_fit_is_what_is_started() -> None:
    for peak in (0.7, 3.0, 6.1, 40.0):
        working: list[tuple[str, float | None]] = []
        while choose(wanted(("a", allowance(peak))), Room(80, 0, working), many):
            working.append(("a", allowance(peak)))
        assert len(working) == fitting(peak, 80)
        assert peak * (1 + HEADROOM) * len(working) <= 80 * (1 - KEPT_FREE)
    assert fitting(200.0, 80) == 1


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_needs_no_gpu_is_ever_too_full_and_every_run_gets_its_turn(seed: int) -> None:
    draw = random.Random(seed)
    peaks = {shape: draw.uniform(0.5, 90.0) for shape in "abcdef"}
    limits = {shape: draw.choice([1, 2, 4, 8]) for shape in peaks}
    left, known, working, done = [draw.choice("abcdef") for _ in range(60)], set[str](), list[str](), Counter[str]()
    total, asked = 80.0, Counter(left)
    while left or working:
        room = Room(total, 0, [(shape, allowance(peaks[shape]) if shape in known else None) for shape in working])
        wants = wanted(*((shape, allowance(peaks[shape]) if shape in known else None) for shape in left))
        if found := choose(wants, room, limits.__getitem__):
            left.remove(found.shape)
            working.append(found.shape)
        else:
            assert working, "nothing works, and nothing is begun"
            ended = working.pop(draw.randrange(len(working)))
            done[ended] += 1
        assert len(working) <= min((limits[shape] for shape in working), default=1)
        assert len(working) <= 1 or sum(peaks[shape] for shape in working) <= total
        if working and draw.random() < 0.5:
            known.add(working[-1])
    assert done == asked
