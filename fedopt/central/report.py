"""The plan document of a choice of columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fedopt.calculus import minplus, split
from fedopt.calculus.forms import bit
from fedopt.calculus.risk import risk_shares
from fedopt.central.master import Duals
from fedopt.plan import DomainPlan, InstanceReference, TenantPlan
from fedopt.plan.charges import domain_loads, entry_costs
from fedopt.plan.milestones import has_milestones, parts_of, prove
from fedopt.plan.paths import Paths
from fedopt.pricing import Column, Network, TenantClass

__all__ = ["assigned", "domain_plans", "instance_reference", "tenant_plans"]


def instance_reference(network: Network) -> InstanceReference:
    """Name and hash of the network's instance."""
    return InstanceReference(name=network.instance.name, sha256=network.instance.sha256)


def tenant_plans(network: Network, columns: list[Column], units: np.ndarray) -> list[TenantPlan]:
    """Entries of all tenants with their costs, in the instance's order."""
    ordered = assigned(network, columns, units, _entry)
    if has_milestones(network.instance):
        parts = [(part, Paths(part.instance)) for part in parts_of(network.instance)]
        ordered = [prove(entry, parts) for entry in ordered]
    costs = entry_costs(network.instance, ordered)
    return [entry.model_copy(update={"cost": cost}) for entry, cost in zip(ordered, costs, strict=True)]


def assigned(
    network: Network,
    columns: list[Column],
    units: np.ndarray,
    body: Callable[[Network, TenantClass, Column], dict[str, Any]],
) -> list[TenantPlan]:
    """Entries of all tenants, in the instance's order: the units of a class go to its tenants in turn;
    `body` is what an entry says of a column."""
    by_kind: dict[int, list[list[Any]]] = {}
    for column, count in zip(columns, units, strict=True):
        by_kind.setdefault(column.kind, []).append([column, round(count)])
    entries: dict[str, list[TenantPlan]] = {}
    for kind in network.kinds:
        waiting = by_kind.get(kind.index, [])
        bodies = [body(network, kind, column) for column, _ in waiting]
        position = 0
        for tenant, count in kind.tenants:
            mine = entries.setdefault(tenant, [])
            while count and position < len(waiting):
                take = min(count, waiting[position][1])
                if take:
                    mine.append(TenantPlan(id=tenant, count=take, admitted=True, **bodies[position]))
                    count -= take
                    waiting[position][1] -= take
                if not waiting[position][1]:
                    position += 1
            if count:
                mine.append(TenantPlan(id=tenant, count=count, admitted=False))
    return [entry for tenant in network.instance.tenants for entry in entries[tenant.id]]


def _entry(network: Network, kind: TenantClass, column: Column) -> dict[str, Any]:
    """What an entry says of a column, in the user's units."""
    slot = network.slot
    links = float(network.links(column.offers[None], kind)[0])
    path = network.path(kind, column.offers, links)
    domains = [domain for domain, _ in network.hops(column.offers)]
    proof = dict(column.proof)
    deadlines = proof.pop("deadlines", None)
    budgets = proof.pop("budgets", None)
    log_bound = proof.pop("log_bound", None)
    if proof["form"] == "split":
        log_bound = float(split.log_bound(split.terms(path, proof["theta"]), column.rates)[0][0])
    elif log_bound is None:
        stated = minplus.Evaluation(
            path.log_epsilon, proof["form"], proof["theta"], proof.get("block"), proof.get("parameters", {})
        )
        log_bound = minplus.verify(path, column.rates, stated)
        if network.speed[column.offers].any() and not log_bound <= path.log_epsilon:
            # whole servers are more than was asked for, and with guardrails a bound may rise with the rates
            again = minplus.evaluate(path, column.rates, bit(proof["form"]))
            log_bound = again.log_bound
            proof |= {"theta": again.theta, "parameters": dict(again.parameters)}
            if again.block is not None:
                proof["block"] = again.block
    body: dict[str, Any] = {
        "path": [name for _, name in network.hops(column.offers)],
        "reservations": {d: float(rate) / slot for d, rate in zip(domains, column.rates, strict=True)},
        "log_bound": path.total(float(log_bound)),
        "risk_shares": dict(zip(domains, risk_shares(path, column.rates), strict=True)),
        **proof,
    }
    if deadlines is not None:
        body["deadlines"] = {d: float(value) * slot for d, value in zip(domains, deadlines, strict=True)}
    if budgets is not None:
        body["budgets"] = {d: float(value) for d, value in zip(domains, budgets, strict=True)}
    return body


def domain_plans(network: Network, entries: list[TenantPlan], duals: Duals | None) -> list[DomainPlan]:
    """Load, capacity and price of every domain, in the user's units."""
    loads = domain_loads(network.instance, entries)
    return [
        DomainPlan(
            id=domain.id,
            reserved=loads[domain.id],
            capacity=domain.capacity,
            price=None if duals is None else float(duals.capacity[d]) * network.slot,
        )
        for d, domain in enumerate(network.instance.domains)
    ]
