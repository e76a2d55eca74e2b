"""Paths of all kinds that send the same work under the same promise: floors, and margins once they are known.

Policies and payments do not change what a path needs, so kinds that differ in nothing else share a service.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from fedopt.calculus.floor import ville_floor
from fedopt.calculus.forms import BLOCK, BLOCK_VILLE, FORMS, IMAGE
from fedopt.calculus.margin import least_margin
from fedopt.kernels import formula
from fedopt.pricing.cache import give, take
from fedopt.pricing.completion import completions
from fedopt.pricing.image_margin import ACCURACY, image_margin, margin_workspace, neighbour
from fedopt.pricing.network import Abandoned, Network, TenantClass, TooManyPaths
from fedopt.pricing.sizing import Column
from fedopt.pricing.tree import (
    MEMORY_FULL,
    OUTPUT_FULL,
    Graph,
    Leaves,
    Memory,
    refill,
    search,
)

__all__ = ["ALL", "FLOOR_SAFETY", "Service", "floors", "path_floors", "proof_of"]

FLOOR_SAFETY = 1.0 - 5e-8  # the search ends within 1e-8 of the best log θ, where the floor may have a kink
_MOST_WINDOWS = 64
_LEAVES = 64
_SEARCH = {"xatol": 1e-4, "fatol": 1e-7, "maxiter": 200}
_TYPICAL = 0.05  # margin over floor, before anything is known
_EXACT = 1e-9  # of a rate, at which (θ, α) of what is sized is found
ALL = 2**62  # paths, nodes: more than there can be
_AT_ONCE = 1_000  # paths sized between two looks whether to stop
_OWN = -1.0  # every path has its own margin


@formula
def floors(models, arrival, rows, lags, windows, biased, log_epsilon):
    """(floors (W, M), θ of the last) of domains (rows, lags: (M,)) for each window (W,)."""
    result = np.empty((windows.size, rows.size))
    guess = 1.0
    for m in range(rows.size):
        for w in range(windows.size):
            result[w, m], guess = ville_floor(
                models, arrival, rows[m], 1.0, windows[w], lags[m], biased, log_epsilon, guess
            )
    return result, guess


def path_floors(network: Network, kind: TenantClass) -> np.ndarray:
    """What each domain of each listed path must reserve by itself, whatever the others do, shape (P, L)."""
    paths = network.paths(kind)
    law = network.objects[kind.arrival]
    if law.per_stage:  # no form of a fluid: only stability bounds what is needed
        return np.full(paths.offers.shape, float(law.mean))
    pairs = np.stack([network.row, network.lags(np.arange(len(network.names)))], axis=1)
    unique, position = np.unique(pairs, axis=0, return_inverse=True)
    windows, row = np.unique(paths.window, return_inverse=True)
    arrivals = network.arrivals(kind, paths.offers)
    floor = np.empty(paths.offers.shape)
    for arrival in np.unique(arrivals):
        least, _ = floors(
            network.models,
            int(arrival),
            unique[:, 0].astype(np.int64),
            unique[:, 1],
            windows,
            kind.biased,
            kind.log_epsilon,
        )
        here = arrivals == arrival
        floor[here] = least[row[here, None], position.reshape(-1)[paths.offers[here]]] * FLOOR_SAFETY
    return floor


def proof_of(found: tuple[int, float, float, int], hops: int) -> dict[str, object]:
    """What a plan entry states of a (form, θ, parameter, split)."""
    form, theta, parameter, split = found
    proof: dict[str, object] = {"form": FORMS[form], "theta": theta}
    if form in (BLOCK, BLOCK_VILLE) and hops > 1:
        proof["block"] = int(parameter)
    if form == IMAGE and hops > 1:
        proof["parameters"] = {"alpha": abs(parameter), "split": split}  # tapered charges: −α, split −1
    return proof


_Key = tuple[tuple[int, ...], int]


class Service:
    """One service over the whole network; answers for the kinds that ask for it.

    Raises TooManyPaths where paths cannot be numbered in 62 bits.
    """

    def __init__(self, network: Network, kind: TenantClass) -> None:
        self.network = network
        self.arrival, self.deadline = kind.arrival, kind.deadline
        self.biased, self.log_epsilon = kind.biased, kind.log_epsilon
        order = self.order = np.argsort(network.stage, kind="stable")
        pure = network.pure(kind)[order]
        sizes = np.bincount(network.stage, minlength=network.stages)
        self._windows(pure, sizes)
        if math.log2(len(self.windows)) + sum(math.log2(size + 1) for size in sizes) > 62.0:
            raise TooManyPaths(
                f"tenant {kind.tenants[0][0]} has more paths than can be numbered; "
                "narrow its policy or merge stages"
            )
        lags = network.lags(order)
        pairs = np.stack([network.row[order], lags], axis=1)
        unique, position = np.unique(pairs, axis=0, return_inverse=True)
        least, theta = floors(
            network.models,
            self.arrival,
            unique[:, 0].astype(np.int64),
            unique[:, 1],
            self.windows,
            self.biased,
            self.log_epsilon,
        )
        floor = least[:, position.reshape(-1)] * FLOOR_SAFETY
        cap = network.most[order]
        self._theta = theta
        first = np.concatenate([[0], np.cumsum(sizes)])
        usable = np.where(floor <= cap, floor, math.inf)
        some = usable[np.isfinite(usable)]
        self.graph = Graph(
            first,
            network.row[order],
            network.domain[order],
            lags,
            pure,
            network.fixed[order],
            cap,
            network.link_delay,
            network.link_cost,
            self.windows,
            usable,
            completions(network.models, first, network.row[order], lags, usable, theta),
            float(some.mean()) if len(some) else 1.0,
        )
        # by path and window: the least margin and its (θ, α); +inf and nothing where none is enough
        self._sized: dict[_Key, tuple[float, tuple[float, float] | None]] = {}
        # where exact sizes are searched from: the same whatever was asked before
        self._start = neighbour(network.stages, _TYPICAL * self.graph.unit, theta, 1.4)
        last = np.tile(self._start, (network.stages + 1, 1))
        self.memory = Memory(np.full(4096, -1), np.empty(4096), np.zeros(1, dtype=np.int64), last)
        self._typical(network.prices_of_rates())
        self._key = self._content(lags, pure)
        if self._key is not None:
            self._sized = take(self._key) or self._sized

    def _content(self, lags: np.ndarray, pure: np.ndarray) -> bytes | None:
        """A digest of all that the margins of whole paths depend on, where their search starts included, so
        that what is remembered is what would be found again; None where a model of the user's own cannot be
        told from others."""
        net = self.network
        if any(net.model_key(int(row)) is None for row in [self.arrival, *net.row[self.order]]):
            return None
        digest = hashlib.sha256(repr((self.deadline, self.biased, self.log_epsilon)).encode())
        for row in [self.arrival, *net.row[self.order]]:
            digest.update(net.model_key(int(row)) or b"")
        links = net.link_delay[np.ix_(net.domain[self.order], net.domain[self.order])]
        graph = self.graph
        parts = (lags, pure, net.stage[self.order], links, self.windows, graph.floor, graph.cap, self._start)
        for part in parts:
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.digest()

    def keep(self) -> None:
        """Leave the margins of whole paths to later solves of this process."""
        if self._key is not None:
            give(self._key, self._sized, 40 * len(self._sized))

    def _windows(self, pure: np.ndarray, sizes: np.ndarray) -> None:
        """All whole windows that a path may leave, or so many of them that the next is never far."""
        ends = np.cumsum(sizes)
        stages = [pure[stop - size : stop] for stop, size in zip(ends, sizes, strict=True)]
        links = self.network.link_delay
        real = links[np.isfinite(links)]
        hops = len(sizes) - 1
        quick = sum(float(stage.min(initial=math.inf)) for stage in stages) + hops * real.min(initial=0.0)
        slow = sum(float(stage.max(initial=0.0)) for stage in stages) + hops * real.max(initial=0.0)
        most = max(math.floor(self.deadline - min(quick, self.deadline) + 1e-9), 0)
        least = max(math.floor(self.deadline - slow + 1e-9), 0)
        if most - least < _MOST_WINDOWS:
            self.windows = np.arange(least, most + 1)
        else:
            self.windows = np.unique(np.linspace(least, most, _MOST_WINDOWS).astype(np.int64))

    def _typical(self, prices: np.ndarray) -> None:
        """Where the search for margins starts: the path that is cheapest at floors."""
        leaves, _ = self.leaves(self.graph, prices, math.inf, 0.0, rough=0.0)
        if not len(leaves.cost):
            return
        n = int(np.argmin(leaves.cost))
        key = (tuple(int(o) for o in leaves.hops[n]), int(leaves.window[n]))
        self._size([key])
        margin, proof = self._sized[key]
        if proof is not None and proof[1] > 1.0:
            self._start = neighbour(self.network.stages, margin, *proof)
            self.memory.last[:] = self._start

    def graph_of(self, kind: TenantClass) -> Graph:
        """The graph with what the kind may not use left out."""
        return self.graph._replace(floor=np.where(kind.allowed[self.order], self.graph.floor, math.inf))

    def leaves(
        self,
        graph: Graph,
        prices: np.ndarray,
        known: float,
        tolerance: float,
        *,
        wanted: int = 1,
        rough: float = _OWN,
        nodes: int = ALL,
        most: int = ALL,
    ) -> tuple[Leaves, float]:
        """(paths that may be among so many cheapest, or all cheaper than `known` where 0 are wanted; what all
        others cost at least); Abandoned where these paths are more than `most`."""
        size = min(_LEAVES, most)
        while True:
            leaves = Leaves(
                np.empty((size, self.network.stages), dtype=np.int64),
                np.empty(size, dtype=np.int64),
                np.empty(size),
                np.empty(size, dtype=np.int64),
            )
            status, found, bound, _ = search(
                self.network.models,
                (self.arrival, self.deadline, self.biased, self.log_epsilon),
                graph,
                prices[self.order],
                known,
                tolerance,
                wanted,
                rough,
                nodes,
                self.memory,
                leaves,
            )
            if status == MEMORY_FULL:
                self._enlarge()
            elif status == OUTPUT_FULL:
                if size >= most:
                    raise Abandoned(f"more than {most} paths")
                size = min(4 * size, most)
            else:
                return Leaves(*(part[:found] for part in leaves)), bound

    def _enlarge(self) -> None:
        old = self.memory
        size = 4 * len(old.keys)
        keys, values = np.full(size, -1), np.empty(size)
        refill(old.keys, old.values, keys, values)
        self.memory = Memory(keys, values, old.used, old.last)

    def columns(self, kind: TenantClass, hops: np.ndarray, windows: np.ndarray) -> list[Column | None]:
        """The points of paths, positions in stage order (N, S), sized exactly; None where there is none."""
        keys: list[_Key] = [
            (tuple(int(o) for o in own), int(window)) for own, window in zip(hops, windows, strict=True)
        ]
        self._size([key for key in dict.fromkeys(keys) if key not in self._sized])
        return [self._column(kind, key) for key in keys]

    def _size(self, keys: list[_Key]) -> None:
        """The least margins of paths under the plain image form, at the best (θ, α) found."""
        for key in keys:
            hops = np.array(key[0])
            self._sized[key] = self._by_slopes(hops, key[1]) or self._by_search(hops, key[1])

    def _by_slopes(self, hops: np.ndarray, window: int) -> tuple[float, tuple[float, float]] | None:
        """The margin of one path by Newton's method; None where that fails, or where a cap holds."""
        graph, stages = self.graph, len(hops)
        row, lag, floor = graph.row[hops], graph.lag[hops], self._floor(hops, window)
        last = self._start.copy()
        members = np.arange(2 * stages + 1), np.repeat(row, 2), np.repeat(floor, 2)
        promise = window, self.biased, self.log_epsilon
        path = (
            self.network.models,
            self.arrival,
            members,
            row,
            float(lag.sum()),
            float(floor @ lag),
            *promise,
        )
        estimate = image_margin(path, last, graph.unit, margin_workspace(stages), _EXACT)
        if not estimate >= 0.0 or (floor + estimate > graph.cap[hops]).any():
            return None
        theta, alpha = math.exp(last[1]), 1.0 + math.exp(last[2])
        margin = self._proven(hops, window, theta, alpha, estimate)
        good = margin <= estimate + ACCURACY * (graph.unit + estimate)
        return (margin, (theta, alpha)) if good else None

    def _by_search(self, hops: np.ndarray, window: int) -> tuple[float, tuple[float, float] | None]:
        """The margin of one path without derivatives, where Newton's method fails or a cap holds."""
        guess = float(self._start[0])

        def margin(point: np.ndarray) -> float:
            tilt, ratio = math.exp(min(point[0], 50.0)), 1.0 + math.exp(min(point[1], 50.0))
            return min(self._proven(hops, window, tilt, ratio, guess), 1e9)

        starts = [
            np.array([math.log(self._theta) + shift, y])
            for shift in (0.0, 0.3, 0.6, 1.0, -0.3, -0.7)
            for y in (-1.0, -4.0, 0.5, 2.0)
        ]
        values = [margin(start) for start in starts]
        best, at = math.inf, starts[0]
        for n in np.argsort(values)[:2]:
            if values[int(n)] < 1e9:
                answer = minimize(margin, starts[int(n)], method="Nelder-Mead", options=_SEARCH)
                if answer.fun < best:
                    best, at = float(answer.fun), answer.x
        if not best < 1e9:
            return math.inf, None
        return best, (math.exp(at[0]), 1.0 + math.exp(at[1]))

    def _proven(self, hops: np.ndarray, window: int, theta: float, alpha: float, guess: float) -> float:
        """The least margin that the plain image form proves at (θ, α)."""
        graph = self.graph
        path = (
            self.network.models,
            self.arrival,
            graph.row[hops],
            graph.lag[hops],
            window,
            self.biased,
            self.log_epsilon,
        )
        return float(least_margin(path, self._floor(hops, window), graph.cap[hops], theta, alpha, guess))

    def _floor(self, hops: np.ndarray, window: int) -> np.ndarray:
        """Floors along a path, shape (S,)."""
        return np.ascontiguousarray(self.graph.floor[np.searchsorted(self.windows, window), hops])

    def _column(self, kind: TenantClass, key: _Key) -> Column | None:
        margin, proof = self._sized[key]
        if proof is None:
            return None
        own, window = key
        hops = np.array(own)
        offers = self.order[hops]
        sizes = np.diff(self.graph.first) + 1
        path = 0
        for s, hop in enumerate(own):
            path = path * int(sizes[s]) + hop - int(self.graph.first[s]) + 1
        rates = np.minimum(self._floor(hops, window) + margin, self.graph.cap[hops])
        rates = self.network.in_servers(rates, offers, np.ceil)
        stated = proof_of((IMAGE, *proof, 0), len(own))
        return Column(kind.index, path, path, offers, rates, self.network.charge(offers), stated)

    def cheapest(self, kind: TenantClass, prices: np.ndarray, count: int) -> list[Column]:
        """The columns of so many cheapest paths, cheapest first."""
        leaves, _ = self.leaves(self.graph_of(kind), prices, math.inf, 0.0, wanted=count)
        columns = self.columns(kind, leaves.hops, leaves.window)
        found = [column for column in columns if column is not None]
        return sorted(found, key=lambda column: column.cost(prices))[:count]

    def price(
        self,
        kind: TenantClass,
        prices: np.ndarray,
        known: float,
        tolerance: float,
        keep: int,
        nodes: int,
        stop: Callable[[], bool] = lambda: False,
    ) -> tuple[float, list[Column]]:
        """(bound, columns cheaper than `known`, cheapest first), as `Oracle.price` has it."""
        leaves, bound = self.leaves(self.graph_of(kind), prices, known, tolerance, nodes=nodes)
        found: list[Column] = []
        best, waiting = known, np.argsort(leaves.cost, kind="stable")
        while len(waiting) and (best == math.inf or leaves.cost[waiting[0]] < best - tolerance * abs(best)):
            if stop() and (found or math.isfinite(known)):
                break
            batch, waiting = waiting[:keep], waiting[keep:]
            for column in self.columns(kind, leaves.hops[batch], leaves.window[batch]):
                if column is not None and column.cost(prices) < known:
                    found.append(column)
                    best = min(best, column.cost(prices))
        found.sort(key=lambda column: column.cost(prices))
        return min(bound, best, float(leaves.cost[waiting].min(initial=math.inf))), found[:keep]

    def rough(self, kind: TenantClass, prices: np.ndarray, known: float) -> list[Column]:
        """The cheapest path cheaper than `known` if all paths needed the same margin; nothing is proven of
        it."""
        margin = max(float(self.memory.last[-1, 0]), 0.0)
        leaves, _ = self.leaves(self.graph_of(kind), prices, known, 1e-6, rough=margin)
        if not len(leaves.cost):
            return []
        n = int(np.argmin(leaves.cost))
        hops = leaves.hops[n]
        rates = np.minimum(self._floor(hops, int(leaves.window[n])) + margin, self.graph.cap[hops])
        offers = self.order[hops]
        return [Column(kind.index, 0, 0, offers, rates, self.network.charge(offers))]

    def relaxed(self, kind: TenantClass, prices: np.ndarray) -> tuple[float, Column | None]:
        """(least cost of a path whose domains reserve their floors, that path); no proof of any form is
        cheaper."""
        leaves, bound = self.leaves(self.graph_of(kind), prices, math.inf, 0.0, rough=0.0)
        if not len(leaves.cost):
            return bound, None
        n = int(np.argmin(leaves.cost))
        hops = leaves.hops[n]
        rates = np.minimum(self._floor(hops, int(leaves.window[n])), self.graph.cap[hops])
        offers = self.order[hops]
        column = Column(kind.index, 0, 0, offers, rates, self.network.charge(offers))
        return min(bound, float(leaves.cost[n])), column

    def within(
        self,
        kind: TenantClass,
        prices: np.ndarray,
        limit: float,
        most: int = ALL,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[Column]:
        """All points below a limit; Abandoned where their paths are more than `most` or `stop` says so."""
        leaves, _ = self.leaves(self.graph_of(kind), prices, limit, 0.0, wanted=0, most=most)
        columns: list[Column] = []
        for begin in range(0, len(leaves.cost), _AT_ONCE):
            if stop():
                raise Abandoned("told to stop")
            part = slice(begin, begin + _AT_ONCE)
            sized = self.columns(kind, leaves.hops[part], leaves.window[part])
            columns += [column for column in sized if column is not None and column.cost(prices) < limit]
        return columns

    def along(self, kind: TenantClass, paths: np.ndarray) -> list[Column]:
        """The points of given paths, offer indices (N, S) in stage order; paths that leave no window are left
        out."""
        where = np.empty(len(self.order), dtype=np.int64)
        where[self.order] = np.arange(len(self.order))
        pure = self.graph.pure[where[paths]].sum(axis=1)
        domains = self.network.domain[paths]
        links = self.network.link_delay[domains[:, :-1], domains[:, 1:]].sum(axis=1)
        windows = np.floor(self.deadline - pure - links + 1e-9)
        good = windows >= 0
        hops, windows = where[paths[good]], windows[good].astype(np.int64)
        possible = np.isfinite(self.graph.floor[np.searchsorted(self.windows, windows)[:, None], hops]).all(1)
        hops, windows = hops[possible], windows[possible]
        found = self.columns(kind, hops, windows)
        return [column for column in found if column is not None]
