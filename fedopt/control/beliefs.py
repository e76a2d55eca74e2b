"""What a policy plans with: the domains as their contracts and alarms describe them, and whom to serve."""

from __future__ import annotations

import json
from collections.abc import Collection

from fedopt.control.admission import Prices
from fedopt.control.learning import Learner
from fedopt.control.planning import Standing
from fedopt.control.policies import MeanPricing, Policy
from fedopt.control.pricing import Pricing
from fedopt.control.queues import Queues, dearer_domains
from fedopt.control.register import Register
from fedopt.control.scenario import Planning, Scenario
from fedopt.control.timeline import Moment, Timeline
from fedopt.control.world import expected_requests, tenant_now
from fedopt.instance import Instance, Tenant

__all__ = ["Beliefs"]

UNREACHABLE = 1e-9
"""What is left of a failed domain's capacity in the plan."""


class Beliefs:
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
        """The infrastructure that is believed, with an oracle; the same object for as long as it stays."""
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
            f"domains.{name}.capacity": self.instance.domain(name).capacity * UNREACHABLE
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
