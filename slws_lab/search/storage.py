"""Where a search is kept: a SQLite file or Optuna's journal file in the workspace, or a database that many drivers share."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from slws_lab.errors import AwayError
from slws_lab.spec import Study
from slws_lab.tracking import Workspace
from slws_lab.tracking.provenance import redacted

WAIT_S = 60.0  # of SQLite, for another process's write
DRIVERS = {"postgresql": "postgresql+psycopg2"}  # which one an address means changed with SQLAlchemy 2.1
TROUBLES = (SQLAlchemyError, StorageInternalError, ImportError, OSError, json.JSONDecodeError, UnicodeDecodeError)
TRIES, PAUSE_S = 5, 0.5  # to open what another driver is making at this moment


@dataclass(frozen=True)
class Address:
    """Where a storage stands.

    Attributes:
        text: A database's address, or the path of a journal file; it may hold a password.
        file: The workspace's own file; None for a database elsewhere.
        where: Place in the study file that names it.
    """

    text: str
    file: Path | None
    where: str

    @classmethod
    def of(cls, study: Study, workspace: Workspace) -> Address:
        """Return the address of a search's storage; variables of the environment are filled in.

        Raises:
            AwayError: A variable is not set, or what it holds is no database.
        """
        assert study.spec.search is not None
        given, where = study.spec.search.storage, study.source.where(("search", "storage"))
        folder = workspace.path / "searches"
        if given == "sqlite":
            return cls(f"sqlite:///{folder / 'optuna.db'}", folder / "optuna.db", where)
        if given == "journal":
            return cls(str(folder / "optuna.log"), folder / "optuna.log", where)
        text = os.path.expandvars(given)
        if missing := [name for name in re.findall(r"\$\{?(\w+)\}?", given) if name not in os.environ]:
            raise AwayError(
                f"the variable {missing[0]} is not set", where=where, todo=f"export {missing[0]}=postgresql://..."
            )
        if not text.startswith(("postgresql", "mysql")):
            raise AwayError("this is no address of a database", where=where, allowed="postgresql://..., mysql://...")
        scheme, _, rest = text.partition("://")
        return cls(f"{DRIVERS.get(scheme, scheme)}://{rest}", None, where)

    @property
    def shown(self) -> str:
        """The address without its password."""
        return redacted(self.text)

    def connect(self) -> BaseStorage:
        """Open the storage, making the workspace's own file if it is not there.

        Raises:
            AwayError: The database cannot be reached, or is damaged.
        """
        with reaching(self):
            if self.file is not None:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            if self.file is not None and self.file.suffix == ".log":
                return JournalStorage(JournalFileBackend(self.text))
            return self._database()

    def _database(self) -> RDBStorage:
        """Open a database; drivers that begin at once all try to make its tables, and all but one are told that these exist."""
        options = {"connect_args": {"timeout": WAIT_S}} if self.file else {"pool_pre_ping": True}
        for _ in range(TRIES):
            try:
                return RDBStorage(self.text, engine_kwargs=options)
            except SQLAlchemyError as error:
                if not isinstance(error, IntegrityError) and "already exists" not in str(error):
                    raise
            time.sleep(PAUSE_S)
        return RDBStorage(self.text, engine_kwargs=options)


@contextmanager
def reaching(address: Address) -> Iterator[None]:
    """Turn a storage's own errors into one message.

    Raises:
        AwayError: It cannot be reached, written, or is damaged. Nothing is lost: what was told stays, and runs are kept apart from it.
    """
    try:
        yield
    except TROUBLES as error:
        cause = error.__cause__ or error
        said = redacted(str(cause).strip().splitlines()[0])
        todo = "is the server up, and its driver installed (psycopg2-binary for PostgreSQL)?"
        raise AwayError(f"the search's storage {address.shown} cannot be used: {said}", where=address.where,
                        todo=todo if address.file is None else "the same command goes on when the file can be used") from None  # fmt: skip
