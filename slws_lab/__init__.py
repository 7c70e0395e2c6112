"""slws_lab: ablation studies for Vision Mamba with Stochastic Layer-Wise Shuffle. Importing it imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slws_lab.lab.loading import load_results

__all__ = ["load_results"]


def __getattr__(name: str) -> Any:
    if name == "load_results":
        from slws_lab.lab.loading import load_results

        return load_results
    raise AttributeError(f"module 'slws_lab' has no attribute '{name}'")
