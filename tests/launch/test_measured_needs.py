"""What is kept of runs' needs: by shape and kind of GPU, from their folders while they work, and in the workspace for the next command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Folder

from slws_lab.lab.needs import Measured, packed
from slws_lab.lab.project import Project
from slws_lab.launch import need
from slws_lab.launch.inventory import Gpu
from slws_lab.launch.need import Need
from slws_lab.spec import Resources

GPU = "Fake 80"
RESOURCES = Resources()
USED = need.relevant(RESOURCES)


@pytest.fixture
def opened(project: Folder) -> Project:
    """A study of which two arms are of one shape and one is of another."""
    text = project.study.read_text()
    text = text.replace("factors:\n", "factors:\n  train.lr: [1e-3, 2e-3]\n").replace("gpus: 0", "")
    project.study.write_text(text.replace("grid: [shuffle.schedule]", "one_at_a_time: [train.lr, shuffle.schedule]"))
    return Project.open(str(project.study))


def measured(project: Project, resources: Resources = RESOURCES) -> tuple[Measured, list[Path]]:
    attempts = {project.workspace.run(run).path / "attempt-1": project.design.arm(arm).recipe
                for (arm, seed), run in project.design.run_ids.items() if seed == 0}  # fmt: skip
    return Measured(project, resources, attempts), list(attempts)


def test_a_need_measured_of_one_run_holds_for_all_of_its_shape_on_that_kind_of_gpu(opened: Project) -> None:
    known, (base, lr, schedule) = measured(opened)
    assert known.shape(base) == known.shape(lr) != known.shape(schedule)
    assert known.memory_gb(known.shape(lr), GPU) is None
    need.note(base, Need(GPU, 6.0, USED))
    assert known.memory_gb(known.shape(lr), GPU) == 6.0
    assert known.memory_gb(known.shape(lr), "Other") is None
    assert known.memory_gb(known.shape(schedule), GPU) is None
    need.note(lr, Need(GPU, 7.0, USED))
    need.note(lr, Need(GPU, 5.0, USED))  # a later epoch has shown no more
    assert known.memory_gb(known.shape(base), GPU) == 7.0


def test_what_was_measured_is_known_to_the_next_command_also_when_the_runs_are_gone(opened: Project) -> None:
    known, (base, *_) = measured(opened)
    need.note(base, Need(GPU, 6.0, USED))
    known.memory_gb(known.shape(base), GPU)
    known.note_rate(known.shape(base), GPU, 1, 100.0)
    known.note_rate(known.shape(base), GPU, 2, 180.0)
    (base / need.FILE).unlink()
    again, _ = measured(opened)
    assert again.memory_gb(again.shape(base), GPU) == 6.0
    assert again.rates(again.shape(base), GPU) == {1: 100.0, 2: 180.0}


def test_two_commands_add_to_what_each_other_has_learned(opened: Project) -> None:
    (one, (base, _, schedule)), (two, _) = measured(opened), measured(opened)
    two.note_rate(two.shape(schedule), GPU, 1, 50.0)
    one.note_rate(one.shape(base), GPU, 1, 100.0)
    two.note_rate(two.shape(schedule), GPU, 2, 90.0)
    again, _ = measured(opened)
    assert again.rates(again.shape(base), GPU) == {1: 100.0}
    assert again.rates(again.shape(schedule), GPU) == {1: 50.0, 2: 90.0}


def test_other_resources_make_a_need_unknown_but_for_those_that_only_place_a_run(opened: Project) -> None:
    known, (base, *_) = measured(opened)
    need.note(base, Need(GPU, 6.0, USED))
    known.memory_gb(known.shape(base), GPU)
    saving, _ = measured(opened, RESOURCES.model_copy(update={"grad_checkpointing": True}))
    assert saving.memory_gb(saving.shape(base), GPU) is None
    later, _ = measured(opened, RESOURCES.model_copy(update={"minutes": 3.0}))
    assert later.memory_gb(later.shape(base), GPU) == 6.0


def test_what_processes_gave_together_in_turns_says_nothing_of_what_they_give_side_by_side(
    opened: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    known, (base, *_) = measured(opened)
    known.note_rate(known.shape(base), GPU, 2, 100.0)
    (tmp_path / "control").touch()
    with_mps, _ = measured(opened)
    assert with_mps.rates(with_mps.shape(base), GPU) == {}
    with_mps.note_rate(with_mps.shape(base), GPU, 2, 180.0)
    (tmp_path / "control").unlink()
    again, _ = measured(opened)
    assert again.rates(again.shape(base), GPU) == {2: 100.0}


def test_a_damaged_need_is_none_and_is_measured_anew(opened: Project) -> None:
    known, (base, *_) = measured(opened)
    need.note(base, Need(GPU, 6.0, USED))
    (base / need.FILE).write_text('{"gpu": "F')
    assert known.memory_gb(known.shape(base), GPU) is None
    need.note(base, Need(GPU, 4.0, USED))
    assert known.memory_gb(known.shape(base), GPU) == 4.0


def test_a_process_needs_its_peak_and_its_context_or_an_allowance_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gb = 2**30
    monkeypatch.setattr(need, "own_gb", lambda: 3.5)
    assert need.measure(GPU, RESOURCES, reserved=3 * gb, peak=4 * gb).memory_gb == 4.5
    monkeypatch.setattr(need, "own_gb", lambda: None)
    assert need.measure(GPU, RESOURCES, reserved=3 * gb, peak=4 * gb).memory_gb == 4 + need.CONTEXT_GB


def test_a_plan_can_say_how_runs_will_share_each_gpu(opened: Project) -> None:
    known, (base, *_) = measured(opened)
    recipes = [arm.recipe for arm in opened.design.arms]
    gpus = [Gpu("0", GPU, 80.0), Gpu("1", GPU, 80.0)]
    assert packed(opened, recipes, gpus) == ()
    need.note(base, Need(GPU, 6.1, USED))
    known.memory_gb(known.shape(base), GPU)
    (one,) = packed(opened, recipes, gpus)
    assert (
        str(one)
        == "1 run at a time on each Fake 80, and up to 11 while more give more images a second (6.1 of 80 GB each, measured)"
    )
    for number, rate in {1: 100.0, 2: 190.0, 4: 300.0, 8: 310.0}.items():
        known.note_rate(known.shape(base), GPU, number, rate)
    (one,) = packed(opened, recipes, gpus)
    assert str(one) == "4 runs at a time on each Fake 80 (6.1 of 80 GB each, measured)"
    small = [replace(gpus[0], memory_gb=16.0)]
    assert [(two.runs, two.most) for two in packed(opened, recipes, small)] == [(2, 2)]
