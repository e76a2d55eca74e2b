"""The oracle as a pure function: infrastructure, tenant and prices in, least cost and candidates out.

Every answer is computed on a network of its own that holds this one tenant, so that it depends on nothing
that was priced before; it is remembered, and a loop that was interrupted finds the same answers again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fedopt.central.report import tenant_plans
from fedopt.instance import Instance, Tenant
from fedopt.instance.canonical import plain
from fedopt.oracle import Column, Network, Oracle, sizing_for
from fedopt.plan import TenantPlan

__all__ = ["Answer", "Pricing", "kind_of"]

KEEP = 48
"""Candidates that are kept, cheapest first."""

REMEMBERED = 4096


@dataclass(frozen=True, eq=False)
class Answer:
    """No admissible way to serve the tenant costs less than `least` at the prices; `candidates` are the ways
    met, cheapest first: entries for a plan with their cost at the prices. Empty where there is none.
    """

    least: float
    candidates: tuple[tuple[float, TenantPlan], ...]


def kind_of(tenant: Tenant) -> str:
    """What makes two tenants one kind: everything but their names and money."""
    return json.dumps([_text(part) for part in (tenant.arrivals, tenant.slo, tenant.policy)])


@lru_cache(maxsize=65_536)
def _text(document: Any) -> str:
    return json.dumps(plain(document), sort_keys=True, ensure_ascii=False)


class Pricing:
    """Prices tenants on one infrastructure (an instance whose own tenants do not matter)."""

    def __init__(self, infrastructure: Instance, guarantee: str) -> None:
        self.infrastructure = infrastructure
        self.guarantee = guarantee
        self._answers: dict[tuple[str, tuple[float, ...]], Answer] = {}
        self._names = [f"{d.id}/{o.id}" for d in infrastructure.domains for o in d.offers]

    def price(self, tenant: Tenant, prices: Mapping[str, float]) -> Answer:
        """The least cost of one head at prices per work and unit of time, by "domain/offer"."""
        key = (kind_of(tenant), tuple(prices[name] for name in self._names))
        if key not in self._answers:
            if len(self._answers) >= REMEMBERED:
                self._answers.clear()
            self._answers[key] = self._priced(tenant, key[1])
        return self._answers[key]

    def _priced(self, tenant: Tenant, prices: tuple[float, ...]) -> Answer:
        alone = self.infrastructure.with_(tenants=(tenant,))
        network = Network(alone)
        oracle = Oracle(network, sizing_for(self.guarantee, network))
        own = np.array(prices) / network.slot
        found = oracle.price(network.kinds[0], own, keep=KEEP)
        return Answer(
            found.bound, tuple((column.cost(own), _entry(network, column)) for column in found.columns)
        )


def _entry(network: Network, column: Column) -> TenantPlan:
    return tenant_plans(network, [column], np.array([1.0]))[0]
