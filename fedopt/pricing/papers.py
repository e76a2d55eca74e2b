"""Reservations under the paper's own guarantees: one price-free point a path, sized for all paths at once.

paper-path needs one common rate, R = ρ + Σκ + x/θ with the least x of constant + φ(x) ≤ x(τ − ΣT);
paper-local the same in every domain alone, with the whole deadline in each (problem (20)).  Both take each
path's own best θ: a geometric grid, then a golden section between the neighbours of its best point,
vectorised over paths.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fedopt.calculus.paper import local, margin, path_bound, path_proven
from fedopt.calculus.theta_search import theta_grid
from fedopt.pricing.network import Network, TenantClass
from fedopt.pricing.sizing import Column

__all__ = ["PaperLocalSizing", "PaperPathSizing"]

Floats = npt.NDArray[np.float64]
_RATIO = 0.6180339887498949


class _Paper:
    points = True

    def __init__(self, network: Network) -> None:
        self.network = network
        self._kinds: dict[int, tuple[Floats, Floats]] = {}

    def _least(
        self, kind: TenantClass, offers: np.ndarray, latency: Floats, deadline: Floats
    ) -> tuple[Floats, Floats]:
        """(least common rate, θ) of N chains of offers (N, L) with latencies (N, L) and deadlines (N,),
        slots."""
        net = self.network
        exponents = net.exponents(offers) if offers.shape[1] > 1 else np.ones(offers.shape)
        rows = net.row[offers]
        arrival = net.objects[kind.arrival]
        objects = {int(row): net.objects[row] for row in np.unique(rows)}

        def rates(theta: Floats) -> Floats:
            with np.errstate(all="ignore"):
                burst = theta * np.asarray(arrival.sigma(theta))
                if kind.biased:
                    burst = burst + np.asarray(arrival.request_log_bias(theta))
                total, charge = np.zeros(len(theta)), np.zeros(len(theta))
                for hop in range(rows.shape[1]):
                    kappa, eta = np.zeros(len(theta)), np.zeros(len(theta))
                    tilt = theta * exponents[:, hop]
                    for row, model in objects.items():
                        mine = rows[:, hop] == row
                        kappa[mine], eta[mine] = model.kappa(tilt[mine]), model.eta(tilt[mine])
                    total += kappa
                    charge += eta + kappa * latency[:, hop]
                x = margin(burst + theta * charge - kind.log_epsilon, deadline - latency.sum(axis=1))
                value = np.asarray(arrival.rho(theta)) + total + x / theta
            return np.where(np.isfinite(value), value, math.inf)

        if not len(offers):
            return np.zeros(0), np.zeros(0)
        widest = int(np.argmax(deadline - latency.sum(axis=1)))
        own = theta_grid(net.path(kind, offers[widest], kind.deadline - float(deadline[widest])))
        if not own.size:
            return np.full(len(offers), math.inf), np.full(len(offers), math.nan)
        grid = np.geomspace(own[0] / 4.0, own[-1] * (1.0 - 1e-9), 60)
        values = np.stack([rates(np.full(len(offers), theta)) for theta in grid])
        best = values.argmin(axis=0)
        low, high = np.log(grid[np.maximum(best - 1, 0)]), np.log(grid[np.minimum(best + 1, len(grid) - 1)])
        for _ in range(32):
            a, b = high - _RATIO * (high - low), low + _RATIO * (high - low)
            left = rates(np.exp(a)) <= rates(np.exp(b))
            low, high = np.where(left, low, a), np.where(left, b, high)
        theta = np.exp(0.5 * (low + high))
        found = rates(theta)
        coarse = values.min(axis=0)
        return np.minimum(found, coarse) * (1.0 + 1e-12), np.where(found <= coarse, theta, grid[best])

    def _of(self, kind: TenantClass) -> tuple[Floats, Floats]:
        raise TypeError("use a paper guarantee's own sizing")

    def least(self, kind: TenantClass, prices: np.ndarray) -> np.ndarray:
        """Priced reservations of each path, exact, shape (P,)."""
        rates, _ = self._rates(kind)
        with np.errstate(invalid="ignore"):
            cost = (prices[self.network.paths(kind).offers] * rates).sum(axis=1)
        return np.where(np.isfinite(rates).all(axis=1), cost, math.inf)

    def floors(self, kind: TenantClass) -> np.ndarray:
        """The rates themselves: the formulas know only the smallest, or each domain's own, shape (P, L)."""
        rates, _ = self._rates(kind)
        return rates

    def _rates(self, kind: TenantClass) -> tuple[Floats, Floats]:
        if kind.family not in self._kinds:
            rates, theta = self._of(kind)
            cap = self.network.most[self.network.paths(kind).offers]
            rates[(rates > cap).any(axis=1)] = math.inf
            self._kinds[kind.family] = rates, theta
        return self._kinds[kind.family]

    def size(
        self, kind: TenantClass, paths: np.ndarray, prices: np.ndarray, ceilings: np.ndarray
    ) -> list[list[Column]]:
        """The points of the paths asked that cost less than the ceilings."""
        rates, theta = self._rates(kind)
        every = self.network.paths(kind)
        answer: list[list[Column]] = []
        for path, ceiling in zip(paths, ceilings, strict=True):
            offers = every.offers[path]
            if np.isfinite(rates[path]).all() and float(prices[offers] @ rates[path]) < ceiling:
                proof = self._proof(kind, int(path), rates[path], theta[path])
                charge = float(every.charge[path])
                answer.append([Column(kind.index, int(path), int(path), offers, rates[path], charge, proof)])
            else:
                answer.append([])
        return answer

    def _proof(self, kind: TenantClass, path: int, rates: Floats, theta: Floats) -> dict[str, Any]:
        raise TypeError("use a paper guarantee's own sizing")


