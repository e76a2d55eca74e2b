"""Minplus sizing of tenants with milestones: reservations that keep every promise along a path.

A milestone is the promise of a network that ends with its stage (`fedopt.plan.milestones`), sized by the
same code. Delay only falls when a server gets faster, so reservations that are no smaller than those of each
promise keep them all. The catalogue of a path has, for each of its points, that point raised to the largest
multiple that some promise needs, and the componentwise maximum of it and the cheapest of each milestone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import numpy as np

from fedopt.calculus.forms import ALL
from fedopt.calculus.minplus import evaluate
from fedopt.plan.milestones import parts_of
from fedopt.pricing.network import Network, TenantClass
from fedopt.pricing.profiles import MinplusSizing
from fedopt.pricing.services import Service
from fedopt.pricing.sizing import Column

__all__ = ["MilestoneSizing"]

_RAISES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3)
_PIECES = 64
"""More than the columns of one path."""


class _Part:
    """A network that ends with a stage, its sizing, and where its offers are in the whole network."""

    def __init__(self, network: Network, part: object, form: str | None) -> None:
        self.until, self.stages = part.until, part.stages  # type: ignore[attr-defined]
        self.network = Network(part.instance)  # type: ignore[attr-defined]
        self.sizing = MinplusSizing(self.network, form)
        self.kinds = {tenant: kind for kind in self.network.kinds for tenant, _ in kind.tenants}
        whole = {name: o for o, name in enumerate(network.names)}
        self.whole = np.array([whole[name] for name in self.network.names])
        self.own = np.full(len(network.names), -1)
        self.own[self.whole] = np.arange(len(self.whole))
        self._place: dict[int, dict[bytes, int]] = {}

    def place(self, kind: TenantClass, offers: np.ndarray) -> int | None:
        """The path of a kind of the part that begins a path of the whole; None where there is none."""
        if kind.family not in self._place:
            paths = self.network.paths(kind).offers
            self._place[kind.family] = {row.tobytes(): p for p, row in enumerate(paths)}
        first = self.own[offers[: self.stages]].astype(self.network.paths(kind).offers.dtype)
        return self._place[kind.family].get(first.tobytes())


class MilestoneSizing(MinplusSizing):
    """`MinplusSizing` of a network with milestones."""

    def __init__(self, network: Network, form: str | None = None) -> None:
        super().__init__(network, form)
        self.parts = [_Part(network, part, form) for part in parts_of(network.instance)]

    def _promises(self, kind: TenantClass) -> list[tuple[_Part, TenantClass]]:
        tenant = kind.tenants[0][0]
        return [(part, part.kinds[tenant]) for part in self.parts if tenant in part.kinds]

    def service(self, kind: TenantClass) -> Service | None:
        """None for kinds with milestones: their paths are listed."""
        return None if self._promises(kind) else super().service(kind)

    def least(self, kind: TenantClass, prices: np.ndarray) -> np.ndarray:
        """The promise for the whole path alone; +inf where a milestone leaves its first hops nothing."""
        bound = super().least(kind, prices)
        for part, own in self._promises(kind):
            least = part.sizing.least(own, prices[part.whole])
            at = [part.place(own, offers) for offers in self.network.paths(kind).offers]
            bound = np.maximum(bound, [math.inf if p is None else least[p] for p in at])
        return bound

    def floors(self, kind: TenantClass) -> np.ndarray:
        """The largest of all promises."""
        floors = super().floors(kind).copy()
        for part, own in self._promises(kind):
            below = part.sizing.floors(own)
            for p, offers in enumerate(self.network.paths(kind).offers):
                place = part.place(own, offers)
                first = slice(0, part.stages)
                floors[p, first] = math.inf if place is None else np.maximum(floors[p, first], below[place])
        return floors

    def size(
        self, kind: TenantClass, paths: np.ndarray, prices: np.ndarray, ceilings: np.ndarray
    ) -> list[list[Column]]:
        """Columns that keep all promises and cost less than the ceilings, the cheapest first."""
        promises = self._promises(kind)
        found = super().size(kind, paths, prices, np.full(len(paths), math.inf) if promises else ceilings)
        if not promises:
            return found
        return [
            self._joined(kind, promises, columns, prices, float(ceiling))
            for columns, ceiling in zip(found, ceilings, strict=True)
        ]

    def _joined(
        self,
        kind: TenantClass,
        promises: list[tuple[_Part, TenantClass]],
        columns: list[Column],
        prices: np.ndarray,
        ceiling: float,
    ) -> list[Column]:
        if not columns:
            return []
        offers = columns[0].offers
        least = np.zeros(len(offers))  # the cheapest reservations of each milestone
        for part, own in promises:
            place = part.place(own, offers)
            here = None
            if place is not None:
                here = part.sizing.size(own, np.array([place]), prices[part.whole], np.array([math.inf]))[0]
            if not here:
                return []
            least[: part.stages] = np.maximum(least[: part.stages], here[0].rates)
        cap = self.network.most[offers]
        rates: dict[bytes, tuple[np.ndarray, Column]] = {}
        by_requests = self.network.objects[kind.arrival].per_stage  # whose one form knows no multiples
        for column in columns:
            scale = 1.0 if by_requests else max(self._scale(promises, offers, column.rates[None])[0], 1.0)
            enough = np.maximum(column.rates, least)
            for one in (np.minimum(scale * column.rates, cap) if math.isfinite(scale) else enough, enough):
                rounded = self.network.in_servers(self.settled(kind, offers, one), offers, np.ceil)
                if (rounded <= cap * (1.0 + 1e-12)).all() and self.kept(kind, offers, rounded):
                    rates.setdefault(rounded.tobytes(), (rounded, column))
        number = count(_PIECES * columns[0].path)
        joined = [replace(column, rates=one, piece=next(number)) for one, column in rates.values()]
        own_prices = prices[offers]
        joined = [column for column in joined if float(own_prices @ column.rates) < ceiling]
        return sorted(joined, key=lambda column: float(own_prices @ column.rates))

    def _scale(
        self, promises: list[tuple[_Part, TenantClass]], offers: np.ndarray, shapes: np.ndarray
    ) -> np.ndarray:
        """The least multiples of shapes (N, L) at which all milestones are proven, shape (N,)."""
        scale = np.zeros(len(shapes))
        for part, own in promises:
            first = part.own[offers[: part.stages]]
            own_shapes = np.ascontiguousarray(shapes[:, : part.stages])
            unbounded = np.full(len(shapes), math.inf)
            scale = np.maximum(scale, part.sizing.scales(own, first, own_shapes, unbounded)[0])
        return scale

    def scales(
        self,
        kind: TenantClass,
        offers: np.ndarray,
        shapes: np.ndarray,
        ceilings: np.ndarray,
        forms: int = ALL,
    ) -> tuple[np.ndarray, ...]:
        """As the base, with multiples at which all promises are proven; the proofs are of the whole path."""
        found = super().scales(kind, offers, shapes, ceilings, forms)
        promises = self._promises(kind)
        if not promises:
            return found
        scale = np.maximum(found[0], self._scale(promises, offers, shapes))
        return (scale, *found[1:])

    def kept(self, kind: TenantClass, offers: np.ndarray, rates: np.ndarray) -> bool:
        """Whether rates along a path keep all milestones of a kind."""
        for part, own in self._promises(kind):
            first = part.own[offers[: part.stages]]
            links = float(part.network.links(first[None], own)[0])
            path = part.network.path(own, first, links)
            if not evaluate(path, rates[: part.stages]).log_bound <= path.log_epsilon + 1e-9:
                return False
        return True

    def settled(self, kind: TenantClass, offers: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Rates raised by the least of some small parts with which `evaluate` finds every milestone kept."""
        for part in _RAISES:
            if self.kept(kind, offers, (1.0 + part) * rates):
                return (1.0 + part) * rates
        return rates

    def catalogue(self, kind: TenantClass) -> Iterator[Column]:
        """Every column of every path, sized."""
        everything = np.arange(len(self.network.paths(kind)))
        prices = np.ones(len(self.network.names))
        for columns in self.size(kind, everything, prices, np.full(len(everything), math.inf)):
            yield from columns
