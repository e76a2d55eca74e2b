"""The page as text: every section, nothing from outside, and no name that becomes markup."""

import math
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

import fedopt
from fedopt.plan.paths import Paths
from fedopt.report import Given, ReportError, render
from fedopt.report.page import SECTIONS
from fedopt.report.tails import tails
from fedopt.report.tenants import budgets
from tests.report.documents import hostile, learned

VOID = {"meta", "link", "input", "br"}


class Elements(HTMLParser):
    """Collects (tag, attributes) and the text of headings; fails where elements do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            self.headings[-1] = (self.headings[-1][0], self.headings[-1][1] + data)


@pytest.fixture(scope="module")
def page(everything):
    return render(everything, explain_seconds=5.0)


def test_every_section_is_there_and_filled(page):
    elements = Elements(page)
    ids = [attributes["id"] for _, attributes in elements.found if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert {anchor for anchor, _ in SECTIONS} <= set(ids)
    assert 'class="none">Not' not in page
    for words in (
        "Independent check",
        "Simulation:",
        "Audit:",
        "Settlement:",
        "adds up to the cent",
        "-30.00",
    ):
        assert words in page


def test_sections_without_documents_say_so(plan, instance):
    for given in (Given(plan), Given(plan, instance)):
        bare = render(given, explain_seconds=0.0)
        Elements(bare)
        for anchor, title in SECTIONS:
            assert f'id="{anchor}"' in bare
            assert f">{title}</a>" in bare
        assert "No settlement was given" in bare
        assert "keeps no ledger" in bare


def test_headings_do_not_skip_levels(page):
    levels = [level for level, _ in Elements(page).headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_nothing_is_loaded_from_outside(page):
    for tag, attributes in Elements(page).found:
        for name in ("src", "href", "action", "poster", "data", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,", (tag, name, value)
    assert "url(" not in page
    assert "@import" not in page


def test_charts_have_names_and_tables_have_captions_and_scopes(page):
    elements = Elements(page).found
    for tag, attributes in elements:
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("role") == "img"
        if tag == "th":
            assert attributes.get("scope") in ("col", "row")
    tags = [tag for tag, _ in elements]
    assert tags.count("table") == tags.count("caption")


def test_hostile_names_stay_text(page):
    given = hostile()
    elements = Elements(render(given)).found
    assert {tag for tag, _ in elements} <= {tag for tag, _ in Elements(page).found} | {"code", "noscript"}
    assert not any(name.startswith("on") for _, attributes in elements for name in attributes)
    scripts = [attributes for tag, attributes in elements if tag == "script" and "type" not in attributes]
    assert len(scripts) == 1
    assert "{{ 7 * 7 }}" in render(given)


def test_an_infeasible_plan_says_why(instance):
    tight = instance.with_({"tenants.voice.slo.deadline": 4.0})
    plan = fedopt.solve(tight)
    page = render(Given(plan, tight))
    Elements(page)
    assert plan.status == "infeasible"
    assert "There are no paths to draw" in page or "Dashed boxes" in page
    assert plan.explanation[0].message.split(":")[0] in page


def test_tenants_to_draw_can_be_named(plan, instance):
    page = render(Given(plan, instance), tenants=["voice"], check=False, explain_seconds=0.0)
    articles = [text for level, text in Elements(page).headings if level == 3]
    assert articles == ["voice"]
    with pytest.raises(ReportError, match="no tenant 'video'"):
        render(Given(plan, instance), tenants=["video"])


def test_broken_plans_are_reported_as_such(plan, instance):
    entry = plan.tenants.of("voice")[0]
    slower = entry.model_copy(update={"reservations": {k: 0.9 * v for k, v in entry.reservations.items()}})
    broken = plan.model_copy(
        update={"tenants": type(plan.tenants)(slower if e is entry else e for e in plan.tenants)}
    )
    page = render(Given(broken, instance), explain_seconds=0.0)
    assert "What the check found wrong" in page
    assert '<li class="broken">' in page


@pytest.mark.parametrize(
    "fault",
    [
        {"reservations": {}},
        {"reservations": {"metro": 0.0, "near": 1.0}},
        {"reservations": {"metro": 1e200, "near": 1e-200}},
        {"form": "block", "block": None, "parameters": {"exponents": "x"}},
        {"form": "image", "parameters": {"alpha": [1], "split": "no"}},
        {"form": "split"},
        {"form": "paper-path", "theta": 1e9},
        {"form": None, "theta": None, "log_bound": None},
        {"log_bound": 1e308},
        {"log_bound": -1e308},
        {"path": ["metro/gold"]},
        {"risk_shares": {"metro": 1e300, "elsewhere": -5.0}},
        {"form": "split", "budgets": {"metro": -1.0}, "deadlines": {"near": 1e9}},
        {"count": 0},
        {"admitted": False},
    ],
    ids=lambda fault: "-".join(fault),
)
def test_a_damaged_plan_still_has_a_report(plan, instance, fault):
    damaged = plan.tenants.of("voice")[0].model_copy(update=fault)
    entries = [damaged if entry.id == "voice" else entry for entry in plan.tenants]
    changed = plan.model_copy(update={"tenants": type(plan.tenants)(entries)})
    page = render(Given(changed, instance), tenants=["voice"])
    Elements(page)
    assert ("What the check found wrong" in page) == (not fedopt.check(changed, instance).ok)
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert not re.search(r"(?<![a-z])(nan|inf)(?![a-z])", drawing)


def test_without_the_engine_the_message_names_the_extra(plan, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(ReportError, match=r"fedopt\[report\]"):
        render(Given(plan))


def test_the_same_documents_give_the_same_page(plan, instance):
    given = Given(plan, instance)
    assert render(given, explain_seconds=0.0) == render(given, explain_seconds=0.0)


def test_learned_promises_are_told_from_theorems():
    given = learned()
    page = render(given)
    assert any(entry.learned for entry in given.plan.tenants)
    for words in (
        "Promises learned in part",
        "of it learned, not proven",
        "none: learned from answers",
        "far (asked of it, no contract)",
        "far, learned",
        "proven bound, and what was learned added to it",
        "cross far without a contract",
        "What follows from contracts is a theorem.",
    ):
        assert words in page, words
    assert "hold end to end" not in re.sub(r"(?s)Provenance.*", "", page.partition("<h2")[2])
    alone = render(Given(given.plan))
    assert "none: learned from answers" in alone


def test_budgets_and_tails_hold_theorem_and_learned_part_together():
    given = learned()
    entry = next(entry for entry in given.plan.tenants if entry.learned)
    promise = entry.learned["far"]
    deadline, risk = budgets(given, entry)
    parts = {part.name: part.share for part in deadline.parts}
    assert parts["far (asked of it, no contract)"] == pytest.approx(promise.delay / 60)
    shares = {part.name: part.share for part in risk.parts}
    assert shares["far, learned"] == pytest.approx(promise.risk / 0.001)
    used = sum(part.share for part in risk.parts if not part.spare)
    assert used == pytest.approx(math.exp(entry.log_bound) / 0.001)
    curves = tails(given, Paths(given.instance), entry)
    assert min(level for _, level in curves.bound) >= math.log10(promise.risk)
    assert min(level for at, level in curves.bound if at <= curves.deadline) <= -3
