"""How many runs share a GPU: as many as fit by measured memory, and only as long as more of them give more images a second."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HEADROOM = 0.1  # of a run's measured peak: fragments, and what differs between runs of one shape
KEPT_FREE = 0.05  # of a GPU's memory
WORTH = 1.1  # what doubling the processes must multiply the images a second by


@dataclass(frozen=True)
class Wanted:
    """An attempt that nobody executes yet.

    Attributes:
        attempt: Its folder.
        shape: See `Needs.shape`.
        allowance_gb: Memory that is set aside for it; None while nobody knows what it needs.
    """

    attempt: Path
    shape: str
    allowance_gb: float | None


@dataclass(frozen=True)
class Room:
    """The memory of one GPU, and what works there.

    Attributes:
        total_gb: Its memory.
        others_gb: What programs take that are not our workers.
        working: The shape of each worker, and the memory set aside for it; None for one that has the GPU to itself.
    """

    total_gb: float
    others_gb: float
    working: Sequence[tuple[str, float | None]]

    @property
    def whole_gb(self) -> float:
        """What runs may take where there is nobody else."""
        return self.total_gb * (1 - KEPT_FREE)

    @property
    def free_gb(self) -> float:
        """What a further worker may take; none beside one whose need is not known."""
        taken = [self.whole_gb if gb is None else gb for _, gb in self.working]
        return self.whole_gb - self.others_gb - sum(taken)


def allowance(peak_gb: float | None) -> float | None:
    """Return the memory to set aside for a process whose measured peak is given; None for None."""
    return None if peak_gb is None else peak_gb * (1 + HEADROOM)


def choose(wanted: Iterable[Wanted], room: Room, most: Callable[[str], int]) -> Wanted | None:
    """Return the first attempt that a further worker can begin with now; None if all have to wait.

    One whose need is not known, or is more than runs may take, gets the GPU to itself, whatever other programs have there.

    Args:
        wanted: Attempts in the order in which they are wanted.
        room: The GPU.
        most: Shape -> how many processes of it are to share a GPU; of several shapes together the least.
    """
    shapes = {shape for shape, _ in room.working}
    for one in wanted:
        if one.allowance_gb is None or one.allowance_gb > room.whole_gb:
            if not room.working:
                return one
        elif one.allowance_gb <= room.free_gb and len(room.working) < min(map(most, {one.shape, *shapes})):
            return one
    return None


def processes(rates: Mapping[int, float]) -> int:
    """Return how many processes of one shape are to share a GPU: twice as many as long as that was worth it, and one step further to see.

    Where there was no room for twice as many, fewer say whether more are worth it.

    Args:
        rates: Number of processes -> the images a second that they gave together, as far as measured.
    """
    number = 1
    while number in rates:
        between = [rate for more, rate in rates.items() if number < more < 2 * number]
        if rates.get(2 * number, max(between, default=math.inf)) < WORTH * rates[number]:
            break
        number *= 2
    return number


def fitting(peak_gb: float, total_gb: float) -> int:
    """Return how many processes of a measured peak fit on an empty GPU, at least one."""
    return max(1, int(total_gb * (1 - KEPT_FREE) / (peak_gb * (1 + HEADROOM))))
