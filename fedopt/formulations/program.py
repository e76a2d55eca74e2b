"""An instance as the models see it: routes, rates, capacities and costs, all in slots.

A route is one admissible path of one tenant. Rates are in work per slot, capacities in work per slot, delays
in slots; costs keep the instance's own money. The conversion back is done once, in
`fedopt.formulations.answer`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import networkx as nx
import numpy as np

from fedopt.calculus.path import Path
from fedopt.formulations.errors import ModelError
from fedopt.instance import Instance
from fedopt.instance.documents import Tenant
from fedopt.plan.paths import Paths

__all__ = ["Curve", "ModelError", "Program", "Route"]

MAX_ROUTES = 200_000


@dataclass(frozen=True, eq=False)
class Route:
    """One admissible path of a tenant.

    Attributes:
        tenant: tenant id. hops: ``"domain/offer"`` a stage.
        path: the path for the calculus, in slots.
        fixed: fixed charges of the offers and costs of the links, for one unit.
        highs: largest possible rate of one unit in each domain, work/slot, shape ``(L,)``.
    """

    tenant: str
    hops: tuple[str, ...]
    path: Path
    fixed: float
    highs: np.ndarray

    @property
    def domains(self) -> tuple[str, ...]:
        """The domain ids along the path."""
        return tuple(hop.partition("/")[0] for hop in self.hops)


class Curve:
    """The convex variable cost of an offer as a function of its total rate z in work per slot; 0 at 0."""

    def __init__(self, cost: Any, slot: float) -> None:
        self._cost, self._slot = cost, slot
        self.fixed = float(cost.fixed)

    @property
    def linear(self) -> bool:
        """Whether one line is the whole curve."""
        return getattr(self._cost, "model", "") == "linear"

    def __call__(self, z: float) -> float:
        return float(self._cost.variable(max(z, 0.0) / self._slot))

    def slope(self, z: float) -> float:
        """Cost per unit of work/slot at z."""
        return float(self._cost.marginal(max(z, 0.0) / self._slot)) / self._slot

    def tangent(self, z: float) -> tuple[float, float]:
        """(slope, intercept) of the tangent at z ≥ 0: a line below the curve."""
        z = max(z, 0.0)
        slope = self.slope(z)
        return slope, self(z) - slope * z

    def tangents(self, top: float, count: int = 12) -> list[tuple[float, float]]:
        """Tangents to start with: all pieces of a linear or piecewise curve, `count` of a smooth one up to
        top.
        """
        if self.linear:
            points = [0.0]
        elif getattr(self._cost, "model", "") == "piecewise":
            points = [rate * self._slot for rate, _ in self._cost.points]
        else:
            points = [top * (k / count) ** 2 for k in range(count + 1)]
        return list(dict.fromkeys(self.tangent(z) for z in points))


class Program:
    """What the models need of an instance, computed when first asked for."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.slot = float(instance.slot)
        self.tenants: tuple[Tenant, ...] = instance.tenants
        self.capacity = {domain.id: domain.capacity * self.slot for domain in instance.domains}
        self.stages = tuple(instance.stages)
        self._paths = Paths(instance)
        self._routes: dict[str, list[Route]] = {}

    @cached_property
    def offers(self) -> dict[str, tuple[Any, Any]]:
        """(Domain, Offer) by ``"domain/offer"``."""
        return {f"{d.id}/{offer.id}": (d, offer) for d in self.instance.domains for offer in d.offers}

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Variable cost curves by offer."""
        return {hop: Curve(offer.cost, self.slot) for hop, (_, offer) in self.offers.items()}

    def factor(self, hop: str) -> float:
        """Capacity used per unit of rate."""
        return float(self.offers[hop][1].work_factor)

    def high(self, hop: str) -> float:
        """Largest rate of one unit at an offer, work/slot: its `max_rate`, and the domain's capacity."""
        domain, offer = self.offers[hop]
        most = domain.capacity / offer.work_factor
        return float(min(most, offer.max_rate if offer.max_rate is not None else math.inf)) * self.slot

    def top(self, hop: str) -> float:
        """Largest total rate of an offer, work/slot."""
        domain, offer = self.offers[hop]
        return float(domain.capacity / offer.work_factor) * self.slot

    def graph(self, tenant: Tenant) -> nx.DiGraph:
        """The tenant's admissible stage graph: nodes ``"domain/offer"``, edges with `delay` (time) and
        `cost`.
        """
        return self.instance.graph(tenant)

    def routes(self, tenant: Tenant, most: int = MAX_ROUTES) -> list[Route]:
        """All admissible paths of a tenant. Raises ModelError where there are more than `most`."""
        if tenant.id not in self._routes:
            graph = self.graph(tenant)
            first = [node for node, layer in graph.nodes(data="layer") if layer == 0]
            found = list(islice(self._walks(graph, first), most + 1))
            if len(found) > most:
                raise ModelError(
                    f"tenant {tenant.id!r} has more than {most} admissible paths; this model lists them all "
                    "and is meant for small instances: use --method central"
                )
            self._routes[tenant.id] = [self.route(tenant.id, hops) for hops in found]
        return self._routes[tenant.id]

    def route(self, tenant: str, hops: Sequence[str]) -> Route:
        """The route of a tenant over given offers (policy is not checked here)."""
        pairs = [tuple(hop.split("/", 1)) for hop in hops]
        links = sum(self._link_costs.get((a[0], b[0]), 0.0) for a, b in pairwise(pairs))
        return Route(
            tenant,
            tuple(hops),
            self._paths.path(tenant, pairs),  # type: ignore[arg-type]
            sum(self.curves[hop].fixed for hop in hops) + links,
            np.array([self.high(hop) for hop in hops]),
        )

    def prices(self, route: Route) -> np.ndarray:
        """List prices along a route: cost per unit of work/slot at zero load, shape ``(L,)``."""
        return np.array([self.curves[hop].slope(0.0) for hop in route.hops])

    @cached_property
    def _link_costs(self) -> dict[tuple[str, str], float]:
        return {(link.from_, link.to): link.cost for link in self.instance.links or ()}

    def _walks(self, graph: nx.DiGraph, starts: list[str]) -> Any:
        last = len(self.stages) - 1
        stack: list[tuple[str, ...]] = [(start,) for start in reversed(starts)]
        while stack:
            walk = stack.pop()
            if len(walk) - 1 == last:
                yield walk
            else:
                stack.extend((*walk, following) for following in reversed(list(graph.successors(walk[-1]))))
