"""Why nothing serves all tenants: first each tenant alone, then all of them together."""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING

from fedopt.explain.oracle import HALF, Budget, Feasibility, InCompany, Solver, alone
from fedopt.explain.remedies import (
    capacity_remedies,
    deadline_remedy,
    epsilon_remedy,
    joint_capacity_remedy,
    max_rate_remedies,
    policy_remedies,
)
from fedopt.instance.graph import exclusions
from fedopt.plan.document import Explanation, Remedy
from fedopt.plan.milestones import parts_of

if TYPE_CHECKING:
    from fedopt.instance import Instance, Tenant

TENANTS_EXPLAINED = 5
"""Tenants with no plan even alone that are explained one by one; more are only counted."""

TENANTS_TRIED = 12
"""Tenant groups for which a joint remedy (fewer units, more time) is sought."""


def infeasibility(
    instance: Instance, guarantee: str = "minplus", *, seconds: float = 20.0, solver: Solver | None = None
) -> list[Explanation]:
    """The reasons why an instance has no plan that serves all, each with the smallest changes that would mend
    it.

    Tenants that have no plan even when all capacity is theirs come first, each with its own changes of
    deadline, ε, capacity, largest rate, policy and quality: each was seen to give a plan to all its units
    together with the tenants that need no change. If there is none, the tenants compete for
    capacity: the domains are named with the capacity that would do, and the tenants whose change would. Empty
    if no reason was found in `seconds` (the instance may then be feasible). `solver` replaces the central
    method.
    """
    feasible = Feasibility(guarantee, Budget(seconds), solver)
    hopeless = []
    for tenant in instance.tenants:
        if feasible.budget.spent:
            break
        if instance.graph(tenant).number_of_nodes() == 0 or not feasible(alone(instance, tenant)):
            hopeless.append(tenant)
    if hopeless:
        others = tuple(tenant for tenant in instance.tenants if tenant not in hopeless)
        rest_fits = not others or feasible(instance.with_(tenants=others))
        found = []
        for tenant in hopeless[:TENANTS_EXPLAINED]:
            company = InCompany(feasible, tenant, others if rest_fits else ())
            found.append(_alone(instance, tenant, company))
        if not rest_fits and not feasible.budget.spent:
            found.append(_together(instance.with_(tenants=others), feasible))
        if len(hopeless) > TENANTS_EXPLAINED:
            rest = hopeless[TENANTS_EXPLAINED:]
            message = f"{len(rest)} more tenants have no plan even alone: " + ", ".join(
                t.id for t in rest[:20]
            )
            found.append(Explanation(constraint="guarantee", message=message))
        return found
    if feasible.budget.spent or feasible(instance):
        return []
    return [_together(instance, feasible)]


def _alone(instance: Instance, tenant: Tenant, feasible: Feasibility) -> Explanation:
    """Why a tenant has no plan although all capacity is its own, and what mends that in company."""
    single = alone(instance, tenant)
    policy = list(policy_remedies(single, tenant, feasible))
    if single.graph(tenant.id).number_of_nodes() == 0:
        message = (
            f"{tenant.id}: no path through all stages satisfies its policy, its accuracy and its staleness"
        )
        message += "".join(f"; {line}" for line in exclusions(single, tenant))
        constraint = "policy"
        if not _unrestricted(single, tenant).graph(tenant.id).number_of_nodes():
            drained = [domain.id for domain in single.domains if domain.capacity == 0]
            message, constraint = (
                f"{tenant.id}: no path leads through all stages, whatever its policy"
                + (f"; drained (capacity 0): {', '.join(drained[:12])}" if drained else ""),
                "links",
            )
        elif not policy:
            message += "; no single relaxation of them gives a plan"
        return Explanation(tenant=tenant.id, constraint=constraint, message=message, remedies=policy)
    milestone, promised = _failing_milestone(single, tenant, feasible)
    shortest = _shortest_delay(promised, promised.tenants[0])
    remedies: list[Remedy] = [
        remedy
        for remedy in (
            deadline_remedy(single, tenant, feasible, milestone),
            epsilon_remedy(single, tenant, feasible, milestone),
        )
        if remedy is not None
    ]
    open_domains = sorted({domain for _, domain in single.graph(tenant.id).nodes(data="domain")})
    rates = [*capacity_remedies(single, open_domains, feasible), *max_rate_remedies(single, feasible)]
    time = instance.units.time
    constraint = "capacity" if rates else "guarantee"
    slo = promised.tenants[0].slo
    way = "" if milestone is None else f" up to the end of {promised.stages[-1]}"
    if shortest >= slo.deadline:
        constraint = "deadline"
        reason = (
            f"the least delay of any path{way} is {shortest:g} {time}, its deadline {slo.deadline:g} {time}"
        )
    elif rates:
        reason = "the rate that its promise needs exceeds what a single tenant can reserve"
    else:
        reason = f"nothing keeps P(delay{way} > {slo.deadline:g} {time}) ≤ {slo.epsilon:g} on any path"
    return Explanation(
        tenant=tenant.id,
        constraint=constraint,
        message=f"{tenant.id}: {reason}, even with all capacity to itself",
        remedies=[*remedies, *rates, *policy],
    )


