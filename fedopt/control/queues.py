"""Drift-plus-penalty: virtual queues for long-run budgets, and what they make of a period's plan.

Every tenant has a budget of late requests, ε of those it sends, and domains may have a budget of cost per
period. What exceeds one waits in a virtual queue:

    Z ← max(Z + late − ε·sent, 0) in requests,   Y ← max(Y + cost − budget, 0) in money.

A period is planned to minimise V·cost + Σ Z·(late expected) + Σ Y·cost (Neely 2010, ch. 4): a domain's
costs count 1 + Y/V times, and each tenant takes the factor m of its menu that minimises
V·cost(mε) + Z·mε·sent. While the queues are stable the budgets hold in the long run; the cost comes within
O(1/V) of the least, and backlogs grow with V.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedopt.control.pricing import Pricing
from fedopt.control.scenario import Budgets
from fedopt.instance import Instance, Linear, Piecewise, Quadratic, Tenant

__all__ = ["Queues", "dearer", "dearer_domains"]


@dataclass
class Queues:
    """Backlogs by tenant (late requests beyond the budget) and by domain (money beyond the budget)."""

    late: dict[str, float] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)

    def count_late(self, tenant: str, sent: float, late: float, epsilon: float) -> None:
        """A period of a tenant."""
        self.late[tenant] = max(self.late.get(tenant, 0.0) + late - epsilon * sent, 0.0)

    def count_cost(self, domain: str, cost: float, budget: float) -> None:
        """A period of a domain."""
        self.cost[domain] = max(self.cost.get(domain, 0.0) + cost - budget, 0.0)

    def forget(self, tenant: str) -> None:
        """A tenant that left."""
        self.late.pop(tenant, None)

    def choose(
        self,
        tenant: Tenant,
        sent: float,
        budgets: Budgets,
        pricing: Pricing,
        prices: Mapping[str, float],
    ) -> float:
        """The factor of ε that a tenant is planned with: the cheapest of V·cost + Z·mε·sent.

        Cost is the least one at the prices; a factor that nothing can serve is passed over. Ties go to the
        smaller factor. Where none can be served, 1.
        """
        waiting = self.late.get(tenant.id, 0.0)
        epsilon = tenant.slo.epsilon
        best, chosen = float("inf"), 1.0
        for factor in sorted(budgets.menu):
            answer = pricing.price(_planned(tenant, factor), prices)
            value = budgets.v * answer.least + waiting * factor * epsilon * sent
            if value < best:
                best, chosen = value, factor
        return chosen

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Plain data; empty queues are left out."""
        return {
            "late": {name: value for name, value in self.late.items() if value > 0},
            "cost": {name: value for name, value in self.cost.items() if value > 0},
        }

    @classmethod
    def of(cls, data: Mapping[str, Mapping[str, float]]) -> Queues:
        """From plain data."""
        return cls(dict(data["late"]), dict(data["cost"]))


def _planned(tenant: Tenant, factor: float) -> Tenant:
    slo = tenant.slo.model_copy(update={"epsilon": tenant.slo.epsilon * factor})
    return tenant.model_copy(update={"slo": slo})


def dearer_domains(instance: Instance, queues: Queues, v: float) -> Instance:
    """The instance with every domain's costs 1 + Y/V times what they are."""
    changes = {
        f"domains.{domain.id}.offers.{offer.id}.cost": dearer(offer.cost, 1 + queues.cost[domain.id] / v)
        for domain in instance.domains
        if queues.cost.get(domain.id, 0.0) > 0
        for offer in domain.offers
    }
    return instance.with_(changes) if changes else instance


def dearer(cost: Any, factor: float) -> Any:
    """A cost curve times a factor. Raises ValueError for a kind that is not known."""
    if isinstance(cost, Linear):
        return Linear(rate=cost.rate * factor, fixed=cost.fixed * factor)
    if isinstance(cost, Quadratic):
        return Quadratic(rate=cost.rate * factor, quad=cost.quad * factor, fixed=cost.fixed * factor)
    if isinstance(cost, Piecewise):
        return Piecewise(points=tuple((rate, value * factor) for rate, value in cost.points))
    raise ValueError(f"costs of the kind {type(cost).__name__} cannot be scaled")