class PaperPathSizing(_Paper):
    """The path bound (15)–(17): a common rate on every path."""

    def _of(self, kind: TenantClass) -> tuple[Floats, Floats]:
        net, paths = self.network, self.network.paths(kind)
        rate, theta = self._least(kind, paths.offers, net.latency[paths.offers], kind.deadline - paths.links)
        hops = paths.offers.shape[1]
        return np.repeat(rate[:, None], hops, axis=1), np.repeat(theta[:, None], hops, axis=1)

    def _proof(self, kind: TenantClass, path: int, rates: Floats, theta: Floats) -> dict[str, Any]:
        paths = self.network.paths(kind)
        whole = self.network.path(kind, paths.offers[path], float(paths.links[path]))
        return {
            "form": "paper-path",
            "theta": float(theta[0]),
            "log_bound": float(path_bound(whole, rates, theta[:1])[0]),
            "parameters": {"proven": bool(path_proven(whole, theta[:1])[0])},
        }


class PaperLocalSizing(_Paper):
    """The local bound (10) with the whole deadline in every domain, as problem (20) has it: no end-to-end
    promise."""

    def _of(self, kind: TenantClass) -> tuple[Floats, Floats]:
        net, paths = self.network, self.network.paths(kind)
        hops = paths.offers.shape[1]
        pairs = np.stack([paths.offers.ravel().astype(float), np.repeat(paths.links, hops)], axis=1)
        unique, position = np.unique(pairs, axis=0, return_inverse=True)
        offers = unique[:, :1].astype(np.int64)
        rate, theta = self._least(kind, offers, net.latency[offers], kind.deadline - unique[:, 1])
        back = position.reshape(paths.offers.shape)
        return rate[back], theta[back]

    def _proof(self, kind: TenantClass, path: int, rates: Floats, theta: Floats) -> dict[str, Any]:
        paths = self.network.paths(kind)
        whole = self.network.path(kind, paths.offers[path], float(paths.links[path]))
        bounds = [float(local(whole, rates, np.array([tilt]))[0, d]) for d, tilt in enumerate(theta)]
        return {
            "form": "paper-local",
            "theta": float(theta[int(np.argmax(bounds))]),
            "log_bound": max(bounds),
            "parameters": {"thetas": [float(tilt) for tilt in theta]},
        }
