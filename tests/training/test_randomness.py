"""Keyed draws: streams are apart, and a step's draws depend on nothing but its key."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from slws_lab.training.randomness import generator, key, seed_globals


def test_keys_are_golden() -> None:
    assert [key(0, "init"), key(0, "shuffle", 7), key(1, "shuffle", 7)] == GOLDEN


GOLDEN = [900553517829159482, 6934006376484465862, 8061234271026374426]


def test_seed_stream_and_step_each_change_the_key() -> None:
    keys = {
        key(seed, stream, step) for seed in range(3) for stream in ("init", "order", "augment") for step in range(50)
    }
    assert len(keys) == 3 * 3 * 50


def test_a_generator_starts_at_its_key() -> None:
    first, second = (torch.rand(5, generator=generator(3, "augment", 11)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.rand(5, generator=generator(3, "augment", 12)))


@pytest.mark.parametrize("draw", [lambda: torch.rand(3).tolist(), lambda: np.random.rand(3).tolist(), random.random])
def test_the_global_generators_are_seeded(draw) -> None:  # type: ignore[no-untyped-def]
    seed_globals(1, "global", 5)
    first = draw()
    draw()
    seed_globals(1, "global", 5)
    assert draw() == first
