"""Offers without a contract in a plan: what stands in for them, the way back, and what check says."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fedopt
from fedopt.instance import Instance, InstanceError, LearnedImpairment, loads
from fedopt.plan import Plan, TenantPlan
from fedopt.plan.basis import has_learned, learned_note, total_log_bound
from fedopt.plan.document import LearnedPromise, TenantPlans
from fedopt.plan.paths import Paths
from fedopt.plan.stand_in import SHARES, planned, variants
from fedopt.plan.summary import paragraph

TEXT = """
slot: 1.0
stages: [access, compute]
domains:
  - {id: a, stage: access, capacity: 6.0, offers: [{id: s, latency: 1, latency_kind: delay,
     impairment: {model: exponential, mean: 0.2}}]}
  - {id: c, stage: compute, capacity: 5.0, offers: [{id: m, latency: 2, latency_kind: delay,
     impairment: {model: exponential, mean: 0.2}, cost: {model: linear, rate: 2.0}}]}
  - {id: dark, stage: compute, capacity: 9.0, offers: [{id: m, max_rate: 2.0,
     cost: {model: linear, rate: 0.5}, impairment: {model: learned, confidence: 0.9, asks: [{
     arrivals: {model: poisson, rate: 0.4},
     throughput: 1.5, delay: [4, 8, 12], risk: [0.01, 0.0004, 0.0001], estimate: [0.005, 0.0002, 0.00001],
     answers: 50000}]}}]}
tenants:
  - {id: chat, arrivals: {model: poisson, rate: 0.3}, slo: {deadline: 30, epsilon: 0.001}}
  - {id: strict, arrivals: {model: poisson, rate: 0.3}, slo: {deadline: 30, epsilon: 0.0001}}
  - {id: loud, arrivals: {model: poisson, rate: 0.5}, slo: {deadline: 30, epsilon: 0.001}}
