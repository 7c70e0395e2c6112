"""The only module that talks to MLflow: connecting, finding, creating, logging. What is mirrored, others decide."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from slws_lab.errors import SlwsError
from slws_lab.tracking.audit_digests import sha256
from slws_lab.tracking.files import write_text
from slws_lab.tracking.folder import Workspace
from slws_lab.tracking.mirror_content import MLFLOW_STATUS, Content, Point, milliseconds
from slws_lab.tracking.mirror_model import FOLDER as MODEL
from slws_lab.tracking.provenance import redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # the UI needs no job runner beside it
    # The journal keeps what could not be sent, so a server that is away must not hold up a study for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    # Connections that outlive a call would go on writing into a SQLite file that a rebuild has replaced.
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}


# What a database file says that no retry mends: it was damaged, or another program made its tables.
DAMAGED = re.compile(r"\(sqlite3\.DatabaseError\)|not a database|malformed|no such (table|column)|database schema")
WORKSPACE = "slws.workspace"
REPORT, CONFIG, _ = OUR_ARTIFACTS = ("report", "config", MODEL)
DATASET_SOURCE = "slws"
SIDECARS = ("-journal", "-wal", "-shm")  # SQLite's own files beside a database


class MirrorAway(SlwsError):
    """The store cannot be reached or refuses; nothing is lost, the next pass sends what is missing."""

    def __init__(self, reason: str) -> None:
        super().__init__(redacted(reason))  # it may name the address, and that a password


class MirrorDamaged(MirrorAway):
    """The workspace's own database file is damaged; a new one can be filled from the run folders."""


def set_environment() -> None:
    """Set how MLflow behaves in this process and its children, before it is imported; what the user has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def reaching(workspace: Workspace, uri: str) -> Iterator[None]:
    """Turn any error of MLflow, its database or its server into MirrorAway with one line of reason."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, RequestException, OSError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{uri}: {lines[0] if lines else type(error).__name__}"[:300]
        if uri == own_uri(workspace) and DAMAGED.search(reason):
            raise MirrorDamaged(f"{reason}; `slws sync --rebuild` fills a new one from the run folders") from error
        raise MirrorAway(reason) from error


