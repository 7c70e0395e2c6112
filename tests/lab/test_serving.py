"""Our pages of `slws ui`: reports as files of this project's studies and of nothing else, and addresses that lead on to MLflow."""

from __future__ import annotations

import json
import os
import socket
import threading
import webbrowser
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import Folder
from starlette.testclient import TestClient

from slws_lab.errors import UserError
from slws_lab.lab import serving
from slws_lab.lab.serving import Asked, command, pages
from slws_lab.tracking import Workspace
from slws_lab.tracking.mirror import MirrorAway
from slws_lab.tracking.mirror_links import Links

PAGE = "<!doctype html><html><body><h1>tiny</h1></body></html>"
SECRET = "not for anybody"


def write_report(project: Folder, name: str = "tiny", files: dict[str, str] | None = None) -> Path:
    folder = project.path / "reports" / name
    given = files or {"report.html": PAGE, "table.md": "| a |", "figures/effects.svg": "<svg/>"}
    for file, text in {**given, "manifest.json": json.dumps({"files": dict.fromkeys(given, "")})}.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    return folder


@pytest.fixture
def client(project: Folder, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (project.path / "secret.txt").write_text(SECRET)
    write_report(project)
    (project.path / "reports" / "tiny" / "notes.txt").write_text(SECRET)  # which no manifest names
    return TestClient(pages(project.path, Workspace(project.workspace)), follow_redirects=False)


def test_the_files_of_a_report_are_served_and_kept_from_mlflows_origin(client: TestClient) -> None:
    for name, kind in (
        ("report.html", "text/html"),
        ("table.md", "text/markdown"),
        ("figures/effects.svg", "image/svg+xml"),
    ):
        answer = client.get(f"/reports/tiny/{name}")
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "allow-same-origin" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.post("/reports/tiny/report.html").status_code == 405


WAYS = [
    "tiny/../../secret.txt", "tiny/figures/../../../secret.txt", "../secret.txt", "..", "tiny/..", "tiny/notes.txt", "tiny/",
    "tiny//secret.txt", "/secret.txt", "tiny/figures", "tiny/report.html/..", "tiny\\..\\..\\secret.txt",
    "tiny/table.md\0.html", "other/report.html", "tiny/linked.txt", "linked/secret.txt", "tiny/linked/secret.txt", "", "%2e%2e/secret.txt",
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_no_address_leads_to_another_file(client: TestClient, project: Folder, way: str) -> None:
    """Also not by links, by files beside a report, or by the report of a study that this project does not have."""
    reports = project.path / "reports"
    write_report(project, "other")
    (reports / "tiny" / "linked.txt").symlink_to(project.path / "secret.txt")
    (reports / "linked").symlink_to(project.path)
    (reports / "tiny" / "linked").symlink_to(project.path)
    named = {"files": dict.fromkeys(["report.html", "linked.txt", "linked/secret.txt", "../../secret.txt"], "")}
    (reports / "tiny" / "manifest.json").write_text(json.dumps(named))
    for written in (way, quote(way), quote(way, safe=""), way.replace(".", "%2e")):
        try:
            answer = client.get(f"/reports/{written}")
        except Exception as error:  # what is no address at all is not asked for
            assert "Invalid" in type(error).__name__ or isinstance(error, ValueError)
            continue
        assert answer.status_code in (307, 404) and SECRET not in answer.text


def test_a_folder_that_is_a_link_out_of_the_reports_is_no_report(
    client: TestClient, project: Folder, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    write_report(project).rename(outside)
    (project.path / "reports" / "tiny").symlink_to(outside)
    assert client.get("/reports/tiny/report.html").status_code == 404


def test_a_stale_page_says_so_and_its_other_files_stay_as_they_are(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "stale", lambda project: [f"3 runs of <{project.study.spec.name}> were added"])
    page = client.get("/reports/tiny/report.html").text
    assert '<aside class="stale" role="alert">' in page and "3 runs of &lt;tiny&gt; were added" in page
    assert client.get("/reports/tiny/table.md").text == "| a |"
    monkeypatch.setattr(serving, "stale", lambda _: [])
    assert client.get("/reports/tiny/report.html").text == PAGE


def test_the_report_of_a_study_that_cannot_be_read_any_more_is_shown_with_its_doubt(
    client: TestClient, project: Folder
) -> None:
    project.study.write_text("name: [")
    assert "cannot be told" in client.get("/reports/tiny/report.html").text


def test_a_page_of_another_version_is_told_apart(client: TestClient, project: Folder) -> None:
    write_report(project, files={"report.html": "<html><body class=old>old</body></html>"})
    assert "written by another version" in client.get("/reports/tiny/report.html").text


@pytest.mark.parametrize(
    "address", ["/runs/unknown", "/runs/a'b", "/runs/", "/studies/unknown", "/studies/..", "/other"]
)
def test_what_mlflow_does_not_have_is_not_found(client: TestClient, project: Folder, address: str) -> None:
    before = project.listing()
    assert client.get(address).status_code == 404
    assert project.listing() == before


def test_names_lead_to_a_server_without_its_password(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:planted-pass@mlflow.example.org/team/")
    monkeypatch.setattr(Links, "study", lambda *_: "#/experiments/7/runs?a=b")
    monkeypatch.setattr(Links, "run", lambda _, run_id, study: f"#/{run_id}/{study}")
    asking = TestClient(pages(project.path, Workspace(project.workspace)), follow_redirects=False)
    answer = asking.get("/studies/tiny")
    assert answer.headers["location"] == "https://mlflow.example.org/team/#/experiments/7/runs?a=b"
    assert asking.get("/runs/x-s0-1?study=tiny").headers["location"].endswith("/team/#/x-s0-1/tiny")

    def away(*_: object) -> str:
        raise MirrorAway("https://me:planted-pass@mlflow.example.org is away")

    monkeypatch.setattr(Links, "study", away)
    answer = asking.get("/studies/tiny")
    assert answer.status_code == 503 and "planted-pass" not in answer.text


@pytest.fixture
def asked(project: Folder, monkeypatch: pytest.MonkeyPatch) -> Asked:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return Asked(project.path, Workspace(project.workspace), "127.0.0.1", free.getsockname()[1], "http://x/y")


def test_the_command_is_mlflows_server_or_ours_alone(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ours = command(asked)
    assert ours[ours.index("--app-name") + 1] == "slws" and "mlflow" in ours
    assert os.environ["SLWS_UI_OPENS"] == "http://x/y"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:planted-pass@mlflow.example.org")
    alone = command(asked)
    assert "uvicorn" in alone and alone[alone.index("--host") + 1] == "127.0.0.1"
    assert "planted-pass" not in " ".join([*ours, *alone])


def test_a_port_that_is_taken_is_refused(asked: Asked) -> None:
    with socket.socket() as other:
        other.bind((asked.host, asked.port))
        other.listen()
        with pytest.raises(UserError, match="choose another with --port"):
            command(asked)


@pytest.fixture
def answering() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_the_browser_is_opened_once_the_server_answers(answering: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    serving._open(f"{answering}/slws/studies/tiny")
    assert opened == [f"{answering}/slws/studies/tiny"]
    monkeypatch.setattr(serving, "PATIENCE_S", 0.3)
    serving._open("http://127.0.0.1:9/")
    assert len(opened) == 1


def test_a_browser_that_would_take_the_terminal_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in serving.DISPLAYS:
        monkeypatch.delenv(name, raising=False)
    assert not serving.can_open()
    monkeypatch.setenv("DISPLAY", ":0")
    assert serving.can_open()
