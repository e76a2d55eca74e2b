import json
import math

import pytest

from fedopt.explain import explain
from fedopt.explain.binding import at_prices

GUARANTEE = "minplus:ville"


@pytest.fixture(scope="module")
def plan(pair, brute_force):
    return brute_force(pair, GUARANTEE)


def priced(plan, **prices):
    domains = [domain.model_copy(update={"price": prices.get(domain.id, 0.0)}) for domain in plan.domains]
    return plan.model_copy(update={"domains": domains})


def test_infeasible(pair, brute_force):
    report = explain(
        pair.with_({"tenants.chat.slo.deadline": 12}), GUARANTEE, seconds=math.inf, solver=brute_force
    )
    assert report.status == "infeasible"
    text = report.text()
    assert text.startswith("pair has no plan under minplus:ville that serves all.\n• chat: the least delay")
    assert "→ a deadline of" in text
    document = json.loads(json.dumps(report.to_dict()))
    assert document["reasons"][0]["tenant"] == "chat"
    assert document["binding"] == []


def test_the_reasons_in_a_plan_are_used(pair, brute_force):
    infeasible = brute_force(pair.with_({"tenants.chat.slo.deadline": 12}), GUARANTEE)
    report = explain(pair, GUARANTEE, plan=infeasible, seconds=math.inf, solver=brute_force)
    assert report.status == "infeasible"
    assert "No reason was found" in report.text()


def test_deadlines_are_worth_what_solving_again_saves(pair, brute_force, plan):
    report = explain(pair, GUARANTEE, plan=plan, seconds=math.inf, solver=brute_force)
    worth = {worth.place: worth for worth in report.binding}
    chat = worth["tenants.chat.slo.deadline"]
    relaxed = brute_force(pair.with_({"tenants.chat.slo.deadline": 44}), GUARANTEE)
    assert chat.saving == pytest.approx(plan.cost - relaxed.cost, rel=1e-3)
    assert chat.per_cent == pytest.approx(100 * chat.saving / plan.cost)
    assert chat.message.startswith("4 ms more deadline for chat saves ")
    relaxed = brute_force(pair.with_({"tenants.batch.slo.epsilon": 0.02}), GUARANTEE)
    assert worth["tenants.batch.slo.epsilon"].saving == pytest.approx(plan.cost - relaxed.cost, rel=1e-3)
    assert "at a cost of" in report.text()


def test_full_domains_come_with_their_price(pair, brute_force, plan):
    with_price = priced(plan, near=0.75)
    report = explain(pair, GUARANTEE, plan=with_price, seconds=math.inf, solver=brute_force)
    near = next(worth for worth in report.binding if worth.place == "domains.near.capacity")
    assert near.saving == 0.75
    used = next(domain.reserved for domain in plan.domains if domain.id == "near") / 10
    assert near.message == (
        f"near has 10 job/ms, {100 * used:.1f} % used: 1 job/ms more capacity in near saves 0.75"
    )


def test_prices_enter_what_a_tenant_pays(pair, plan):
    seen = at_prices(pair, priced(plan, near=0.75, edge=0.5))
    rates = {domain.id: domain.offers[0].cost.rate for domain in seen.domains}
    assert rates == {"near": 1.75, "edge": 2.5, "cloud": 1.0}


def test_rates_at_their_largest(pair, brute_force, plan):
    rate = plan.tenants["chat"].reservations["near"]
    tight = pair.with_({"domains.near.offers.std.max_rate": rate})
    report = explain(tight, GUARANTEE, plan=plan, seconds=math.inf, solver=brute_force)
    assert any(worth.constraint == "max-rate" and "chat" in worth.message for worth in report.binding)


def test_limit(pair, brute_force, plan):
    unknown = plan.model_copy(update={"status": "limit"})
    report = explain(pair, GUARANTEE, solver=lambda instance, **options: unknown)
    assert "a limit was reached" in report.text()
