"""report.html in a real browser: nothing overflows, is fetched or complained about; tables sort, cells open their runs, figures zoom."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from slws_lab.analysis import ResultTable
from slws_lab.reports.page.page import page as made
from slws_lab.reports.page.page import with_banner
from slws_lab.reports.tables.main import contrasts_view, main_view
from slws_lab.reports.view import Cell, Column, Group, TableView

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="%dpt" height="180pt" viewBox="0 0 25 18"><path d="M0 0h9v9z"/></svg>'
HOSTILE = "</script><script>document.title='caught'</script><img src=x onerror=document.title='caught'>"
LONG = "Which_rate_" * 20
BUILD_UP = """factors:
  train.clip_grad: [null, 3.0]
  train.smoothing: [0.0, 0.1]
  augmentation:
    levels:
      - {name: plain, set: {}}
      - {name: crop-erase, set: {data.augment.crop: 1, data.augment.erase: 0.2}}
  shuffle.schedule: [none, linear]
  shuffle.max_rate: {levels: [0.3], when: {shuffle.schedule: linear}}
designs: [{build_up: [train.clip_grad, train.smoothing, augmentation, shuffle.schedule]}]
seeds: 5
metric: {name: val/top1, weights: ema}
comparisons: {family: all, correction: holm, margin: 1.0}"""
READABLE = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (c) => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const light = (color) => { const [r, g, b] = numbers(color); return .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b); };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (numbers(c)[3] !== 0) return c; } };
  const own = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  return Math.min(...[...document.body.querySelectorAll("*")].filter((e) => own(e) && e.checkVisibility()).map((e) => {
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => x - y); return (b + .05) / (a + .05); }));
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def opened(chromium, tmp_path: Path) -> Callable[..., Any]:
    """Return a context that shows a page; at its end nothing may have been complained about or fetched."""

    @contextmanager
    def show(html: str, address: str = "", **options: Any) -> Iterator[Any]:
        path = tmp_path / "report.html"
        path.write_text(html)
        address = address or path.as_uri()
        context = chromium.new_context(**{"viewport": {"width": 1500, "height": 900}, **options})
        tab, requests, complaints = context.new_page(), [], []
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        if address.startswith("http"):
            context.route(address, lambda route: route.fulfill(body=html, content_type="text/html"))
        tab.goto(address)
        yield tab
        context.close()
        assert {request for request in requests if not request.startswith("data:")} == {address}
        assert complaints == []

    return show


def figures() -> list[Any]:
    wide = {"narrow": 252, "wide": 504}
    return [SimpleNamespace(name=n, title=n, alt=f"What is {n}.", svg=SVG % w, empty=False) for n, w in wide.items()]


def small(plant, question: str = "Which rate is best?") -> tuple[ResultTable, str]:
    """Return a study of 5 arms and 4 seeds with a run that failed, one that diverged and one that never began, and its page."""
    grid = "shuffle.schedule: [none, linear, constant]\n  shuffle.max_rate: {levels: [0.5, 0.1], when: {shuffle.schedule: [linear, constant]}}"
    ends = {("linear", 0.5, 0): "failed", ("linear", 0.1, 0): "diverged", ("constant", 0.5, 3): None}

    def value(settings: dict[str, Any], seed: int) -> float | str | None:
        return ends.get((settings["shuffle.schedule"], settings.get("shuffle.max_rate"), seed), 80.0 + seed / 7)

    table = plant(f"factors:\n  {grid}\ndesigns: [{{grid: [shuffle.schedule, shuffle.max_rate]}}]\nseeds: 4", value)
    table = replace(table, study=table.study.model_copy(update={"question": question}))
    for run_id, record in table.records.items():
        result = {**record.result, "provenance": {"commit": "c" * 40, "dirty": True}}
        table.records[run_id] = replace(record, result=result, cause=HOSTILE if record.cause else "")
    return table, made(table, [main_view(table)], contrasts_view(table), figures())


def planted(plant, rows: list[tuple[str, str]], **more: Any) -> str:
    """Return a page with a table `x` whose cells rest on the study's first run."""
    table = plant(
        "factors: {train.lr: [0.001, 0.002]}\ndesigns: [{grid: [train.lr]}]\nseeds: 3", lambda settings, seed: 80.0
    )
    run = next(iter(table.records))
    cells = tuple((Cell(a, (run,)), Cell(b, (run,))) for a, b in rows)
    view = TableView("x", "X", (Column("schedule", merges=True), Column("top1", True)), cells, **more)
    return made(table, [main_view(table), view], contrasts_view(table), figures())


