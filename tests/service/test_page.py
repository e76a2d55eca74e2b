"""The page of the service in a real browser, end to end: it uses the API alone and loads nothing else."""

from __future__ import annotations

import io
import json
import re
import zipfile

import pytest

from fedopt.plan import Plan
from tests.report.test_browser import CHROMIUM, DESKTOP, PHONE
from tests.service.test_http import telemetry
from tests.service.world import CITY, CROWD, HELLO, IMPOSSIBLE, ROOT

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium found on PATH (or named by the variable CHROMIUM)"
)


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM)
        yield launched
        launched.close()


class Page:
    """The page in a context of its own, signed in, with all that went wrong in it."""

    def __init__(self, browser, server, token, size=DESKTOP, **options):
        self.context = browser.new_context(viewport=size, accept_downloads=True, **options)
        self.root = server.base.removesuffix("/fedopt/v1")
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.troubles, self.hosts = [], set()
        self.page.on("console", lambda message: self.troubles.append(message.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.page.goto(self.root + "/")
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_selector("textarea")
        self.troubles.clear()  # the first request came without a token and was refused, as it should be

    def __enter__(self):
        return self.page

    def __exit__(self, *error):
        self.context.close()
        if error[0] is None:
            assert self.troubles == []
            assert self.hosts == {self.root.split("/")[2]}


@pytest.fixture
def opened(browser, server, tokens):
    return lambda **options: Page(browser, server, tokens[1], **options)


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def plan(page, text):
    """Plan an instance and wait for the plan's view."""
    page.goto(page.url.partition("#")[0] + "#new")
    page.locator("textarea").fill(text)
    press(page, "Plan")
    page.wait_for_selector("text=Independent check")


def saved(page, name):
    with page.expect_download() as waiting:
        press(page, name)
    return waiting.value.path().read_bytes()


def test_nobody_sees_anything_without_a_token(browser, server):
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.base.removesuffix("/fedopt/v1") + "/#jobs")
    page.get_by_label("Token").fill("wrong")
    press(page, "Sign in")
    page.wait_for_selector("text=the request needs a valid token")
    assert page.locator("table").count() == 0
    context.close()


def test_problems_are_shown_at_their_lines(opened):
    window = opened()
    with window as page:
        page.locator("textarea").fill(HELLO.replace("capacity: 4,", "capacity: -4,"))
        press(page, "Check")
        page.wait_for_selector(".problems li")
        assert "must be at least 0" in page.locator(".problems").inner_text()
        press(page, "Line 6")
        chosen = page.evaluate(
            "(t => t.value.slice(t.selectionStart, t.selectionEnd))(document.querySelector('textarea'))"
        )
        assert chosen == HELLO.splitlines()[5].replace("capacity: 4,", "capacity: -4,")
        assert page.locator(".gutter b").inner_text() == "6"
        page.locator("textarea").fill(HELLO)
        press(page, "Check")
        page.wait_for_selector(".map svg")
        assert page.locator(".problems").is_hidden()
        window.troubles[:] = [text for text in window.troubles if "400" not in text]


def test_from_an_instance_to_a_settlement(opened, tmp_path):
    with opened() as page:
        file = tmp_path / "hello.yaml"
        file.write_text(HELLO)
        page.get_by_label("Instance file").set_input_files(file)
        press(page, "Plan")
        page.wait_for_selector("text=Independent check")
        assert "✓ correct" in page.locator(".facts").inner_text()
        assert "4 of 4" in page.locator(".facts").inner_text()
        press(page, "voice")
        assert page.locator(".flow.on").count() == 1

        page.get_by_role("button", name="Simulate").click()
        page.wait_for_selector("text=Simulated, 32 trials")
        press(page, "Explain")
        page.wait_for_selector("text=more deadline for voice saves")
        press(page, "Audit")  # of the simulation, without a file
        page.wait_for_selector("h3:has-text('Audit')")
        records = tmp_path / "telemetry.csv"
        records.write_text(telemetry(0.05))
        page.get_by_label("Telemetry: CSV or JSON lines").set_input_files(records)
        press(page, "Audit")
        page.wait_for_selector("span.broken:has-text('broken')")
        press(page, "Settle")
        page.wait_for_selector("text=Net by domain")

        posted = saved(page, "plan.json")
        decided = Plan.loads(posted.decode())
        with zipfile.ZipFile(io.BytesIO(saved(page, "Everything (.zip)"))) as archive:
            assert archive.testzip() is None
            names = archive.namelist()
            assert json.loads(archive.read("plan.json")) == json.loads(posted)
            assert "Plan for hello" in archive.read("report.html").decode()
            rows = archive.read("domains.csv").decode().splitlines()
            assert len(rows) == 1 + len(decided.domains)
        for kind in ("simulation", "explanation", "audit", "settlement"):
            assert any(name.startswith(kind) for name in names), names


def test_a_long_job_shows_its_rounds_and_stops_at_its_best_plan(opened):
    with opened() as page:
        page.set_default_timeout(240_000)  # a minute on a quiet machine
        page.locator("textarea").fill(CROWD)
        page.get_by_label("Method").select_option("admm")
        page.get_by_label("Gap to certify").fill("0")
        press(page, "Plan")
        page.wait_for_selector(".facts:has-text('Best cost')")
        page.wait_for_selector(".chart .dot.bound")
        press(page, "Stop at the best plan")  # it can be pressed once there is a plan
        page.wait_for_selector("text=Tenants served")
        facts = page.locator(".facts").inner_text()
        assert "30 of 30" in facts
        assert re.search(r"Lower bound\s+[\d.]+", facts), facts


def test_what_if_and_comparison(opened):
    with opened() as page:
        plan(page, HELLO)
        before = float(re.search(r"Cost\s+([\d.]+)", page.locator(".facts").inner_text())[1])
        slider = page.get_by_label("Deadline, as a multiple of now")
        slider.focus()
        page.keyboard.press("End")  # twice the deadline, by the keyboard
        page.wait_for_selector("text=Open this plan")
        words = page.locator("p[role=status]", has_text="Cost").inner_text()
        assert float(re.search(r"Cost ([\d.]+)", words)[1]) < before
        page.get_by_role("button", name="Draw the cost curve of Capacity").click()
        page.wait_for_selector("text=certified to the same gap")
        assert page.locator(".chart .dot.cost").count() + page.locator(".chart .cross").count() == 9
        page.get_by_role("link", name="Compare", exact=True).last.click()
        page.wait_for_selector("text=Reservations by domain")
        cost = page.locator("tr", has_text="Cost").first.inner_text().split("\t")
        assert float(cost[3]) < 0


def test_an_infeasible_instance_says_why(opened):
    with opened() as page:
        plan(page, IMPOSSIBLE)
        page.wait_for_selector("text=Why there is no plan")
        assert "voice" in page.locator("main").inner_text()


def test_a_map_is_drawn_where_positions_are_known(opened):
    with opened() as page:
        page.locator("textarea").fill((ROOT / "instances" / "abilene.yaml").read_text())
        press(page, "Check")
        page.wait_for_selector("svg[aria-label^='Map of']")
        page.get_by_label("Show as").select_option("graph")
        page.wait_for_selector("svg[aria-label^='Stage graph']")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_every_view_is_accessible_and_fits(opened, scheme, size):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with opened(size=size, color_scheme=scheme) as page:
        plan(page, CITY)
        job = page.evaluate("location.hash")
        for view in ("#new", "#jobs", job, "#compare", "#decompose", "#api"):
            page.goto(page.url.partition("#")[0] + view)
            page.wait_for_selector("main h1")
            if view == job:
                page.wait_for_selector("text=Independent check")
            found = axe.Axe().run(page).response["violations"]
            serious = [f"{view}: {one['id']}" for one in found if one["impact"] in ("serious", "critical")]
            assert serious == []
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{view} scrolls sideways by {wide} px"


def test_the_api_is_described_offline(opened):
    with opened() as page:
        page.goto(page.url.partition("#")[0] + "#api")
        page.wait_for_selector("summary:has-text('Plan an instance')")
        page.locator("summary", has_text="Plan an instance").click()
        page.wait_for_selector("text=Parameters of solve")


def test_the_keyboard_alone_makes_a_plan(opened):
    with opened() as page:
        page.locator("textarea").fill(HELLO)
        page.locator("textarea").focus()
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == "Plan":
                break
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Independent check")
