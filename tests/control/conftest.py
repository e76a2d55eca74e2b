"""A small day that runs in a second, and a network with choices."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedopt.control.scenario import Scenario, load_scenario, scenario_for
from fedopt.instance import Instance, loads

SCENARIOS = Path(__file__).parents[2] / "instances" / "scenarios"

NETWORK = """
slot: 1.0
stages: [access, compute]
domains:
  - {id: a1, stage: access, operator: A, capacity: 7.0, offers: [{id: s, latency: 1, latency_kind: delay,
     impairment: {model: exponential, mean: 0.2}, cost: {model: linear, rate: 1.0}}]}
  - {id: a2, stage: access, operator: B, capacity: 7.0, offers: [{id: s, latency: 2, latency_kind: delay,
     impairment: {model: exponential, mean: 0.3}, cost: {model: quadratic, rate: 0.5, quad: 0.1}}]}
  - {id: c1, stage: compute, operator: A, capacity: 6.0, offers: [{id: m, latency: 2, latency_kind: delay,
     impairment: {model: exponential, mean: 0.2}, cost: {model: linear, rate: 2.0, fixed: 0.1}}]}
  - {id: c2, stage: compute, operator: B, capacity: 10.0, offers: [{id: m, latency: 4, latency_kind: delay,
     impairment: {model: exponential, mean: 0.2}, cost: {model: linear, rate: 2.6}}]}
tenants:
  - {id: chat, arrivals: {model: poisson, rate: 0.3}, slo: {deadline: 30, epsilon: 0.001}, payment: 2.0,
     penalty: 5.0}
  - {id: scan, arrivals: {model: poisson, rate: 0.5, size: 0.5}, slo: {deadline: 25, epsilon: 0.01},
     payment: 1.0, penalty: 2.0}
"""


@pytest.fixture(scope="session")
def network() -> Instance:
    return loads(NETWORK, "network")


@pytest.fixture(scope="session")
def day(network: Instance) -> Scenario:
    """Ten periods with arrivals, departures, traffic, a degradation, a failure and a re-issued contract."""
    document = Scenario.model_validate(
        {
            "name": "small-day",
            "instance": "network.yaml",
            "periods": 10,
            "period": 6000,
            "slots": 6000,
            "streams": [
                {"like": "chat", "present": 2, "count": 3, "stay": 4},
                {"like": "scan", "present": 2, "rate": 0.3, "stay": 5, "from": 1, "until": 9},
            ],
            "intents": [{"id": "guest", "like": "chat", "arrives": 3, "leaves": 7}],
            "traffic": [{"period": 5, "like": "scan", "factor": 1.2}],
            "degradations": [{"domain": "c1", "from": 2, "until": 5, "impairment": 2.0}],
            "failures": [{"domain": "a1", "from": 6, "until": 8}],
            "reissues": [{"period": 1, "domain": "a2", "offer": "s", "latency": 1.5}],
        }
    )
    return scenario_for(document, network)


@pytest.fixture(scope="session")
def quick() -> tuple[Scenario, Instance]:
    return load_scenario(SCENARIOS / "quick-day.yaml")
