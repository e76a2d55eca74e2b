"""From a model's decisions to the plan document: units back, costs by the price list, loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedopt.formulations.program import Program, Route
from fedopt.formulations.sizing import Sized
from fedopt.plan.charges import domain_loads, entry_costs, payments
from fedopt.plan.document import (
    DomainPlan,
    Explanation,
    HistoryRow,
    InstanceReference,
    Plan,
    TenantPlan,
    TenantPlans,
)

__all__ = ["Decision", "no_plan", "to_plan"]


@dataclass(frozen=True, eq=False)
class Decision:
    """`count` units on one route with the same rates and proof; rates in work/slot."""

    route: Route
    count: int
    sized: Sized


def to_plan(
    program: Program,
    decisions: Sequence[Decision],
    *,
    method: str,
    guarantee: str,
    objective: str,
    lower_bound: float | None = None,
    catalogue_bound: float | None = None,
    gap: float = 1e-3,
    prices: Mapping[str, float] | None = None,
    timing: Mapping[str, float] | None = None,
    history: Sequence[HistoryRow] = (),
    notes: Sequence[str] = (),
) -> Plan:
    """The plan of the decisions; units without one are not admitted.

    `lower_bound` is on all plans, whatever paths, reservations and θ they take, or None; `catalogue_bound` on
    those that the model chooses from. Both are lowered to the cost where rounding put them above. `prices`
    are per unit of capacity (work per unit of time). The status is "optimal" where one of the bounds is
    within the gap.
    """
    instance, slot = program.instance, program.slot
    entries: list[TenantPlan] = []
    for tenant in program.tenants:
        mine = [decision for decision in decisions if decision.route.tenant == tenant.id and decision.count]
        entries += [_entry(decision, slot) for decision in mine]
        left = tenant.count - sum(decision.count for decision in mine)
        if left:
            entries.append(TenantPlan(id=tenant.id, count=left, admitted=False))
    costs = entry_costs(instance, entries)
    entries = [entry.model_copy(update={"cost": cost}) for entry, cost in zip(entries, costs, strict=True)]
    cost = float(sum(costs)) - (payments(instance, entries) if objective == "profit" else 0.0)
    loads = domain_loads(instance, entries)
    bounds = [None if b is None else min(float(b), cost) for b in (lower_bound, catalogue_bound)]
    certified = any(b is not None and cost - b <= gap * abs(cost) + 1e-12 for b in bounds)
    return Plan(
        instance=InstanceReference(name=instance.name, sha256=instance.sha256),
        status="optimal" if certified else "feasible",
        method=method,
        guarantee=guarantee,
        objective="profit" if objective == "profit" else "cost",
        cost=cost,
        lower_bound=bounds[0],
        catalogue_bound=bounds[1],
        tenants=TenantPlans(entries),
        domains=[
            DomainPlan(
                id=domain.id,
                reserved=loads[domain.id],
                capacity=domain.capacity,
                price=None if prices is None else prices.get(domain.id, 0.0),
            )
            for domain in instance.domains
        ],
        timing=dict(timing or {}),
        history=list(history),
        notes=list(notes),
    )


def no_plan(
    program: Program,
    *,
    method: str,
    guarantee: str,
    objective: str,
    explanation: Sequence[Explanation] = (),
    limit: bool = False,
    timing: Mapping[str, float] | None = None,
) -> Plan:
    """The answer where there is no plan: infeasible, or a limit was reached first."""
    instance = program.instance
    return Plan(
        instance=InstanceReference(name=instance.name, sha256=instance.sha256),
        status="limit" if limit else "infeasible",
        method=method,
        guarantee=guarantee,
        objective="profit" if objective == "profit" else "cost",
        timing=dict(timing or {}),
        explanation=list(explanation),
    )


def _entry(decision: Decision, slot: float) -> TenantPlan:
    route, sized = decision.route, decision.sized
    domains = route.domains

    def by_domain(values: np.ndarray | None, unit: float) -> dict[str, float]:
        if values is None:
            return {}
        return {domain: float(value) * unit for domain, value in zip(domains, values, strict=True)}

    return TenantPlan(
        id=route.tenant,
        count=decision.count,
        path=list(route.hops),
        theta=sized.theta,
        reservations=by_domain(sized.rates, 1.0 / slot),
        deadlines=by_domain(sized.deadlines, slot),
        budgets=by_domain(sized.budgets, 1.0),
        log_bound=sized.log_bound,
        form=sized.form,  # type: ignore[arg-type]
        block=sized.block,
        parameters=sized.parameters,
    )
