"""Minplus reservations: price-free points of each path, computed once where they can still win.

Where work is i.i.d. per slot, every path has the point of its `Service`: floors plus a common margin.  Paths
that are few have points along profiles R_i = min(c·s_i, cap_i) too: equal rates (s = 1); where there is no
service, rates in proportion to each domain's own floor; there and where there are guardrails, to its floor in
a share of the window: its own guardrail latency and a part of the rest that grows with the root of its price,
as the cheapest rates have it that serve the parts one after the other.  The least scale c does not depend on
prices.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from fedopt.calculus import store_and_forward
from fedopt.calculus.forms import ALL, IMAGE, bit
from fedopt.calculus.scaling import least_scales
from fedopt.laws import ModelTable
from fedopt.pricing.network import Network, PathSet, TenantClass
from fedopt.pricing.services import Service, floors, path_floors, proof_of
from fedopt.pricing.sizing import Column

__all__ = ["MinplusSizing"]

EQUAL, PROPORTIONAL, SHARED = range(3)
PROFILES = 3
_ROUGH_SCALE = 1.1
_LISTED = 500  # paths of a kind up to which profiles are tried beside its service


def _in_parallel(arguments: tuple) -> tuple[np.ndarray, ...]:
    """`least_scales` over threads: items are independent, so their number does not change the answer."""
    count, workers = len(arguments[0]), os.cpu_count() or 1
    if count < 2 * workers or workers == 1:
        return least_scales(*arguments)

    def part(
        first: int,
    ) -> tuple[np.ndarray, ...]:  # interleaved: neighbours tend to take as long as each other
        own = slice(first, None, workers)
        return least_scales(
            *(a if isinstance(a, ModelTable) else np.ascontiguousarray(a[own]) for a in arguments)
        )

    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(part, range(workers)))
    merged = tuple(np.empty(count, dtype=array.dtype) for array in parts[0])
    for first, answer in enumerate(parts):
        for whole, piece in zip(merged, answer, strict=True):
            whole[first::workers] = piece
    return merged


@dataclass(eq=False)
class _Points:
    """What is known of the points of a kind's paths; arrays of shape (P, profiles) or (P, L)."""

    paths: PathSet
    shape: np.ndarray  # (P, profiles, L)
    cap: np.ndarray  # (P, L)
    exponent: np.ndarray  # (P, L)
    mask: np.ndarray  # (P,)
    below: np.ndarray  # (P, profiles): the scale is at least this
    known: np.ndarray  # (P, profiles): whether it is exactly this
    proof: dict[tuple[int, int], tuple[int, float, float, int]]
    by_requests: dict[tuple[int, int], store_and_forward.Proof] = field(default_factory=dict)

    def rates(self, scale: np.ndarray) -> np.ndarray:
        """Reservations at scales (P, profiles), shape (P, profiles, L)."""
        with np.errstate(invalid="ignore"):
            return np.minimum(scale[:, :, None] * self.shape, self.cap[:, None, :])


