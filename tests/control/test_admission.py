"""Patching keeps its certificate: the bound lies below every plan, at whatever prices it is taken."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fedopt
from fedopt.control.admission import (
    Ledger,
    Prices,
    Pricing,
    admit,
    catalogue_bound,
    improve,
    lower_bound,
    tenant_class,
    total_cost,
)
from fedopt.instance import Instance, Tenant


def _many(network: Instance, chats: int, scans: int) -> tuple[Tenant, ...]:
    chat, scan = network.tenants
    return (
        *(chat.model_copy(update={"id": f"chat-{i}"}) for i in range(chats)),
        *(scan.model_copy(update={"id": f"scan-{i}"}) for i in range(scans)),
    )


@pytest.fixture(scope="module")
def pricing(network: Instance) -> Pricing:
    return Pricing(network, "minplus")


@pytest.fixture(scope="module")
def solved(network: Instance) -> tuple[Instance, fedopt.Plan]:
    instance = network.with_(tenants=_many(network, 4, 4))
    return instance, fedopt.solve(instance, gap=1e-4)


def test_the_bound_at_a_plans_own_prices_meets_its_relaxation(
    pricing: Pricing, solved: tuple[Instance, fedopt.Plan]
) -> None:
    instance, plan = solved
    bound = catalogue_bound(pricing, Prices.of(plan), instance.tenants)
    assert bound <= plan.catalogue_bound * (1 + 1e-3)
    assert bound >= 0.97 * plan.cost
    assert lower_bound(pricing, Prices.of(plan), instance.tenants) <= bound


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 4), min_size=8, max_size=8))
def test_the_bound_holds_at_any_prices(
    pricing: Pricing, solved: tuple[Instance, fedopt.Plan], numbers: list[float]
) -> None:
    instance, plan = solved
    names = [f"{d.id}/{o.id}" for d in instance.domains for o in d.offers]
    loads = dict(zip(names, numbers[:4], strict=True))
    capacity = dict(zip([d.id for d in instance.domains], numbers[4:], strict=True))
    assert lower_bound(pricing, Prices(loads, capacity), instance.tenants) <= plan.cost * (1 + 1e-9)


def test_newcomers_take_the_cheapest_way_that_fits(pricing: Pricing, network: Instance) -> None:
    tenants = _many(network, 40, 0)
    instance = network.with_(tenants=tenants)
    ledger = Ledger(instance, {})
    on = Prices({}, {}).on(instance)
    for tenant in tenants:
        room = {d.id: d.capacity - ledger.used[d.id] for d in instance.domains}
        fits = [
            cost
            for cost, entry in pricing.price(tenant, on).candidates
            if all(rate <= room[domain] + 1e-9 for domain, rate in entry.reservations.items())
        ]
        if not admit(ledger, pricing, on, tenant):
            assert not fits
            break
        chosen = ledger.entries[tenant.id]
        paid = [c for c, e in pricing.price(tenant, on).candidates if e.path == chosen.path]
        assert min(paid) == pytest.approx(min(fits))
    else:
        pytest.fail("everybody found room: the test asks for too few tenants")
    used = ledger.used
    assert all(used[d.id] <= d.capacity * (1 + 1e-9) for d in instance.domains)


def test_a_ledger_adds_up_what_is_put_and_taken(
    network: Instance, solved: tuple[Instance, fedopt.Plan]
) -> None:
    instance, plan = solved
    ledger = Ledger(instance, {})
    for entry in plan.tenants:
        ledger.put(entry)
    for domain in plan.domains:
        assert ledger.used[domain.id] == pytest.approx(domain.reserved)
    for entry in plan.tenants:
        ledger.take(entry.id)
    assert all(abs(value) < 1e-9 for value in ledger.used.values())


def test_improving_lowers_the_cost_and_ends_near_the_optimum(
    pricing: Pricing, solved: tuple[Instance, fedopt.Plan]
) -> None:
    instance, plan = solved
    # everybody on the dearest candidate that fits
    ledger = Ledger(instance, {})
    prices = Prices.of(plan)
    on = prices.on(instance)
    for tenant in instance.tenants:
        for _, entry in reversed(pricing.price(tenant, on).candidates):
            named = entry.model_copy(update={"id": tenant.id})
            if not ledger.full(named):
                ledger.put(named)
                break
    before = total_cost(instance, ledger.entries.values())
    assert len(ledger.entries) == len(instance.tenants)
    moved = improve(ledger, pricing, on, instance.tenants, 1e-6)
    after = total_cost(instance, ledger.entries.values())
    assert moved > 0
    assert after < before
    assert lower_bound(pricing, prices, instance.tenants) <= after <= 1.2 * plan.cost


def test_answers_do_not_depend_on_what_was_priced_before(network: Instance) -> None:
    rng = np.random.default_rng(3)
    chat, scan = network.tenants
    points = [Prices({}, {d.id: float(rng.uniform(0, 2)) for d in network.domains}) for _ in range(4)]
    asked = [(tenant, point.on(network)) for point in points for tenant in (chat, scan)]
    one, two = Pricing(network, "minplus"), Pricing(network, "minplus")
    forward = [one.price(*question) for question in asked]
    backward = [two.price(*question) for question in reversed(asked)][::-1]
    for first, second in zip(forward, backward, strict=True):
        assert first.least == second.least
        assert first.candidates == second.candidates


def test_a_kind_is_everything_but_names_and_money(network: Instance) -> None:
    chat, scan = network.tenants
    other = chat.model_copy(update={"id": "x", "payment": 99.0, "penalty": 1.0})
    tighter = chat.model_copy(update={"slo": chat.slo.model_copy(update={"epsilon": 1e-4})})
    assert tenant_class(chat) == tenant_class(other)
    assert len({tenant_class(chat), tenant_class(scan), tenant_class(tighter)}) == 3


def test_nobody_is_served_where_nothing_keeps_the_promise(pricing: Pricing, network: Instance) -> None:
    chat = network.tenants[0]
    hopeless = chat.model_copy(update={"slo": chat.slo.model_copy(update={"deadline": 2.0})})
    answer = pricing.price(hopeless, Prices({}, {}).on(network))
    assert answer.least == math.inf
    assert answer.candidates == ()
