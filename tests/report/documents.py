"""Documents for the tests of the report: small, made by fedopt itself, and one with hostile names."""

from __future__ import annotations

import json

import numpy as np

import fedopt
from fedopt.audit import Audit, Promise, audit
from fedopt.audit.settlement import Line, Settlement
from fedopt.instance import Ask, Instance, LearnedImpairment, Poisson, loads
from fedopt.plan import DomainPlan, InstanceReference, Plan, TenantPlan
from fedopt.plan.basis import learned_note
from fedopt.plan.document import HistoryRow, TenantPlans
from fedopt.plan.stand_in import planned, variants
from fedopt.report import Given, Simulation

TEXT = """
fedopt: 1
name: two-stages
units: {time: ms, work: job}
stages: [access, compute]
domains:
  - id: metro
    stage: access
    operator: opA
    capacity: 5
    offers: [{id: gold, latency: 3, latency_kind: delay, impairment: {model: exponential, mean: 0.3}}]
  - id: near
    stage: compute
    operator: opB
    capacity: 4
    offers: [{id: llm, latency: 2, cost: {model: linear, rate: 2.0}}]
  - id: far
    stage: compute
    operator: opC
    capacity: 40
    offers: [{id: llm, latency: 12, cost: {model: linear, rate: 0.8}}]
links:
  - {from: metro, to: near, delay: 0.5}
  - {from: metro, to: far, delay: 1.25}
tenants:
  - id: chat
    count: 3
    arrivals: {model: poisson, rate: 0.4}
    slo: {deadline: 60, epsilon: 0.001}
    payment: 10
  - {id: voice, arrivals: {model: poisson, rate: 0.2}, slo: {deadline: 15.5, epsilon: 0.0001}, payment: 20}
"""

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "-->]]></title></svg><b>",
    "ｎａïve \u202e\ud800\x00\x0b",
)


def instance() -> Instance:
    """Two stages, three domains, two tenants."""
    return loads(TEXT, "two-stages.yaml")


def simulation(plan: Plan, of: Instance) -> Simulation:
    """The plan simulated, as read back from its file."""
    result = fedopt.simulate(plan, of, slots=400_000, trials=8, seed=1, probabilities=(0.5, 0.9, 0.99, 0.999))
    return Simulation.model_validate(json.loads(result.to_json()))


def audited() -> Audit:
    """Audits of two series of exponential delays, named as the tenants."""
    rng = np.random.default_rng(7)
    parts = {
        name: audit(rng.exponential(mean, 20_000), Promise(deadline=deadline, epsilon=epsilon))
        for name, mean, deadline, epsilon in (("chat", 5.0, 60.0, 1e-3), ("voice", 3.0, 15.5, 1e-4))
    }
    whole = audit(rng.exponential(4.0, 20_000))
    return whole.model_copy(
        update={"series": {name: part.model_copy(update={"name": name}) for name, part in parts.items()}}
    )


def settlement() -> Settlement:
    """A settlement in which one domain owes more than it earns."""
    common = {"count": 1, "score": 7.0, "revenue_basis": "R·∂K/∂R", "penalty_basis": "loss"}
    lines = [
        Line(
            tenant="chat", verdict="kept", payment=3000, refund=0, domains=["metro", "far"],
            revenue=[1800, 1200], penalty=[0, 0], other_revenue=[1500, 1500], other_penalty=[0, 0], **common,
        ),
        Line(
            tenant="voice", verdict="broken", payment=2000, refund=5000, domains=["metro", "near"],
            revenue=[1000, 1000], penalty=[1000, 4000], other_revenue=[1000, 1000],
            other_penalty=[2500, 2500], **common,
        ),
    ]  # fmt: skip
    net = {"metro": 1800, "far": 1200, "near": -3000}
    return Settlement(
        period="2026-11", rule="marginal", guarantee="minplus", lines=lines, net=net, salt="s" * 16
    )