class Store:
    """One MLflow store.

    Args:
        workspace: Where artifacts go if the store is a database, which has no place for them.
        uri: The tracking URI.
    """

    def __init__(self, workspace: Workspace, uri: str) -> None:
        self.uri = uri
        self._artifacts, self._mirror = workspace.path / "mlartifacts", workspace.mirror
        self._own = own_database(workspace) if uri == own_uri(workspace) else None
        self._client = _connect(uri)

    def find(self, name: str) -> str | None:
        """Return the id of the experiment of this name; None if there is none, or it was deleted. Changes nothing."""
        found = self._client.get_experiment_by_name(name)
        return None if found is None or found.lifecycle_stage == "deleted" else str(found.experiment_id)

    def experiment(self, name: str, tags: dict[str, str]) -> str:
        """Return the id of the experiment of this name: found, brought back if it was deleted, or made.

        Args:
            name: Its name.
            tags: Set where they are absent; what somebody changed in the UI stays.
        """
        found = self._client.get_experiment_by_name(name)
        if found is None:
            place = None if is_http(self.uri) else (self._artifacts / name).absolute().as_uri()
            return str(self._client.create_experiment(name, artifact_location=place, tags=tags))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        for key in tags.keys() - found.tags.keys():
            self._client.set_experiment_tag(found.experiment_id, key, tags[key])
        return str(found.experiment_id)

    def runs(self, experiment: str, study: str, **tags: str) -> list[Run]:
        """Return the runs of a study in an experiment that this workspace has sent, the fullest first.

        On a server another workspace may send the same study: its runs are not ours to touch.

        Args:
            experiment: Its id.
            study: Name of the study.
            tags: Only runs with these of our tags: name without `slws.` -> value, which must be a name, without quotes.
        """
        found: list[Run] = []
        token, ours = (
            None,
            " and ".join(f"tags.`slws.{name}` = '{value}'" for name, value in {"study": study, **tags}.items()),
        )
        while True:
            page = self._client.search_runs([experiment], ours, max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                break
        known = (None, workspace_id(self._mirror))
        mine = [run for run in found if run.data.tags.get(WORKSPACE) in known]
        return sorted(mine, key=lambda run: -len(run.data.metrics))

    def again(self, run: Run) -> Run | None:
        """Return a run as the store holds it now; None if somebody has deleted it."""
        found = self._client.get_run(run.info.run_id)
        return found if found.info.lifecycle_stage == "active" else None

    def create(self, experiment: str, content: Content) -> Run:
        """Create a run with its tags, so that it is found again whatever happens next."""
        started = None if content.started is None else milliseconds(content.started)
        tags = {**content.tags, WORKSPACE: workspace_id(self._mirror, make=True)}
        return self._client.create_run(experiment, start_time=started, tags=tags, run_name=content.name)

    def update(self, run: Run, content: Content, points: list[Point]) -> bool:
        """Add points, and bring all else up to date; return whether anything was sent.

        A parameter cannot be changed in MLflow: where it differs, a tag `slws.now.<name>` holds the new value.
        """
        data = run.data
        tags = {**content.tags, WORKSPACE: workspace_id(self._mirror, make=True)}
        for name, value in content.params.items():
            if f"slws.now.{name}" in data.tags or data.params.get(name, value) != value:
                tags[f"slws.now.{name}"] = value
        params = {name: value for name, value in content.params.items() if name not in data.params}
        tags = {name: value for name, value in tags.items() if data.tags.get(name) != value}
        figures = [(n, v, 0, content.ended or 0.0) for n, v in content.figures.items() if n not in data.metrics]
        self._log(run, [*points, *figures], params, tags)
        sent = bool(points or figures or params or tags)
        return self._set_dataset(run, content) | self._set_status(run, content) | self._set_name(run, content) | sent

    def sent(self, run: Run, names: Iterable[str]) -> set[tuple[str, int]]:
        """Ask the store which (name, step) it has."""
        run_id = run.info.run_id
        return {(name, metric.step) for name in names for metric in self._client.get_metric_history(run_id, name)}

    def history(self, run: Run) -> dict[str, list[tuple[int, float, int]]]:
        """Return all points that a run has: name -> (step, value, milliseconds since 1970), by step.

        The workspace's own database is read directly: its client needs a call for each metric, a hundred times as long.
        """
        found: dict[str, list[tuple[int, float, int]]] = {}
        rows = _rows(self._own, "metrics", run.info.run_id) if self._own else self._asked(run)
        for name, step, value, time in rows:
            found.setdefault(name, []).append((step, value, time))
        return {name: sorted(points, key=itemgetter(0)) for name, points in found.items()}

    def latest(self, run: Run) -> dict[str, Any]:
        """Return what MLflow shows as the last of each metric: the point where its table can be read, else the value."""
        if self._own is None:
            return dict(run.data.metrics)
        return {name: tuple(point) for name, *point in _rows(self._own, "latest_metrics", run.info.run_id)}

    def _asked(self, run: Run) -> Iterator[tuple[str, int, float, int]]:
        for name in run.data.metrics:
            for metric in self._client.get_metric_history(run.info.run_id, name):
                yield name, metric.step, metric.value, metric.timestamp

    def tag(self, run: Run, tags: dict[str, str]) -> None:
        """Set those tags of a run that are not so yet."""
        for name, value in tags.items():
            if run.data.tags.get(name) != value:
                self._client.set_tag(run.info.run_id, name, value)

    def untag(self, run: Run, name: str) -> None:
        """Take a tag away that a run has."""
        self._client.delete_tag(run.info.run_id, name)

    def delete(self, run: Run, reason: str) -> None:
        """Delete a run (MLflow keeps it in its bin), saying why."""
        self._client.set_tag(run.info.run_id, "slws.superseded", reason)
        self._client.delete_run(run.info.run_id)

    def replace_artifacts(self, run: Run, folder: str, files: dict[str, Path]) -> None:
        """Make a folder of a run's artifacts hold these files (path within it -> source) and no other.

        A tag keeps their digest, so that unchanged ones are not sent again.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        tag, digest = f"slws.artifacts.{folder}", digest_of(files)
        if run.data.tags.get(tag) == digest or not self.is_at_home(run):
            return
        repository: Any = get_artifact_repository(run.info.artifact_uri, tracking_uri=self.uri)
        if repository.list_artifacts(folder):
            repository.delete_artifacts(folder)
        with tempfile.TemporaryDirectory() as place:
            for name, source in files.items():
                named = Path(place, Path(name).name)  # MLflow keeps the name of what it is given
                named.symlink_to(source.absolute())
                repository.log_artifact(str(named), Path(folder, name).parent.as_posix())
                named.unlink()
        self._client.set_tag(run.info.run_id, tag, digest)

    @contextlib.contextmanager
    def artifacts(self, run: Run, folder: str) -> Iterator[dict[str, Path]]:
        """Yield what a folder of a run's artifacts holds: path within it -> a file, as long as the context lasts."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository: Any = get_artifact_repository(run.info.artifact_uri, tracking_uri=self.uri)
        with tempfile.TemporaryDirectory() as place:
            top = Path(place, folder)
            if repository.list_artifacts(folder):
                repository.download_artifacts(folder, place)
            yield {path.relative_to(top).as_posix(): path for path in top.rglob("*") if path.is_file()}

    def is_at_home(self, run: Run) -> bool:
        """Say whether a run's artifacts lie where this store keeps them.

        In the database of a workspace that was copied or moved they lie in the old place, which is not ours to write.
        """
        place = urlsplit(run.info.artifact_uri)
        if self._own is None or place.scheme not in ("", "file"):
            return True
        own, folder = Path(run.info.run_id, "artifacts"), Path(unquote(place.path)).resolve()
        return folder.parts[-2:] == own.parts and self._artifacts.resolve() in folder.parents

    def _log(self, run: Run, points: list[Point], params: dict[str, str], tags: dict[str, str]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        parts = zip_longest(
            _chunks([Metric(name, value, milliseconds(time), step) for name, value, step, time in points], 800),
            _chunks([Param(name, value) for name, value in params.items()], 100),
            _chunks([RunTag(name, value) for name, value in tags.items()], 100),
            fillvalue=(),
        )
        for part in parts:  # each within the limits of one call: 1000 items, 100 of them params, 100 tags
            self._client.log_batch(run.info.run_id, *part)

    def _set_status(self, run: Run, content: Content) -> bool:
        status, ended = content.status, content.ended
        if status in (MLFLOW_STATUS["running"], "SCHEDULED"):
            if run.info.status != status:
                self._client.update_run(run.info.run_id, status=status)
            return bool(run.info.status != status)
        end_ms = milliseconds(ended) if ended is not None else None
        if run.info.status == status and (status == MLFLOW_STATUS["pending"] or run.info.end_time == end_ms):
            return False
        self._client.set_terminated(run.info.run_id, status, end_ms)
        return True

    def _set_name(self, run: Run, content: Content) -> bool:
        if named(run) == {content.name}:
            return False
        self._client.update_run(run.info.run_id, name=content.name)
        return True

    def _set_dataset(self, run: Run, content: Content) -> bool:
        from mlflow.entities import Dataset, DatasetInput

        if content.dataset is None or (run.inputs and run.inputs.dataset_inputs):
            return False
        name, fingerprint = content.dataset
        source = Dataset(name, fingerprint, source_type=DATASET_SOURCE, source=name)
        self._client.log_inputs(run.info.run_id, [DatasetInput(source)])
        return True


def named(run: Run) -> set[str | None]:
    """Return the names under which a run is shown: one, unless MLflow's two places for it differ."""
    return {run.info.run_name, run.data.tags.get("mlflow.runName")}


def workspace_id(mirror: Path, *, make: bool = False) -> str:
    """Return what tells this workspace's runs from those of others on a server; empty where it has none yet.

    Args:
        mirror: The workspace's folder for the mirror's state.
        make: Whether to make one.
    """
    path = mirror / "id"
    if make and not path.exists():
        write_text(path, uuid.uuid4().hex)
    return path.read_text().strip() if path.exists() else ""


def new_database(path: Path) -> None:
    """Put an empty MLflow database at a path; a reader sees the file that was there or a whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        _connect(f"sqlite:///{temporary.absolute()}")
        for ending in SIDECARS:  # of the old file: SQLite would undo their changes in the new one
            path.with_name(path.name + ending).unlink(missing_ok=True)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def forget_artifacts(workspace: Workspace) -> None:
    """Remove the reports, study files and models that runs of a replaced database hold; what else stands beside them stays."""
    for artifacts in (workspace.path / "mlartifacts").glob("*/*/artifacts"):
        for ours in OUR_ARTIFACTS:
            shutil.rmtree(artifacts / ours, ignore_errors=True)
        for emptied in (artifacts, artifacts.parent, artifacts.parent.parent, artifacts.parent.parent.parent):
            with contextlib.suppress(OSError):  # it holds something else
                emptied.rmdir()


def _rows(database: Path, table: str, run_id: str) -> list[tuple[str, int, float, int]]:
    """Return the points in one of MLflow's tables; the value of one that counts as NaN, which we never send, is None."""
    value = "CASE is_nan WHEN 0 THEN value END"
    query = f"SELECT key, step, {value}, timestamp FROM {table} WHERE run_uuid = ?"
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query, (run_id,)).fetchall()


def own_database(workspace: Workspace) -> Path:
    """Return the path of the workspace's own SQLite file."""
    return (workspace.path / "mlflow.db").absolute()


def own_uri(workspace: Workspace) -> str:
    """Return the URI of the workspace's own SQLite file."""
    return f"sqlite:///{own_database(workspace)}"


def _connect(uri: str) -> MlflowClient:
    from mlflow import MlflowClient  # its import sets the levels of its loggers

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    client = MlflowClient(uri, registry_uri=uri)
    client.search_experiments(max_results=1)  # so that a store that is away, or a wrong address, shows now
    return client


def digest_of(files: dict[str, Path]) -> str:
    """Return a digest of files, path within their folder -> source, by names and contents."""
    contents = [(name, sha256(source)) for name, source in sorted(files.items())]
    return hashlib.sha256(repr(contents).encode()).hexdigest()[:12]


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def is_http(uri: str) -> bool:
    """Say whether a store is a server, which keeps artifacts and has the UI itself."""
    return uri.startswith(("http://", "https://"))