"""


@pytest.fixture(scope="module")
def instance() -> Instance:
    return loads(TEXT)


def _plan(instance: Instance) -> Plan:
    """Everybody planned with half of ε left to the dark domain, where that is possible."""
    chosen = [variants(instance, tenant)[-1] for tenant in instance.tenants]
    standing_in = planned(instance, chosen)
    plan = fedopt.solve(standing_in.instance)
    entries = TenantPlans(standing_in.back(entry) for entry in plan.tenants)
    reference = plan.instance.model_copy(update={"sha256": instance.sha256, "name": instance.name})
    uncertified = {"lower_bound": None, "gap": None, "status": "feasible"}
    return plan.model_copy(update={"tenants": entries, "instance": reference, **uncertified})


def test_what_stands_in(instance: Instance) -> None:
    contracted, *with_learned = variants(instance, instance.tenant("chat"))
    assert contracted.menu == ()
    assert contracted.tenant == instance.tenant("chat")
    # a quarter of 0.001 allows a risk of 0.0001 alone, half of it 0.0004; three quarters reach no further
    assert [v.menu[0].promise.delay for v in with_learned] == [12.0, 8.0]
    assert [v.tenant.slo.epsilon for v in with_learned] == pytest.approx([0.00075, 0.0005])
    for variant in with_learned:
        (one,) = variant.menu
        assert one.offer.latency == one.promise.delay
        assert one.offer.latency_kind == "delay"
        assert one.offer.max_rate == 1.5
        assert one.promise.risk <= instance.tenant("chat").slo.epsilon - variant.tenant.slo.epsilon
        assert one.promise.confidence == 0.9
    assert len(variants(instance, instance.tenant("strict"))) == 1  # nothing as small was learned
    assert len(variants(instance, instance.tenant("loud"))) == 1  # nor of traffic as heavy
    assert SHARES == (0.25, 0.5, 0.75)


def test_a_plan_with_learned_promises_checks_out(instance: Instance) -> None:
    plan = _plan(instance)
    entry = plan.tenants["chat"]
    assert entry.path == ["a/s", "dark/m"]
    assert set(entry.learned) == {"dark"}
    assert plan.tenants["loud"].path == ["a/s", "c/m"]
    assert plan.tenants["strict"].path == ["a/s", "c/m"]
    report = fedopt.check(plan, instance)
    assert report.ok, report.text()
    assert "1 of 3 entries cross dark without a contract" in report.text()
    assert "at 90% confidence" in report.text()
    # theorem and learned part add up to no more than ε
    path, rates = Paths(instance).entry(entry), Paths(instance).rates(entry)
    assert path.log_epsilon == pytest.approx(math.log(0.001 - entry.learned["dark"].risk))
    assert np.array_equal(path.latencies, [1.0, entry.learned["dark"].delay])
    theorem = fedopt.calculus.minplus.evaluate(path, rates).log_bound
    assert entry.log_bound is not None
    assert math.exp(theorem) + entry.learned["dark"].risk <= 0.001
    # what is stated was checked above; a search afresh may miss some of it, but not find much more
    assert entry.log_bound == pytest.approx(total_log_bound(theorem, entry), abs=0.02)
    again = Plan.loads(plan.to_json())
    assert again.tenants["chat"].learned == entry.learned
    assert "learned" not in plan.to_json().partition('"loud"')[2]


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"delay": 4.0}, "learned"),  # less time than the risk was learned for
        ({"risk": 0.0002}, "learned"),
        ({"confidence": 0.95}, "learned"),
        ({"delay": 24.0}, "guarantee"),  # nothing is left of the deadline for the rest
    ],
)
def test_check_finds_what_was_not_learned(
    instance: Instance, change: dict[str, float], constraint: str
) -> None:
    plan = _plan(instance)
    promise = plan.tenants["chat"].learned["dark"]
    found = fedopt.check(_with(plan, {"dark": promise.model_copy(update=change)}), instance).findings
    assert constraint in {finding.constraint for finding in found}


def test_check_wants_a_promise_from_every_domain(instance: Instance) -> None:
    plan = _plan(instance)
    promise = plan.tenants["chat"].learned["dark"]
    (none,) = fedopt.check(_with(plan, {}), instance).findings
    assert none.constraint == "learned"
    assert "no contract" in none.message
    other = fedopt.check(_with(plan, {"dark": promise, "a": promise}), instance).findings
    assert any("has a contract" in finding.message for finding in other)


def test_check_adds_the_learned_risk_to_the_stated_bound(instance: Instance) -> None:
    plan = _plan(instance)
    entry = plan.tenants["chat"]
    assert entry.log_bound is not None
    theorem = math.log(math.exp(entry.log_bound) - entry.learned["dark"].risk)
    boastful = entry.model_copy(update={"log_bound": theorem})
    entries = TenantPlans(boastful if e.id == "chat" else e for e in plan.tenants)
    found = fedopt.check(plan.model_copy(update={"tenants": entries}), instance).findings
    assert {finding.constraint for finding in found} == {"bound"}


def _with(plan: Plan, learned: dict[str, LearnedPromise]) -> Plan:
    entries = TenantPlans(
        e.model_copy(update={"learned": learned}) if e.id == "chat" else e for e in plan.tenants
    )
    return plan.model_copy(update={"tenants": entries})


def test_notes(instance: Instance) -> None:
    assert has_learned(instance)
    assert not has_learned(planned(instance, [variants(instance, t)[0] for t in instance.tenants]).instance)
    assert learned_note([TenantPlan(id="x")]) is None
    assert isinstance(instance.offer("dark/m")[1].impairment, LearnedImpairment)
    assert total_log_bound(-math.inf, TenantPlan(id="x", learned={"d": LearnedPromise(
        delay=1, risk=0.1, confidence=0.9)})) == pytest.approx(math.log(0.1))  # fmt: skip


def test_words_do_not_call_a_learned_promise_a_theorem(instance: Instance) -> None:
    plan = _plan(instance)
    plan = plan.model_copy(update={"notes": [str(learned_note(plan.tenants))]})
    words = paragraph(plan)
    assert "hold end to end" not in words
    assert "1 of 3 entries cross dark without a contract" in words


def test_a_simulation_says_that_it_is_of_the_theorems_part(instance: Instance) -> None:
    plan = _plan(instance)
    result = fedopt.simulate(plan, instance, slots=20_000, seed=1)
    by_name = {tenant.id: tenant for tenant in result.tenants}
    risk = plan.tenants["chat"].learned["dark"].risk
    assert by_name["chat"].epsilon == pytest.approx(0.001 - risk)
    assert by_name["loud"].epsilon == 0.001
    assert any("learned risk is not simulated" in note for note in by_name["chat"].notes)


def test_methods_refuse_offers_without_a_contract_by_name(instance: Instance) -> None:
    for method in ("central", "admm", "model:joint"):
        with pytest.raises(InstanceError, match=r"domains\[2\].offers\[0\].impairment"):
            fedopt.solve(instance, method=method)


def test_a_share_is_divided_so_that_the_delays_it_buys_add_up_to_the_least() -> None:
    """Against all pairs of rows of random tables; equal parts are one of the divisions."""
    rng = np.random.default_rng(0)
    better = 0
    for _ in range(40):
        tables = []
        for _stage in range(2):
            delay = np.sort(rng.uniform(1, 20, 5)).round(3)
            risk = np.sort(10 ** rng.uniform(-4.5, -2.5, 5))[::-1]
            tables.append((delay.tolist(), risk.tolist()))
        text = "stages: [s0, s1]\ndomains:\n" + "".join(
            f"  - {{id: d{n}, stage: s{n}, capacity: 9, offers: [{{id: m, impairment: {{model: learned, "
            f"asks: [{{arrivals: {{model: poisson, rate: 0.4}}, throughput: 2, "
            f"delay: {delay}, risk: {risk}}}]}}}}]}}\n"
            for n, (delay, risk) in enumerate(tables)
        )
        text += (
            "tenants: [{id: t, arrivals: {model: poisson, rate: 0.3}, slo: {deadline: 60, epsilon: 0.01}}]"
        )
        instance = loads(text)
        for variant in variants(instance, instance.tenants[0])[1:]:
            budget = instance.tenants[0].slo.epsilon - variant.tenant.slo.epsilon
            pairs = [(r, d) for d, r in zip(*tables[0], strict=True)]
            others = [(r, d) for d, r in zip(*tables[1], strict=True)]
            sums = [d + e for r, d in pairs for q, e in others if r + q <= budget]
            if len(variant.menu) < 2:
                assert not sums
                continue
            assert sum(s.promise.risk for s in variant.menu) <= budget * (1 + 1e-12)
            found = sum(s.promise.delay for s in variant.menu)
            assert found == pytest.approx(min(sums))
            equal = [
                min((d for r, d in part if r <= budget / 2), default=math.inf) for part in (pairs, others)
            ]
            assert found <= sum(equal)
            better += found < sum(equal)
    assert better > 10
