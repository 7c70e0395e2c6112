"""Calls to an actor of Ray that do not wait: a caller is a generator, which goes on at its next step if there is no answer yet."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

import ray
from ray.exceptions import ActorUnavailableError

T = TypeVar("T")
Steps = Generator[None, None, T]


def ask(call: Callable[..., Any], *arguments: Any) -> Steps[Any]:
    """Return what an actor's method answers.

    Args:
        call: A method's `remote`. It may be called twice: where the network fails it is asked again.
        arguments: Its arguments.
    """
    while True:
        answer = call(*arguments)
        while not is_ready(answer):
            yield
        try:
            return ray.get(answer)
        except ActorUnavailableError:
            yield


def is_ready(answer: Any) -> bool:
    """Say whether an answer, or its failure, is there."""
    ready, _ = ray.wait([answer], timeout=0)
    return bool(ready)
