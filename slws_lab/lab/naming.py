"""How a run is named on the command line."""

from __future__ import annotations


def begins(run_id: str, name: str) -> bool:
    """Say whether a run id, or its last part (the digest), begins so."""
    return bool(name) and (run_id.startswith(name) or run_id.rpartition("-")[2].startswith(name))
