"""report.html in a real browser: nothing overflows, nothing is fetched, nothing is complained about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slws_lab.reports import write_report

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture
def browser() -> Iterator[object]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


@pytest.mark.browser
def test_it_fits_and_fetches_nothing(project, tmp_path: Path, browser) -> None:
    ends = {(1, 0): "failed", (2, 0): "diverged", (3, 3): None}
    made = project(lambda i, seed: ends.get((i, seed), "finished"), question="Which_rate_" * 20)
    url = (write_report(made.table, made.study, tmp_path / "out").folder / "report.html").as_uri()
    page = browser.new_page()
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for width in (1500, 400):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(url)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
    assert {request for request in requests if not request.startswith("data:")} == {url}
    assert complaints == []
