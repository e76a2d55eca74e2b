"""The plan document of a federated run: as the broker states it, with what was agreed
of shares, and as an owner of the whole instance does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fedopt.calculus import split
from fedopt.central.certificate import bound_of
from fedopt.central.report import assigned, instance_reference, tenant_plans
from fedopt.federated.integer import Choice
from fedopt.federated.protocol.messages import Promise, Service
from fedopt.federated.split.domain import ContractSide
from fedopt.plan import DomainPlan, InstanceReference, Plan, TenantPlan, TenantPlans
from fedopt.plan.charges import domain_loads
from fedopt.plan.document import relative_gap
from fedopt.pricing import Column, Network, TenantClass

if TYPE_CHECKING:
    from fedopt.federated.solver import Outcome
    from fedopt.instance import Instance

__all__ = [
    "agreed_body",
    "agreement_of",
    "as_broker",
    "as_owner",
    "entries_at_prices",
    "owner_columns",
    "promises_of",
]

Floats = npt.NDArray[np.float64]


def entries_at_prices(network: Network, choice: Choice, prices: Floats) -> list[TenantPlan]:
    """Tenants' entries as the broker can state them: what the operators charge in all is shared out in
    proportion to reserved rate times price, which is all that a broker knows of a single tenant's cost.
    """
    if any("lane" in column.proof for column in choice.columns):
        return _agreed(network, choice, prices)
    entries = tenant_plans(network, choice.columns, choice.units)
    price = dict(zip(network.names, prices.tolist(), strict=True))
    worth = [
        entry.count * math.fsum(price[hop] * entry.reservations[hop.partition("/")[0]] for hop in entry.path)
        if entry.admitted
        else 0.0
        for entry in entries
    ]
    total = math.fsum(worth)
    if total <= 0.0:
        return entries
    return [
        entry.model_copy(update={"cost": entry.cost + choice.variable * own / total})
        for entry, own in zip(entries, worth, strict=True)
    ]


def _agreed(network: Network, choice: Choice, prices: Floats) -> list[TenantPlan]:
    """The same where rates are in the operators' units and shares are what was agreed."""
    worth = {
        id(column): float(prices[column.offers] @ column.rates) / network.slot for column in choice.columns
    }
    total = math.fsum(
        count * worth[id(column)] for column, count in zip(choice.columns, choice.units, strict=True)
    )

    def body(network: Network, kind: TenantClass, column: Column) -> dict[str, Any]:
        variable = choice.variable * worth[id(column)] / total if total > 0.0 else 0.0
        return {**agreed_body(network, column), "cost": column.charge + variable}

    entries = assigned(network, choice.columns, choice.units, body)
    return [entry.model_copy(update={"cost": entry.count * entry.cost}) for entry in entries]


def as_owner(outcome: Outcome, network: Network) -> Plan:
    """The plan as whoever knows the whole instance states it: every tenant's cost, each domain's load.

    `network` is that of the whole instance; its offers and kinds are in the order of the public one.
    """
    plan, choice = outcome.plan, outcome.choice
    update: dict[str, Any] = {"instance": instance_reference(network)}
    if choice is not None:
        columns = choice.columns
        if outcome.services:
            columns = owner_columns(network, columns, outcome.services)
        entries = tenant_plans(network, columns, choice.units)
        update["tenants"] = TenantPlans(entries)
        if outcome.services:  # what the broker cannot know: what every domain needs by itself
            cost = float(plan.cost or 0.0)
            bound = min(bound_of(network.instance, plan.guarantee, plan.objective), cost)
            update |= {"lower_bound": bound, "gap": relative_gap(cost, bound)}
        if outcome.services and not (network.slotted and _whole_delays(network)):
            # each domain counts its delay in whole slots, since contracts are private; a plan that counts
            # fractions, or the delays of a path together, may cost less than this method's bound
            note = "The method's own bound is left out: it counts each domain's delay in whole slots."
            update |= {"status": "feasible", "catalogue_bound": None, "notes": [*plan.notes, note]}
        # prices of rates in units that only the operators know are no prices of capacity
        prices = None if outcome.services else outcome.prices
        update["domains"] = _domains(network, entries, choice, prices)
    return plan.model_copy(update=update)


def _whole_delays(network: Network) -> bool:
    """Whether every pure delay is a whole number of slots."""
    delays = [
        offer.latency / network.slot
        for domain in network.instance.domains
        for offer in domain.offers
        if offer.latency_kind == "delay"
    ]
    return all(abs(delay - round(delay)) <= 1e-9 for delay in delays)


def as_broker(outcome: Outcome, instance: Instance, operators: Sequence[str]) -> Plan:
    """The plan as the broker states it, where operators have problems of their own: what a tenant costs, and
    where a domain ends, only they know."""
    reference = InstanceReference(name=instance.name, sha256=instance.sha256)
    which = ", ".join(operators)
    note = (
        f"{which}: costs and limits are those of the operators' own problems, not the instance's; each "
        "tenant's cost is its share of their sum, by rate and price."
    )
    return outcome.plan.model_copy(update={"instance": reference, "notes": [*outcome.plan.notes, note]})


def _domains(
    network: Network, entries: list[TenantPlan], choice: Choice, prices: Floats | None
) -> list[DomainPlan]:
    loads: Mapping[str, float] = domain_loads(network.instance, entries)
    worth = np.zeros(len(network.domain_ids))
    for o, curve in enumerate(network.curves):
        if prices is None:
            break
        if choice.loads[o] > 0.0:  # what the price of an offer in use exceeds its marginal cost by
            above = (float(prices[o]) - float(curve.marginal(choice.loads[o]))) / network.factor[o]
            worth[network.domain[o]] = max(worth[network.domain[o]], above)
    return [
        DomainPlan(
            id=domain.id,
            reserved=loads[domain.id],
            capacity=domain.capacity,
            price=None if prices is None else float(worth[d]),
        )
        for d, domain in enumerate(network.instance.domains)
    ]


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
