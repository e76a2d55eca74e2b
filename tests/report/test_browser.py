"""The page in a real headless Chromium: no errors, no requests, keyboard, phone, print, accessibility."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from fedopt.report import render
from fedopt.report.page import SECTIONS
from tests.report.documents import HOSTILE, hostile, large, learned

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium found on PATH (or named by the variable CHROMIUM)"
)

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def files(everything, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    pages = {
        "full": render(everything, explain_seconds=5.0),
        "hostile": render(hostile()),
        "large": render(large(10_000)),
        "learned": render(learned()),
    }
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return folder


class Opened:
    """A page in its own context, with everything that went wrong in it."""

    def __init__(self, browser, file: Path, size=DESKTOP, **options) -> None:
        self.context = browser.new_context(viewport=size, **options)
        self.page = self.context.new_page()
        self.troubles: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.troubles.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on(
            "dialog", lambda dialog: self.troubles.append(f"dialog: {dialog.message}") or dialog.dismiss()
        )
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *error) -> None:
        self.context.close()


@pytest.mark.parametrize("name", ["full", "hostile", "large", "learned"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_no_errors_no_requests_no_sideways_scrolling(browser, files, name, size):
    with Opened(browser, files / f"{name}.html", size) as opened:
        page = opened.page
        for anchor, _ in SECTIONS:
            assert page.locator(f"section#{anchor} h2").is_visible()
        page.wait_for_timeout(50)
        assert opened.troubles == []
        assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
        assert len([url for url in opened.requests if url.startswith("file:")]) == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_hostile_names_are_shown_and_searched_as_text(browser, files):
    with Opened(browser, files / "hostile.html") as opened:
        page = opened.page
        shown = page.locator("#tenants tbody th").all_inner_texts()
        assert [text for text in HOSTILE[:5] if text not in shown] == []
        page.locator("#tenants tbody th button").nth(1).click()
        assert HOSTILE[1] in page.locator("#route").inner_text()
        assert page.locator("img, script:not([type])").count() == 1  # the page's own script
        assert opened.troubles == []


def test_tables_sort_search_and_turn_pages(browser, files):
    with Opened(browser, files / "large.html") as opened:
        page = opened.page
        table = page.locator("#tenants")
        rows = table.locator("tbody tr")
        assert rows.count() == 50
        assert table.locator(".pager span").inner_text() == "Rows 1 to 50 of 10,000"
        table.get_by_role("button", name="Next").click()
        assert rows.first.locator("th").inner_text() == "tenant-00050"
        table.get_by_role("button", name="cost", exact=True).click()
        costs = [float(text) for text in table.locator("tbody td:last-child").all_inner_texts()]
        assert costs == sorted(costs, reverse=True)
        assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
        table.get_by_role("searchbox").fill("tenant-0777")
        table.locator(".count", has_text=re.compile("^10 of")).wait_for()
        assert rows.count() == 10
        table.get_by_role("searchbox").fill("no such tenant")
        table.locator(".count", has_text=re.compile("^0 of")).wait_for()
        assert table.locator(".pager span").inner_text() == "No rows"
        assert opened.troubles == []


def test_a_path_lights_up_in_the_graph(browser, files):
    with Opened(browser, files / "large.html") as opened:
        page = opened.page
        page.locator("#tenants tbody th button").first.click()
        assert page.locator("#graph .lit").count() == 7  # four domains, three links
        assert page.locator("#route").inner_text().startswith("Shown: tenant-00000")
        page.locator("#tenants tbody th button").first.click()
        assert page.locator("#graph .lit").count() == 0
        assert opened.troubles == []


def test_everything_can_be_reached_by_keyboard(browser, files):
    with Opened(browser, files / "full.html") as opened:
        page = opened.page
        focused = "(() => { const e = document.activeElement; return e.textContent.trim().slice(0, 40) })()"
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == "Skip to the summary"
        wanted = page.evaluate(
            "[...document.querySelectorAll('a[href], button:enabled, input, summary, [tabindex=\"0\"]')]"
            ".filter(e => e.checkVisibility()).length"
        )
        for _ in range(wanted - 1):
            page.keyboard.press("Tab")
            outlined = "getComputedStyle(document.activeElement).outlineStyle !== 'none'"
            assert page.evaluate(f"document.activeElement === document.body || {outlined}")
        assert page.evaluate(focused) == "Back to the summary"
        heading = page.locator("#tenants thead button").first
        heading.focus()
        page.keyboard.press("Enter")
        assert page.locator("#tenants thead th").first.get_attribute("aria-sort") == "ascending"
        summary = page.locator("details > summary").first
        summary.focus()
        page.keyboard.press("Enter")
        assert page.locator("details").first.get_attribute("open") is not None


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["full", "learned"])
def test_the_accessibility_checker_finds_nothing_serious(browser, files, name, size, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with Opened(
        browser, files / f"{name}.html", size, color_scheme=scheme, reduced_motion="reduce"
    ) as opened:
        found = axe.run(opened.page).response["violations"]
        told = [
            f"{each['id']} ({each['impact']}): {node['html'][:160]}"
            for each in found
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"][:3]
        ]
        assert told == []


def test_in_print_what_is_folded_opens_and_nothing_is_cut(browser, files):
    with Opened(browser, files / "full.html") as opened:
        page = opened.page
        page.emulate_media(media="print")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        assert not page.locator(".contents").is_visible()
        scrolls = "[...document.querySelectorAll('.scroll')]"
        assert page.evaluate(f"{scrolls}.every(e => getComputedStyle(e).overflowX === 'visible')")
        assert page.pdf(format="A4").startswith(b"%PDF")
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert page.locator("details:not([open])").count() > 0


def test_without_javascript_the_first_rows_are_there(browser, files):
    with Opened(browser, files / "large.html", java_script_enabled=False) as opened:
        assert opened.page.locator("#tenants tbody tr").count() == 50
        assert "The first 50 of 10,000 rows" in opened.page.locator("#tenants noscript").inner_text()
