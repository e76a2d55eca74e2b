"""Simulating plans: what is promised, seen and concluded; the simulated guarantee."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from fedopt.instance import loads
from fedopt.laws.trace import Trace
from fedopt.plan import InstanceReference, Plan, TenantPlan
from fedopt.plan.paths import Paths
from fedopt.simulate import rare, simulate, simulated, splitting
from fedopt.simulate.paths import allowed_slots, request_system

TEXT = """
fedopt: 1
name: tandem
units: {time: ms, work: job}
slot: 0.5
stages: [access, transport, compute]
domains:
  - {id: a, stage: access, operator: o, region: r, capacity: 100,
     offers: [{id: x, latency: 1, latency_kind: delay, impairment: {model: exponential, mean: 0.6},
       cost: {model: linear, rate: 1.0}}]}
  - {id: b, stage: transport, operator: o, region: r, capacity: 100,
     offers: [{id: x, latency: 1.5, latency_kind: delay, impairment: {model: exponential, mean: 0.4},
       cost: {model: linear, rate: 1.0, fixed: 2.0}}]}
  - {id: c, stage: compute, operator: o, region: r, capacity: 100,
     offers: [{id: x, latency: 2, latency_kind: delay, impairment: {model: exponential, mean: 0.8},
       cost: {model: linear, rate: 1.0}}]}
tenants:
  - {id: chat, count: 3, arrivals: {model: poisson, rate: 1.0, size: 1.0}, slo: {deadline: 15, epsilon: 0.01}}
  - {id: code, arrivals: {model: on-off, peak: 2.0, on_to_off: 0.3, off_to_on: 0.1},
     slo: {deadline: 15, epsilon: 0.01, of: time}}
