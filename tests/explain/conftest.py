import importlib.util
from pathlib import Path

import pytest

from fedopt.instance import loads

TWO_STAGES = """
fedopt: 1
name: pair
stages: [access, compute]
domains:
  - id: near
    stage: access
    operator: opA
    region: north
    trust: 3
    capacity: 10
    offers: [{id: std, latency: 5, latency_kind: delay, cost: {model: linear, rate: 1}}]
  - id: edge
    stage: compute
    operator: opA
    region: north
    trust: 2
    capacity: 10
    offers: [{id: std, latency: 10, latency_kind: delay, cost: {model: linear, rate: 2}, accuracy: 0.9, staleness: 600}]
  - id: cloud
    stage: compute
    operator: opB
    region: south
    trust: 1
    capacity: 10
    offers: [{id: std, latency: 20, latency_kind: delay, cost: {model: linear, rate: 1}, accuracy: 0.95, staleness: 60}]
tenants:
  - id: chat
    count: 2
    arrivals: {model: poisson, rate: 0.5, size: 1.0}
    slo: {deadline: 40, epsilon: 0.001}
    payment: 10
  - id: batch
    arrivals: {model: poisson, rate: 0.25, size: 1.0}
    slo: {deadline: 60, epsilon: 0.01}
    payment: 10
"""  # noqa: E501


@pytest.fixture(scope="session")
def pair():
    """Two stages, one access domain, an edge near and dear and a cloud far and cheap; feasible."""
    return loads(TWO_STAGES, "pair.yaml")


@pytest.fixture(scope="session")
def brute_force():
    """The tiny solver of the plan's tests, as a function."""
    file = Path(__file__).parents[1] / "plan" / "brute_force.py"
    spec = importlib.util.spec_from_file_location("brute_force", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.solve