class MinplusSizing:
    """Reservations under minplus, all forms or one of them."""

    points = True

    def __init__(self, network: Network, form: str | None = None) -> None:
        self.network = network
        self.mask = ALL if form is None else bit(form)
        self._kinds: dict[int, _Points] = {}  # by family
        self._services: dict[tuple[int, float, float, bool], Service] = {}

    def service(self, kind: TenantClass) -> Service | None:
        """What prices the kind's paths without listing them; None where listing them has to do.

        Its bounds are those of the image form: work i.i.d. per slot, domains independent.
        """
        net = self.network
        iid = net.models.iid
        if (
            net.stages < 2
            or net.objects[kind.arrival].per_stage
            or not self.mask >> IMAGE & 1
            or net.has_dependence
            or not (net.models.independent[kind.arrival] and iid[net.row[kind.allowed]].all())
        ):
            return None
        key = kind.service
        if key not in self._services:
            self._services[key] = Service(net, kind)
        return self._services[key]

    def listed(self, kind: TenantClass) -> bool:
        """Whether the kind's paths are listed, for points along profiles."""
        return self.service(kind) is None or self.network.at_most(kind) <= _LISTED

    def keep(self) -> None:
        """Leave what was learned about paths to later solves of this process."""
        for service in self._services.values():
            service.keep()
        self._services.clear()

    def rough(self, kind: TenantClass, prices: np.ndarray, known: float) -> list[Column]:
        """The cheapest path cheaper than `known` if all paths needed the same scale; it proves nothing."""
        service = self.service(kind)
        if service is not None:
            return service.rough(kind, prices, known)
        points = self._of(kind)
        rates = _ROUGH_SCALE * points.shape[:, PROPORTIONAL]
        cost = points.paths.charge + (prices[points.paths.offers] * rates).sum(axis=1)
        cost = np.where(np.isfinite(points.below).any(axis=1), cost, math.inf)
        best = int(np.argmin(cost)) if len(cost) else -1
        if best < 0 or not cost[best] < known:
            return []
        charge = float(points.paths.charge[best])
        return [Column(kind.index, best, 0, points.paths.offers[best], rates[best], charge)]

    def floors(self, kind: TenantClass) -> np.ndarray:
        """What no reservation of a listed path goes below in any domain, shape (P, L); +inf where none is
        enough."""
        points = self._of(kind)
        possible = np.isfinite(points.below).any(axis=1)
        return np.where(possible[:, None], points.shape[:, PROPORTIONAL], math.inf)

    def _of(self, kind: TenantClass) -> _Points:
        if kind.family not in self._kinds:
            self._kinds[kind.family] = self._prepare(kind)
        return self._kinds[kind.family]

    def _prepare(self, kind: TenantClass) -> _Points:
        net = self.network
        paths = net.paths(kind)
        exponent = net.exponents(paths.offers, forms=True)
        mask = net.forms(kind, paths.offers, exponent) & self.mask
        cap = net.most[paths.offers]
        floor = path_floors(net, kind)
        if net.objects[kind.arrival].per_stage:
            mask = np.full(len(floor), self.mask == ALL, dtype=np.int64)
        possible = (floor <= cap).all(axis=1) & (mask > 0)
        own = np.where(np.isfinite(floor), floor, 1.0)
        shape = np.stack([np.ones_like(floor), own, own], axis=1)
        below = np.stack([floor.max(axis=1, initial=0.0), *np.ones((2, len(floor)))], axis=1)
        below[~possible] = math.inf
        if not net.objects[kind.arrival].per_stage:
            shape[:, SHARED] = self._shared(kind, paths.offers, paths.window, own, net.prices_of_rates())
        least = (own / shape[:, SHARED]).max(axis=1, initial=0.0)
        below[:, SHARED] = np.where(possible, least, math.inf)
        if net.objects[kind.arrival].per_stage:
            below[:, PROPORTIONAL:] = math.inf
        elif self.service(kind) is not None:  # whose margins take the place of proportions
            below[:, PROPORTIONAL] = math.inf
            below[~net.guardrail[paths.offers].any(axis=1), SHARED] = math.inf
        else:
            same = floor.max(axis=1, initial=0.0) <= floor.min(axis=1, initial=math.inf) * (1.0 + 1e-6)
            below[same, PROPORTIONAL] = math.inf  # equal floors make the first two profiles the same
        return _Points(paths, shape, cap, exponent, mask, below, np.isinf(below), {})

    def _shared(
        self, kind: TenantClass, offers: np.ndarray, window: np.ndarray, own: np.ndarray, prices: np.ndarray
    ) -> np.ndarray:
        """Floors in shares of the windows (P,) at prices per work/slot, shape (P, L); where a share leaves
        none, a domain's floor in the whole window."""
        net, lags = self.network, self.network.lags(offers)
        weight = np.sqrt(np.maximum(prices[offers] * own, 1e-12))
        rest = np.maximum(window - lags.sum(axis=1), 0.0)
        share = np.floor(lags + rest[:, None] * weight / weight.sum(axis=1, keepdims=True) + 1e-9)
        rows = net.row[offers]
        shape = own.copy()
        for row, lag in np.unique(np.stack([rows.ravel().astype(float), lags.ravel()], axis=1), axis=0):
            here = (rows == row) & (lags == lag)
            windows, place = np.unique(share[here].astype(np.int64), return_inverse=True)
            least, _ = floors(
                net.models, kind.arrival, np.array([int(row)]), np.array([lag]), windows, kind.biased,
                kind.log_epsilon,
            )  # fmt: skip
            found = least[place.reshape(-1), 0]
            shape[here] = np.where(np.isfinite(found), found, own[here])
        return shape

    def least(self, kind: TenantClass, prices: np.ndarray) -> np.ndarray:
        """Priced reservations at the scales known or bounded from below, the cheaper profile; shape (P,)."""
        return self._priced(kind, prices).min(axis=1, initial=math.inf)

    def _priced(self, kind: TenantClass, prices: np.ndarray) -> np.ndarray:
        points = self._of(kind)
        own = prices[points.paths.offers]
        cost = np.einsum("pjl,pl->pj", points.rates(points.below), own)
        return np.where(np.isfinite(points.below), cost, math.inf)

    def size(
        self, kind: TenantClass, paths: np.ndarray, prices: np.ndarray, ceilings: np.ndarray
    ) -> list[list[Column]]:
        """The points of the paths asked that cost less than the ceilings."""
        points = self._of(kind)
        own = prices[points.paths.offers[paths]]
        priced = self._at(points, paths, own)
        p, profile = np.nonzero(~points.known[paths] & (priced < ceilings[:, None]))
        if len(p):
            self._solve(kind, points, paths[p], profile, own[p], ceilings[p])
            priced = self._at(points, paths, own)
        return [
            [
                self._column(kind, points, int(path), int(j))
                for j in np.argsort(priced[k])
                if priced[k, j] < ceilings[k] and points.known[path, j]
            ]
            for k, path in enumerate(paths)
        ]

    def _at(self, points: _Points, paths: np.ndarray, own: np.ndarray) -> np.ndarray:
        below = points.below[paths]
        with np.errstate(invalid="ignore"):
            rates = np.minimum(below[:, :, None] * points.shape[paths], points.cap[paths][:, None, :])
        return np.where(np.isfinite(below), np.einsum("pjl,pl->pj", rates, own), math.inf)

    def _solve(
        self,
        kind: TenantClass,
        points: _Points,
        paths: np.ndarray,
        profile: np.ndarray,
        own: np.ndarray,
        ceilings: np.ndarray,
    ) -> None:
        """Size points (paths, profile), shape (N,); a scale whose cost exceeds the ceiling is only
        bounded."""
        shape, cap = points.shape[paths, profile], points.cap[paths]
        with np.errstate(divide="ignore", over="ignore"):
            ceiling = ceilings / np.maximum((own * shape).sum(axis=1), 1e-300)
        if self.network.objects[kind.arrival].per_stage:
            self._solve_by_requests(kind, points, paths, profile)
            return
        # a ceiling that is not met rules out all below: not where there are guardrails, whose bounds may rise
        # with the rates
        useful = (ceiling[:, None] * shape < cap).all(axis=1)
        useful &= ~self.network.guardrail[points.paths.offers[paths]].any(axis=1)
        ceiling = np.where(useful, ceiling * (1.0 + 1e-9), math.inf)
        scale, form, theta, parameter, split = self._least_scales(
            kind, points.paths.offers[paths], points.mask[paths], points.exponent[paths],
            points.paths.window[paths], shape, ceiling,
        )  # fmt: skip
        found = form >= 0
        ruled_out = np.maximum(points.below[paths, profile], ceiling)
        points.below[paths, profile] = np.where(found, scale, ruled_out)
        points.known[paths, profile] = found | np.isinf(points.below[paths, profile])
        for n in np.flatnonzero(found):
            points.proof[int(paths[n]), int(profile[n])] = (
                int(form[n]),
                float(theta[n]),
                float(parameter[n]),
                int(split[n]),
            )

    def _solve_by_requests(
        self, kind: TenantClass, points: _Points, paths: np.ndarray, profile: np.ndarray
    ) -> None:
        """The same for requests whose sizes are drawn anew in each domain."""
        net = self.network
        spent = points.paths.links + np.where(net.guardrail, 0.0, net.latency)[points.paths.offers].sum(
            axis=1
        )
        for path, j in zip(paths, profile, strict=True):
            scale, proof = store_and_forward.least_scale(
                net.objects[kind.arrival],
                points.shape[path, j],
                points.cap[path],
                float(kind.deadline - spent[path]),
                kind.log_epsilon,
            )
            points.known[path, j] = True
            points.below[path, j] = scale
            points.by_requests[int(path), int(j)] = proof

    def _least_scales(
        self,
        kind: TenantClass,
        offers: np.ndarray,
        mask: np.ndarray,
        exponent: np.ndarray,
        window: np.ndarray,
        shape: np.ndarray,
        ceiling: np.ndarray,
    ) -> tuple[np.ndarray, ...]:
        """`least_scales` of N paths (N, L) along shapes (N, L)."""
        net = self.network
        count, hops = shape.shape
        return _in_parallel(
            (
                mask,
                net.models,
                net.arrivals(kind, offers),
                net.row[offers],
                np.full(count, hops),
                exponent,
                net.lags(offers),
                window,
                np.full(count, kind.biased),
                np.full(count, kind.log_epsilon),
                np.ones(count),
                np.ascontiguousarray(shape),
                np.ascontiguousarray(net.most[offers]),
                ceiling,
            )
        )

    def scales(
        self,
        kind: TenantClass,
        offers: np.ndarray,
        shapes: np.ndarray,
        ceilings: np.ndarray,
        forms: int = ALL,
    ) -> tuple[np.ndarray, ...]:
        """(scale, form, θ, parameter, split), each (N,): the least multiples of shapes (N, L) that some of
        the forms (a mask) proves on one path (L,); +inf above the ceilings (N,)."""
        net = self.network
        many = np.tile(offers, (len(shapes), 1))
        exponent = net.exponents(many, forms=True)
        window = np.full(len(shapes), self._window(kind, offers))
        mask = net.forms(kind, many, exponent) & self.mask & forms
        if net.guardrail[offers].any():  # see `_solve`
            ceilings = np.full(len(shapes), math.inf)
        return self._least_scales(kind, many, mask, exponent, window, shapes, ceilings)

    def kept(self, kind: TenantClass, offers: np.ndarray, rates: np.ndarray) -> bool:
        """Whether rates along a path keep what else is promised to a kind; nothing is here."""
        return True

    def settled(self, kind: TenantClass, offers: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Rates raised by what makes `kept` find the proofs that a search found in another way."""
        return rates

    def shapes(self, kind: TenantClass, offers: np.ndarray, prices: np.ndarray) -> np.ndarray:
        """Shapes worth a start on one path (L,), at prices of its own (L,): equal rates, floors, and floors
        in shares of the window; (3, L)."""
        net, hops = self.network, len(offers)
        window = np.array([self._window(kind, offers)])
        rows, lags = net.row[offers].astype(np.int64), net.lags(offers)
        least, _ = floors(net.models, kind.arrival, rows, lags, window, kind.biased, kind.log_epsilon)
        own = np.where(np.isfinite(least), least, 1.0)
        everywhere = np.zeros(len(net.names))
        everywhere[offers] = prices
        shared = self._shared(kind, offers[None], window, own, everywhere)
        return np.vstack([np.ones(hops), own, shared])

    def _window(self, kind: TenantClass, offers: np.ndarray) -> int:
        net = self.network
        pure = np.where(net.guardrail, 0.0, net.latency)[offers].sum()
        pure += float(net.links(offers[None], kind)[0])  # pools included
        return int(np.floor(kind.deadline - pure + 1e-9))

    def stated(self, proof: dict[str, object], offers: np.ndarray) -> dict[str, object]:
        """A proof with the Hölder exponents that its path needs, if any."""
        exponent = self.network.exponents(offers[None], forms=True)[0]
        if (exponent > 1.0).any():
            own = dict(proof.get("parameters", {}))  # type: ignore[call-overload]
            proof["parameters"] = own | {"exponents": [float(p) for p in exponent]}
        return proof

    def _column(self, kind: TenantClass, points: _Points, path: int, profile: int) -> Column:
        rates = np.minimum(points.below[path, profile] * points.shape[path, profile], points.cap[path])
        rates = self.network.in_servers(rates, points.paths.offers[path], np.ceil)
        if (path, profile) in points.by_requests:
            found = points.by_requests[path, profile]
            proof = {
                "form": store_and_forward.STORE_AND_FORWARD,
                "theta": found.theta,
                "parameters": found.parameters,
            }
        else:
            proof = self.stated(proof_of(points.proof[path, profile], len(rates)), points.paths.offers[path])
        return Column(
            kind.index,
            path,
            PROFILES * path + profile,
            points.paths.offers[path],
            rates,
            float(points.paths.charge[path]),
            proof,
        )

    def catalogue(self, kind: TenantClass) -> Iterator[Column]:
        """Every point of every path of a kind, sized; for tests and small instances."""
        points = self._of(kind)
        everything = np.arange(len(points.paths))
        for columns in self.size(
            kind, everything, np.ones(len(self.network.names)), np.full(len(everything), math.inf)
        ):
            yield from columns
