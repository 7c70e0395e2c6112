"""What tests of faults share: this process as the command on one core, and things that happen while it works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from conftest import Folder, Here

pytest.register_assert_rewrite("faults.faults")
from faults.faults import WAIT_S  # noqa: E402

from slws_lab.launch import inventory  # noqa: E402

Meanwhile = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def here(run_here: Here, monkeypatch: pytest.MonkeyPatch) -> Callable[[Folder], str]:
    """Run the study `tiny` from this process, by one worker; returns what was printed."""
    monkeypatch.setattr(inventory, "cores", lambda: 1)

    def call(folder: Folder, code: int = 0) -> str:
        return run_here(folder, "run", "tiny", code=code)

    return call


@pytest.fixture
def meanwhile() -> Meanwhile:
    """Do something in a thread while the body runs; what it raises is raised behind the body."""

    @contextmanager
    def doing(action: Callable[..., Any], *arguments: Any) -> Iterator[None]:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(action, *arguments)
            yield
            future.result(WAIT_S)

    return doing
