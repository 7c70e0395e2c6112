"""Checkpoints: written whole, read back, the one before kept; a training goes on from the newest that is good, to the same bits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from full_disk import room_for
from safetensors.torch import load_file
from torch import nn
from training_runs import Curve, Train, spec

from slws_lab.training import Interrupted, checkpoint, stage
from slws_lab.training.checkpoint import PREVIOUS, RESUME, Shelf
from slws_lab.training.surroundings import Unsaved


class Killed(BaseException):
    """What ends a process without a word."""


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Two checkpoints: after epoch 1 and after epoch 2."""
    shelf = Shelf(tmp_path / "checkpoint")
    for epochs in (1, 2):
        shelf.save(state(epochs))
    return shelf


def state(epochs: int) -> dict[str, Any]:
    return {"epochs": epochs, "weights": torch.arange(5000) * epochs}


def epochs_of(found: dict[str, Any] | None) -> int:
    return 0 if found is None else int(found["epochs"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def flip_a_bit_of_a_weight(path: Path) -> None:
    """In the middle of the file, of which torch's own reader says nothing."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [truncate, flip_a_bit_of_a_weight, empty, Path.unlink])
def test_a_bad_checkpoint_falls_back_to_the_one_before_and_that_to_none(
    shelf: Shelf, spoil: Callable[[Path], None]
) -> None:
    assert epochs_of(shelf.load()) == 2
    spoil(shelf.folder / RESUME)
    assert epochs_of(shelf.load()) == 1
    spoil(shelf.folder / PREVIOUS)
    assert shelf.load() is None


@pytest.mark.parametrize(("reported", "usable"), [(None, 2), (2, 2), (1, 1), (0, 0)])
def test_a_checkpoint_is_of_no_use_where_metrics_of_its_epochs_are_missing(
    shelf: Shelf, reported: int | None, usable: int
) -> None:
    assert epochs_of(shelf.load(reported)) == usable


def test_a_checkpoint_that_does_not_fit_leaves_the_others_as_they_are(shelf: Shelf) -> None:
    with room_for(1000), pytest.raises(OSError, match="File too large"):
        shelf.save(state(3))
    assert epochs_of(shelf.load()) == 2
    assert names(shelf.folder) == sorted([RESUME, PREVIOUS])


def test_a_checkpoint_that_reads_back_as_something_else_is_not_taken(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def bad_disk(handle: int) -> None:
        os.pwrite(handle, b"!", 4321)
        sync(handle)

    monkeypatch.setattr(checkpoint.os, "fsync", bad_disk)
    with pytest.raises(OSError, match="reads back as something else"):
        shelf.save(state(3))
    assert epochs_of(shelf.load()) == 2
    assert names(shelf.folder) == sorted([RESUME, PREVIOUS])


def test_what_lost_its_desk_can_put_nothing_in_place(shelf: Shelf, tmp_path: Path) -> None:
    desk = tmp_path / "desk"
    late = Shelf(shelf.folder, desk)
    assert late.lost()
    for write in (lambda: late.save(state(3)), lambda: late.keep_weights(nn.Linear(2, 2), None)):
        with pytest.raises(FileNotFoundError):
            write()
    late.forget()
    assert epochs_of(shelf.load()) == 2
    desk.mkdir()
    assert not late.lost()
    late.save(state(3))
    assert epochs_of(shelf.load()) == 3
    late.forget()
    assert names(shelf.folder) == []


def test_a_training_killed_within_an_epoch_ends_like_an_undisturbed_one_whichever_checkpoint_is_left(
    run_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine steps an epoch, a checkpoint before each, killed in the middle of the second epoch."""
    monkeypatch.setattr(stage, "CHECKPOINT_MIN_S", 0.0)
    monkeypatch.setattr(stage, "CHECKPOINT_SHARE", 1e9)
    run = spec(model={"args": {"embed_dim": 8, "depth": 2}})
    _, undisturbed = run_tiny(run, "undisturbed")
    steps, reported = iter(range(13)), Curve()

    def stop() -> bool:
        if next(steps, None) is None:
            raise Killed
        return False

    with pytest.raises(Killed):
        run_tiny(run, "killed", stop, reported, save_every_s=0.0)
    assert list(reported) == [1]
    stood = {"newest": 12, "previous": 11, "none": 0}
    for left, step in stood.items():
        folder = Path(shutil.copytree(tmp_path / "killed", tmp_path / left))
        if left != "newest":
            truncate(folder / RESUME)
        if left == "none":
            truncate(folder / PREVIOUS)
        found = Shelf(folder).load()
        assert (found["progress"]["step"] if found else 0) == step
        curve = Curve(reported)
        run_tiny(run, left, curve=curve)
        assert curve == undisturbed
        for name in ("last", "ema"):
            a, b = (load_file(tmp_path / run_name / f"{name}.safetensors") for run_name in ("undisturbed", left))
            assert all(torch.equal(a[key], b[key]) for key in a)
        assert names(folder) == ["ema.safetensors", "last.safetensors"]


def test_a_full_disk_ends_no_training_but_its_weights_must_be_kept(
    run_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """First with room for the weights and not for a checkpoint, then for neither."""
    monkeypatch.setattr(stage, "CHECKPOINT_MIN_S", 0.0)
    run = spec(train={"epochs": 1}, model={"args": {"embed_dim": 8, "depth": 2}})
    run_tiny(run, "enough")
    weights = (tmp_path / "enough" / "last.safetensors").stat().st_size
    with room_for(2 * weights):
        run_tiny(run, "little", save_every_s=0.0)
    assert caplog.text.count("no checkpoint could be written") == 1, "the next try comes later"
    assert names(tmp_path / "little") == ["ema.safetensors", "last.safetensors"]
    with room_for(weights // 2), pytest.raises(Unsaved, match="File too large"):
        run_tiny(run, "none", save_every_s=0.0)
    assert names(tmp_path / "none") == []


def test_a_checkpoint_stays_until_the_caller_has_put_the_result_away(run_tiny: Train, tmp_path: Path) -> None:
    run = spec(train={"epochs": 2}, model={"args": {"embed_dim": 8, "depth": 2}})
    steps = iter([False] * 12)
    with pytest.raises(Interrupted):
        run_tiny(run, "a", lambda: next(steps, True))
    run_tiny(run, "a", tidy=False)
    assert names(tmp_path / "a") == ["ema.safetensors", "last.safetensors", RESUME]
