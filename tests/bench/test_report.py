"""How fast reports are written and opened; printed, never asserted.

pytest tests/bench/test_report.py -m slow -s
"""

import statistics
import time

import pytest

from fedopt.report import render
from tests.report.documents import large
from tests.report.test_browser import CHROMIUM

OPENED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")
def test_opening_time(tmp_path):
    api = pytest.importorskip("playwright.sync_api")
    print(f"\n{'tenants':>8} {'written (s)':>11} {'MB':>6} {'opened (s)':>10} {'first paint (s)':>15}")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        for tenants in (100, 1_000, 10_000, 50_000):
            started = time.perf_counter()
            page = render(large(tenants))
            written = time.perf_counter() - started
            file = tmp_path / f"{tenants}.html"
            file.write_text(page, encoding="utf-8")
            loads, paints = [], []
            for _ in range(5):
                context = browser.new_context()
                opened = context.new_page()
                opened.goto(file.as_uri())
                opened.wait_for_function(f"{OPENED} > 0")
                loads.append(opened.evaluate(OPENED) / 1000)
                paint = opened.evaluate(
                    "new Promise(r => requestAnimationFrame(() => setTimeout(() => r(performance.now()), 0)))"
                )
                paints.append(paint / 1000)
                context.close()
            print(
                f"{tenants:8,} {written:11.2f} {len(page) / 1e6:6.2f} {statistics.median(loads):10.2f} "
                f"{statistics.median(paints):15.2f}"
            )
        browser.close()
