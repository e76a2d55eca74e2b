"""The network as arrays: conversion to slots, kinds, admissible paths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fedopt
from fedopt.calculus.whole import slots_lost
from fedopt.instance import Instance
from fedopt.plan.paths import Paths
from fedopt.pricing.network import Network
from tests.central.conftest import random_instance


def test_numbers_are_in_slots():
    instance = random_instance(0).with_(slot=0.5)
    network = Network(instance)
    assert network.capacity == pytest.approx([d.capacity * 0.5 for d in instance.domains])
    assert network.latency == pytest.approx([d.offers[0].latency / 0.5 for d in instance.domains])
    lost = 1 if not network.slotted else slots_lost(network.objects[network.kinds[0].arrival].slot_start, 2)
    assert network.kinds[0].deadline == pytest.approx(instance.tenants[0].slo.deadline / 0.5 - lost)


def test_paths_are_those_of_the_stage_graph():
    instance = random_instance(3, stages=3).with_({"tenants.t0.policy": {"forbid": ["d11"]}})
    network = Network(instance)
    for kind in network.kinds:
        graph = instance.graph(kind.tenants[0][0])
        expected = {
            names
            for names in itertools.product(*([f"d{s}{k}/o" for k in range(2)] for s in range(3)))
            if all(graph.has_edge(a, b) for a, b in itertools.pairwise(names))
        }
        paths = network.paths(kind)
        assert {tuple(network.names[o] for o in offers) for offers in paths.offers} == expected


def test_a_path_is_the_one_of_the_checker():
    instance = random_instance(5)
    network, checker = Network(instance), Paths(instance)
    kind = network.kinds[1]
    paths = network.paths(kind)
    for index, offers in enumerate(paths.offers):
        ours = network.path(kind, offers, float(paths.links[index]))
        theirs = checker.path(kind.tenants[0][0], [tuple(network.names[o].split("/")) for o in offers]).fluid
        assert ours.deadline == pytest.approx(theirs.deadline)
        assert np.allclose(ours.latencies, theirs.latencies)
        assert ours.slots == theirs.slots == paths.window[index]
        assert ours.impairments == theirs.impairments
        assert ours.arrival == theirs.arrival
        assert (ours.log_epsilon, ours.broken) == pytest.approx((theirs.log_epsilon, theirs.broken))


def test_tenants_alike_but_for_their_names_are_one_kind():
    instance = random_instance(1, tenants=2)
    twin = instance.tenants[0].model_copy(update={"id": "twin", "count": 5})
    network = Network(instance.with_(tenants=[*instance.tenants, twin]))
    assert [kind.count for kind in network.kinds] == [6, 1]
    assert network.kinds[0].tenants == (("t0", 1), ("twin", 5))


def test_dependent_domains_take_hoelder_exponents():
    instance = random_instance(2).with_({"domains.d00.dependent_with": ["d11"]})
    network = Network(instance)
    kind = network.kinds[0]
    offers = network.paths(kind).offers
    exponents = network.exponents(offers)
    for path, own in zip(offers, exponents, strict=True):
        names = [network.names[o] for o in path]
        assert list(own) == ([2.0, 2.0] if names == ["d00/o", "d11/o"] else [1.0, 1.0])


def test_each_path_pays_for_its_own_hand_overs():
    """A way round that hands over whole costs the path that cuts through nothing."""

    def domain(name, stage, forwarding, price):
        offer = {"id": "o", "cost": {"model": "linear", "rate": price}}
        return {"id": name, "stage": stage, "capacity": 50, "forwarding": forwarding, "offers": [offer]}

    def cost(*middle):
        arrivals = {"model": "poisson", "rate": 0.1, "size": 4.0}
        slo = {"deadline": 60.0, "epsilon": 1e-3}
        whole = Instance.model_validate(
            {
                "fedopt": 1,
                "stages": ["a", "b", "c"],
                "domains": [domain("a", "a", "whole", 1.0), *middle, domain("c", "c", "whole", 1.0)],
                "tenants": [{"id": "t", "arrivals": arrivals, "slo": slo}],
            }
        )
        plan = fedopt.solve(whole)
        assert fedopt.check(plan, whole).ok
        assert plan.lower_bound <= plan.cost
        return plan.cost

    cut, whole = domain("cut", "b", "cut-through", 1.0), domain("whole", "b", "whole", 1.1)
    assert cost(cut, whole) == pytest.approx(cost(cut), rel=1e-3)
    assert cost(whole) > 1.05 * cost(cut)
