"""Whether a run is stale: made by other code or packages than there are now. A stale run stays; `--refresh` reruns it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slws_lab.tracking import provenance

SHOWN = 3


def staleness(result: dict[str, Any], root: Path, data_fingerprint: str | None = None) -> list[str]:
    """Return why a result is stale, one sentence each; empty if it is fresh.

    Args:
        result: The run's result.json.
        root: The project's folder, in which a user's own model files are.
        data_fingerprint: The data set's present fingerprint; None leaves the data out.
    """
    made_by = result.get("provenance", {})
    changed = provenance.changed_modules(made_by.get("modules", {}), root)
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    reasons = [f"code changed since: {', '.join(changed[:SHOWN])}{more}"] if changed else []
    now = provenance.packages()
    then = made_by.get("packages", {})
    for name in sorted({*now, *then}) if then else ():
        if now.get(name) != then.get(name):
            reasons.append(f"{name} was {then.get(name, 'not installed')}, is {now.get(name, 'not installed')}")
    if data_fingerprint not in (None, result.get("data_fingerprint")):
        reasons.append(f"the data were {result.get('data_fingerprint')}, are {data_fingerprint}")
    return reasons
