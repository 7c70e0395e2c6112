"""The mirror through a real MLflow server, and MLflow's own UI on it in a real browser."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from slws_lab.tracking import Workspace
from slws_lab.tracking.mirror import Mirror, MirrorAway, Shipped
from slws_lab.tracking.mirror_audit import MirrorAudit, audit_mirror
from slws_lab.tracking.mirror_ui import page_of

CHROMIUM = Path("/usr/bin/chromium")


def test_over_http(mirrored: Any, served: tuple[Any, str]) -> None:
    mirrored.uri = served[1]
    mirrored.run_all()
    study, design = mirrored.study()
    with Mirror.open(mirrored.workspace, mirrored.uri) as mirror:
        assert mirror.ship(study, design) == Shipped(4, 36)
        for name in ("b.md", "c.md"):
            report = mirrored.report({name: name})
            mirror.attach_report(study, report)
        assert mirror.ship(study, design) == Shipped(0, 0)
        (mirrored.workspace.mirror / "rates.json").unlink()
        assert mirror.ship(study, design) == Shipped(0, 0)
    mirrored.check_equal()
    found = mirrored.client.list_artifacts(mirrored.parent().info.run_id, "report")
    assert [file.path for file in found] == ["report/c.md", "report/manifest.json"]
    assert audit_mirror(mirrored.workspace, mirrored.uri, study, design, report) == MirrorAudit(points=4 * (9 + 3))
    mirrored.client.log_text(mirrored.parent().info.run_id, "c.md, and a digit: 1", "report/c.md")
    (fault,) = audit_mirror(mirrored.workspace, mirrored.uri, study, design, report).wrong
    assert "its artifacts in report/ are not what was sent" in fault.what


@contextmanager
def gate(server: str, answers: int, *, lost: bool) -> Iterator[str]:
    """Stand before a server: pass on so many requests, then answer 500 to all.

    Args:
        server: Its address.
        answers: How many requests are answered.
        lost: Whether the next request still reaches the server, so that only its answer is lost.
    """
    numbers = count()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            number = next(numbers)
            answer = self.pass_on(body) if number < answers + lost else None
            status, content = answer if answer and number < answers else (500, b"{}")
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def pass_on(self, body: bytes) -> tuple[int, bytes]:
            request = urllib.request.Request(server + self.path, body or None, method=self.command)
            request.add_header("Content-Type", "application/json")
            try:
                with urllib.request.urlopen(request) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()

        do_GET = do_POST = do_PATCH = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    before = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=before.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{before.server_address[1]}"
    finally:
        before.shutdown()
        before.server_close()
        thread.join()


def test_a_server_that_fails_again_and_again_holds_every_point_once_in_the_end(
    mirrored: Any, served: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails after ever more answers, by turns before and behind the request it fails on; points come in between."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mirrored.uri = served[1]
    study, design = mirrored.study("flaky")
    folders = [mirrored.workspace.run(run) for run in design.runs]
    attempts = [folder.attempt(1) for folder in folders]
    for folder, run, attempt in zip(folders, design.runs, attempts, strict=True):
        folder.create(run)
        mirrored.write(attempt, range(1, 2))
    failed = 0
    for answers in range(2, 60, 3):
        with gate(served[1], answers, lost=answers % 2 == 0) as address:
            try:
                with Mirror.open(mirrored.workspace, address) as mirror:
                    mirror.ship(study, design)
                break
            except MirrorAway:
                failed += 1
        if failed == 4:
            for attempt in attempts:
                mirrored.write(attempt, range(2, 4))
                mirrored.finish(attempt)
    assert failed > 5
    with Mirror.open(mirrored.workspace, served[1]) as mirror:
        mirror.ship(study, design)
        assert mirror.ship(study, design) == Shipped(0, 0)
    assert audit_mirror(mirrored.workspace, served[1], study, design, None) == MirrorAudit(points=4 * (9 + 3))
    assert len(mirrored.children("flaky", kind="study")) == 1


def test_a_rebuild_on_a_server_touches_only_what_the_folders_can_make_again(
    mirrored: Any, served: tuple[Any, str]
) -> None:
    mirrored.uri = served[1]
    study, design = mirrored.study("shared")
    client = mirrored.client
    for number in range(2):
        folder = mirrored.workspace.run(design.runs[number])
        folder.create(design.runs[number])
        attempt = folder.attempt(1)
        mirrored.write(attempt, range(1, 4))
        mirrored.finish(attempt)
    mirrored.ship("shared")
    experiment = client.get_experiment_by_name("shared").experiment_id
    colleagues = client.create_run(
        experiment, tags={"slws.kind": "run", "slws.study": "shared", "slws.run_id": "another"}
    )
    own = client.create_run(experiment, run_name="notes of a colleague")
    changed = mirrored.children("shared")[mirrored.workspace.run(design.runs[0]).run_id]
    client.log_metric(changed.info.run_id, "val/loss", 7.0, step=99)
    assert len(audit_mirror(mirrored.workspace, served[1], study, design, None).wrong) == 1
    with Mirror.open(mirrored.workspace, served[1], fresh=True) as mirror:
        mirror.forget(study, design)
        assert mirror.ship(study, design) == Shipped(2, 18)
    assert audit_mirror(mirrored.workspace, served[1], study, design, None) == MirrorAudit(points=2 * (9 + 3), alone=1)
    there = {run.info.run_id for run in client.search_runs([experiment])}
    assert {colleagues.info.run_id, own.info.run_id} < there
    assert changed.info.run_id not in there
    assert not (Workspace(mirrored.workspace.path).mirror / "lock").exists()


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium")
def test_ui_shows_the_study_as_model_training(served: tuple[Any, str]) -> None:
    from playwright.sync_api import expect, sync_playwright

    mirrored, address = served
    design = mirrored.run_all()
    study = mirrored.study()[0]
    mirrored.ship()
    experiment = mirrored.client.get_experiment_by_name(study.spec.name).experiment_id
    pages = {view: f"{address}/{page_of(experiment, view)}" for view in ("slws-arms", "slws-study")}
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=options)
        page = browser.new_page(viewport={"width": 1700, "height": 950})
        page.goto(pages["slws-arms"])
        child = f"{design.arms[1].label} · seed 0"
        expect(page.get_by_role("link", name=child).first).to_be_visible(
            timeout=20_000
        )  # other tests' workspaces have it too
        expect(page.get_by_role("link", name="Model registry")).to_be_visible()
        expect(page.get_by_role("link", name="Prompts")).to_have_count(0)
        expect(page.get_by_role("columnheader", name="val/top1").first).to_be_visible()
        expect(page.get_by_role("columnheader", name="slws.status").first).to_be_visible()
        page.goto(pages["slws-study"])
        parent = page.get_by_role("row").filter(has=page.get_by_role("link", name="rates", exact=True)).first
        expect(parent).to_be_visible(timeout=20_000)
        parent.get_by_role("button").first.click()
        expect(page.get_by_role("link", name=child).first).to_be_visible(timeout=20_000)
        browser.close()
