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
from fedopt.instance.writing import plain
from fedopt.plan import TenantPlan
from fedopt.plan.basis import has_learned
from fedopt.plan.stand_in import Planned, Variant, planned, variants
from fedopt.pricing import Column, Network, Oracle, sizing_for

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
    """Prices tenants on one infrastructure (an instance whose own tenants do not matter).

    Where it has offers without a contract, a tenant's variants (`fedopt.plan.stand_in`) are priced one by
    one, and the least of them counts.
    """

    def __init__(self, infrastructure: Instance, guarantee: str) -> None:
        self.infrastructure = infrastructure
        self.guarantee = guarantee
        self._answers: dict[tuple[str, tuple[float, ...]], Answer] = {}
        self._chosen: dict[tuple[str, tuple[float, ...]], int] = {}
        self._names = [f"{d.id}/{o.id}" for d in infrastructure.domains for o in d.offers]
        self.learned = has_learned(infrastructure)

    def price(self, tenant: Tenant, prices: Mapping[str, float]) -> Answer:
        """The least cost of one head at prices per work and unit of time, by "domain/offer"."""
        key = self._key(tenant, prices)
        if key not in self._answers:
            if len(self._answers) >= REMEMBERED:
                self._answers.clear()
                self._chosen.clear()
            self._answers[key] = self._priced(tenant, key)
        return self._answers[key]

    def variant(self, tenant: Tenant, prices: Mapping[str, float]) -> Variant:
        """The variant in which one head of the tenant costs least at the prices."""
        self.price(tenant, prices)
        return variants(self.infrastructure, tenant)[self._chosen.get(self._key(tenant, prices), 0)]

    def _key(self, tenant: Tenant, prices: Mapping[str, float]) -> tuple[str, tuple[float, ...]]:
        return kind_of(tenant), tuple(prices[name] for name in self._names)

    def _priced(self, tenant: Tenant, key: tuple[str, tuple[float, ...]]) -> Answer:
        prices = key[1]
        if not self.learned:
            return self._as_it_is(self._contracted(tenant), prices)
        answers = [
            self._as_it_is(planned(self.infrastructure, [variant]), prices)
            for variant in variants(self.infrastructure, tenant)
        ]
        self._chosen[key] = min(range(len(answers)), key=lambda v: answers[v].least)
        ways = sorted((way for answer in answers for way in answer.candidates), key=lambda way: way[0])
        return Answer(min(answer.least for answer in answers), tuple(ways[:KEEP]))

    def _contracted(self, tenant: Tenant) -> Planned:
        """The infrastructure with this tenant alone, which may use offers with a contract."""
        if self.learned:
            return planned(self.infrastructure, [Variant(tenant)])
        return Planned(self.infrastructure.with_(tenants=(tenant,)))

    def _as_it_is(self, alone: Planned, prices: tuple[float, ...]) -> Answer:
        """The answer for the one tenant of an instance without learned offers."""
        network = Network(alone.instance)
        oracle = Oracle(network, sizing_for(self.guarantee, network))
        own = self._own_prices(alone, network, prices)
        found = oracle.cheapest(network.kinds[0], own, KEEP)
        return Answer(
            found.bound,
            tuple((column.cost(own), alone.back(_entry(network, column))) for column in found.columns),
        )

    def _own_prices(self, alone: Planned, network: Network, prices: tuple[float, ...]) -> np.ndarray:
        """Prices per slot by offer of the network: a stand-in has that of the offer it stands for."""
        by_name = dict(zip(self._names, prices, strict=True))
        names = [alone.original[name][0] if name in alone.original else name for name in network.names]
        return np.array([by_name[name] for name in names]) / network.slot


def _entry(network: Network, column: Column) -> TenantPlan:
    return tenant_plans(network, [column], np.array([1.0]))[0]
