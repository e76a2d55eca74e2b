"""Patching a plan: newcomers on what is left, certified by the Lagrangian bound at standing prices.

Prices are a point in the dual: a load x_o for every offer, whose marginal cost is the offer's price, and a
price λ_d ≥ 0 for every capacity. With p_o = c_o'(x_o) + w_oλ_d (w the work factor) and u(p) the least cost of
tenant u at p,

    cost of any plan ≥ Σ_o [c_o(x_o) − c_o'(x_o)x_o] − Σ_d λ_dC_d + Σ_u u(p),

for c_o convex lies above its tangent at x_o, and what capacity is left over is worth at least 0. The bound
holds for every x and λ, so it follows arrivals and departures by adding or leaving out one term.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from fedopt.control.pricing import Answer, Pricing
from fedopt.instance import Instance, Tenant
from fedopt.plan import Plan, TenantPlan
from fedopt.plan.charges import domain_loads, entry_costs, offer_loads

__all__ = ["Ledger", "Prices", "admit", "improve", "lower_bound", "total_cost"]

ROOM = 1e-9
"""Relative tolerance of capacities."""

DETOURS = 6
"""How often a newcomer that finds its domains full is priced again with those made dear."""


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
            if self.used[domain] + need > self._capacity[domain] * (1 + ROOM)
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
    for _ in range(DETOURS):
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
    """Charges of an entry and its reservations at the prices, one head."""
    links = {(link.from_, link.to): link.cost for link in instance.links or ()}
    hops = entry.hops()
    total = sum(links.get((a, b), 0.0) for (a, _), (b, _) in pairwise(hops))
    for hop, (domain, _) in zip(entry.path, hops, strict=True):
        total += prices[hop] * entry.reservations[domain] + float(instance.offer(hop)[1].cost.fixed)
    return total


def lower_bound(pricing: Pricing, prices: Prices, tenants: Iterable[Tenant]) -> float:
    """The Lagrangian bound on the cost of every plan that serves these tenants; +∞ where one cannot be."""
    on = prices.on(pricing.infrastructure)
    each = [tenant.count * pricing.price(tenant, on).least for tenant in tenants]
    return math.fsum([prices.constant(pricing.infrastructure), *each])


def total_cost(instance: Instance, entries: Iterable[TenantPlan]) -> float:
    """What entries cost together."""
    return math.fsum(entry_costs(instance, list(entries)))