def _failing_milestone(
    single: Instance, tenant: Tenant, feasible: Feasibility
) -> tuple[int | None, Instance]:
    """The first milestone that has no plan by itself and the instance that ends with it; (None, the instance)
    where there is none."""
    for part in parts_of(single):
        if not feasible.plan(part.instance, gap=HALF).has_plan:
            return part.place[tenant.id], part.instance
    return None, single


def _together(instance: Instance, feasible: Feasibility) -> Explanation:
    """Why tenants that could each be served alone cannot be served together."""
    stages = {
        stage: [domain for domain in instance.domains if domain.stage == stage] for stage in instance.stages
    }
    lacking = feasible.shortfall(instance, feasible.guarantee) if feasible.shortfall else {}
    smallest_first = [domain.id for domain in sorted(instance.domains, key=lambda domain: domain.capacity)]
    if len(lacking) > 1:
        joint = joint_capacity_remedy(instance, lacking, feasible)
        remedies = [joint] if joint is not None else []
        names = list(lacking)
    else:
        remedies = list(capacity_remedies(instance, list(lacking) or smallest_first, feasible))
        names = [
            remedy.place.split(".")[1] for remedy in remedies if remedy.place and "*" not in remedy.place
        ]
    domain = names[0] if len(names) == 1 else None
    culprits = []
    for tenant in sorted(instance.tenants, key=lambda t: -t.count)[:TENANTS_TRIED]:
        if feasible.budget.spent:
            break
        fewer = _fewer_units(instance, tenant, feasible)
        more = deadline_remedy(instance, tenant, feasible) if not feasible.budget.spent else None
        found = [remedy for remedy in (fewer, more) if remedy is not None]
        if found:
            culprits.append(tenant.id)
        remedies = list(chain(remedies, found))
    where = f"the capacity of {', '.join(names)}" if names else "the capacities of several domains together"
    if len(stages) == 1 and not names:
        where = "the capacity of the stage"
    message = f"each tenant could be served alone, but not all of them together: {where} does not suffice"
    return Explanation(
        tenant=culprits[0] if len(culprits) == 1 else None,
        domain=domain,
        constraint="capacity",
        message=message,
        remedies=remedies,
    )


def _fewer_units(instance: Instance, tenant: Tenant, feasible: Feasibility) -> Remedy | None:
    """The largest count of a group with which all the others can be served too; 0 means without the group."""

    def with_count(count: int) -> bool:
        if count == 0:
            others = tuple(other for other in instance.tenants if other.id != tenant.id)
            return bool(others) and feasible(instance.with_(tenants=others))
        return feasible(instance.with_({f"tenants.{tenant.id}.count": count}))

    if not with_count(0):
        return None
    low, high = 0, tenant.count
    while high - low > 1 and not feasible.budget.spent:
        middle = (low + high) // 2
        low, high = (middle, high) if with_count(middle) else (low, middle)
    units = f"{low} unit" if low == 1 else f"{low} units"
    words = f"without {tenant.id}" if low == 0 else f"{units} of {tenant.id} instead of {tenant.count}"
    return Remedy(
        change="count",
        place=f"tenants.{tenant.id}.count",
        current=tenant.count,
        needed=low,
        message=words,
    )


def _unrestricted(instance: Instance, tenant: Tenant) -> Instance:
    root = f"tenants.{tenant.id}"
    return instance.with_(
        {f"{root}.policy": {}, f"{root}.slo.min_accuracy": None, f"{root}.slo.max_staleness": None}
    )


def _shortest_delay(instance: Instance, tenant: Tenant) -> float:
    """Least sum of latencies and link delays over the tenant's paths, in units of time."""
    graph = instance.graph(tenant.id)
    reach: dict[str, float] = {}
    last = len(instance.stages) - 1
    best = math.inf
    for node, data in sorted(graph.nodes(data=True), key=lambda item: item[1]["layer"]):
        before = [reach[b] + graph.edges[b, node]["delay"] for b in graph.predecessors(node)]
        reach[node] = data["offer"].latency + (min(before) if before else 0.0)
        if data["layer"] == last:
            best = min(best, reach[node])
    return best
