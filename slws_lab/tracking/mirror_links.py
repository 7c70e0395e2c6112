"""Where MLflow's UI shows a study or a run of ours: its address is found when it is asked for, since ids differ from store to store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from slws_lab.tracking.folder import Workspace
from slws_lab.tracking.mirror_store import (
    MirrorAway,
    Store,
    is_http,
    own_database,
    own_uri,
    reaching,
    set_environment,
)
from slws_lab.tracking.mirror_ui import ARMS_VIEW, default_uri, page_of, page_of_run
from slws_lab.tracking.provenance import redacted

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Links:
    """The pages of a workspace's studies and runs in the store that it is mirrored to. Reads only."""

    def __init__(self, workspace: Workspace) -> None:
        set_environment()
        self._workspace, self._uri = workspace, default_uri(workspace)

    @property
    def elsewhere(self) -> bool:
        """Whether the store is a server, which has a UI itself."""
        return is_http(self._uri)

    @property
    def base(self) -> str:
        """What stands before a page's address: `/` where the UI is our own, else the address of the server, without password."""
        return redacted(self._uri).rstrip("/") + "/" if self.elsewhere else "/"

    def check(self) -> None:
        """Do nothing if the store can be reached.

        Raises:
            MirrorAway: It cannot.
        """
        with self._store():
            pass

    def sent(self) -> list[str]:
        """Return the names of the studies that this workspace has sent to MLflow."""
        return sorted(path.stem for path in self._workspace.mirror.glob("*.json"))

    def study(self, name: str) -> str | None:
        """Return the page of a study; None where the store has no such study of ours.

        Raises:
            MirrorAway: The store cannot be reached.
        """
        if name not in self.sent():
            return None
        with self._store() as store:
            experiment = store.find(name)
        return None if experiment is None else page_of(experiment, ARMS_VIEW)

    def run(self, run_id: str, study: str = "") -> str | None:
        """Return the page of a run; None where the store has none.

        Args:
            run_id: Its id.
            study: The study in which it is looked for first, since each has a copy of its own.

        Raises:
            MirrorAway: The store cannot be reached.
        """
        studies = sorted(self.sent(), key=lambda name: name != study)
        if not RUN_ID.fullmatch(run_id) or not studies:  # it becomes part of a query
            return None
        with self._store() as store:
            there = ((experiment, name) for name in studies if (experiment := store.find(name)) is not None)
            pages = (
                page_of_run(where, run.info.run_id)
                for where, name in there
                for run in store.runs(where, name, run_id=run_id)
            )
            return next(pages, None)

    @contextmanager
    def _store(self) -> Iterator[Store]:
        if self._uri == own_uri(self._workspace) and not own_database(self._workspace).exists():
            raise MirrorAway("there is no MLflow store yet")  # connecting would make one
        with reaching(self._workspace, self._uri):
            yield Store(self._workspace, self._uri)
