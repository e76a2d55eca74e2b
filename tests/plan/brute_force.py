"""A tiny solver for tests: every path, one common rate by bisection, every combination of paths."""

from __future__ import annotations

import itertools

import numpy as np

from fedopt.calculus import forms, minplus, split
from fedopt.instance import Instance
from fedopt.plan import DomainPlan, InstanceReference, Plan, TenantPlan
from fedopt.plan.charges import domain_loads, entry_costs, payments
from fedopt.plan.paths import Paths


def consistent(plan: Plan, instance: Instance) -> Plan:
    """The plan with costs, loads and gap recomputed from its reservations, as honest solvers state them."""
    costs = entry_costs(instance, plan.tenants)
    entries = [e.model_copy(update={"cost": cost}) for e, cost in zip(plan.tenants, costs, strict=True)]
    loads = domain_loads(instance, entries)
    prices = {domain.id: domain.price for domain in plan.domains}
    domains = [
        DomainPlan(id=d.id, reserved=loads[d.id], capacity=d.capacity, price=prices.get(d.id))
        for d in instance.domains
    ]
    total = sum(costs) - (payments(instance, entries) if plan.objective == "profit" else 0.0)
    document = dict(plan) | {"tenants": entries, "domains": domains, "cost": total, "lower_bound": total}
    del document["gap"]
    return Plan(**document)


def least_rates(paths: Paths, tenant: str, hops: list, guarantee: str, slot: float) -> TenantPlan | None:
    """The least common rate of a path and its proof, as a plan entry without costs."""
    path = paths.path(tenant, hops)
    names = [domain for domain, _ in hops]
    common = {"id": tenant, "path": [f"{d}/{o}" for d, o in hops]}
    if guarantee == "split":
        sizing = split.size(path, np.ones(len(hops)), np.geomspace(0.1, 3, 20))
        if not np.isfinite(sizing.cost):
            return None
        bound = split.log_bound(split.terms(path, sizing.theta), sizing.rates)[0][0]
        return TenantPlan(
            **common,
            theta=sizing.theta,
            reservations=dict(zip(names, sizing.rates / slot, strict=True)),
            deadlines=dict(zip(names, sizing.deadlines * slot, strict=True)),
            budgets=dict(zip(names, sizing.budgets, strict=True)),
            log_bound=float(bound),
            form="split",
        )
    mask = forms.bit(guarantee.partition(":")[2]) if ":" in guarantee else forms.ALL

    def bound(rate):
        return minplus.evaluate(path, np.full(len(hops), rate), mask)

    low, high = 0.0, 20.0
    if not bound(high).log_bound <= path.log_epsilon:
        return None
    while high - low > 1e-7 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if bound(middle).log_bound <= path.log_epsilon else (middle, high)
    found = bound(high)
    return TenantPlan(
        **common,
        theta=found.theta,
        reservations=dict.fromkeys(names, high / slot),
        log_bound=found.log_bound,
        form=found.form,
        block=found.block,
        parameters=found.parameters,
    )


def solve(instance: Instance, guarantee: str = "minplus", **_) -> Plan:
    """The cheapest plan with one common rate per path, by trying everything."""
    paths = Paths(instance)
    reference = InstanceReference(name=instance.name, sha256=instance.sha256)
    choices = []
    for tenant in instance.tenants:
        graph = instance.graph(tenant)
        options = []
        for nodes in _paths(graph):
            hops = [tuple(node.split("/")) for node in nodes]
            entry = least_rates(paths, tenant.id, hops, guarantee, instance.slot)
            limits = [instance.offer(node)[1].max_rate or np.inf for node in nodes]
            if entry is not None and all(
                rate <= limit for rate, limit in zip(entry.reservations.values(), limits, strict=True)
            ):
                options.append(entry.model_copy(update={"count": tenant.count}))
        choices.append(options)
    best = None
    for entries in itertools.product(*choices):
        plan = consistent(
            Plan(
                instance=reference,
                status="optimal",
                method="brute force",
                guarantee=guarantee,
                tenants=list(entries),
            ),
            instance,
        )
        fits = all(domain.reserved <= domain.capacity for domain in plan.domains)
        if fits and (best is None or plan.cost < best.cost):
            best = plan
    if best is None:
        return Plan(instance=reference, status="infeasible", method="brute force", guarantee=guarantee)
    return best


def _paths(graph):
    layers = sorted({layer for _, layer in graph.nodes(data="layer")})
    if not layers:
        return []
    found = [[node] for node, layer in graph.nodes(data="layer") if layer == layers[0]]
    for _ in layers[1:]:
        found = [[*path, after] for path in found for after in graph.successors(path[-1])]
    return found
