"""The planner's view: domains as contracts and alarms describe them, whom to serve, and virtual queues.

Drift plus penalty. Every tenant has a budget of late requests, ε of those it sends, and domains may have a
budget of cost per period. What exceeds one waits in a virtual queue:

    Z ← max(Z + late − ε·sent, 0) in requests,   Y ← max(Y + cost − budget, 0) in money.

A period is planned to minimise V·cost + Σ Z·(late expected) + Σ Y·cost (Neely 2010, ch. 4): a domain's
costs count 1 + Y/V times, and each tenant takes the factor m of its menu that minimises
V·cost(mε) + Z·mε·sent. While the queues are stable the budgets hold in the long run; the cost comes within
O(1/V) of the least, and backlogs grow with V.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedopt.control.admission import Prices, Pricing
from fedopt.control.contracts import Register
from fedopt.control.environment import Moment, Timeline, expected_requests, tenant_now
from fedopt.control.learning import Learner
from fedopt.control.planning import Standing
from fedopt.control.policies import MeanPricing, Policy
from fedopt.control.scenario import Budgets, Planning, Scenario
from fedopt.control.settings import SETTINGS
from fedopt.instance import Instance, Linear, Piecewise, Quadratic, Tenant

__all__ = ["PlannerView", "Queues", "dearer", "dearer_domains"]


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


class PlannerView:
    """The planned side of a run.

    planning: the scenario's, under the policy's guarantee where it has one of its own.
    """

    def __init__(self, scenario: Scenario, instance: Instance, policy: Policy, timeline: Timeline) -> None:
        self.instance = instance
        self.policy = policy
        self.budgets = scenario.budgets
        self.slots = scenario.steps(instance)
        guarantee = policy.guarantee or scenario.planning.guarantee
        self.planning: Planning = scenario.planning.model_copy(update={"guarantee": guarantee})
        self._peaks = timeline.peaks()
        self._pricing: Pricing | None = None
        self._key = ""

    def pricing(self, moment: Moment, register: Register, queues: Queues, learner: Learner) -> Pricing:
        """The infrastructure in the planner's view, priced; the same object while nothing changes."""
        instance = self._infrastructure(moment, register, queues, learner)
        key = json.dumps(
            [domain.model_dump(mode="json") for domain in instance.domains],
            sort_keys=True,
            ensure_ascii=False,
        )
        if self._pricing is None or key != self._key:
            self._key = key
            if self.policy.mean:
                margin = 0.0 if self.policy.rule == "none" else self.planning.margin
                self._pricing = MeanPricing(instance, margin)
            else:
                self._pricing = Pricing(instance, self.planning.guarantee)
        return self._pricing

    def _infrastructure(
        self, moment: Moment, register: Register, queues: Queues, learner: Learner
    ) -> Instance:
        instance = learner.applied(register.applied(self.instance))
        if self.policy.rule != "certified":
            return instance
        changes: dict[str, object] = {
            f"domains.{name}.capacity": self.instance.domain(name).capacity * SETTINGS.failed_capacity
            for name in sorted(moment.failed)
        }
        instance = instance.with_(changes) if changes else instance
        return instance if self.budgets is None else dearer_domains(instance, queues, self.budgets.v)

    def tenants(
        self,
        moment: Moment,
        refused: Collection[str],
        pricing: Pricing,
        standing: Standing | None,
        queues: Queues,
    ) -> list[Tenant]:
        """Whom to serve, as they are planned: traffic of the moment, ε by headroom and the budgets' menu."""
        factors = self._peaks if self.policy.peak else moment.factors
        budgets = self.budgets if self.policy.closed else None
        on: dict[str, float] = {}
        if budgets is not None:
            prices = Prices({}, {}) if standing is None else standing.prices
            on = prices.on(pricing.infrastructure)
        found = []
        for member in moment.members:
            if member.id in refused:
                continue
            tenant = tenant_now(self.instance, member.id, member.like, factors)
            factor = self.planning.headroom
            if budgets is not None:
                sent = expected_requests(tenant, self.slots, self.instance.slot)
                factor *= queues.choose(tenant, sent, budgets, pricing, on)
            if factor != 1.0:
                slo = tenant.slo.model_copy(update={"epsilon": tenant.slo.epsilon * factor})
                tenant = tenant.model_copy(update={"slo": slo})
            found.append(tenant)
        return found
