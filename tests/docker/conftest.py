"""The native stack for the tests that ask for one; they are skipped where it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from native_stack import Stack, program

PROGRAMS = ("initdb", "pg_ctl", "createdb", "dropdb", "pg_dump", "pg_restore")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    missing = [name for name in PROGRAMS if program(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (SLWS_TEST_SERVERS=1 installs PostgreSQL)")
    (tmp_path / "stack").mkdir()
    made = Stack(tmp_path / "stack")
    try:
        made.start()
        yield made
    finally:
        made.stop()