def column(tab: Any, number: int) -> list[str]:
    return list(
        tab.eval_on_selector_all(
            f"#table-x tbody tr > :nth-child({number})", "all => all.map(one => one.innerText.trim())"
        )
    )


def fits(tab: Any) -> bool:
    return bool(tab.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def edges(scroll: Any) -> tuple[float, float]:
    """Return how light the left and the right edge of an element are, 1 being white."""
    shot = Image.open(io.BytesIO(scroll.screenshot())).convert("L")
    return tuple(median(shot.getpixel((x, y)) for y in range(shot.height)) / 255 for x in (1, shot.width - 2))


@pytest.mark.browser
@pytest.mark.parametrize("width", [1500, 400])
def test_it_fits_and_fetches_nothing(plant, opened, width: int) -> None:
    _, html = small(plant, question=LONG)
    with opened(html, viewport={"width": width, "height": 900}) as tab:
        tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert fits(tab)
        assert tab.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")


@pytest.mark.browser
@pytest.mark.parametrize("width", [1500, 400])
def test_a_cell_opens_its_runs_and_fits(plant, opened, width: int) -> None:
    table, html = small(plant, question=LONG)
    arm = table.design.arms[1]
    wanted = [table.design.run_ids[arm.id, seed] for seed in table.design.seeds]
    with opened(html, viewport={"width": width, "height": 900}) as tab:
        tab.locator(f"#table-{table.study.name} tbody tr").nth(1).locator("[data-runs]").first.click()
        dialog = tab.get_by_role("dialog")
        assert dialog.locator("h3").all_inner_texts() == ["schedule=linear, max_rate=0.5"]
        assert dialog.locator("td.at-2").all_inner_texts() == wanted
        assert dialog.locator("td.at-3").all_inner_texts() == ["failed", "finished", "finished", "finished"]
        assert dialog.locator("td.at-6").first.inner_text() == "cccccccc+"
        links = [link.get_attribute("href") for link in dialog.get_by_text("MLflow", exact=True).all()]
        assert links == [f"http://127.0.0.1:5000/slws/runs/{run_id}?study=planted" for run_id in wanted]
        assert "while slws ui runs" in dialog.inner_text()
        said = dialog.locator(".command code").all_inner_texts()
        assert said == [f"slws rerun planted '{arm.label}'", *(f"slws rerun planted {run_id}" for run_id in wanted)]
        assert fits(tab) and dialog.evaluate("one => one.scrollWidth <= one.clientWidth")
        assert dialog.locator(".scroll").evaluate("one => one.scrollWidth <= one.clientWidth")
        aligned = dialog.locator("td.at-4").first.evaluate("one => getComputedStyle(one, '::before').textAlign")
        assert aligned == ("left" if width == 400 else "right")
        dialog.get_by_text("failed", exact=True).click()
        assert tab.get_by_role("dialog").count() == 0 and tab.url.endswith("#failure-1")


@pytest.mark.browser
def test_no_table_of_a_build_up_is_wider_than_the_page_and_on_a_phone_a_shadow_says_so(plant, opened) -> None:
    table = plant(BUILD_UP, lambda settings, seed: 96.0 + seed - 11.4 * (settings["augmentation"] != "plain"))
    html = made(table, [main_view(table)], contrasts_view(table), [])
    sizes = "all => all.map(one => [one.closest('figure').id, one.scrollWidth - one.clientWidth])"
    with opened(html) as tab:
        tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        found = dict(tab.eval_on_selector_all(".scroll", sizes))
        assert len(found) == 6 and max(found.values()) <= 0, found
    with opened(html, viewport={"width": 400, "height": 900}) as tab:
        found = dict(tab.eval_on_selector_all(".scroll", sizes))
        assert found["table-planted"] > 0 and fits(tab)
        scroll = tab.locator("#table-planted .scroll")
        scroll.scroll_into_view_if_needed()
        left, right = edges(scroll)
        assert left > 0.97 and right < 0.9
        scroll.evaluate("one => one.scrollLeft = one.scrollWidth")
        left, right = edges(scroll)
        assert left < 0.9 and right > 0.97


@pytest.mark.browser
def test_a_page_that_is_served_leads_to_its_own_server(plant, opened) -> None:
    table, html = small(plant)
    with opened(html, "http://127.0.0.1:5001/slws/reports/planted/report.html") as tab:
        tab.locator("#table-planted tbody [data-runs]").first.click()
        dialog = tab.get_by_role("dialog")
        link = dialog.get_by_text("MLflow", exact=True).first
        assert link.get_attribute("href") == f"/slws/runs/{next(iter(table.records))}?study=planted"
        assert "slws ui" not in dialog.inner_text()


@pytest.mark.browser
def test_very_many_runs_are_shown_when_asked_for_and_those_of_another_study_are_named(plant, opened) -> None:
    levels = [0.001 * i for i in range(1, 31)]
    table = plant(
        f"factors: {{train.lr: {levels}}}\ndesigns: [{{grid: [train.lr]}}]\nseeds: 7", lambda settings, seed: 80.0
    )
    view = TableView("x", "X", (Column("all"),), ((Cell("1", ("other-s9", *table.records)),),))
    with opened(made(table, [main_view(table), view], contrasts_view(table), [])) as tab:
        tab.locator("#table-x [data-runs]").click()
        dialog = tab.get_by_role("dialog")
        assert dialog.locator("h3").first.inner_text() == "Of another study"
        assert dialog.locator("td.at-2").first.inner_text() == "other-s9" and dialog.locator("td.at-2").count() == 200
        dialog.get_by_role("button", name="Show all 211 runs").click()
        assert dialog.locator("td.at-2").count() == 211 and dialog.locator("h3").count() == 31


@pytest.mark.browser
def test_cells_are_reached_by_keys(plant, opened) -> None:
    _, html = small(plant)
    with opened(html) as tab:
        tab.locator("#table-planted tbody [tabindex='0']").focus()
        for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
            tab.keyboard.press(key)
        at = "[document.activeElement.parentElement.rowIndex, document.activeElement.cellIndex]"
        assert tab.evaluate(at) == [2, 2]
        tab.keyboard.press("Enter")
        assert tab.get_by_role("dialog").locator("td.at-2").count() == 4
        tab.keyboard.press("Escape")
        assert tab.get_by_role("dialog").count() == 0 and tab.evaluate(at) == [2, 2]
        assert tab.locator("#table-planted tbody [tabindex='0']").count() == 1


@pytest.mark.browser
def test_a_command_is_copied_or_at_least_selected(plant, opened) -> None:
    _, html = small(plant)
    with opened(html, permissions=["clipboard-read", "clipboard-write"]) as tab:
        tab.locator("#repeat ~ .command button").click()
        tab.get_by_text("Copied").wait_for()
        assert tab.evaluate("navigator.clipboard.readText()") == "slws run planted"
        tab.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
        tab.locator("#repeat ~ .command button").click()
        tab.get_by_text("Selected").wait_for()
        assert tab.evaluate("String(getSelection())") == "slws run planted"


@pytest.mark.browser
def test_a_header_sorts_up_then_down_then_back(plant, opened) -> None:
    values = ["81.2 ± 9", "–", "9.5 ± 0.1", "−3.0", "1,000", "< 0.5", "0.5"]
    with opened(planted(plant, [(f"a{i}", value) for i, value in enumerate(values)])) as tab:
        head = tab.locator("#table-x th[data-column='1']")
        up = ["−3.0", "< 0.5", "0.5", "9.5 ± 0.1", "81.2 ± 9", "1,000", "–"]
        for state, wanted in (("ascending", up), ("descending", [*up[5::-1], "–"]), (None, values), ("ascending", up)):
            head.locator("button").focus()
            tab.keyboard.press("Enter")
            assert (column(tab, 2), head.get_attribute("aria-sort")) == (wanted, state)
        tab.locator("#table-x th[data-column='0']").click()
        assert column(tab, 1) == [f"a{i}" for i in range(7)] and head.get_attribute("aria-sort") is None


@pytest.mark.browser
def test_groups_sort_within_and_repeated_values_are_shown_while_sorted(plant, opened) -> None:
    rows = [("a", "1"), ("a", "3"), ("a", "2"), ("b", "9"), ("b", "0")]
    html = planted(plant, rows, groups=(Group(0, "Ours"), Group(3, "Published")))
    with opened(html) as tab:
        seen = "all => all.map(one => one.checkVisibility() && one.firstChild.offsetWidth === 1)"
        hidden = tab.eval_on_selector_all("#table-x .again", seen)
        assert hidden == [True] * 3
        tab.locator("#table-x th[data-column='1']").click()
        assert column(tab, 1) == ["Ours", "a", "a", "a", "Published", "b", "b"] and column(tab, 2) == list("12309")
        assert not any(tab.eval_on_selector_all("#table-x .again", seen))
        for _ in range(2):
            tab.locator("#table-x th[data-column='1']").click()
        assert column(tab, 2) == list("13290") and tab.eval_on_selector_all("#table-x .again", seen) == hidden


@pytest.mark.browser
@pytest.mark.parametrize("width", [1500, 400])
def test_a_figure_zooms(plant, opened, width: int) -> None:
    _, html = small(plant, question=LONG)
    with opened(html, viewport={"width": width, "height": 900}) as tab:
        tab.locator("#figure-narrow .card").focus()
        tab.keyboard.press("Enter")
        dialog = tab.get_by_role("dialog", name="narrow")
        before = dialog.locator("img").bounding_box()
        assert fits(tab) and dialog.evaluate("one => one.scrollWidth <= one.clientWidth")
        assert tab.evaluate("document.activeElement.matches('#zoom .content')")
        drawn = min(before["width"], before["height"] * 252 / 180)
        content = dialog.locator(".content").bounding_box()
        for key, times in (("+", 1.5), ("+", 2.25), ("-", 1.5)):
            tab.keyboard.press(key)
            now = dialog.locator("img").bounding_box()
            assert now["width"] == pytest.approx(times * drawn, abs=2)
            for side, size in (("x", "width"), ("y", "height")):
                assert now[side] + now[size] / 2 == pytest.approx(content[side] + content[size] / 2, abs=20)
        tab.keyboard.press("-")
        assert dialog.locator("img").bounding_box() == before
        tab.keyboard.press("ArrowRight")
        assert tab.get_by_role("dialog", name="wide").locator("img").get_attribute("alt") == "What is wide."
        tab.keyboard.press("Escape")
        assert tab.get_by_role("dialog").count() == 0
        tab.locator("#figure-wide .card").click()
        tab.get_by_role("dialog").get_by_label("Close").click()
        assert tab.get_by_role("dialog").count() == 0


@pytest.mark.browser
def test_light_and_dark_follow_the_system_and_the_button_and_can_be_read(plant, opened) -> None:
    _, html = small(plant)
    ground = "getComputedStyle(document.body).backgroundColor"
    with opened(html, color_scheme="dark", reduced_motion="reduce") as tab:
        tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        dark = tab.evaluate(ground)
        assert tab.evaluate(READABLE) >= 4.5
        tab.get_by_role("button", name="Switch to light").click()
        assert tab.evaluate(ground) == "rgb(253, 253, 251)" != dark and tab.evaluate(READABLE) >= 4.5
        tab.get_by_role("button", name="Switch to dark").click()
        assert tab.evaluate(ground) == dark
        assert tab.evaluate("document.getAnimations().length") == 0


@pytest.mark.browser
@pytest.mark.parametrize("scripts", [True, False])
def test_print_shows_all_in_light_with_and_without_scripts(plant, opened, scripts: bool) -> None:
    _, html = small(plant)
    with opened(html, color_scheme="dark", java_script_enabled=scripts) as tab:
        closed = len(tab.pdf())
        last = tab.locator("#table-runs tbody tr").last
        assert not last.is_visible() and tab.locator("#theme").is_visible() is scripts
        tab.emulate_media(media="print")
        assert last.is_visible() and tab.locator("#table-contrasts tbody tr").first.is_visible()
        assert not tab.locator("#theme").is_visible() and closed > 50_000
        assert last.bounding_box()["height"] > 5


@pytest.mark.browser
def test_without_scripts_everything_is_there(plant, opened) -> None:
    table, html = small(plant)
    with opened(html, java_script_enabled=False) as tab:
        for summary in tab.locator("summary").all():
            summary.click()
        assert tab.locator("#table-runs tbody tr").count() == len(table.records)
        assert tab.locator("#table-runs tbody tr").last.is_visible()
        assert not tab.get_by_text("Choose a cell").is_visible() and tab.locator("dialog >> visible=true").count() == 0


@pytest.mark.browser
def test_hostile_texts_stay_text(plant, opened) -> None:
    html = planted(plant, [(HOSTILE, HOSTILE)], notes=(HOSTILE,), groups=(Group(0, HOSTILE),))
    with opened(with_banner(html, [HOSTILE])) as tab:
        assert tab.get_by_role("alert").locator("li").inner_text() == HOSTILE
        assert (
            tab.evaluate("getComputedStyle(document.querySelector('.stale')).backgroundColor") == "rgb(253, 241, 220)"
        )
        tab.locator("#table-x td[data-runs]").click()
        assert tab.get_by_role("dialog").locator("h2").inner_text() == HOSTILE
        assert "caught" not in tab.title() and tab.locator("script").count() == 2
    _, html = small(plant, question=HOSTILE)
    with opened(html) as tab:
        assert tab.locator("h1").inner_text() == HOSTILE and tab.title() != "caught"
        assert tab.locator("#failure-1 pre").inner_text() == HOSTILE
