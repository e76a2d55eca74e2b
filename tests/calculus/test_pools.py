"""Pools of servers of the speed of one request: never more often late than the bound says."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fedopt
from fedopt.calculus.minplus import evaluate
from fedopt.calculus.path import Path
from fedopt.calculus.whole import UnknownSize, pool_delays
from fedopt.instance import InstanceError, loads
from fedopt.laws import NoImpairment, Poisson, Renewal, Size
from tests.oracles.whole_requests import finished, pooled

SIZES = (
    Size("fixed", (3.0,)),
    Size("uniform", (0.5, 4.0)),
    Size("lognormal", (2.0, 1.2), 12.0),
    Size("exponential", (2.0,), 10.0),
)


@pytest.mark.parametrize("seed", range(16))
def test_no_bound_of_a_pool_is_broken(seed):
    """A pool alone, behind a server that forwards whole, and before one; a pool hands on in order."""
    rng = np.random.default_rng(seed)
    law = Renewal(rng.uniform(0.5, 2.0), SIZES[seed % 4], rng.choice([1.0, 3.0]))
    shape = ((True,), (False, True), (True, False), (True, True))[(seed // 4) % 4]  # which domains are pools
    servers, speed = int(rng.integers(2, 12)), rng.uniform(0.4, 1.5)
    speed *= max(1.0, law.mean / (0.9 * servers * speed))
    times, sizes = law.stream(rng, 60_000)
    at, rates, speeds = times, [], []
    for pool in shape:
        if pool:
            done = pooled(at, sizes, speed, servers)
            at = np.maximum.accumulate(done) if len(rates) + 1 < len(shape) else done
        else:
            at = finished(at, sizes, law.mean / 0.8, np.empty(0), np.empty(0))
        rates.append(servers * speed if pool else law.mean / 0.8)
        speeds.append(speed if pool else 0.0)
    found = at - times
    hops = len(shape)
    for quantile in (0.9, 0.99, 0.999):
        deadline = float(np.quantile(found, quantile))
        path = Path(
            law,
            (NoImpairment(),) * hops,
            [0.0] * hops,
            [False] * hops,
            deadline,
            math.log(1.0 - quantile),
            whole=(True,) * hops,
            speeds=speeds,
        )
        bound = evaluate(path, np.array(rates)).log_bound
        late = found > deadline
        run = max(late.sum() / max(np.count_nonzero(late[1:] & ~late[:-1]), 1), 1.0)
        assert late.mean() <= math.exp(min(bound, 0.0)) + 4.0 * math.sqrt(late.mean() * run / len(late))


def test_fixed_sizes_are_a_pure_delay():
    """One request at a time in each server: what is left is the fluid at the pool's rate and 2b/r."""
    law = Poisson(0.5, 3.0)
    common = (law, (NoImpairment(),), [0.0], [False])
    pool = Path(*common, 40.0, math.log(1e-3), whole=(True,), speeds=[1.0])
    single = Path(*common, 34.0, math.log(1e-3), whole=(True,))
    rate = np.array([4.0])
    assert evaluate(pool, rate).log_bound == pytest.approx(evaluate(single, rate).log_bound, rel=1e-12)


def test_a_deadline_below_the_service_of_a_request_is_hopeless_whatever_is_reserved():
    path = Path(
        Poisson(0.5, 3.0), (NoImpairment(),), [0.0], [False], 5.0, math.log(1e-3), whole=(True,), speeds=[1.0]
    )
    assert evaluate(path, np.array([1e9])).log_bound == math.inf


def test_a_pool_wants_sizes_with_a_maximum():
    with pytest.raises(UnknownSize, match="maximum"):
        pool_delays(Poisson(0.5, 3.0, exponential=True), 1e-3, True)
    found = pool_delays(Renewal(0.5, Size("exponential", (3.0,), 30.0)), 0.04, True)
    assert found.between == 30.0
    assert found.exceeded <= 0.01
    assert found.own == pytest.approx(3.0 * math.log(100.0), rel=0.05)
    assert pool_delays(Renewal(0.5, Size("exponential", (3.0,), 30.0)), 0.04, False).own == 0.0


TEXT = """
fedopt: 1
slot: 0.1
stages: [prefill, decode]
domains:
  - {id: p, stage: prefill, capacity: 9000, offers: [{id: o, latency_kind: delay}]}
  - {id: g, stage: decode, capacity: 9000, offers: [{id: o, speed: 50, latency_kind: delay}]}
tenants:
  - id: chat
    arrivals: {model: poisson, rate: 5, size: {lognormal: {mean: 200, cv: 0.8}, maximum: 800}}
    slo: {deadline: 40, epsilon: 0.01}
"""


def test_plans_reserve_whole_servers_and_check_agrees():
    instance = loads(TEXT)
    plan = fedopt.solve(instance)
    servers = plan.tenants["chat"].reservations["g"] / 50.0
    assert servers == pytest.approx(round(servers), abs=1e-9)
    assert servers >= 20  # the load alone
    assert fedopt.check(plan, instance).ok
    fewer = plan.tenants["chat"].model_copy(update={"reservations": {"p": 1100.0, "g": 950.0}})
    changed = plan.model_copy(update={"tenants": type(plan.tenants)([fewer])})
    assert "guarantee" in {finding.constraint for finding in fedopt.check(changed, instance).findings}
    broken = plan.tenants["chat"].model_copy(
        update={"reservations": {**plan.tenants["chat"].reservations, "g": 50.0 * (servers + 0.5)}}
    )
    changed = plan.model_copy(update={"tenants": type(plan.tenants)([broken])})
    assert "servers" in {finding.constraint for finding in fedopt.check(changed, instance).findings}
    hopeless = instance.with_({"tenants.chat.slo.deadline": 20.0})
    assert fedopt.solve(hopeless).status == "infeasible"


def test_replicas_are_whole():
    """Sixteen sequences a GPU: the servers that are needed, rounded up to whole GPUs."""
    one, instance = loads(TEXT), loads(TEXT.replace("speed: 50", "speed: 50, concurrency: 16"))
    plan = fedopt.solve(instance)
    servers = plan.tenants["chat"].reservations["g"] / 50.0
    needed = fedopt.solve(one).tenants["chat"].reservations["g"] / 50.0
    assert servers / 16 == pytest.approx(round(servers / 16), abs=1e-9)
    assert needed <= servers < needed + 16
    assert fedopt.check(plan, instance).ok
    assert not fedopt.check(plan, loads(TEXT.replace("speed: 50", "speed: 50, concurrency: 7"))).ok
    with pytest.raises(InstanceError, match="speed of one request"):
        loads(TEXT.replace("speed: 50", "concurrency: 16"))


def test_pools_have_no_impairment_and_are_planned_under_minplus():
    with pytest.raises(InstanceError, match="pool"):
        loads(TEXT.replace("speed: 50", "speed: 50, impairment: {model: poisson, rate: 1}"))
    with pytest.raises(ValueError, match="under minplus"):
        fedopt.solve(loads(TEXT), guarantee="split")
    unbounded = loads(TEXT.replace("{lognormal: {mean: 200, cv: 0.8}, maximum: 800}", "{exponential: 200}"))
    with pytest.raises(InstanceError, match="maximum"):
        fedopt.solve(unbounded)
