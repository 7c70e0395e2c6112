"""What tests of the search ask for by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from search.books import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
