"""Pricing tenants one by one on one infrastructure, and admitting those that fit.

Every answer of the pricing is computed on a network of its own that holds this one tenant, so that it depends
on nothing that was priced before; it is remembered, and a loop that was interrupted finds the same answers
again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from fedopt.central.report import tenant_plans
from fedopt.control.settings import SETTINGS
from fedopt.instance import Instance, Tenant
from fedopt.instance.writing import plain
from fedopt.plan import Plan, TenantPlan
from fedopt.plan.basis import has_learned
from fedopt.plan.charges import domain_loads, entry_costs, offer_loads
from fedopt.plan.stand_in import Planned, Variant, mildest, planned, variants
from fedopt.pricing import Column, Network, Oracle, sizing_for

__all__ = [
    "Answer",
    "Ledger",
    "Prices",
    "Pricing",
    "admit",
    "catalogue_bound",
    "improve",
    "lower_bound",
    "tenant_class",
    "total_cost",
]


@dataclass(frozen=True, eq=False)
class Answer:
    """No way of the catalogue to serve the tenant costs less than `least` at the prices; `candidates` are
    the ways met, cheapest first: entries for a plan with their cost at the prices. Empty where there is none.
    """

    least: float
    candidates: tuple[tuple[float, TenantPlan], ...]


def tenant_class(tenant: Tenant) -> str:
    """What makes two tenants one kind: everything but their names and money."""
    parts = [_text(part) for part in (tenant.arrivals, tenant.slo, tenant.policy)]
    return json.dumps([*parts, sorted((tenant.work or {}).items())])


@lru_cache(maxsize=65_536)
def _text(document: Any) -> str:
    return json.dumps(plain(document), sort_keys=True, ensure_ascii=False)


class Pricing:
    """Prices tenants on one infrastructure (an instance whose own tenants do not matter).

    Where it has offers without a contract, a tenant's variants (`fedopt.plan.stand_in`) are priced one by
    one, and the least of them counts.
    """

    def __init__(self, infrastructure: Instance, guarantee: str) -> None:
        self.infrastructure = infrastructure
        self.guarantee = guarantee
        self._answers: dict[tuple[str, tuple[float, ...]], Answer] = {}
        self._chosen: dict[tuple[str, tuple[float, ...]], int] = {}
        self._floors: dict[tuple[str, tuple[float, ...]], float] = {}
        self._names = [f"{d.id}/{o.id}" for d in infrastructure.domains for o in d.offers]
        self.learned = has_learned(infrastructure)

    def price(self, tenant: Tenant, prices: Mapping[str, float]) -> Answer:
        """The least cost of one unit of demand at prices per work and unit of time, by "domain/offer"."""
        key = self._key(tenant, prices)
        if key not in self._answers:
            if len(self._answers) >= SETTINGS.cached_answers:
                self._answers.clear()
                self._chosen.clear()
            self._answers[key] = self._priced(tenant, key)
        return self._answers[key]

    def floor(self, tenant: Tenant, prices: Mapping[str, float]) -> float:
        """What one unit costs at least at the prices, whatever it reserves."""
        key = self._key(tenant, prices)
        if key not in self._floors:
            if len(self._floors) >= SETTINGS.cached_answers:
                self._floors.clear()
            alone = (
                planned(self.infrastructure, [mildest(self.infrastructure, tenant)])
                if self.learned
                else self._contracted(tenant)
            )
            network = Network(alone.instance)
            oracle = Oracle(network, sizing_for(self.guarantee, network))
            least, _ = oracle.relaxed(self._own_prices(alone, network, key[1]))
            self._floors[key] = float(least[0])
        return self._floors[key]

    def variant(self, tenant: Tenant, prices: Mapping[str, float]) -> Variant:
        """The variant in which one unit of the tenant costs least at the prices."""
        self.price(tenant, prices)
        return variants(self.infrastructure, tenant)[self._chosen.get(self._key(tenant, prices), 0)]

    def _key(self, tenant: Tenant, prices: Mapping[str, float]) -> tuple[str, tuple[float, ...]]:
        return tenant_class(tenant), tuple(prices[name] for name in self._names)

    def _priced(self, tenant: Tenant, key: tuple[str, tuple[float, ...]]) -> Answer:
        prices = key[1]
        if not self.learned:
            return self._as_it_is(self._contracted(tenant), prices)
        answers = [
            self._as_it_is(planned(self.infrastructure, [variant]), prices)
            for variant in variants(self.infrastructure, tenant)
        ]
        self._chosen[key] = min(range(len(answers)), key=lambda v: answers[v].least)
        ways = sorted((way for answer in answers for way in answer.candidates), key=lambda way: way[0])
        return Answer(min(answer.least for answer in answers), tuple(ways[: SETTINGS.candidates]))

    def _contracted(self, tenant: Tenant) -> Planned:
        """The infrastructure with this tenant alone, which may use offers with a contract."""
        if self.learned:
            return planned(self.infrastructure, [Variant(tenant)])
        return Planned(self.infrastructure.with_(tenants=(tenant,)))

    def _as_it_is(self, alone: Planned, prices: tuple[float, ...]) -> Answer:
        """The answer for the one tenant of an instance without learned offers."""
        network = Network(alone.instance)
        oracle = Oracle(network, sizing_for(self.guarantee, network))
        own = self._own_prices(alone, network, prices)
        found = oracle.cheapest(network.kinds[0], own, SETTINGS.candidates)
        return Answer(
            found.bound,
            tuple((column.cost(own), alone.back(_entry(network, column))) for column in found.columns),
        )

    def _own_prices(self, alone: Planned, network: Network, prices: tuple[float, ...]) -> np.ndarray:
        """Prices per slot by offer of the network: a stand-in has that of the offer it stands for."""
        by_name = dict(zip(self._names, prices, strict=True))
        names = [alone.original[name][0] if name in alone.original else name for name in network.names]
        return np.array([by_name[name] for name in names]) / network.slot


def _entry(network: Network, column: Column) -> TenantPlan:
    return tenant_plans(network, [column], np.array([1.0]))[0]


@dataclass(frozen=True)
class Prices:
    """A point in the dual: loads by "domain/offer" (work per unit of time) and capacity prices by domain."""

    loads: Mapping[str, float]
    capacity: Mapping[str, float]

    @classmethod
    def of(cls, plan: Plan) -> Prices:
        """The prices that a plan states, at the loads that it carries."""
        return cls(
            offer_loads(plan.tenants), {domain.id: max(domain.price or 0.0, 0.0) for domain in plan.domains}
        )

    def on(self, instance: Instance) -> dict[str, float]:
        """Price of a unit of rate of every offer."""
        prices = {}
        for domain in instance.domains:
            for offer in domain.offers:
                name = f"{domain.id}/{offer.id}"
                marginal = float(offer.cost.marginal(self.loads.get(name, 0.0)))
                prices[name] = marginal + offer.work_factor * self.capacity.get(domain.id, 0.0)
        return prices

    def constant(self, instance: Instance) -> float:
        """The terms of the bound that no tenant has a part in."""
        total = []
        for domain in instance.domains:
            total.append(-self.capacity.get(domain.id, 0.0) * domain.capacity)
            for offer in domain.offers:
                load = self.loads.get(f"{domain.id}/{offer.id}", 0.0)
                if load > 0.0:
                    total.append(float(offer.cost.variable(load)) - float(offer.cost.marginal(load)) * load)
        return math.fsum(total)


@dataclass
class Ledger:
    """Entries by tenant, and what they use of every domain."""

    instance: Instance
    entries: dict[str, TenantPlan]
    used: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self.used = domain_loads(self.instance, list(self.entries.values()))
        self._capacity = {domain.id: domain.capacity for domain in self.instance.domains}

    def put(self, entry: TenantPlan) -> None:
        """Add an entry, in the place of an earlier one of that tenant."""
        self.take(entry.id)
        self.entries[entry.id] = entry
        self._count(entry, 1.0)

    def take(self, tenant: str) -> TenantPlan | None:
        """Remove a tenant's entry."""
        entry = self.entries.pop(tenant, None)
        if entry is not None:
            self._count(entry, -1.0)
        return entry

    def full(self, entry: TenantPlan) -> list[str]:
        """The domains that have no room for the entry."""
        return [
            domain
            for domain, need in self._needs(entry)
            if self.used[domain] + need > self._capacity[domain] * (1 + SETTINGS.capacity_tolerance)
        ]

    def _needs(self, entry: TenantPlan) -> list[tuple[str, float]]:
        return [
            (domain, entry.count * self.instance.offer(hop)[1].work_factor * entry.reservations[domain])
            for hop, (domain, _) in zip(entry.path, entry.hops(), strict=True)
        ]

    def _count(self, entry: TenantPlan, sign: float) -> None:
        if entry.admitted:
            for domain, need in self._needs(entry):
                self.used[domain] += sign * need


