"""What a plan costs, by the instance's own price list.

An offer's variable cost is a convex curve of the total rate that all units reserve of it; its fixed charge
and the costs of the links are paid per unit. An entry's cost is its units' fixed and link charges and, of
each offer's variable cost, the part that its rate is of the offer's total.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from fedopt.plan.document import TenantPlan

if TYPE_CHECKING:
    from fedopt.instance import Instance


def offer_loads(entries: Sequence[TenantPlan]) -> dict[str, float]:
    """Total reserved rate of every offer in use, keyed "domain/offer", in work per unit of time."""
    loads: dict[str, float] = {}
    for entry in entries:
        if entry.admitted:
            for hop, (domain, _) in zip(entry.path, entry.hops(), strict=True):
                loads[hop] = loads.get(hop, 0.0) + entry.count * entry.reservations[domain]
    return loads


def domain_loads(instance: Instance, entries: Sequence[TenantPlan]) -> dict[str, float]:
    """Capacity used in every domain of the instance: Σ work factor · reserved rate."""
    used = {domain.id: 0.0 for domain in instance.domains}
    for hop, load in offer_loads(entries).items():
        domain, offer = instance.offer(hop)
        used[domain.id] += offer.work_factor * load
    return used


def entry_costs(instance: Instance, entries: Sequence[TenantPlan]) -> list[float]:
    """Cost of each entry, all its units together; 0 for those not admitted. They add up to the total cost."""
    loads = offer_loads(entries)
    unit_cost = {}
    for hop, load in loads.items():
        cost = instance.offer(hop)[1].cost
        unit_cost[hop] = float(cost.variable(load)) / load if load > 0.0 else 0.0
    link_costs = {(link.from_, link.to): link.cost for link in instance.links or ()}
    costs = []
    for entry in entries:
        each = 0.0
        if entry.admitted:
            hops = entry.hops()
            for hop, (domain, _) in zip(entry.path, hops, strict=True):
                each += unit_cost[hop] * entry.reservations[domain] + float(instance.offer(hop)[1].cost.fixed)
            for (first, _), (second, _) in pairwise(hops):
                each += link_costs.get((first, second), 0.0)
        costs.append(entry.count * each)
    return costs


def payments(instance: Instance, entries: Sequence[TenantPlan]) -> float:
    """What the admitted units pay together."""
    return sum(entry.count * instance.tenant(entry.id).payment for entry in entries if entry.admitted)
