"""What compose.yaml starts, without containers: Debian's PostgreSQL, an S3 server (rclone's, for want of versitygw), MLflow's server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from compose_file import FOLDER, services

SERVER_USER = "postgres"  # PostgreSQL refuses to work as root
SCRIPT = "/usr/local/lib/make_bucket.py"
PROGRAMS = {"mlflow": [sys.executable, "-m", "mlflow"], "python": [sys.executable]}  # by the names that the image has


def program(name: str) -> str | None:
    """Return the path of one of PostgreSQL's programs; Debian puts them beside the usual paths."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, reversed(places))]))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(found: Callable[[], object], what: str, seconds: float = 180) -> None:
    until = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < until, f"no {what} within {seconds} s"
        time.sleep(0.05)


def listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Stack:
    """The servers, each in a folder. Whatever compose.yaml says of MLflow and the bucket is taken from there.

    Args:
        folder: Where the store's objects and logs go.
    """

    folder: Path
    cluster: Path = field(init=False)
    _services: dict[str, dict[str, Any]] = field(default_factory=services)
    _ports: dict[str, int] = field(default_factory=dict)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """MLflow's."""
        return f"http://127.0.0.1:{self._ports['mlflow']}"

    @property
    def objects(self) -> Path:
        """The folder of MLflow's artifacts, as the store keeps them."""
        return self.folder / "objects" / "mlflow"

    def start(self) -> None:
        self._ports |= {name: free_port() for name in ("postgres", "store", "mlflow")}
        self._start_postgres()
        self._start_store()
        bucket = self._services["bucket"]
        for _ in range(2):  # it is run at every start
            subprocess.run(
                self._here(bucket["command"]), env=self._environment(bucket), check=True, stdout=subprocess.DEVNULL
            )
        self.start_mlflow()

    def stop(self) -> None:
        for name in list(self._processes):
            self.kill(name)
        if hasattr(self, "cluster"):
            data = self.cluster / "data"
            if (data / "postmaster.pid").exists():
                self._as_server("pg_ctl", "stop", f"--pgdata={data}", "--mode=immediate")
            shutil.rmtree(self.cluster)

    def start_mlflow(self) -> None:
        service = self._services["mlflow"]
        self._run("mlflow", self._here(service["command"]), self._environment(service))
        wait_for(self._is_healthy, "answer of MLflow's server")

    def kill(self, name: str) -> None:
        """End a server and its children without a word."""
        process = self._processes.pop(name)
        if process.poll() is not None:  # it has ended by itself
            return
        for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            one.kill()
        process.wait()

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL, behind MLflow's back."""
        connection = self._connect("mlflow")
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, values)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def back_up(self, file: Path) -> None:
        self._client("pg_dump", "--format=custom", f"--file={file}", "mlflow")

    def restore(self, file: Path) -> None:
        """Throw the database away under MLflow's feet and make it anew from a backup."""
        self._client("dropdb", "--force", "mlflow")
        self._client("pg_restore", "--create", "--dbname=postgres", str(file))

    def _is_healthy(self) -> bool:
        """Ask as the health check of compose.yaml asks, at the port that it has here."""
        assert self._processes["mlflow"].poll() is None, (self.folder / "mlflow.log").read_text()
        command = self._here(self._services["mlflow"]["healthcheck"]["test"][1:])
        return (
            listens(self._ports["mlflow"])
            and subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
        )

    def _start_postgres(self) -> None:
        environment = self._services["postgres"]["environment"]
        self.cluster = Path(tempfile.mkdtemp(prefix="slws-postgres-"))  # a folder of pytest's lets only its owner pass
        password = self.cluster / "password"
        password.write_text(environment["POSTGRES_PASSWORD"])
        if os.getuid() == 0:
            for path in (self.cluster, password):
                shutil.chown(path, SERVER_USER, SERVER_USER)
        data, log = self.cluster / "data", self.cluster / "log"
        user = f"--username={environment['POSTGRES_USER']}"
        self._as_server(
            "initdb", f"--pgdata={data}", user, f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8"
        )
        options = f"-p {self._ports['postgres']} -c listen_addresses=127.0.0.1 -k {self.cluster} -c fsync=off"
        self._as_server("pg_ctl", "start", "--wait", f"--pgdata={data}", f"--log={log}", f"--options={options}")
        self._client("createdb", environment["POSTGRES_DB"])

    def _start_store(self) -> None:
        environment = self._services["store"]["environment"]
        (self.folder / "objects").mkdir()
        address = f"127.0.0.1:{self._ports['store']}"
        keys = f"{environment['ROOT_ACCESS_KEY_ID']},{environment['ROOT_SECRET_ACCESS_KEY']}"
        rclone = str(Path(sys.executable).with_name("rclone"))
        options = ["--config=", f"--addr={address}", f"--auth-key={keys}", "--vfs-cache-mode=off"]
        self._run("store", [rclone, "serve", "s3", *options, str(self.folder / "objects")], dict(os.environ))
        wait_for(lambda: listens(self._ports["store"]), "answer of the store")

    def _run(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=log)

    def _here(self, command: list[str]) -> list[str]:
        """Return a command of compose.yaml with the programs, addresses and ports that it has here."""
        first, *others = command
        if "--workers" in others:  # each loads MLflow for seconds, at every start
            others[others.index("--workers") + 1] = "1"
        arguments = [self._with_ports(part).replace("0.0.0.0", "127.0.0.1") for part in others]
        return PROGRAMS[first] + [part.replace(SCRIPT, str(FOLDER / "make_bucket.py")) for part in arguments]

    def _environment(self, service: dict[str, Any]) -> dict[str, str]:
        return os.environ | {name: self._with_ports(value) for name, value in service["environment"].items()}

    def _with_ports(self, text: str) -> str:
        for old, name in (("postgres:5432", "postgres"), ("store:7070", "store"), ("127.0.0.1:5000", "mlflow")):
            text = text.replace(old, f"127.0.0.1:{self._ports[name]}")
        return str(self._ports["mlflow"]) if text == "5000" else text

    def _as_server(self, name: str, *arguments: str) -> None:
        as_user = ["runuser", "-u", SERVER_USER, "--"] if os.getuid() == 0 else []
        done = subprocess.run(
            [*as_user, str(program(name)), *arguments], cwd="/", stdout=subprocess.DEVNULL, check=False
        )
        assert done.returncode == 0, (name, arguments)

    def _client(self, name: str, *arguments: str) -> None:
        environment = self._services["postgres"]["environment"]
        place = {"PGHOST": "127.0.0.1", "PGPORT": str(self._ports["postgres"]), "PGUSER": environment["POSTGRES_USER"]}
        who = {"PGPASSWORD": environment["POSTGRES_PASSWORD"]}
        subprocess.run([str(program(name)), *arguments], env=os.environ | place | who, check=True)

    def _connect(self, database: str) -> Any:
        environment = self._services["postgres"]["environment"]
        return psycopg2.connect(
            host="127.0.0.1", port=self._ports["postgres"], dbname=database,
            user=environment["POSTGRES_USER"], password=environment["POSTGRES_PASSWORD"],
        )  # fmt: skip
