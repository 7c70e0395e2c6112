"""Triage: what failed is put together by cause, and the screen says what to do."""

from __future__ import annotations

from pathlib import Path

from slws_lab.cli import show
from slws_lab.cli.terminal import out
from slws_lab.lab.triage import Lost, clusters

SHORT = "OutOfMemoryError in mixer: CUDA out of memory. Tried to allocate {}.00 GiB"


def lost(cause: str, seed: int, status: str = "failed") -> Lost:
    return Lost("schedule=linear", seed, status, cause, Path(f"/runs/r{seed}/attempt-1/log.txt"))


MORNING = [
    lost("ValueError: planted", 9),
    *(lost(SHORT.format(seed), seed) for seed in range(6)),
    lost("train/loss became nan in epoch 3 at step 412", 7, "diverged"),
]


def test_like_causes_are_one_cluster_and_the_largest_comes_first() -> None:
    found = clusters(MORNING)
    assert [(c.status, c.kind and c.kind.name, len(c.runs)) for c in found] == [
        ("failed", "memory", 6), ("failed", "error", 1), ("diverged", None, 1),
    ]  # fmt: skip
    assert found[0].cause == "CUDA out of memory in mixer"
    assert [one.seed for one in found[0].runs] == list(range(6))


def test_the_screen_says_how_many_why_where_and_what_to_do() -> None:
    with out.capture() as said:
        show._lost(MORNING)
    text = said.get()
    assert "7 failed: 6 CUDA out of memory in mixer, 1 ValueError: planted" in text
    assert "e.g. schedule=linear, seed 0: /runs/r0/attempt-1/log.txt" in text
    assert "1 diverged: NaN at step 412" in text
    assert "diverging is a result" in text


def test_runs_that_diverged_at_other_steps_are_told_from_the_first_to_the_last() -> None:
    found = clusters(lost(f"train/loss became nan in epoch 3 at step {s}", s, "diverged") for s in (412, 9000, 31))
    assert [(one.cause, len(one.runs)) for one in found] == [("NaN at steps 31 to 9000", 3)]


def test_a_run_whose_folder_cannot_be_written_has_no_log_and_nothing_to_retry() -> None:
    with out.capture() as said:
        show._lost([lost("its folder cannot be written: Permission denied", 0)])
    assert "/runs/r0/attempt-1\n" in said.get() and "the same command then runs it" in said.get()


def test_one_cause_in_two_places_is_two_clusters() -> None:
    elsewhere = [lost(SHORT.format(seed).replace("mixer", "step"), seed) for seed in range(2)]
    assert [(c.cause, len(c.runs)) for c in clusters(MORNING + elsewhere)][:2] == [
        ("CUDA out of memory in mixer", 6), ("CUDA out of memory in step", 2),
    ]  # fmt: skip


def test_nothing_lost_is_nothing_said() -> None:
    with out.capture() as said:
        show._lost([])
    assert said.get() == ""
