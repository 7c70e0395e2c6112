"""`slws ui` as it is started, on a study that has really run: one server for all tests here; two look with a real Chromium."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Folder

from slws_lab.lab.serving import Asked, command
from slws_lab.spec import expand, load_study
from slws_lab.tracking import Workspace

CHROMIUM = Path("/usr/bin/chromium")


@dataclass(frozen=True)
class Served:
    """A project with its server.

    Attributes:
        folder: The project; its reports are a copy of the finished one's, its workspace is the finished one's.
        address: The server's.
        run_id: One of its runs.
        opened: The file into which the "browser" writes what it is told to open.
    """

    folder: Folder
    address: str
    run_id: str
    opened: Path

    def get(self, path: str, **headers: str) -> tuple[int, str, str]:
        """Return status, place to go on to and body, without going there; the path is sent as it is."""

        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_: Any) -> None:
                return None

        request = urllib.request.Request(self.address + path, headers=headers)
        try:
            answer = urllib.request.build_opener(Stay).open(request)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.headers.get("location", ""), answer.read().decode(errors="replace")


@pytest.fixture(scope="module")
def served(finished: Folder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("ui")
    folder, opened = Folder(place / "project"), place / "opened"
    for name in ("studies", "experiments", "reports"):
        shutil.copytree(finished.path / name, folder.path / name)
    (folder.path / "pyproject.toml").touch()
    (folder.path / "secret.txt").write_text("not for anybody")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", {**os.environ, "BROWSER": f"sh -c 'echo %s > {opened}'"})
        asked = Asked(folder.path, Workspace(finished.workspace), "127.0.0.1", port, f"{address}/slws/studies/tiny")
        started = command(asked)
        log = (place / "log").open("wb")
        process = subprocess.Popen(started, cwd=folder.path, stdout=log, stderr=log, env=os.environ)
    try:
        until = time.monotonic() + 180
        while not (opened.exists() and opened.read_text()):
            assert process.poll() is None and time.monotonic() < until, (place / "log").read_text()
            time.sleep(0.1)
        run_id = next(iter(expand(load_study(folder.study)).run_ids.values()))
        yield Served(folder, address, run_id, opened)
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_the_browser_gets_the_studys_page(served: Served) -> None:
    assert served.opened.read_text().strip() == f"{served.address}/slws/studies/tiny"
    status, place, _ = served.get("/slws/studies/tiny")
    assert status == 307 and place.startswith("/#/experiments/") and "viewStateShareKey=slws-arms" in place


def test_mlflow_is_there_beside_our_pages_and_checks_who_asks(served: Served) -> None:
    assert served.get("/health")[0] == 200
    assert "<title>MLflow</title>" in served.get("/")[2]
    for path in ("/slws/reports/tiny/report.html", f"/slws/runs/{served.run_id}", "/slws/studies/tiny"):
        assert served.get(path)[0] in (200, 307)
        assert served.get(path, Host="evil.example:5000")[0] == 403


@pytest.mark.parametrize(
    "way",
    ["tiny/../../secret.txt", "tiny/%2e%2e/%2e%2e/secret.txt", "..%2f..%2fsecret.txt", "tiny/..%5c..%5csecret.txt"],
)
def test_no_address_leads_out_of_the_reports(served: Served, way: str) -> None:
    status, _, body = served.get(f"/slws/reports/{way}")
    assert status == 404 and "not for anybody" not in body


def test_a_report_that_is_no_longer_true_says_so(served: Served) -> None:
    study = served.folder.study
    assert 'role="alert"' not in served.get("/slws/reports/tiny/report.html")[2]
    text = study.read_text()
    study.write_text(text.replace("seeds: 3", "seeds: 4"))
    try:
        assert 'role="alert"' in served.get("/slws/reports/tiny/report.html")[2]
    finally:
        study.write_text(text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=options)
        yield started
        started.close()


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium")
def test_a_person_finds_the_runs_a_runs_model_and_the_report(served: Served, browser: Any) -> None:
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": 1700, "height": 950})
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    page.goto(f"{served.address}/slws/studies/tiny")
    expect(page.get_by_role("columnheader", name="val/top1").first).to_be_visible()
    expect(page.get_by_role("link", name="schedule=none · seed 0").first).to_be_visible()
    page.goto(f"{served.address}/slws/runs/{served.run_id}")
    expect(page.get_by_role("heading", name="· seed").first).to_be_visible()
    expect(
        page.get_by_role("link", name="Model registry")
    ).to_be_visible()  # the view for model training, not that for GenAI
    page.locator(
        "a[href*='/runs/']", has_text=re.compile("^tiny$")
    ).first.click()  # its parent; its experiment has that name too
    expect(page.get_by_text("compared with the baseline").first).to_be_visible()
    page.get_by_text("Show more").first.click()
    page.goto(served.address + str(page.locator("a[href^='/slws/runs/']").first.get_attribute("href")))  # the best run
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("model", exact=True).first.click()
    expect(page.get_by_text("model.safetensors")).to_be_visible()
    expect(page.get_by_text("Model schema")).to_be_visible()
    page.close()


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium")
def test_a_report_works_as_served_and_its_scripts_cannot_ask_mlflow(served: Served, browser: Any) -> None:
    page, complaints = browser.new_page(), []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{served.address}/slws/reports/tiny/report.html")
    assert page.evaluate("window.origin") == "null"
    assert complaints == []
    page.close()
