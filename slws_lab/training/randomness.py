"""Every random draw of a training is keyed by (seed, stream, step): a checkpoint stores no generator, and streams never mix."""

from __future__ import annotations

import hashlib
import random
from typing import Literal

import numpy as np
import torch

Stream = Literal["init", "order", "sample", "augment", "global", "shuffle"]


def key(seed: int, stream: Stream, step: int = 0, rank: int = 0, part: int = 0) -> int:
    """Return the 63-bit key of a draw.

    Args:
        seed: The run's seed.
        stream: What the draw is for. `global` feeds the process-wide generators, from which timm's drop path draws.
        step: Number of the training step, or of the epoch for `order` and `sample`, over all stages.
        rank: Process among those that share a batch: each draws for its own samples.
        part: Number of the part in which a rank takes its share of a batch.
    """
    place = f"{step}/{rank}/{part}" if rank or part else f"{step}"  # one process keeps the keys that it always had
    digest = hashlib.blake2b(f"{seed}/{stream}/{place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, stream: Stream, step: int = 0, rank: int = 0, part: int = 0) -> torch.Generator:
    """Return a CPU generator at the start of a keyed stream: the same draws on every device."""
    return torch.Generator(device="cpu").manual_seed(key(seed, stream, step, rank, part))


def seed_globals(seed: int, stream: Stream, step: int = 0, rank: int = 0, part: int = 0) -> None:
    """Re-seed torch's, numpy's and Python's process-wide generators, which libraries draw from."""
    value = key(seed, stream, step, rank, part)
    torch.default_generator.manual_seed(value)
    # torch.manual_seed would ask every kind of device, which takes longer than a small block
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(value)
    np.random.seed(value % 2**32)
    random.seed(value)