def admit(ledger: Ledger, pricing: Pricing, prices: Mapping[str, float], tenant: Tenant) -> bool:
    """Give a newcomer the cheapest way at the prices that fits beside the others; False where none was found.

    Where no candidate fits, the domains that were full are made dear and the tenant is priced again.
    """
    found = _fitting(ledger, pricing, prices, tenant)
    if found is None:
        return False
    ledger.put(found.model_copy(update={"id": tenant.id}))
    return True


def _fitting(
    ledger: Ledger, pricing: Pricing, prices: Mapping[str, float], tenant: Tenant
) -> TenantPlan | None:
    asked = dict(prices)
    blocked: set[str] = set()
    for _ in range(SETTINGS.detours):
        answer = pricing.price(tenant, asked)
        chosen, full = _first_fit(ledger, answer, blocked)
        if chosen is not None or not full - blocked or not answer.candidates:
            return chosen
        blocked |= full
        dear = 1e3 * max(max(prices.values()), 1.0)
        asked = {name: price + dear * (name.split("/")[0] in blocked) for name, price in prices.items()}
    return None


def _first_fit(ledger: Ledger, answer: Answer, blocked: set[str]) -> tuple[TenantPlan | None, set[str]]:
    full: set[str] = set()
    for _, entry in answer.candidates:
        none_left = ledger.full(entry)
        if not none_left:
            return entry, full
        full.update(none_left)
    return None, full


