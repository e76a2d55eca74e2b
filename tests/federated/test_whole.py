"""Whole units: confirmed plans, ends of domains learnt in one round, bounds that stay bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fedopt
from fedopt.federated import negotiate
from fedopt.federated.integer import Room
from fedopt.federated.operator import InProcess, Operator
from fedopt.federated.protocol.messages import Proposal
from fedopt.federated.public import by_operator, public_view
from fedopt.federated.session import Session
from fedopt.federated.settings import Settings
from fedopt.instance.generating import generate
from fedopt.pricing import Network


class Counting(InProcess):
    """Counts the rounds about capacity alone and keeps what they answered."""

    def __init__(self, operators):
        super().__init__(operators)
        self.capacity_rounds, self.confirmations = [], 0

    def broadcast(self, messages):
        answers = super().broadcast(messages)
        kinds = {m.of for m in messages.values() if isinstance(m, Proposal)}
        if kinds == {"capacity"}:
            self.capacity_rounds.append({name: (messages[name], answers[name]) for name in messages})
        return answers


def crowded(seed):
    """An instance whose first stage is nearly full."""
    instance = generate(30, 2, 4, seed, binding=0.6)
    return instance


def run(instance, **settings):
    transport = Counting({n: Operator(n, d) for n, d in by_operator(instance, True).items()})
    outcome = negotiate(public_view(instance), transport, gap=1e-2, settings=Settings(alone=True, **settings))
    return transport, outcome


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_plan_that_did_not_fit_is_followed_by_one_that_does(seed):
    instance = crowded(seed)
    transport, outcome = run(instance)
    assert outcome.plan.status in ("optimal", "feasible")
    assert len(transport.capacity_rounds) <= 3
    capacity = {domain.id: domain.capacity for domain in instance.domains}
    names = [f"{d.id}/{o.id}" for d in instance.domains for o in d.offers]
    loads = dict(zip(names, outcome.choice.loads, strict=True))
    for domain in instance.domains:
        used = sum(offer.work_factor * loads[f"{domain.id}/{offer.id}"] for offer in domain.offers)
        assert used <= capacity[domain.id] * (1 + 1e-8)


def test_the_end_of_a_domain_is_its_capacity():
    """What is learnt of a full domain with several offers is exact, whatever the offers' factors."""
    instance = generate(6, 2, 3, 3, offers=3)
    operators = {n: Operator(n, d) for n, d in by_operator(instance, True).items()}
    network = Network(public_view(instance))
    offers = {name: np.flatnonzero(network.domain == d) for d, name in enumerate(network.domain_ids)}
    session = Session(InProcess(operators), "run-1", network.names, offers)
    session.open(instance.sha256)
    room = Room(network)
    rng = np.random.default_rng(1)
    few, many = 1e-3 * np.ones(len(network.names)), rng.uniform(1, 2, len(network.names)) * 1e4
    many[network.domain == 0] = 1e-3
    assert not room.learn(few, session.ask(few, 0 * few, np.ones(len(few)), of="capacity"))
    assert np.isinf(room.most).all()
    assert room.learn(many, session.ask(many, 0 * many, 1e3 * np.ones(len(many)), of="capacity"))
    assert np.isinf(room.most[0])
    capacity = [domain.capacity for domain in instance.domains]
    assert room.most[1:] == pytest.approx(capacity[1:], rel=1e-9)
    assert room.work(room.at_the_end(many))[1:] == pytest.approx(capacity[1:], rel=1e-9)


def test_bounds_hold_at_every_gap():
    instance = generate(12, 2, 3, seed=5)
    least = math.inf
    for gap in (3e-2, 3e-3):
        plan = fedopt.solve(instance, "admm", gap=gap, alone=True)
        assert plan.lower_bound <= plan.cost
        least = min(least, plan.cost)
    exact = fedopt.solve(instance, gap=1e-6)
    assert plan.lower_bound <= exact.cost * (1 + 1e-9)
    assert least >= exact.lower_bound * (1 - 1e-9)
    assert np.isfinite(plan.gap)
