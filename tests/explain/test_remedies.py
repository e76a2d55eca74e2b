"""A remedy, applied, gives a plan."""

from __future__ import annotations

import pytest

from fedopt.central import solve
from fedopt.explain import infeasibility
from fedopt.explain.oracle import exact
from fedopt.instance import Instance, loads
from tests.central.conftest import random_instance

CROWD = """
fedopt: 1
stages: [access, compute]
domains:
  - id: metro
    stage: access
    capacity: 20
    offers: [{id: gold, latency: 3, latency_kind: delay, impairment: {model: exponential, mean: 0.3}}]
  - {id: near, stage: compute, capacity: 4, offers: [{id: llm, latency: 2, cost: {model: linear, rate: 2}}]}
  - {id: far, stage: compute, capacity: 40, offers: [{id: llm, latency: 12, cost: {model: linear, rate: 1}}]}
tenants:
  - {id: chat, count: 3, arrivals: {model: poisson, rate: 400}, slo: {deadline: 60, epsilon: 0.001}}
  - {id: voice, arrivals: {model: poisson, rate: 0.2}, slo: {deadline: 15, epsilon: 0.0001}}
"""


def assert_mended(instance: Instance, remedy) -> None:
    """The instance with a remedy's values has a plan that serves all."""
    if remedy.place == "domains.*.capacity":
        changes = {f"domains.{d.id}.capacity": remedy.needed * d.capacity for d in instance.domains}
    elif remedy.place is None:
        changes = remedy.needed
    elif remedy.change == "count" and remedy.needed == 0:
        name = remedy.place.split(".")[1]
        instance = instance.with_(tenants=[t for t in instance.tenants if t.id != name])
        changes = {}
    else:
        changes = {remedy.place: remedy.needed}
    assert solve(instance.with_(changes), gap=0.5).has_plan, remedy.message


def test_a_remedy_counts_all_heads_and_the_others():
    instance = loads(CROWD, "crowd.yaml")
    (reason,) = infeasibility(instance, seconds=600.0)
    assert reason.tenant == "chat"
    (capacity,) = (remedy for remedy in reason.remedies if remedy.change == "capacity")
    assert capacity.needed > 3 * 20.0  # one unit alone would need twenty times the capacity
    for remedy in reason.remedies:
        assert_mended(instance, remedy)


@pytest.mark.parametrize("seed", range(8))
def test_every_remedy_of_a_random_instance_mends_it(seed):
    instance = random_instance(seed, tenants=2, slack=0.5 if seed % 2 else 1.0)
    if seed % 4 == 0:
        instance = instance.with_({"tenants.t0.slo.deadline": 6.0, "tenants.t0.count": 2})
    elif seed % 4 == 2:
        instance = instance.with_({"tenants.t1.arrivals.rate": 6.0, "tenants.t1.count": 3})
    else:
        instance = instance.with_({"tenants.*.count": 2})
    reasons = infeasibility(instance, seconds=600.0)
    for reason in reasons if len(reasons) == 1 else ():
        for remedy in reason.remedies:
            assert_mended(instance, remedy)
            assert not isinstance(remedy.needed, float) or exact(remedy.needed) in remedy.message
