"""A period's decision: kept, patched or planned anew, always a correct plan with an honest certificate."""

from __future__ import annotations

import pytest

import fedopt
from fedopt.control.admission import Pricing
from fedopt.control.environment import scaled_arrivals
from fedopt.control.planning import Decision, decide
from fedopt.control.policies import MeanPricing, Shrinker, decide_static
from fedopt.control.scenario import Planning
from fedopt.instance import Instance, Tenant

PLANNING = Planning(gap=1e-3, replan_gap=0.02)


def _tenants(network: Instance, chats: int, scans: int) -> list[Tenant]:
    chat, scan = network.tenants
    return [
        *(chat.model_copy(update={"id": f"chat-{i}"}) for i in range(chats)),
        *(scan.model_copy(update={"id": f"scan-{i}"}) for i in range(scans)),
    ]


def _correct(decision: Decision) -> None:
    report = fedopt.check(decision.plan, decision.instance)
    assert report.ok, report.text()
    assert decision.plan.tenants.ids() == [tenant.id for tenant in decision.instance.tenants]


@pytest.fixture(scope="module")
def pricing(network: Instance) -> Pricing:
    return Pricing(network, "minplus")


@pytest.fixture(scope="module")
def first(network: Instance, pricing: Pricing) -> Decision:
    return decide(pricing, _tenants(network, 2, 2), None, PLANNING)


def test_the_first_period_is_planned_and_the_same_again_is_kept(
    network: Instance, pricing: Pricing, first: Decision
) -> None:
    _correct(first)
    assert (first.mode, first.placed, first.moved) == ("planned", 4, 0)
    again = decide(pricing, _tenants(network, 2, 2), first.standing, PLANNING)
    assert (again.mode, again.plan) == ("kept", first.plan)


def test_an_arrival_is_patched_in_and_its_gap_is_true(
    network: Instance, pricing: Pricing, first: Decision
) -> None:
    tenants = _tenants(network, 3, 2)
    patient = PLANNING.model_copy(update={"replan_gap": 0.15})
    decision = decide(pricing, tenants, first.standing, patient)
    _correct(decision)
    assert (decision.mode, decision.placed, decision.moved) == ("patched", 1, 0)
    for entry in first.plan.tenants:
        assert decision.plan.tenants[entry.id].reservations == entry.reservations
    best = fedopt.solve(network.with_(tenants=tuple(tenants)), gap=1e-5)
    assert decision.plan.lower_bound <= best.cost * (1 + 1e-9)
    assert decision.plan.catalogue_gap <= patient.replan_gap
    assert decision.plan.cost <= best.cost / (1 - PLANNING.replan_gap) + 1e-9


def test_departures_leave_the_others_where_they_are(
    network: Instance, pricing: Pricing, first: Decision
) -> None:
    decision = decide(pricing, _tenants(network, 1, 2), first.standing, PLANNING)
    _correct(decision)
    assert decision.mode != "planned" or decision.plan.catalogue_gap <= PLANNING.gap
    assert len(decision.plan.tenants) == 3


def test_more_traffic_moves_only_those_who_send_it(
    network: Instance, pricing: Pricing, first: Decision
) -> None:
    tenants = [
        tenant.model_copy(update={"arrivals": scaled_arrivals(tenant.arrivals, 1.3)})
        if tenant.id == "scan-0"
        else tenant
        for tenant in _tenants(network, 2, 2)
    ]
    decision = decide(pricing, tenants, first.standing, PLANNING)
    _correct(decision)
    kept = [e for e in first.plan.tenants if e.id != "scan-0"]
    if decision.mode == "patched":
        assert all(decision.plan.tenants[e.id].reservations == e.reservations for e in kept)
    assert decision.plan.tenants["scan-0"].reservations != first.plan.tenants["scan-0"].reservations


def test_a_failed_domain_is_left_and_a_full_network_refuses_newcomers(network: Instance) -> None:
    failed = Pricing(network.with_({"domains.a1.capacity": 6e-9}), "minplus")
    start = decide(Pricing(network, "minplus"), _tenants(network, 2, 2), None, PLANNING)
    decision = decide(failed, _tenants(network, 2, 2), start.standing, PLANNING)
    _correct(decision)
    assert not any("a1" in entry.reservations for entry in decision.plan.tenants)
    crowd = _tenants(network, 30, 2)
    full = decide(failed, crowd, decision.standing, PLANNING)
    _correct(full)
    assert full.suspended == ()
    assert 0 < len(full.refused) < 30
    assert {"chat-0", "chat-1", "scan-0", "scan-1"} <= set(full.plan.tenants.ids())
    none = Pricing(network.with_({"domains.a1.capacity": 6e-9, "domains.a2.capacity": 6e-9}), "minplus")
    lost = decide(none, _tenants(network, 2, 2), start.standing, PLANNING)
    assert set(lost.suspended) == {"chat-0", "chat-1", "scan-0", "scan-1"}
    assert (lost.refused, len(lost.plan.tenants)) == ((), 0)
    back = decide(Pricing(network, "minplus"), _tenants(network, 2, 3), lost.standing, PLANNING)
    _correct(back)
    assert back.refused == back.suspended == ()


def test_nobody_to_serve_is_an_empty_plan(pricing: Pricing, first: Decision) -> None:
    decision = decide(pricing, [], first.standing, PLANNING)
    assert (len(decision.plan.tenants), decision.plan.cost) == (0, 0.0)


def test_static_policies_leave_what_is_placed(network: Instance) -> None:
    mean = MeanPricing(network, 0.25)
    tenants = _tenants(network, 2, 1)
    first = decide_static(mean, tenants, None, frozen=False)
    entry = first.plan.tenants["chat-0"]
    # Poisson of rate 0.3 and impairments of mean 0.2 or 0.3, with a quarter on top
    assert sorted(set(entry.reservations.values())) == pytest.approx(
        sorted({1.25 * (0.3 + (0.3 if domain == "a2" else 0.2)) for domain in entry.reservations})
    )
    again = decide_static(mean, [*tenants, *_tenants(network, 0, 2)[1:]], first.standing, frozen=False)
    assert (again.mode, again.placed, again.moved) == ("patched", 1, 0)
    louder = [t.model_copy(update={"arrivals": scaled_arrivals(t.arrivals, 1.5)}) for t in tenants]
    assert decide_static(mean, louder, first.standing, frozen=False).moved == 3
    assert decide_static(mean, louder, first.standing, frozen=True).moved == 0
    crowd = _tenants(network, 60, 0)
    assert decide_static(mean, crowd, None, frozen=False).refused
    assert not decide_static(mean, crowd, None, frozen=False, crowded=True).refused


def test_shrinking_never_grows_a_reservation(network: Instance, first: Decision) -> None:
    shrinker = Shrinker(200_000, 0)
    shrunk = shrinker.shrink(first.instance, first.plan)
    for entry in first.plan.tenants:
        for domain, rate in entry.reservations.items():
            assert shrunk.tenants[entry.id].reservations[domain] <= rate
    assert shrunk.cost <= first.plan.cost
