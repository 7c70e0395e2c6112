"""Causes of failures: like ones are one, of the right kind."""

from __future__ import annotations

import pytest

from slws_lab.tracking.causes import kind_of, normalised


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.8 GiB", "memory"),
        ("RuntimeError: [enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes", "memory"),
        ("MemoryError", "memory"),
        ("rank 1: OutOfMemoryError: CUDA out of memory.", "memory"),
        ("OSError: [Errno 28] No space left on device", "disk"),
        ("the process died 3 times before the next epoch was done (killed, out of memory, or a crash in native code)", "lost"),
        ("rank 0 was killed by signal 9", "lost"),
        ("result.json is damaged", "damaged"),
        ("the journal holds 1 of 2 epochs", "damaged"),
        ("ValueError: no such thing", "error"),
        ("", "error"),
    ],
)  # fmt: skip
def test_a_cause_is_of_a_kind(cause: str, kind: str) -> None:
    assert kind_of(cause).name == kind


def test_causes_that_differ_in_numbers_addresses_and_paths_are_one() -> None:
    one = normalised("ValueError: 3 of 17 in /data/a/b.png at 0x7f12ab, after 1.5e-3 s")
    assert one == normalised("ValueError: 4 of 18 in /data/c.png at 0x7f99, after 22 s")
    assert one == "ValueError: N of N in PATH at N, after N s"


def test_causes_of_other_words_stay_apart() -> None:
    assert normalised("ValueError: no width") != normalised("ValueError: no depth")
    assert normalised("no module timm2") != normalised("no module timm_x")
