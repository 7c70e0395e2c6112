"""The mirror through a real MLflow server, and MLflow's own UI on it in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slws_lab.tracking.mirror import Mirror, Shipped

CHROMIUM = Path("/usr/bin/chromium")


def test_over_http(mirrored: Any, served: tuple[Any, str]) -> None:
    mirrored.uri = served[1]
    mirrored.run_all()
    report = mirrored.root / "reports"
    report.mkdir()
    study, design = mirrored.study()
    with Mirror.open(mirrored.workspace, mirrored.uri) as mirror:
        assert mirror.ship(study, design) == Shipped(4, 36)
        for old, new in (("a.md", "b.md"), ("b.md", "c.md")):
            (report / old).unlink(missing_ok=True)
            (report / new).write_text(new)
            mirror.attach_report(study, report)
        assert mirror.ship(study, design) == Shipped(0, 0)
        (mirrored.workspace.mirror / "rates.json").unlink()
        assert mirror.ship(study, design) == Shipped(0, 0)
    mirrored.check_equal()
    found = mirrored.client.list_artifacts(mirrored.parent().info.run_id, "report")
    assert [file.path for file in found] == ["report/c.md"]


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium")
def test_ui_shows_the_study_as_model_training(served: tuple[Any, str]) -> None:
    from playwright.sync_api import expect, sync_playwright

    mirrored, address = served
    design = mirrored.run_all()
    study = mirrored.study()[0]
    mirrored.ship()
    with Mirror.open(mirrored.workspace, None) as mirror:
        pages = {view: f"{address}/{mirror.page(study, view)}" for view in ("slws-arms", "slws-study")}
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=options)
        page = browser.new_page(viewport={"width": 1700, "height": 950})
        page.goto(pages["slws-arms"])
        child = f"{design.arms[1].label} · seed 0"
        expect(page.get_by_role("link", name=child)).to_be_visible(timeout=20_000)
        expect(page.get_by_role("link", name="Model registry")).to_be_visible()
        expect(page.get_by_role("link", name="Prompts")).to_have_count(0)
        expect(page.get_by_role("columnheader", name="val/top1").first).to_be_visible()
        expect(page.get_by_role("columnheader", name="slws.status").first).to_be_visible()
        page.goto(pages["slws-study"])
        parent = page.get_by_role("row").filter(has=page.get_by_role("link", name="rates", exact=True))
        expect(parent).to_be_visible(timeout=20_000)
        parent.get_by_role("button").first.click()
        expect(page.get_by_role("link", name=child)).to_be_visible(timeout=20_000)
        browser.close()