def hostile() -> Given:
    """A plan, simulation and settlement in which every free text is an attack; no instance allows these."""
    first, second = HOSTILE[1], HOSTILE[2]
    entries = [
        TenantPlan(
            id=name, path=[f"{first}x/{name}", f"{second}/offer"], reservations={"a": 1.0}, log_bound=-7.0,
            theta=0.3, form="fine", cost=2.0,
        )
        for name in HOSTILE
    ]  # fmt: skip
    plan = Plan(
        instance=InstanceReference(name=HOSTILE[0], sha256=HOSTILE[1]), status="feasible", method=HOSTILE[2],
        guarantee=HOSTILE[0], cost=12.0, tenants=entries, notes=list(HOSTILE),
        domains=[DomainPlan(id=name, reserved=1.0, capacity=2.0, price=0.1) for name in HOSTILE],
        history=[HistoryRow(round=k, cost=12.0 + 1 / k, lower_bound=11.0, seconds=k) for k in (1, 2, 3)],
        ledger={name: [{name: name, "numbers": 3}] for name in HOSTILE} | {"plain" + HOSTILE[0]: HOSTILE[1]},
        timing={HOSTILE[0]: 1.0},
    )  # fmt: skip
    tail = {"estimate": 1e-3, "interval": [1e-4, 1e-2]}
    middle = {"estimate": 5.0, "interval": [4.0, 6.0]}
    seen = {"deadline": 10.0, "epsilon": 0.01, "requests": 1e4, "violation": tail, "verdict": HOSTILE[0]}
    tenants = [
        {**seen, "id": entry.id, "path": entry.path, "kept": True, "quantiles": {"0.99": middle}}
        for entry in entries
    ]  # fmt: skip
    simulated = Simulation.model_validate(
        {"tenants": tenants, "seed": 1, "trials": 2, "confidence": 0.95, "skipped": list(HOSTILE)}
    )
    paid = settlement()
    lines = [
        line.model_copy(update={"tenant": name}) for line, name in zip(paid.lines, HOSTILE, strict=False)
    ]
    paid = paid.model_copy(
        update={"period": HOSTILE[1], "lines": lines, "net": {HOSTILE[0]: 5, HOSTILE[1]: -5}}
    )
    return Given(plan=plan, simulation=simulated, settlement=paid, names={"plan": HOSTILE[0]})


def large(entries: int) -> Given:
    """A plan with that many entries over 48 domains, made without solving."""
    rng = np.random.default_rng(3)
    plans = []
    for at in range(entries):
        path = [f"stage{s}-domain{int(rng.integers(12)):02d}/standard" for s in range(4)]
        rates = {hop.partition("/")[0]: float(rng.uniform(0.3, 1.5)) for hop in path}
        plans.append(
            TenantPlan(
                id=f"tenant-{at:05d}", path=path, reservations=rates, theta=float(rng.uniform(0.1, 1.0)),
                log_bound=float(-rng.uniform(4.6, 12.0)), form="image", cost=float(rng.uniform(1.0, 9.0)),
            )
        )  # fmt: skip
    names = sorted({hop.partition("/")[0] for entry in plans for hop in entry.path})
    return Given(
        Plan(
            instance=InstanceReference(name="large", sha256="0" * 64), status="feasible", method="hand",
            guarantee="minplus", cost=1.0, tenants=plans,
            domains=[DomainPlan(id=name, reserved=900.0, capacity=1000.0, price=0.2) for name in names],
        )
    )  # fmt: skip


def learned() -> Given:
    """A plan that crosses a domain without a contract, simulated as far as that is possible."""
    ask = Ask(
        arrivals=Poisson(rate=0.4),
        throughput=2.0,
        delay=(12.0, 20.0),
        risk=(4e-4, 1e-4),
        estimate=(1e-4, 1e-5),
        answers=60_000,
    )
    given = loads(TEXT).with_(
        {
            "domains.far.offers.llm.latency": 0.0,
            "domains.far.offers.llm.impairment": LearnedImpairment(asks=(ask,)),
        }
    )
    standing_in = planned(given, [variants(given, tenant)[-1] for tenant in given.tenants])
    plan = fedopt.solve(standing_in.instance)
    entries = TenantPlans(standing_in.back(entry) for entry in plan.tenants)
    reference = InstanceReference(name=given.name, sha256=given.sha256)
    note = learned_note(entries)
    assert note is not None
    plan = plan.model_copy(update={"tenants": entries, "instance": reference, "notes": [note]})
    simulation = fedopt.simulate(plan, given, slots=100_000, seed=1)
    return Given(plan, given, Simulation.model_validate(json.loads(json.dumps(simulation.to_dict()))))