"""


@pytest.fixture(scope="module")
def instance():
    return loads(TEXT, "tandem.yaml")


def plan_of(instance, rate, log_bound=None, tenants=("chat", "code")):
    entries = [
        TenantPlan(
            id=name,
            count=instance.tenant(name).count,
            path=["a/x", "b/x", "c/x"],
            reservations={"a": rate, "b": rate, "c": rate},
            log_bound=log_bound,
            form="fine",
        )
        for name in tenants
    ]
    return Plan(
        instance=InstanceReference(name=instance.name, sha256=instance.sha256),
        status="feasible",
        method="by hand",
        guarantee="minplus",
        cost=1.0,
        tenants=entries,
    )


def late(path, rates):
    """P(late) of whole requests, with a 99.9 % interval."""
    system = request_system(path, rates)
    found = splitting.violation(system, path.deadline, requests=10_000, warmup=2_000, seed=91)
    return found.share(0.999)


def test_kept_broken_and_undecided(instance):
    kept = simulate(plan_of(instance, 2.6), instance, slots=400_000, seed=1)
    broken = simulate(plan_of(instance, 1.85, tenants=("chat",)), instance, slots=400_000, seed=1)
    assert kept.ok
    assert [t.verdict for t in kept.tenants] == ["kept", "kept"]
    assert not broken.ok
    assert broken.tenants[0].verdict == "broken"
    assert not broken.tenants[0].kept


def test_a_bound_below_the_truth_is_noticed(instance):
    result = simulate(plan_of(instance, 2.2, log_bound=math.log(1e-7)), instance, slots=400_000, seed=1)
    assert not result.ok
    assert any(not tenant.bound_holds for tenant in result.tenants)
    assert "BOUND EXCEEDED" in result.to_text()


def test_agrees_with_importance_sampling(instance):
    plan = plan_of(instance, 2.3, tenants=("chat",))
    result = simulate(plan, instance, model="fluid", slots=2_000_000, seed=2).tenants[0]
    paths = Paths(instance)
    path, rates = paths.entry(plan.tenants[0]), paths.rates(plan.tenants[0])
    assert allowed_slots(path) == 21
    exact = rare.violation(path, rates, samples=10_000, seed=1)
    assert result.violation.low <= exact.high
    assert exact.low <= result.violation.high


def test_quantiles_are_in_units_of_time(instance):
    plan = plan_of(instance, 2.3, tenants=("chat",))
    for model in ("requests", "fluid"):
        tail = simulate(plan, instance, model=model, slots=400_000, seed=3).tenants[0].quantiles
        assert 4.5 <= tail[0.99].low <= tail[0.99].estimate <= tail[0.999].estimate <= tail[0.999].high
    assert (tail[0.999].estimate / 0.5) % 1 == 0


def test_it_goes_on_until_the_promise_is_decided(instance):
    near, far = (
        simulate(plan_of(instance, rate, tenants=("chat",)), instance, seed=3).tenants[0]
        for rate in (2.13, 3.0)
    )
    assert near.verdict != "undecided"
    assert near.requests > far.requests
    assert far.verdict == "kept"


def test_what_the_budget_leaves_undecided_says_how_many_more_requests_would_decide(instance):
    plan = plan_of(instance, 2.16, tenants=("chat",))
    short = simulate(plan, instance, seed=3, budget=64_000)
    first = short.tenants[0]
    assert first.verdict == "undecided"
    assert first.more is not None
    assert "more requests would decide" in short.to_text()
    longer = simulate(plan, instance, seed=3, budget=int(8 * (first.requests + first.more)))
    assert longer.tenants[0].verdict != "undecided"


def test_the_record_that_a_plan_rests_on_is_no_evidence(tmp_path, instance):
    rng = np.random.default_rng(1)
    rows = np.column_stack([np.cumsum(rng.exponential(1.0, 500)), np.ones(500)])
    record = tmp_path / "chat.csv"
    record.write_text("time,work\n" + "\n".join(f"{t},{w}" for t, w in rows) + "\n")
    recorded = instance.with_({"tenants.chat.arrivals": {"model": "trace", "file": str(record)}})
    result = simulate(plan_of(recorded, 4.0, tenants=("chat",)), recorded, slots=50_000)
    assert result.tenants[0].kept
    assert result.tenants[0].verdict == "undecided"
    assert "own record" in result.to_text()
    own = Paths(recorded).entry(plan_of(recorded, 4.0, tenants=("chat",)).tenants[0]).arrival
    again = simulate(
        plan_of(recorded, 4.0, tenants=("chat",)), recorded, slots=50_000, arrivals={"chat": own}
    )
    assert not again.tenants[0].independent


def test_published_json(instance):
    document = json.loads(simulate(plan_of(instance, 2.3), instance, slots=100_000, seed=1).to_json())
    first = document["tenants"][0]
    assert {"id", "requests", "violation", "quantiles", "log_bound", "kept"} <= first.keys()
    assert first["violation"].keys() == {"estimate", "interval"}
    assert first["quantiles"].keys() == {"0.99", "0.999"}


def test_threads_and_seeds(instance):
    plan = plan_of(instance, 2.3)
    one = simulate(plan, instance, slots=100_000, seed=1, threads=1)
    two = simulate(plan, instance, slots=100_000, seed=1, threads=2)
    other = simulate(plan, instance, slots=100_000, seed=2)
    assert one.to_json() == two.to_json()
    assert one.to_json() != other.to_json()


def test_recorded_arrivals_replace_the_model(instance):
    quiet = Trace(np.array([1.0] + [0.0] * 99), np.array([1.0] + [0.0] * 99))
    result = simulate(
        plan_of(instance, 1.85, tenants=("chat",)), instance, slots=100_000, arrivals={"chat": quiet}
    )
    assert result.tenants[0].violation.estimate < 0.01


def test_a_deadline_below_the_latencies_is_always_broken(instance):
    short = instance.with_({"tenants.chat.slo.deadline": 4.0})
    plan = plan_of(short, 2.3, tenants=("chat",))
    assert simulate(plan, short, slots=10_000).tenants[0].violation.estimate == 1.0


def test_not_admitted_tenants_are_left_out(instance):
    plan = plan_of(instance, 2.3)
    entries = [entry.model_copy(update={"admitted": entry.id == "code"}) for entry in plan.tenants]
    result = simulate(
        plan.model_copy(update={"tenants": type(plan.tenants)(entries)}), instance, slots=10_000
    )
    assert [tenant.id for tenant in result.tenants] == ["code"]


def test_simulated_sizing_confirms_and_is_not_wasteful(instance):
    path = Paths(instance).path("chat", [("a", "x"), ("b", "x"), ("c", "x")])
    start = np.full(3, 1.4)
    found = simulated.size(path, start, slots=600_000, seed=3)
    assert found.confirmed
    assert found.violation.high <= 0.01
    truth = late(path, found.rates)
    assert truth.low <= 0.01
    assert truth.estimate > 0.004


@pytest.mark.parametrize(
    "epsilon", [pytest.param(1e-2, marks=pytest.mark.slow), 1e-4, pytest.param(1e-6, marks=pytest.mark.slow)]
)
def test_simulated_sizing_of_whole_requests(instance, epsilon):
    """However small ε: confirmed, and not far below it."""
    asked = instance.with_({"tenants.chat.slo.epsilon": epsilon})
    path = Paths(asked).path("chat", [("a", "x"), ("b", "x"), ("c", "x")])
    found = simulated.size(path, np.full(3, 2.5), seed=3)
    assert found.confirmed
    assert found.requests > 0
    assert found.violation.high <= epsilon
    truth = late(path, found.rates)
    assert truth.low <= epsilon
    assert truth.high > 0.5 * epsilon


def test_simulated_sizing_does_not_depend_on_the_slot(instance):
    """Continuous laws in slots of 2 or 0.05 ms: the same system, so the same least rate."""
    rates = []
    for slot in (2.0, 0.05):
        asked = instance.with_(
            {"slot": slot, **{f"domains.{d}.offers.x.impairment": {"model": "none"} for d in "abc"}}
        )
        path = Paths(asked).path("chat", [("a", "x"), ("b", "x"), ("c", "x")])
        rates.append(simulated.size(path, np.full(3, 2.5 * slot), seed=3).rates[0] / slot)
    assert rates[0] == pytest.approx(rates[1], rel=0.03)


@pytest.mark.parametrize("epsilon", [1e-2, pytest.param(1e-6, marks=pytest.mark.slow)])
def test_simulated_sizing_of_instants_by_importance_sampling(instance, epsilon):
    """A promise about instants, on-off work, where weights vary more: confirmed, and not far below ε."""
    asked = instance.with_({"tenants.code.slo.epsilon": epsilon})
    path = Paths(asked).path("code", [("a", "x"), ("b", "x"), ("c", "x")])
    found = simulated.size(path, np.full(3, 2.5), seed=3)
    assert found.confirmed
    assert found.samples > 0
    assert found.violation.high <= epsilon
    truth = rare.violation(path, found.rates, samples=40_000, seed=9)
    assert truth.low <= epsilon
    assert truth.probability > 0.8 * epsilon


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"tenants.chat.arrivals": {"model": "envelope", "theta": [0.1, 0.5], "rho": [0.6, 0.7],
                                       "sigma": [4.0, 2.0], "request_size": 1.0}},
            "an envelope of arrivals",
        ),
        (
            {"domains.a.offers.x.impairment": {"model": "table", "theta": [0.1, 0.5], "kappa": [0.3, 0.4],
                                               "eta": [0.0, 0.0]}},
            "a table of an impairment",
        ),
    ],
)  # fmt: skip
def test_what_is_no_law_is_not_measured(instance, change, reason):
    asked = instance.with_({**change, "theta": [0.1, 0.5]})
    plan = plan_of(asked, 2.8, log_bound=math.log(1e-3), tenants=("chat",))
    kept = simulated.resize(plan, asked)
    assert kept.tenants["chat"].reservations == plan.tenants["chat"].reservations
    assert kept.tenants["chat"].form == "fine"
    assert f"chat: reservations of minplus kept; {reason}" in kept.notes[-1]


@pytest.mark.parametrize("slots", [20_000, None])
def test_sizing_falls_back_to_the_theorem(instance, slots):
    path = Paths(instance).path("chat", [("a", "x"), ("b", "x"), ("c", "x")])
    found = simulated.size(path, np.full(3, 0.96), slots=slots, seed=3)
    assert not found.confirmed
    assert found.scale == 1.0


def test_work_of_a_fluid_that_cannot_be_tilted_is_counted(instance):
    path = replace(Paths(instance).path("chat", [("a", "x"), ("b", "x"), ("c", "x")]), whole=None)
    replayed = replace(path, arrival=Trace(np.array([2.0, 0.0, 0.0, 0.0]), np.array([2.0, 0.0, 0.0, 0.0])))
    dependent = replace(path, dependent=((0, 1),))
    assert rare.applies(path)
    assert not rare.applies(replayed)
    assert not rare.applies(dependent)
    assert simulated.size(replayed, np.full(3, 2.5), slots=50_000).slots > 0


def test_resized_plans_say_what_they_are(instance):
    plan = plan_of(instance, 2.8, log_bound=math.log(1e-3))
    smaller = simulated.resize(plan, instance, slots=300_000)
    assert smaller.guarantee == "simulated"
    assert "not a theorem" in smaller.notes[-1]
    assert "confidence 0.99 for all 2 entries together" in smaller.notes[-1]
    assert smaller.tenants["chat"].parameters["confidence"] == pytest.approx(0.995)
    assert smaller.lower_bound is None
    chat = smaller.tenants["chat"]
    assert chat.form == "simulated"
    assert chat.reservations["a"] < 2.8
    assert chat.cost == pytest.approx(3 * (3 * chat.reservations["a"] + 2.0))
    assert smaller.cost == pytest.approx(sum(entry.cost for entry in smaller.tenants))
    assert simulate(smaller, instance, slots=300_000, seed=77).ok
