"""Following a command's metrics: lines that are torn, wrong or written again, patterns, tables, and `slws_lab.log`."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import slws_lab
from slws_lab.command.follow import Follower, Point
from slws_lab.spec import MetricsSpec

Followed = tuple[Follower, Path, Path]
Follow = Callable[..., Followed]


@pytest.fixture
def follow(tmp_path: Path) -> Follow:
    """Return a function that gives a follower, the file that it follows, and that of `slws_lab.log`."""

    def make(**spec: Any) -> Followed:
        log = tmp_path / "logged.jsonl"
        log.touch()
        made = MetricsSpec.model_validate({"names": {"val/top1": "acc"}, **spec})
        return Follower(made, tmp_path, log), tmp_path / (made.file or "none"), log

    return make


def values(points: list[Point]) -> list[tuple[str, int, float]]:
    return [(point.name, point.step, point.value) for point in points]


def test_a_line_counts_once_it_is_whole(follow: Follow) -> None:
    follower, file, _ = follow(file="log.txt", step="epoch", counts_from=0)
    assert follower.points() == []
    with file.open("a") as writer:
        writer.write('{"acc": 50, "epoch": 0}\n{"acc": 5')
        writer.flush()
        assert values(follower.points()) == [("val/top1", 1, 50.0)]
        writer.write('1.5, "epoch": 1}')
        writer.flush()
        assert follower.points() == []
        assert values(follower.points(final=True)) == [("val/top1", 2, 51.5)]
    assert follower.points(final=True) == []


def test_what_is_no_line_of_metrics_is_passed_over_and_said(follow: Follow) -> None:
    follower, file, _ = follow(file="log.txt", step="epoch")
    file.write_text(
        'hello\n[1]\n{"acc": "high", "epoch": 1}\n{"acc": 3}\n{"acc": null, "epoch": 2}\n\n{"acc": 7, "epoch": 3}\n'
    )
    assert values(follower.points()) == [("val/top1", 3, 7.0)]
    assert follower.said == (
        "lines of log.txt that hold no JSON object: 2; lines of log.txt without the step 'epoch': 1; keys found: acc, epoch"
    )


def test_a_file_that_is_written_anew_is_read_from_its_beginning(follow: Follow, tmp_path: Path) -> None:
    follower, file, _ = follow(file="log.txt")
    file.write_text('{"acc": 1}\n')
    assert values(follower.points()) == [("val/top1", 1, 1.0)]
    whole = tmp_path / "new.txt"
    whole.write_text('{"acc": 1}\n{"acc": 2}\n')
    whole.replace(file)
    assert values(follower.points()) == [("val/top1", 1, 1.0), ("val/top1", 2, 2.0)]


@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_a_file_that_is_written_anew_in_place_is_noticed_though_it_is_longer_by_then(follow: Follow, kind: str) -> None:
    follower, file, _ = follow(file=f"log.{kind}", step="epoch")

    def write(*accs: int) -> None:
        header = "" if kind == "txt" else "epoch,acc\n"
        line = '{{"epoch": {}, "acc": {}}}\n' if kind == "txt" else "{},{}\n"
        file.write_text(header + "".join(line.format(i + 1, acc) for i, acc in enumerate(accs)))

    write(10, 20)
    assert values(follower.points()) == [("val/top1", 1, 10.0), ("val/top1", 2, 20.0)]
    write(11, 21, 31)
    assert values(follower.points()) == [("val/top1", 1, 11.0), ("val/top1", 2, 21.0), ("val/top1", 3, 31.0)]
    write(11, 21, 31, 41)
    with file.open("a") as writer:
        writer.write('{"epoch": 5' if kind == "txt" else "5,")
    assert values(follower.points()) == [("val/top1", 4, 41.0)]


def test_only_a_line_feed_ends_a_line(follow: Follow) -> None:
    follower, file, _ = follow(file="log.txt", step="epoch")
    file.write_text('{"epoch": 1, "note": "a\u2028b\x85c", "acc": 5}\r\n{"epoch": 2, "acc": 6}\r\n', newline="")
    assert values(follower.points()) == [("val/top1", 1, 5.0), ("val/top1", 2, 6.0)]
    assert not follower.skipped


def test_nested_keys_and_values_that_are_not_finite_are_read(follow: Follow) -> None:
    follower, file, _ = follow(file="log.txt", step="epoch", names={"val/top1": "test.acc"})
    file.write_text('{"test": {"acc": NaN}, "epoch": 1.0}\n{"test": {"acc": "inf"}, "epoch": 2}\n')
    (first, second) = follower.points()
    assert math.isnan(first.value)
    assert (second.step, second.value) == (2, math.inf)


def test_a_table_is_read_by_its_header(follow: Follow) -> None:
    follower, file, _ = follow(file="summary.csv", step="epoch", counts_from=0)
    file.write_text("epoch, acc\n0, 41.5\n1,\nx,y,z\n2, 43\n")
    assert values(follower.points()) == [("val/top1", 1, 41.5), ("val/top1", 3, 43.0)]


def test_patterns_find_metrics_in_what_is_printed_and_a_step_named_before_holds(follow: Follow) -> None:
    patterns = [r"Epoch (?P<epoch>\d+)", r"Acc@1 (?P<acc>[\d.]+)"]
    follower, _, _ = follow(stdout=patterns, step="epoch")
    for line in ("Acc@1 9 too early", "Epoch 1", "loss 3", " * Acc@1 71.25 Acc@5 90", "Epoch 2 Acc@1 72"):
        follower.hear(line)
    assert values(follower.points()) == [("val/top1", 1, 71.25), ("val/top1", 2, 72.0)]


def test_patterns_that_match_one_line_are_one_whatever_their_order(follow: Follow) -> None:
    follower, _, _ = follow(stdout=[r"acc=(?P<acc>\S+)", r"epoch=(?P<epoch>\d+)"], step="epoch")
    for line in ("epoch=1 acc=50", "acc=51 epoch=2"):
        follower.hear(line)
    assert values(follower.points()) == [("val/top1", 1, 50.0), ("val/top1", 2, 51.0)]


def test_without_a_step_the_values_of_a_metric_are_counted(follow: Follow) -> None:
    follower, _, _ = follow(stdout=r"acc=(?P<acc>\S+)")
    for line in ("acc=1", "acc=2", "acc=none"):
        follower.hear(line)
    assert values(follower.points()) == [("val/top1", 1, 1.0), ("val/top1", 2, 2.0)]


def test_what_is_logged_is_found_beside_the_file(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    follower, _, log = follow(file="log.txt")
    monkeypatch.setenv("SLWS_LOG", str(log))
    slws_lab.log({"val/top1": 71.25, "train/loss": float("nan")}, step=3)
    first, second = follower.points()
    assert (first.name, first.step, first.value) == ("val/top1", 3, 71.25)
    assert second.name == "train/loss" and math.isnan(second.value)


def test_a_step_may_be_any_whole_number_from_nought(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    follower, _, log = follow(file="log.txt")
    monkeypatch.setenv("SLWS_LOG", str(log))
    for step in (0, np.int64(3), 2**31):
        slws_lab.log({"val/top1": 1.0}, step=step)
    assert [point.step for point in follower.points()] == [0, 3, 2**31]


def test_only_the_first_rank_logs_and_outside_of_a_run_nobody_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "logged.jsonl"
    log.touch()
    monkeypatch.delenv("SLWS_LOG", raising=False)
    slws_lab.log({"val/top1": 1}, step=1)
    monkeypatch.setenv("SLWS_LOG", str(log))
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        slws_lab.log({"val/top1": float(rank)}, step=1)
    assert [json.loads(line) for line in log.read_text().splitlines()] == [{"step": 1, "metrics": {"val/top1": 0.0}}]


@pytest.mark.parametrize(
    ("metrics", "step", "says"),
    [
        ({"top1": 1.0}, 1, "'top1' cannot name a metric: write group/name, e.g. val/top1"),
        ({"val/top1": 1.0}, -1, "a step is a whole number from 0 to 2147483648, not -1"),
        ({"val/top1": 1.0}, 2**31 + 1, "a step is a whole number from 0 to 2147483648, not 2147483649"),
        ({"val/top1": 1.0}, 1.5, "a step is a whole number from 0 to 2147483648, not 1.5"),
        ({"val/top1": 1.0}, True, "a step is a whole number from 0 to 2147483648, not True"),
        ({"val/top1": 1.0}, "3", "a step is a whole number from 0 to 2147483648, not '3'"),
        ({"val/top1": "high"}, 1, "could not convert string to float: 'high'"),
    ],
)
def test_what_cannot_be_logged_is_refused(metrics: dict[str, Any], step: Any, says: str) -> None:
    with pytest.raises(ValueError) as error:
        slws_lab.log(metrics, step)
    assert str(error.value) == says


def test_logging_imports_nothing_heavy() -> None:
    code = "import sys; before = set(sys.modules); import slws_lab; slws_lab.log; print(len(set(sys.modules) - before), [m for m in ('pydantic', 'numpy', 'torch', 'psutil') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    count, heavy = done.stdout.split(" ", 1)
    assert (int(count) < 40, heavy) == (True, "[]\n")
