import xml.etree.ElementTree as ET

import pytest

from fedopt.report.given import Given
from fedopt.report.tenants import budget_bar, budgets


def test_parts_add_up_to_the_whole(instance, plan, split_plan):
    for made in (plan, split_plan):
        for entry in made.tenants:
            for budget in budgets(Given(made, instance), entry):
                assert sum(part.share for part in budget.parts) == pytest.approx(
                    1.0, abs=1e-4
                )  # less is not shown
                assert all(part.share > 0 for part in budget.parts)


def test_the_deadline_goes_where_the_contracts_say(instance, plan):
    entry = plan.tenants["voice"]
    deadline, risk = budgets(Given(plan, instance), entry)
    named = {part.name: part for part in deadline.parts}
    assert entry.path == ["metro/gold", "near/llm"]
    assert named["link metro → near"].share == pytest.approx(0.5 / 15.5)
    assert named["metro (latency)"].share == pytest.approx(3 / 15.5)
    assert named["near (guardrail latency)"].share == pytest.approx(2 / 15.5)
    assert [part.name for part in deadline.parts if part.spare] == ["queueing, shared by all domains"]
    assert {part.name for part in risk.parts if not part.spare} == {"metro", "near"}


def test_under_split_every_domain_has_its_own(instance, split_plan):
    entry = split_plan.tenants["voice"]
    deadline, risk = budgets(Given(split_plan, instance), entry)
    shares = {part.name: part.share for part in deadline.parts}
    assert {name: shares[name] * 15.5 for name in entry.deadlines} == pytest.approx(entry.deadlines)
    assert {part.name: part.share * 1e-4 for part in risk.parts if not part.spare} == pytest.approx(
        entry.budgets
    )


def test_the_bar_is_as_long_as_its_parts(instance, plan):
    budget = budgets(Given(plan, instance), plan.tenants["voice"])[0]
    widths = [
        float(rect.get("width")) for rect in ET.fromstring(budget_bar("b", "voice", budget)).iter("rect")
    ]
    assert widths == pytest.approx([338 * part.share for part in budget.parts], abs=0.02)


def test_without_instance_and_promise_there_is_nothing_to_say(plan):
    assert budgets(Given(plan), plan.tenants["voice"]) == []
