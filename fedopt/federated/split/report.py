"""What a plan says of agreed shares: to the broker, to the operators that shall keep them, to an owner of the
whole instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fedopt.calculus import split
from fedopt.federated.messages import Promise, Service
from fedopt.federated.split.domain import ContractSide
from fedopt.pricing import Column, Network

__all__ = ["agreed_body", "agreement_of", "owner_columns", "promises_of"]


def agreement_of(column: Column) -> list[dict[str, Any]]:
    """What each domain of a column has agreed to, along the path, as `Promise` has it."""
    lane = column.proof["lane"]
    return [
        {
            "service": int(lane.service),
            "theta": int(lane.theta),
            "power": float(lane.powers[i]),
            "burst": float(column.proof["bursts"][i]),
            "slots": float(lane.slots),
            "time": float(shares[0]),
            "risk": float(shares[1]),
            "margin": float(shares[2]),
        }
        for i, shares in enumerate(column.proof["shares"])
    ]


def agreed_body(network: Network, column: Column) -> dict[str, Any]:
    """What an entry of the broker's plan says of a column: no rates, which the operators keep."""
    kind = network.kinds[column.kind]
    domains = [domain for domain, _ in network.hops(column.offers)]
    whole = column.proof["lane"].slots * network.slot  # what is proven of a domain is proven of slots
    shares = column.proof["shares"]
    epsilon = float(np.exp(min(kind.log_epsilon, split.LARGEST_LOG_BUDGET)))
    return {
        "path": [name for _, name in network.hops(column.offers)],
        "theta": column.proof["theta"],
        "form": "split",
        "deadlines": {d: float(share) * whole for d, share in zip(domains, shares[:, 0], strict=True)},
        "budgets": {d: float(share) * epsilon for d, share in zip(domains, shares[:, 1], strict=True)},
        "log_bound": float(np.log(epsilon)),
        "parameters": {"agreement": agreement_of(column)},
    }


def promises_of(
    tenant: str, count: int, path: Sequence[str], parameters: dict[str, Any]
) -> list[tuple[str, Promise]]:
    """("domain/offer", what it promises) along the path of an entry of the broker's plan."""
    return [
        (hop, Promise(tenant=tenant, offer=hop, count=count, **agreed))
        for hop, agreed in zip(path, parameters["agreement"], strict=True)
    ]


def owner_columns(network: Network, columns: Sequence[Column], services: Sequence[Service]) -> list[Column]:
    """The columns with their rates, for whoever knows the whole instance; deadlines and budgets in the terms
    of `fedopt.calculus.split`, which counts the delays of a path together and so leaves a little more room.
    """
    side = ContractSide(network.instance.domains, network.slot, [1.0] * len(network.names), services)
    known = []
    for column in columns:
        names = [name for _, name in network.hops(column.offers)]
        promises = promises_of("-", 1, names, {"agreement": agreement_of(column)})
        rates = np.array(
            [side.rate(promise, int(o)) for (_, promise), o in zip(promises, column.offers, strict=True)]
        )
        kind, theta = network.kinds[column.kind], column.proof["theta"]
        path = network.path(kind, column.offers, float(network.links(column.offers[None], kind)[0]))
        terms = split.terms(path, theta)
        lane, shares = column.proof["lane"], column.proof["shares"]
        slots = lane.slots * shares[:, 0] - np.ceil(path.delay_latencies - 1e-9)
        proof = {
            "form": "split",
            "theta": theta,
            "deadlines": path.delay_latencies + slots / terms.stretch,
            "budgets": shares[:, 1] * np.exp(terms.log_epsilon),
        }
        known.append(replace(column, rates=rates * network.slot, proof=proof))
    return known
