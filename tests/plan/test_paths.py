import math

import numpy as np
import pytest

from fedopt.instance import InstanceError, loads
from fedopt.plan.paths import Paths
from fedopt.pricing.network import Network

HOPS = [("access-1", "std"), ("metro-1", "gold"), ("edge-1", "large")]


def test_units_become_slots(metro):
    path = Paths(metro).path("chat", HOPS)
    assert path.latencies.tolist() == [2.0, 4.0, 6.0]
    assert path.rate_latency.tolist() == [False, True, False]
    assert path.deadline == pytest.approx((40 - 0.5 - 1.5) / 0.5)
    assert path.log_epsilon == math.log(0.001)
    assert path.per_request
    assert path.arrival.mean == pytest.approx(0.4 * 0.5)
    assert [impairment.mean for impairment in path.impairments] == pytest.approx([0.1, 0.1, 0.0])


def test_promises_about_time(metro):
    assert not Paths(metro).path("batch", HOPS).per_request


def test_rates_follow_the_path(metro, good):
    paths, entry = Paths(metro), good.tenants["chat"]
    expected = [entry.reservations[domain] * 0.5 for domain, _ in entry.hops()]
    assert np.array_equal(paths.rates(entry), expected)
    assert len(paths.entry(entry)) == 3


def test_models_are_built_once(metro):
    paths = Paths(metro)
    first, second = paths.path("chat", HOPS), paths.path("chat", HOPS)
    assert first.arrival is second.arrival
    assert first.impairments[0] is second.impairments[0]


def test_dependent_domains_form_groups(metro):
    dependent = metro.with_({"domains.access-1.dependent_with": ["edge-1"]})
    assert Paths(dependent).path("chat", HOPS).dependent == ((0, 2),)
    assert Paths(metro).path("chat", HOPS).dependent == ()


def test_unknown_names(metro):
    with pytest.raises(InstanceError, match="no tenant 'chit'"):
        Paths(metro).path("chit", HOPS)
    with pytest.raises(InstanceError, match="offer"):
        Paths(metro).path("chat", [("access-1", "gold")])


def test_a_chain_of_dependence_through_a_domain_off_the_path_is_one_group():
    """x may depend on z and z on y: so x and y may depend on each other, though no path crosses z."""
    text = """
fedopt: 1
stages: [a, b]
domains:
  - {id: x, stage: a, capacity: 9, dependent_with: [z], offers: [{id: s}]}
  - {id: z, stage: a, capacity: 9, dependent_with: [y], offers: [{id: s}]}
  - {id: y, stage: b, capacity: 9, offers: [{id: s}]}
tenants:
  - {id: t, arrivals: {model: poisson, rate: 0.2}, slo: {deadline: 30, epsilon: 0.001}}
"""
    instance = loads(text)
    assert Paths(instance).path("t", [("x", "s"), ("y", "s")]).dependent == ((0, 1),)
    network = Network(instance)
    offers = np.array([network.names.index("x/s"), network.names.index("y/s")])
    assert network.dependent(offers) == ((0, 1),)
    assert network.exponents(offers[None]).tolist() == [[2.0, 2.0]]
