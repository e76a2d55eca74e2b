"""Reservations under the split guarantee: a convex region for each path and θ, sized at the prices asked.

Nothing is price-free here, so answers are remembered to bound later ones: the least priced cost h(p) of a
path is concave and grows with every price, hence h(p) ≥ min_i(p_i/q_i)·h(q) for any earlier prices q.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus import split
from fedopt.calculus.path import Path
from fedopt.calculus.split_batch import SplitBatch, SplitSizings
from fedopt.calculus.theta_search import theta_grid
from fedopt.pricing.network import Network, TenantClass
from fedopt.pricing.services import path_floors
from fedopt.pricing.sizing import Column

__all__ = ["SplitSizing"]

_REMEMBERED = 6
_THETAS = 40  # of a path's own grid


class SplitSizing:
    """Reservations, deadline shares and budget shares under the split guarantee, θ on a grid."""

    points = False

    def __init__(self, network: Network) -> None:
        self.network = network
        self._paths: dict[tuple[int, int], Path] = {}
        own = network.instance.theta
        self._batch = SplitBatch(_THETAS if own is None else len(own), network.stages)
        self._places: dict[int, np.ndarray] = {}  # of a kind's paths in the batch, −1 where not met yet
        self._isolation: dict[int, np.ndarray] = {}
        self._floors: dict[int, np.ndarray] = {}
        self._past: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}

    def path(self, kind: TenantClass, path: int) -> Path:
        """The calculus path, built once."""
        key = (kind.index, path)
        if key not in self._paths:
            paths = self.network.paths(kind)
            self._paths[key] = self.network.path(kind, paths.offers[path], float(paths.links[path]))
        return self._paths[key]

    def _placed(self, kind: TenantClass, which: np.ndarray) -> np.ndarray:
        """Places in the batch of a kind's paths, over the θ grid: the instance's own, or one that covers
        each path."""
        own = self.network.instance.theta
        places = self._places.setdefault(kind.index, np.full(len(self.network.paths(kind)), -1))
        for path in which[places[which] < 0]:
            whole = self.path(kind, int(path))
            grid = np.array(own, float) if own is not None else theta_grid(whole, _THETAS)
            places[path] = self._batch.add(split.terms(whole, grid))
        return places[which]

    def least(self, kind: TenantClass, prices: np.ndarray) -> np.ndarray:
        """Lower bounds from the mean rates and from what was solved before, shape (P,)."""
        paths = self.network.paths(kind)
        if kind.index not in self._isolation:
            mean = np.array([self.mean(kind, o) for o in range(len(self.network.names))])
            self._isolation[kind.index] = mean[paths.offers]
            self._past[kind.index] = []
        own = prices[paths.offers]
        least = (own * self._isolation[kind.index]).sum(axis=1)
        for past, values in self._past[kind.index]:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.where(past[paths.offers] > 0.0, own / past[paths.offers], math.inf).min(axis=1)
                known = np.where(np.isfinite(values) & np.isfinite(ratio), ratio * values, 0.0)
            least = np.maximum(least, np.where(values == math.inf, math.inf, known))
        return least

    def floors(self, kind: TenantClass) -> np.ndarray:
        """What no reservation of a path goes below in any domain, at any θ and any shares, shape (P, L).

        With the whole deadline and budget its own, a domain's constraint is that of ville with φ ≥ 0 and the
        bursts of earlier domains on top.
        """
        if kind.family not in self._floors:
            self._floors[kind.family] = path_floors(self.network, kind)
        return self._floors[kind.family]

    def mean(self, kind: TenantClass, offer: int) -> float:
        """The mean work that a unit of a kind and the impairment bring to an offer, work/slot: at no lower
        rate is any guarantee finite."""
        net = self.network
        return float(net.objects[kind.arrival].mean + net.objects[net.row[offer]].mean)

    def size(
        self, kind: TenantClass, paths: np.ndarray, prices: np.ndarray, ceilings: np.ndarray
    ) -> list[list[Column]]:
        """The cheapest reservations of each path at the prices, where they cost less than the ceiling."""
        every = self.network.paths(kind)
        self.least(kind, prices)
        past = self._past[kind.index]
        if not past or not np.array_equal(past[-1][0], prices):
            past.append((prices.copy(), np.full(len(every), -math.inf)))
            del past[:-_REMEMBERED]
        memory = past[-1][1]
        which = np.asarray(paths, dtype=np.int64)
        offers = every.offers[which]
        found = self._batch.size(self._placed(kind, which), prices[offers], self.network.most[offers])
        memory[which] = np.where(np.isfinite(found.cost), found.lower_bound, math.inf)
        return [
            [self._column(kind, int(path), found, n)] if found.cost[n] < ceilings[n] else []
            for n, path in enumerate(which)
        ]

    def _column(self, kind: TenantClass, path: int, found: SplitSizings, n: int) -> Column:
        every = self.network.paths(kind)
        piece = path * self._batch.thetas + int(found.index[n])
        proof = {
            "form": "split",
            "theta": float(found.theta[n]),
            "deadlines": found.deadlines[n],
            "budgets": found.budgets[n],
        }
        return Column(
            kind.index, path, piece, every.offers[path], found.rates[n], float(every.charge[path]), proof
        )
