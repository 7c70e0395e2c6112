"""Whether a run is stale: made by other code or packages than there are now. A stale run stays; `--refresh` reruns it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slws_lab.tracking import RunRecord, provenance

SHOWN = 3


class Present:
    """Code and packages as they are now; each is looked at once, however many runs are compared with it.

    Args:
        root: The project's folder, in which a user's own model files are.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._packages = root, provenance.packages()
        self._known: dict[str, list[str]] = {}
        self._same: dict[int, tuple[Mapping[str, Any], list[str]]] = {}  # many records share one provenance

    def staleness(self, record: RunRecord, data_fingerprint: str | None = None) -> list[str]:
        """Return why a run's result is stale, one sentence each; empty if it is fresh.

        Args:
            record: The run's record.
            data_fingerprint: The data set's present fingerprint; None leaves the data out.
        """
        digest = record.digest
        made_by, data = digest.provenance, digest.data_fingerprint
        if id(made_by) not in self._same:
            key = f"{made_by.get('modules')} {made_by.get('packages')}"
            if key not in self._known:
                self._known[key] = self._changed(made_by)
            self._same[id(made_by)] = made_by, self._known[key]
        other = data_fingerprint not in (None, data)
        return self._same[id(made_by)][1] + ([f"the data were {data}, are {data_fingerprint}"] if other else [])

    def _changed(self, made_by: Mapping[str, Any]) -> list[str]:
        changed = provenance.changed_modules(made_by.get("modules", {}), self._root)
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        reasons = [f"code changed since: {', '.join(changed[:SHOWN])}{more}"] if changed else []
        now, then = self._packages, made_by.get("packages", {})
        for name in sorted({*now, *then}) if then else ():
            if now.get(name) != then.get(name):
                reasons.append(f"{name} was {then.get(name, 'not installed')}, is {now.get(name, 'not installed')}")
        return reasons
