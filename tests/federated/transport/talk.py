"""A planner that talks like the real ones and then takes the central plan: what faults are tried on."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

import fedopt
from fedopt.federated.public import by_operator
from fedopt.federated.session import Session
from fedopt.plan import Plan
from tests.federated.transport.world import instance

ROUNDS = 6


@cache
def central(without: tuple[str, ...] = ()) -> Plan:
    """The plan of the whole instance, its numbers known."""
    from fedopt.federated.transport.broker import without as left_out

    whole = instance()
    return fedopt.solve(left_out(whole, without) if without else whole)


def planner(public, transport, run, digests, masked=True, rounds=ROUNDS, replaces=None):
    """A few masked rounds, then the central plan; its cost is the sum that the operators revealed last."""
    names = [f"{domain.id}/{offer.id}" for domain in public.domains for offer in domain.offers]
    offers = {
        name: np.array([names.index(f"{d.id}/{offer.id}") for d in domains for offer in d.offers])
        for name, domains in by_operator(public).items()
    }
    talk = Session(
        transport, run, names, offers, masked=masked and len(offers) > 1, staleness=0, replaces=replaces
    )
    prices = talk.open(public.sha256, digests)
    gone = tuple({"opA", "opB", "opC"} - set(offers))
    plan = central(gone)
    target = np.zeros(len(names))
    for entry in plan.tenants:
        for hop in entry.path:
            target[names.index(hop)] += entry.count * entry.reservations[hop.partition("/")[0]]
    for n in range(1, rounds + 1):
        answered = talk.ask(target * min(1.0, n / max(rounds - 1, 1)), prices, np.full(len(names), 0.5))
        prices = answered.prices
    cost = answered.totals[0].proposed_cost if answered.totals else math.nan
    return plan.model_copy(update={"cost": cost, "ledger": talk.ledger.document()})
