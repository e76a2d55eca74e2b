"""The plan document of a federated run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fedopt.admm.whole import Choice
from fedopt.central.report import instance_reference, tenant_plans
from fedopt.oracle import Network
from fedopt.plan import DomainPlan, Plan, TenantPlan, TenantPlans
from fedopt.plan.charges import domain_loads

__all__ = ["as_owner", "entries_at_prices"]

Floats = npt.NDArray[np.float64]


def entries_at_prices(network: Network, choice: Choice, prices: Floats) -> list[TenantPlan]:
    """Tenants' entries as the broker can state them: what the operators charge in all is shared out in
    proportion to reserved rate times price, which is all that a broker knows of a single tenant's cost.
    """
    entries = tenant_plans(network, choice.columns, choice.heads)
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


def as_owner(plan: Plan, network: Network, choice: Choice | None, prices: Floats) -> Plan:
    """The plan as whoever knows the whole instance states it: every tenant's cost, each domain's load.

    `network` is that of the whole instance; its offers and kinds are in the order of the public one.
    """
    update: dict[str, Any] = {"instance": instance_reference(network)}
    if choice is not None:
        entries = tenant_plans(network, choice.columns, choice.heads)
        update["tenants"] = TenantPlans(entries)
        update["domains"] = _domains(network, entries, choice, prices)
    return plan.model_copy(update=update)


def _domains(network: Network, entries: list[TenantPlan], choice: Choice, prices: Floats) -> list[DomainPlan]:
    loads: Mapping[str, float] = domain_loads(network.instance, entries)
    worth = np.zeros(len(network.domain_ids))
    for o, curve in enumerate(network.curves):
        if choice.loads[o] > 0.0:  # what the price of an offer in use exceeds its marginal cost by
            above = (float(prices[o]) - float(curve.marginal(choice.loads[o]))) / network.factor[o]
            worth[network.domain[o]] = max(worth[network.domain[o]], above)
    return [
        DomainPlan(id=domain.id, reserved=loads[domain.id], capacity=domain.capacity, price=float(worth[d]))
        for d, domain in enumerate(network.instance.domains)
    ]
