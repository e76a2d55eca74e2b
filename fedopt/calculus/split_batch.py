"""Least-cost reservations of many paths under the split guarantee, side by side on all cores.

The same program as `split.size`, path by path; only the work around it is done for all paths together.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fedopt.calculus.split import LEAST_MARGIN, SplitTerms, best_shares
from fedopt.calculus.split_sizing import size_paths

__all__ = ["SplitBatch", "SplitSizings"]

Floats = npt.NDArray[np.float64]

_WORTH_A_THREAD = 24  # paths


@dataclass(frozen=True, eq=False)
class SplitSizings:
    """The cheapest reservations of P paths: `split.SplitSizing` with one more axis in front.

    Attributes:
        cost, lower_bound, theta: shape ``(P,)``; cost +inf (and the rest of a path NaN) where nothing keeps
            the promise.
        index: of the θ among the path's, shape ``(P,)``.
        rates, deadlines, budgets: shape ``(P, L)``.
    """

    cost: Floats
    lower_bound: Floats
    theta: Floats
    index: npt.NDArray[np.int64]
    rates: Floats
    deadlines: Floats
    budgets: Floats


class SplitBatch:
    """The numbers of the split constraint for paths of L domains at up to M values of θ; it grows path by
    path."""

    def __init__(self, thetas: int, domains: int) -> None:
        self._count = 0
        self._theta = np.empty((0, thetas))
        self._rho = np.empty((0, thetas))
        self._isolation = np.empty((0, thetas, domains))
        self._constants = np.empty((0, thetas, domains))
        self._latencies = np.empty((0, domains))
        self._delays = np.empty((0, domains))
        self._scalars = np.empty((0, 3))  # stretch, room, log ε

    @property
    def thetas(self) -> int:
        """M."""
        return self._theta.shape[1]

    def add(self, terms: SplitTerms) -> int:
        """Take in a path, which may have fewer θ than there is room for; its place."""
        place = self._count
        if place == len(self._theta):
            for name in ("_theta", "_rho", "_isolation", "_constants", "_latencies", "_delays", "_scalars"):
                old = getattr(self, name)
                new = np.zeros((max(2 * place, 8), *old.shape[1:]))
                new[:place] = old
                setattr(self, name, new)
        count = len(terms.theta)
        self._theta[place, :count], self._theta[place, count:] = terms.theta, 1.0
        self._rho[place, :count] = terms.rho
        self._isolation[place, :count] = terms.isolation
        self._constants[place, :count], self._constants[place, count:] = terms.constants, np.inf  # no such θ
        self._latencies[place], self._delays[place] = terms.latencies, terms.delays
        self._scalars[place] = terms.stretch, terms.room, terms.log_epsilon
        self._count += 1
        return place

    def size(self, paths: npt.ArrayLike, prices: Floats, highs: Floats) -> SplitSizings:
        """Size paths (places, (N,)) at prices and under largest rates of their own, (N, L), work/slot."""
        which = np.asarray(paths, dtype=np.int64)
        theta, isolation = self._theta[which], self._isolation[which]
        finite = np.isfinite(isolation)
        with np.errstate(invalid="ignore"):
            tops = np.where(finite, theta[:, :, None] * (highs[:, None, :] - isolation), -1.0)
        dearest = prices.max(axis=1, initial=0.0)[:, None]
        # a price of zero leaves the program without a direction, unless a largest rate bounds it
        floor = np.where(np.isfinite(highs), 0.0, np.where(dearest > 0.0, 1e-9 * dearest, 1e-9))
        paid = np.maximum(prices, floor)
        paid[~paid.any(axis=1)] = 1e-9
        safe = np.where(finite, isolation, 0.0)
        fixed = np.where(finite.all(axis=2), (safe * paid[:, None, :]).sum(axis=2), np.inf)
        values, points, bounds = self._solved(which, paid, theta, tops, fixed)
        changed = (paid != prices).any(axis=1)
        if changed.any():  # there only the isolation condition is certain
            free = fixed[changed] - (safe[changed] * (paid - prices)[changed][:, None, :]).sum(axis=2)
            bounds[changed] = np.where(np.isfinite(bounds[changed]), free, np.inf)
        return self._rated(which, prices, highs, values, points, bounds)

    def _solved(
        self, which: npt.NDArray[np.int64], paid: Floats, theta: Floats, tops: Floats, fixed: Floats
    ) -> tuple[Floats, Floats, Floats]:
        given = (
            paid[:, None, :] / theta[:, :, None],
            tops,
            theta * self._rho[which],
            -self._scalars[which, 2],
            self._constants[which],
            self._scalars[which, 1],
            fixed,
        )
        parts = min(os.cpu_count() or 1, 1 + len(which) // _WORTH_A_THREAD)
        if parts == 1:
            return size_paths(*given)
        cuts = np.linspace(0, len(which), parts + 1).astype(int)
        with ThreadPoolExecutor(parts) as pool:
            chunks = [tuple(np.ascontiguousarray(part[a:b]) for part in given) for a, b in pairwise(cuts)]
            found = list(pool.map(lambda chunk: size_paths(*chunk), chunks))
        values, points, bounds = (np.concatenate(part) for part in zip(*found, strict=True))
        return values, points, bounds

    def _rated(
        self,
        which: npt.NDArray[np.int64],
        prices: Floats,
        highs: Floats,
        values: Floats,
        points: Floats,
        bounds: Floats,
    ) -> SplitSizings:
        """Rates and shares at each path's best θ."""
        row = np.arange(len(which))
        index = np.argmin(values, axis=1)
        good = np.isfinite(values[row, index])
        theta, rho = self._theta[which, index], self._rho[which, index]
        isolation = self._isolation[which, index]
        isolation[~good] = np.nan
        rates = isolation + points[row, index] / theta[:, None] * (1 + 1e-12)
        rates = np.minimum(np.maximum(rates, isolation * (1 + LEAST_MARGIN)), np.maximum(highs, rates))
        deadlines, budgets = best_shares(
            theta,
            rho,
            isolation - rho[:, None],
            self._constants[which, index],
            self._scalars[which, 1],
            self._scalars[which, 0],
            self._latencies[which],
            self._delays[which],
            self._scalars[which, 2],
            rates,
        )
        cost = np.where(good, (prices * rates).sum(axis=1), math.inf)
        return SplitSizings(cost, bounds.min(axis=1), theta, index, rates, deadlines, budgets)
