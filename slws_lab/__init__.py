"""slws_lab: ablation studies for Vision Mamba with Stochastic Layer-Wise Shuffle. Importing it imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slws_lab.command.api import log
    from slws_lab.lab.loading import load_results, load_table

__all__ = ["load_results", "load_table", "log"]


def __getattr__(name: str) -> Any:
    if name == "log":
        from slws_lab.command import api

        return api.log
    if name in __all__:
        from slws_lab.lab import loading

        return getattr(loading, name)
    raise AttributeError(f"module 'slws_lab' has no attribute '{name}'")
