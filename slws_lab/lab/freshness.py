"""Whether a run is stale: made by other code or packages than there are now. A stale run stays; `--refresh` reruns it."""

from __future__ import annotations

from typing import Any

from slws_lab.tracking import provenance


def staleness(result: dict[str, Any]) -> list[str]:
    """Return why a result is stale, one sentence each; empty if it is fresh."""
    made_by = result.get("provenance", {})
    changed = provenance.changed_modules(made_by.get("modules", {}))
    reasons = [f"code changed since: {', '.join(changed)}"] if changed else []
    now = provenance.packages()
    for name, then in made_by.get("packages", {}).items():
        if now.get(name) != then:
            reasons.append(f"{name} was {then}, is {now.get(name, 'not installed')}")
    return reasons
