"""Several runs on one GPU, by workers that hold memory on GPUs which are folders: probes, packing, out of memory, other programs."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from launch import fake_gpu
from launch.fake_gpu import KIND, FakeInventory, Training
from slurm_cluster import wait_for

from slws_lab.launch import Feed, Job, LaunchError, Local, Work, need, shared_gpu
from slws_lab.launch.shared_gpu import SPEED, Made, SharedGpu, made, rate
from slws_lab.spec import Resources
from slws_lab.tracking import Attempt, is_held, read_json, starts
from slws_lab.tracking.journal import Entry

USED = need.relevant(Resources())


@dataclass
class Known:
    """What is known of attempts: shapes as their folders say, memory as workers have measured, speeds as noted."""

    attempts: list[Path]
    speeds: dict[str, dict[int, float]] = field(default_factory=dict)

    def shape(self, attempt: Path) -> str:
        return str(read_json(attempt / "training.json")["shape"])

    def memory_gb(self, shape: str, gpu: str) -> float | None:
        needs = [found for a in self.attempts if self.shape(a) == shape and (found := need.read(a))]
        return max((found.memory_gb for found in needs if found.gpu == gpu), default=None)

    def rates(self, shape: str, gpu: str) -> dict[int, float]:
        return self.speeds.get(shape, {})

    def note_rate(self, shape: str, gpu: str, processes: int, rate: float) -> None:
        self.speeds.setdefault(shape, {})[processes] = rate


@dataclass
class Box:
    """A machine with fake GPUs, and what was done there."""

    root: Path
    count: int = 1
    tells: bool = True

    @property
    def inventory(self) -> FakeInventory:
        return FakeInventory(self.root, self.count, self.tells)

    def work(self, *trainings: Training, **more: Any) -> Work:
        folders = tuple(self.root / "runs" / f"r{i}" / "attempt-1" for i in range(len(trainings)))
        for folder, training in zip(folders, trainings, strict=True):
            training.write(folder)
        return Work(self.root, folders, Resources(), self.root / "jobs", needs=Known(list(folders)), **more)

    def start(self, work: Work) -> list[Job]:
        return Local(self.inventory).start(work)

    @property
    def hold(self) -> Path:
        """While this file is there no training ends."""
        return self.root / "hold"

    def at_work(self, gpu: str = "GPU-0") -> list[int]:
        """Return the processes that hold memory of a GPU; another program is number 0."""
        return list(fake_gpu.holders(self.inventory.folder(gpu)))

    def diary(self) -> list[dict[str, Any]]:
        """Return for each run as it began: its GPU, how many held memory beside it, and GB that all held."""
        path = self.root / "gpus" / "diary.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -P {fake_gpu.__file__} "$4"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(shared_gpu, "LOOK_S", 0.05)
    monkeypatch.setattr(shared_gpu, "SHARE", 0)
    monkeypatch.setattr(shared_gpu, "MEASURE_S", 0.1)
    return Box(tmp_path)


def to_the_end(jobs: list[Job], *, until: Callable[[], bool] = lambda: False) -> list[Job]:
    """Poll jobs until all have ended, or until something is so."""
    limit = time.monotonic() + 60
    while (jobs := [job for job in jobs if job.poll()]) and not until():
        assert time.monotonic() < limit
        time.sleep(0.02)
    return jobs


def statuses(work: Work) -> Counter[str | None]:
    return Counter(Attempt(path).status for path in work.attempts)


@pytest.fixture
def ending() -> Iterator[list[Job]]:
    """Jobs that a test leaves at work."""
    jobs: list[Job] = []
    yield jobs
    for job in jobs:
        job.kill()


def test_the_first_of_a_shape_is_alone_until_it_is_measured_then_as_many_share_as_fit(box: Box) -> None:
    box.hold.touch()
    work = box.work(*[Training("a", gb=2.6)] * 5, Training("b", gb=1.0))
    jobs = to_the_end(box.start(work), until=lambda: len(box.at_work()) == 3)
    box.hold.unlink()
    to_the_end(jobs)
    assert statuses(work) == {"finished": 6}
    assert {starts.starts(Attempt(path)) for path in work.attempts} == {1}
    beside = {line["attempt"]: line["beside"] for line in box.diary()}
    assert (beside["r0"], beside["r5"]) == (0, 0)  # the need of shape b is not known either
    assert max(beside.values()) == 2  # 3 x 2.6 GB x 1.1 fit into 95 % of 10 GB, 4 do not
    assert list(work.jobs.iterdir()) == []


def test_more_processes_than_pay_are_stopped_and_go_on_later(box: Box, ending: list[Job]) -> None:
    box.hold.touch()
    work = box.work(*[Training(gb=0.5, busy=2)] * 6)
    needs = work.needs
    assert isinstance(needs, Known)
    speeds = needs.speeds.setdefault("a", {})
    ending += box.start(work)
    to_the_end(ending, until=lambda: 4 in speeds and len(box.at_work()) == 2)
    assert set(speeds) == {1, 2, 4}
    assert speeds[2] > 1.1 * speeds[1]
    assert speeds[4] < 1.1 * speeds[2]
    begun = [Attempt(path) for path in work.attempts if Attempt(path).starts.exists()]
    assert [is_held(attempt.claim) for attempt in begun] == [True, True, False, False]
    assert all(starts.lines(attempt)[-1].get("stopped") for attempt in begun[2:])


@pytest.mark.parametrize("epochs", [1, 2])
def test_many_short_runs_say_together_what_sharing_gives(box: Box, ending: list[Job], epochs: int) -> None:
    work = box.work(*[Training(gb=0.5, epochs=epochs)] * 60)
    assert fake_gpu.EPOCH_S * epochs < shared_gpu.MEASURE_S  # no run is long enough by itself
    needs = work.needs
    assert isinstance(needs, Known)
    speeds = needs.speeds.setdefault("a", {})
    ending += box.start(work)
    to_the_end(ending, until=lambda: 2 in speeds)
    assert speeds[2] > 1.1 * speeds[1]
    assert statuses(work)["finished"] < 60


def test_commands_which_say_nothing_of_images_give_no_speed(box: Box) -> None:
    work = box.work(*[Training(gb=0.5, epochs=10, tells=False)] * 3)
    to_the_end(box.start(work))
    assert statuses(work) == {"finished": 3}
    assert isinstance(work.needs, Known)
    assert work.needs.speeds == {}


def entries(*points: tuple[float, float | None]) -> list[Entry]:
    return [Entry(i, time, {} if speed is None else {SPEED: speed}, 0) for i, (time, speed) in enumerate(points, 1)]


def test_an_epoch_counts_where_it_began_since_then_and_the_first_only_of_a_whole_attempt() -> None:
    three = entries((12.0, 10.0), (13.0, 100.0), (15.0, 400.0))
    assert made(three, 11.0, whole=False) == Made(3.0, 100.0 + 800.0)
    assert made(three, 12.5, whole=False) == Made(2.0, 800.0)
    assert made(three, 10.0, whole=True) == Made(5.0, 20.0 + 100.0 + 800.0)
    assert made(entries((12.0, 10.0)), 11.0, whole=False) == Made(0.0, 0.0)
    assert made(entries((12.0, None), (13.0, None)), 11.0, whole=True) == Made(0.0, 0.0)


def test_parts_give_a_rate_together_once_they_are_long_enough() -> None:
    part = Made(shared_gpu.MEASURE_S / 2, 300.0)
    assert rate([part]) is None
    assert rate([part, part]) == 600.0 / shared_gpu.MEASURE_S
    assert rate([]) is None


def test_a_run_out_of_memory_leaves_the_others_alone_and_its_shape_is_packed_no_longer(box: Box) -> None:
    box.hold.touch()
    work = box.work(Training(gb=2.0), Training(gb=9.0), Training(gb=2.0), Training(gb=2.0))
    jobs = to_the_end(box.start(work), until=lambda: Attempt(work.attempts[1]).status is not None)
    box.hold.unlink()
    to_the_end(jobs)
    assert [Attempt(path).status for path in work.attempts] == ["finished", "failed", "finished", "finished"]
    assert starts.starts(Attempt(work.attempts[0])) == 1
    begun = {line["attempt"]: line["beside"] for line in box.diary()}
    assert (begun["r1"], begun["r2"], begun["r3"]) == (1, 0, 0)
    second = work.attempts[1].with_name("attempt-2")
    Training(gb=9.0).write(second)
    to_the_end(box.start(replace(work, attempts=(second,), most=1)))
    assert Attempt(second).status == "finished"


def test_memory_of_other_programs_is_left_to_them_also_where_the_driver_names_no_process(box: Box) -> None:
    box.tells = False
    box.hold.touch()
    box.inventory.occupy(5.0)
    work = box.work(*[Training(gb=2.0)] * 3)
    jobs = to_the_end(box.start(work), until=lambda: len(box.at_work()) == 3)
    box.hold.unlink()
    to_the_end(jobs)
    assert statuses(work) == {"finished": 3}
    assert max(line["gb"] for line in box.diary()) == 9.0


def test_work_waits_for_memory_that_other_programs_hold_and_says_so_when_that_takes_too_long(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.inventory.occupy(6.0)
    work = box.work(Training(gb=5.0))
    need.note(work.attempts[0], need.Need(KIND, 5.0, USED))
    jobs = to_the_end(box.start(work), until=lambda: True)
    assert len(jobs) == 1
    assert statuses(work) == {None: 1}
    box.inventory.occupy(1.0)
    to_the_end(jobs)
    assert statuses(work) == {"finished": 1}
    monkeypatch.setattr(shared_gpu, "PATIENCE_S", 0.0)
    box.inventory.occupy(6.0)
    more = replace(work, attempts=(work.attempts[0].with_name("attempt-2"),))
    Training(gb=5.0).write(more.attempts[0])
    with pytest.raises(LaunchError, match=r"other programs hold 6.0 of its 10.0 GB, and a run needs 5.5 GB"):
        to_the_end(box.start(more))


def test_each_gpu_works_and_what_one_that_fails_has_begun_goes_on_elsewhere(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    box.count = 2
    box.hold.touch()
    work = box.work(*[Training()] * 3)
    jobs = to_the_end(box.start(work), until=lambda: bool(box.at_work("GPU-0") and box.at_work("GPU-1")))
    (box.inventory.folder("GPU-0") / "lost").touch()
    jobs = to_the_end(jobs, until=lambda: not box.at_work("GPU-0"))
    box.hold.unlink()
    to_the_end(jobs)
    assert statuses(work) == {"finished": 3}
    assert "going on without GPU 0" in caplog.text


def test_all_workers_of_a_gpu_end_when_it_is_told_to(box: Box, ending: list[Job]) -> None:
    box.hold.touch()
    work = box.work(*[Training(gb=1.0)] * 3)
    for end in (SharedGpu.cancel, SharedGpu.kill):
        (job,) = box.start(work)
        assert isinstance(job, SharedGpu)
        ending.append(job)
        to_the_end([job], until=lambda: len(box.at_work()) == 2)
        pids = box.at_work()
        end(job)
        to_the_end([job])
        assert not any(psutil.pid_exists(pid) for pid in pids)
        assert not any(is_held(Attempt(path).claim) for path in work.attempts)
        assert not any(path.suffix == ".json" for path in work.jobs.iterdir())


@dataclass
class Fed:
    """Attempts that come by a list, on one GPU."""

    box: Box
    work: Work
    feed: Feed

    @classmethod
    def of(cls, box: Box, *trainings: Training) -> Fed:
        work = box.work(*trainings)
        return cls(box, work, Feed.create(Feed.name(work.jobs)))

    def start(self) -> list[Job]:
        return self.box.start(replace(self.work, attempts=(), feed=self.feed.path))

    def add(self, *numbers: int) -> None:
        self.feed.add(self.work.attempts[number] for number in numbers)

    def ended(self, *numbers: int) -> bool:
        return all(Attempt(self.work.attempts[number]).status for number in numbers)

    def pids(self) -> list[int]:
        return [line["pid"] for path in self.work.attempts for line in starts.lines(Attempt(path)) if "pid" in line]


def test_workers_wait_for_more_of_their_shape_and_share_what_comes(box: Box, ending: list[Job]) -> None:
    fed = Fed.of(box, *[Training(gb=2.0)] * 6)
    ending += fed.start()
    to_the_end(ending, until=lambda: True)
    fed.add(0)
    to_the_end(ending, until=lambda: fed.ended(0))
    fed.add(1)
    to_the_end(ending, until=lambda: fed.ended(1))
    assert len(set(fed.pids())) == 1
    box.hold.touch()
    fed.add(2, 3, 4)
    to_the_end(ending, until=lambda: len([line for line in box.diary() if line["beside"] == 2]) > 0)
    fed.feed.drop(fed.work.attempts[4])
    Attempt(fed.work.attempts[4]).ask_to_stop()
    to_the_end(ending, until=lambda: not is_held(Attempt(fed.work.attempts[4]).claim))
    fed.add(5)
    to_the_end(ending, until=lambda: is_held(Attempt(fed.work.attempts[5]).claim))
    fed.feed.close()
    box.hold.unlink()
    to_the_end(ending)
    assert [Attempt(path).status for path in fed.work.attempts] == ["finished"] * 4 + [None, "finished"]
    fed.feed.remove()
    assert list(fed.work.jobs.iterdir()) == []


def test_a_worker_that_waits_gives_its_place_to_another_shape_and_takes_what_is_asked_for_again(
    box: Box, ending: list[Job]
) -> None:
    fed = Fed.of(box, Training("a", gb=3.0), Training("b", gb=8.0))
    ending += fed.start()
    box.hold.touch()
    fed.add(0)
    to_the_end(ending, until=lambda: need.read(fed.work.attempts[0]) is not None)
    fed.feed.drop(fed.work.attempts[0])
    Attempt(fed.work.attempts[0]).ask_to_stop()
    wait_for(lambda: not is_held(Attempt(fed.work.attempts[0]).claim), "end of the run")  # so that one look sees both
    fed.add(0)
    to_the_end(ending, until=lambda: len(fed.pids()) == 2)
    box.hold.unlink()
    to_the_end(ending, until=lambda: fed.ended(0))
    fed.add(1)
    to_the_end(ending, until=lambda: fed.ended(1))
    assert fed.pids()[0] == fed.pids()[1] != fed.pids()[2]
    fed.feed.close()
    to_the_end(ending)
    fed.feed.remove()
    assert list(fed.work.jobs.iterdir()) == []
