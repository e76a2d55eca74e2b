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
    """The numbers of the split constraint for P paths of L domains at M values of θ, filled path by path."""

    def __init__(self, paths: int, thetas: int, domains: int) -> None:
        self.theta = np.ones((paths, thetas))
        self._rho = np.zeros((paths, thetas))
        self._isolation = np.zeros((paths, thetas, domains))
        self._constants = np.full((paths, thetas, domains), np.inf)  # +inf: there is no such θ
        self._latencies = np.zeros((paths, domains))
        self._delays = np.zeros((paths, domains))
        self._stretch = np.ones(paths)
        self._room = np.zeros(paths)
        self._log_epsilon = np.zeros(paths)
        self.filled = np.zeros(paths, dtype=bool)

    def fill(self, path: int, terms: SplitTerms) -> None:
        """Set a path's numbers; it may have fewer θ than there is room for."""
        count = len(terms.theta)
        self.theta[path, :count] = terms.theta
        self._rho[path, :count] = terms.rho
        self._isolation[path, :count] = terms.isolation
        self._constants[path, :count] = terms.constants
        self._latencies[path], self._delays[path] = terms.latencies, terms.delays
        self._stretch[path], self._room[path] = terms.stretch, terms.room
        self._log_epsilon[path] = terms.log_epsilon
        self.filled[path] = True

    def size(self, paths: npt.ArrayLike, prices: Floats, highs: Floats) -> SplitSizings:
        """Size paths (indices, (N,)) at prices and under largest rates of their own, (N, L), work/slot."""
        which = np.asarray(paths, dtype=np.int64)
        theta, isolation = self.theta[which], self._isolation[which]
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
            -self._log_epsilon[which],
            self._constants[which],
            self._room[which],
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
        theta, rho = self.theta[which, index], self._rho[which, index]
        isolation = self._isolation[which, index]
        isolation[~good] = np.nan
        rates = isolation + points[row, index] / theta[:, None] * (1 + 1e-12)
        rates = np.minimum(np.maximum(rates, isolation * (1 + LEAST_MARGIN)), np.maximum(highs, rates))
        deadlines, budgets = best_shares(
            theta,
            rho,
            isolation - rho[:, None],
            self._constants[which, index],
            self._room[which],
            self._stretch[which],
            self._latencies[which],
            self._delays[which],
            self._log_epsilon[which],
            rates,
        )
        cost = np.where(good, (prices * rates).sum(axis=1), math.inf)
        return SplitSizings(cost, bounds.min(axis=1), theta, index, rates, deadlines, budgets)
