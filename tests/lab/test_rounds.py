"""Which runs a command executes, in which order: seeds as needed, budgets, retries. Planted results stand for trainings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import Folder

from slws_lab.cli.show import _not_needed
from slws_lab.cli.terminal import out
from slws_lab.errors import UserError
from slws_lab.lab import executing
from slws_lab.lab.executing import Outcome, Progress
from slws_lab.lab.planning import plan
from slws_lab.lab.project import Project
from slws_lab.lab.running import Options, run
from slws_lab.lab.spending import Purse, device_hours
from slws_lab.launch import Work
from slws_lab.tracking import Attempt, RunFolder, journal, provenance, starts

SHORT = "OutOfMemoryError: CUDA out of memory."
FULL = "OSError: [Errno 28] No space left on device"
ERROR = "ValueError: planted"
WOBBLE = [0.02, -0.03, 0.01, 0.03, -0.02, -0.01, 0.02]
STUDY = """\
name: tiny
question: Which learning rate?
recipe: ../experiments/tiny.yaml
factors: {train.lr: [0.001, 0.002, 0.003]}
designs: [{one_at_a_time: [train.lr]}]
seeds: {min: 3, max: 7, until: decided}
metric: {name: val/top1, weights: raw}
resources: {gpus: 0}
"""


@dataclass
class Planted:
    """Stands where a worker would: writes what a training would have left, at once.

    Attributes:
        effect: Learning rate -> what it adds to every seed's value.
        fails: (learning rate, seed) of runs that fail -> why.
        seconds: How long each run says it took.
        executed: (learning rate, seed) of the runs executed, in order.
    """

    effect: dict[float, Callable[[int], float]]
    fails: dict[tuple[float, int], str] = field(default_factory=dict)
    seconds: float = 1.0
    executed: list[tuple[float, int]] = field(default_factory=list)

    def __call__(self, purse: Purse | None, path: Path, work: Work, should_stop: Callable[[], bool]) -> None:
        attempt, spec = Attempt(path), RunFolder(path.parent).spec()
        lr, seed = spec.train.lr, spec.seed
        self.executed.append((lr, seed))
        starts.note_start(attempt, threads=1, made_by="planted")
        now = time.time()
        common = {
            "started": now,
            "finished": now + self.seconds,
            "device": "cpu",
            "threads": 1,
            "scan_backend": "",
            "provenance": provenance.gather(work.root),
        }
        if (lr, seed) in self.fails:
            attempt.finish({**common, "status": "failed", "cause": self.fails[lr, seed]})
            return
        value = 90 + seed % 3 + self.effect.get(lr, lambda _: 0.0)(seed)
        for epoch in (1, 2):
            journal.append(attempt.journal, epoch, now + epoch * self.seconds / 2, {"val/top1": value})
        attempt.finish({**common, "status": "finished", "cause": "", "epochs": 2, "seconds": self.seconds})


@pytest.fixture
def lab(project: Folder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Outcome, Planted, Project]]]:
    """Return a function that runs a study of three learning rates by planted results."""

    class Nowhere:
        def __init__(self, project: Project) -> None: ...
        def start(self) -> None: ...
        def finish(self) -> str:
            return ""

    def check(project: Project, asked: object) -> dict[str, dict[str, object]]:
        return {arm.id: {"params": 1000, "data_fingerprint": "planted"} for arm in project.design.arms}

    monkeypatch.setattr(executing, "Shipping", Nowhere)
    monkeypatch.setattr(executing, "POLL_S", 0.0)
    monkeypatch.setattr("slws_lab.lab.science.check", check)

    def go(planted: Planted, study: str = STUDY, **options: Any) -> tuple[Outcome, Planted, Project]:
        monkeypatch.setattr(executing, "_execute_here", planted)
        project.study.write_text(study)
        opened = Project.open(str(project.study))
        seen: list[Progress] = []
        outcome = run(opened, Options("in_process", **options), seen.append)
        return outcome, planted, opened

    yield go


def clear(seed: int) -> float:
    return 3 + WOBBLE[seed]


def unclear(seed: int) -> float:
    return 3 * WOBBLE[seed]


def test_every_arm_gets_the_first_seeds_and_only_the_undecided_more(lab) -> None:
    outcome, planted, project = lab(Planted({0.002: clear, 0.003: unclear}))
    rates = (0.001, 0.002, 0.003)
    assert planted.executed[:9] == [(rate, seed) for seed in range(3) for rate in rates]
    assert planted.executed[9:] == [(rate, seed) for seed in range(3, 7) for rate in (0.001, 0.003)]
    assert outcome.started == 17 and not outcome.failed
    state = plan(project)
    assert len(state.runs) == 17 and state.todo == ()


def test_a_study_whose_contrasts_are_all_clear_ends_after_the_first_look(lab) -> None:
    _, planted, project = lab(Planted({0.002: clear, 0.003: lambda seed: -clear(seed)}))
    assert len(planted.executed) == 9 and plan(project).todo == ()


def test_a_study_stopped_at_any_point_executes_just_the_same_runs(lab, project: Folder) -> None:
    effects = {0.002: clear, 0.003: unclear}
    whole = lab(Planted(effects))[1].executed
    for stop_after in (2, 9, 11, 16):
        stopped = Planted(effects)
        for path in (project.workspace / "runs").glob("*"):
            path.rename(project.path / f"away-{stop_after}-{path.name}")

        def until(*args: object, planted: Planted = stopped, count: int = stop_after) -> None:
            if len(planted.executed) == count:
                raise KeyboardInterrupt
            planted(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(executing, "partial", lambda _, purse, until=until: lambda *args: until(purse, *args))
            assert lab(stopped)[0].interrupted
        _, planted, _ = lab(Planted(effects))
        assert sorted(stopped.executed + planted.executed) == sorted(whole)


def test_an_arm_with_a_failed_run_waits_and_is_not_tried_twice_by_one_command(lab) -> None:
    outcome, planted, project = lab(Planted({0.002: clear, 0.003: unclear}, fails={(0.003, 1): ERROR}))
    assert planted.executed.count((0.003, 1)) == 1 and len(outcome.failed) == 1
    assert max(seed for rate, seed in planted.executed if rate == 0.003) == 2
    assert [(run.arm.settings["train.lr"], run.seed) for run in plan(project).todo] == [(0.003, 1)]
    _, again, project = lab(Planted({0.002: clear, 0.003: unclear}))
    assert again.executed[0] == (0.003, 1) and (0.003, 6) in again.executed and plan(project).todo == ()


def test_a_part_of_a_study_spends_no_further_seeds(lab) -> None:
    _, planted, _ = lab(Planted({0.002: clear, 0.003: unclear}), only={"train.lr": "0.003"})
    assert planted.executed == [(0.003, 0), (0.003, 1), (0.003, 2)]


BUDGET = STUDY.replace("seeds: {min: 3, max: 7, until: decided}", "seeds: 4\nbudget: {device_hours: HOURS}")


def test_a_budget_ends_a_study_before_it_is_exceeded(lab) -> None:
    outcome, planted, project = lab(Planted({}, seconds=600), BUDGET.replace("HOURS", "1.1"))
    assert len(planted.executed) == 6 and outcome.halted
    assert device_hours(project) == pytest.approx(1.0, abs=0.01)
    assert len(plan(project).todo) == 6
    outcome, planted, _ = lab(Planted({}, seconds=600), BUDGET.replace("HOURS", "1.1"))
    assert planted.executed == [] and outcome.halted
    outcome, planted, project = lab(Planted({}, seconds=600), BUDGET.replace("HOURS", "2.1"))
    assert len(planted.executed) == 6 and not outcome.halted and plan(project).todo == ()


def test_a_budget_that_suffices_changes_nothing(lab) -> None:
    outcome, planted, _ = lab(Planted({}, seconds=600), BUDGET.replace("HOURS", "100"))
    assert planted.executed == [(rate, seed) for seed in range(4) for rate in (0.001, 0.002, 0.003)]
    assert not outcome.halted


def test_a_purse_counts_every_device_at_work_and_stops_in_time() -> None:
    purse = Purse(limit_s=100.0, spent_s=40.0)
    assert not purse.look(2)
    purse._looked -= 25
    assert not purse.look(2) and purse.spent_s == pytest.approx(90, abs=1)
    purse._looked -= 2.5
    assert purse.look(2) and purse.spent_s < 100


FIXED = STUDY.replace("seeds: {min: 3, max: 7, until: decided}", "seeds: 2")
ALL = [(rate, seed) for seed in range(2) for rate in (0.001, 0.002, 0.003)]


def test_what_ran_out_of_memory_is_tried_once_more_when_all_else_has_ended(lab) -> None:
    outcome, planted, project = lab(Planted({}, fails={(0.002, 0): SHORT}), FIXED)
    assert planted.executed == [*ALL, (0.002, 0)]
    assert [(one.cause, one.seed) for one in outcome.failed] == [(SHORT, 0)]
    assert outcome.started == 6 and len(plan(project).todo) == 1


def test_a_users_error_is_not_tried_again_by_the_same_command(lab) -> None:
    _, planted, _ = lab(Planted({}, fails={(0.002, 0): ERROR}), FIXED)
    assert planted.executed == ALL


def test_retry_takes_only_what_failed_so(lab) -> None:
    lab(Planted({}, fails={(0.002, 0): ERROR, (0.003, 1): FULL}), FIXED)
    _, planted, project = lab(Planted({}), FIXED, retry="disk")
    assert planted.executed == [(0.003, 1)]
    assert [(run.arm.settings["train.lr"], run.seed) for run in plan(project).todo] == [(0.002, 0)]


def test_an_unknown_kind_of_failure_is_refused(lab) -> None:
    with pytest.raises(UserError, match="did you mean 'memory'"):
        lab(Planted({}), FIXED, retry="memry")


@pytest.mark.parametrize(
    ("last", "said"),
    [(lambda seed: -clear(seed), "12 of 21 runs are not needed: what they are for is decided"), (unclear, "")],
)
def test_what_was_not_needed_is_said_at_the_end_and_only_if_there_is_any(lab, last, said: str) -> None:
    state = plan(lab(Planted({0.002: clear if said else unclear, 0.003: last}))[2])
    with out.capture() as told:
        _not_needed(state)
    assert told.get().strip() == said
