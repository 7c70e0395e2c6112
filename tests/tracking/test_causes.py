"""Causes of failures: like ones are one, of the right kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from slws_lab.errors import UserError
from slws_lab.tracking.causes import brief, cause_of, kind_of, normalised, place_in


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
        ("rank 1 was killed by SIGKILL", "lost"),
        ("the command was killed by SIGKILL: Epoch 3", "lost"),
        ("ValueError in my.forward: signal 1024 is too short", "error"),
        ("OSError in data: the file is damaged", "error"),
        ("its folder cannot be written: Permission denied", "folder"),
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


MODEL = """\
class Model:
    def forward(self, images):
        return [1, 2][images]

def build():
    from json import loads
    return loads("{")
"""


def caught(call: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as raised:
        call()
    return raised.value


def test_a_cause_names_the_innermost_place_in_our_code_or_the_projects_own(tmp_path: Path) -> None:
    path = tmp_path / "experiments" / "my_models.py"
    path.parent.mkdir()
    path.write_text(MODEL)
    held: dict[str, Callable[..., object]] = {}
    exec(compile(MODEL, str(path), "exec"), held)
    forward = caught(lambda: held["Model"]().forward(7))  # type: ignore[attr-defined]
    assert cause_of(forward, tmp_path) == "IndexError in my_models.forward: list index out of range"
    assert cause_of(forward, tmp_path / "elsewhere") == "IndexError: list index out of range"
    parsed = cause_of(caught(held["build"]), tmp_path)
    assert parsed.startswith("JSONDecodeError in my_models.build: Expecting property name"), (
        "not in the library that it calls"
    )
    ours = caught(lambda: kind_of(7))  # type: ignore[arg-type]
    assert place_in(cause_of(ours, tmp_path)) == "causes"


def test_what_is_installed_within_a_project_is_not_its_own_code(tmp_path: Path) -> None:
    path = tmp_path / ".venv/lib/site-packages/their_models.py"
    path.parent.mkdir(parents=True)
    path.write_text(MODEL)
    held: dict[str, Callable[..., object]] = {}
    exec(compile(MODEL, str(path), "exec"), held)
    assert cause_of(caught(lambda: held["Model"]().forward(7)), tmp_path).startswith("IndexError: ")  # type: ignore[attr-defined]


def test_an_error_with_advice_is_told_whole_and_by_its_own_words() -> None:
    error = caught(lambda: (_ for _ in ()).throw(UserError("no width", where="model.args", todo="give one")))
    assert cause_of(error, Path.cwd()).startswith("no width")
    assert "give one" in cause_of(error, Path.cwd())
    assert cause_of(MemoryError(), Path.cwd()) == "MemoryError"


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        ("OutOfMemoryError in mixer: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has", "CUDA out of memory in mixer"),
        ("rank 1: OutOfMemoryError in step: CUDA out of memory.", "CUDA out of memory in step"),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "CUDA out of memory"),
        ("RuntimeError in conv: [enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory", "out of memory in conv"),
        ("MemoryError in stage", "out of memory in stage"),
        ("train/loss became nan in epoch 3 at step 412", "NaN at step 412"),
        ("train/loss became inf in epoch 3 at step 412", "inf at step 412"),
        ("val/loss became nan in epoch 3", "val/loss became nan in epoch 3"),
        ("ValueError in my_models.forward: 3 of 17", "ValueError in my_models.forward: 3 of 17"),
        ("the process died 3 times before the next epoch was done (killed, out of memory)", "the process died 3 times before the next epoch was done (killed, out of memory)"),
    ],
)  # fmt: skip
def test_a_cause_in_brief_keeps_what_and_where(cause: str, said: str) -> None:
    assert brief(cause) == said


def test_what_is_alike_but_for_its_place_stays_apart() -> None:
    assert normalised("ValueError in mixer: 3 of 17") != normalised("ValueError in conv: 3 of 17")
    assert normalised("ValueError in block2.forward: 3") == normalised("ValueError in block2.forward: 4")
