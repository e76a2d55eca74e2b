import functools
import importlib.util
from pathlib import Path

import pytest

from fedopt.instance import loads

METRO = """
fedopt: 1
name: metro
slot: 0.5
units: {time: ms, work: job}
stages: [access, transport, compute]
domains:
  - id: access-1
    stage: access
    operator: opA
    region: north
    trust: 3
    capacity: 12
    offers:
      - {id: std, latency: 1, latency_kind: delay, impairment: {model: exponential, mean: 0.2}, cost: {model: linear, rate: 1, fixed: 0.25}}
  - id: metro-1
    stage: transport
    operator: opA
    region: north
    trust: 3
    capacity: 9
    offers:
      - {id: gold, latency: 2, impairment: {model: gamma, shape: 2, scale: 0.1}, cost: {model: quadratic, rate: 1.5, quad: 0.05}}
  - id: metro-2
    stage: transport
    operator: opB
    region: south
    trust: 1
    capacity: 9
    offers:
      - {id: gold, latency: 1.5, impairment: {model: none}, cost: {model: linear, rate: 4}}
  - id: edge-1
    stage: compute
    operator: opA
    region: north
    trust: 2
    capacity: 10
    offers:
      - {id: small, latency: 2, latency_kind: delay, impairment: {model: none}, cost: {model: piecewise, points: [[0, 0.5], [2, 2.5], [6, 9]]}, accuracy: 0.92, staleness: 600}
      - {id: large, latency: 3, latency_kind: delay, impairment: {model: none}, cost: {model: linear, rate: 3}, work_factor: 1.5, max_rate: 2, accuracy: 0.97, staleness: 60}
links:
  - {from: access-1, to: metro-1, delay: 0.5, cost: 0.1}
  - {from: access-1, to: metro-2, delay: 0.25}
  - {from: metro-1, to: edge-1, delay: 1.5, cost: 0.2}
  - {from: metro-2, to: edge-1, delay: 0.5}
tenants:
  - id: chat
    count: 2
    arrivals: {model: poisson, rate: 0.4, size: 1.0}
    slo: {deadline: 40, epsilon: 0.001, min_accuracy: 0.95, max_staleness: 300}
    policy: {operators: [opA], regions: [north], min_trust: 2, forbid: [metro-2]}
    payment: 30
  - id: batch
    arrivals: {model: token-bucket, rate: 0.3, burst: 2}
    slo: {deadline: 60, epsilon: 0.01, of: time}
    payment: 20
"""  # noqa: E501


@pytest.fixture(scope="session")
def metro():
    """Three stages, links with delays and costs, every cost model, two offers with different quality."""
    return loads(METRO, "metro.yaml")


@pytest.fixture(scope="session")
def brute_force():
    """The tiny solver of this folder."""
    return load_module("brute_force")


def load_module(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def plan_under(metro, brute_force):
    """The correct plan of the metro instance under a guarantee, solved once."""
    return functools.cache(lambda guarantee: brute_force.solve(metro, guarantee))


@pytest.fixture(scope="session")
def good(plan_under):
    """A correct plan of the metro instance under minplus."""
    return plan_under("minplus")


@pytest.fixture(scope="session")
def good_split(plan_under):
    """A correct plan of the metro instance under split."""
    return plan_under("split")