def improve(
    ledger: Ledger, pricing: Pricing, prices: Mapping[str, float], tenants: Iterable[Tenant], slack: float
) -> int:
    """Move tenants that pay more at the prices than they need to, the worst first; returns how many moved.

    slack: the part of its least cost that a tenant may pay more without being moved.
    """
    waste: list[tuple[float, str, Tenant]] = []
    for tenant in tenants:
        entry = ledger.entries.get(tenant.id)
        if entry is not None and entry.admitted:
            least = pricing.price(tenant, prices).least
            excess = _priced(ledger.instance, entry, prices) - least
            if excess > slack * abs(least):
                waste.append((excess, tenant.id, tenant))
    moved = 0
    for _, name, tenant in sorted(waste, key=lambda row: (-row[0], row[1])):
        before = ledger.take(name)
        assert before is not None
        found = _fitting(ledger, pricing, prices, tenant)
        now = _priced(ledger.instance, before, prices)
        if found is not None and _priced(ledger.instance, found, prices) < now * (1 - 1e-9):
            ledger.put(found.model_copy(update={"id": name}))
            moved += 1
        else:
            ledger.put(before)
    return moved


def _priced(instance: Instance, entry: TenantPlan, prices: Mapping[str, float]) -> float:
    """Charges of an entry and its reservations at the prices, one unit."""
    links = {(link.from_, link.to): link.cost for link in instance.links or ()}
    hops = entry.hops()
    total = sum(links.get((a, b), 0.0) for (a, _), (b, _) in pairwise(hops))
    for hop, (domain, _) in zip(entry.path, hops, strict=True):
        total += prices[hop] * entry.reservations[domain] + float(instance.offer(hop)[1].cost.fixed)
    return total


def catalogue_bound(pricing: Pricing, prices: Prices, tenants: Iterable[Tenant]) -> float:
    """The Lagrangian bound on the cost of every plan that serves these tenants from the catalogue; +∞ where
    one cannot be."""
    on = prices.on(pricing.infrastructure)
    each = [tenant.count * pricing.price(tenant, on).least for tenant in tenants]
    return math.fsum([prices.constant(pricing.infrastructure), *each])


def lower_bound(pricing: Pricing, prices: Prices, tenants: Iterable[Tenant]) -> float:
    """The same for every plan, whatever it reserves."""
    on = prices.on(pricing.infrastructure)
    each = [tenant.count * pricing.floor(tenant, on) for tenant in tenants]
    return math.fsum([prices.constant(pricing.infrastructure), *each])


def total_cost(instance: Instance, entries: Iterable[TenantPlan]) -> float:
    """What entries cost together."""
    return math.fsum(entry_costs(instance, list(entries)))
