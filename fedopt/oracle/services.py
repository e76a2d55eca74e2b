"""Paths of all kinds that send the same work under the same promise: floors, and scales once they are known.

Policies and payments do not change what a path needs, so kinds that differ in nothing else share a service.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numba import njit
from scipy.optimize import minimize

from fedopt.calculus.floor import ville_floor
from fedopt.calculus.forms import BLOCK, BLOCK_VILLE, FORMS, IMAGE, PLAIN_IMAGE
from fedopt.calculus.profile import scale_at_theta
from fedopt.calculus.scaling import least_scales
from fedopt.oracle.image_scale import ACCURACY, image_scale, neighbour, scale_workspace
from fedopt.oracle.network import Kind, Network, TooManyPaths
from fedopt.oracle.remembered import give, take
from fedopt.oracle.sizing import Column
from fedopt.oracle.tree import (
    MEMORY_FULL,
    OUTPUT_FULL,
    Graph,
    Leaves,
    Memory,
    refill,
    search,
)

__all__ = ["FLOOR_SAFETY", "Service", "floors", "proof_of"]

FLOOR_SAFETY = 1.0 - 1e-9  # the floor's search ends a relative 1e-11 above its minimum
_MOST_WINDOWS = 64
_LEAVES = 64
_SEARCH = {"xatol": 1e-4, "fatol": 1e-7, "maxiter": 200}


@njit(cache=True, error_model="numpy", nogil=True)
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


def proof_of(found: tuple[int, float, float, int], hops: int) -> dict[str, object]:
    """What a plan entry states of a scale's (form, θ, parameter, split)."""
    form, theta, parameter, split = found
    proof: dict[str, object] = {"form": FORMS[form], "theta": theta}
    if form in (BLOCK, BLOCK_VILLE) and hops > 1:
        proof["block"] = int(parameter)
    if form == IMAGE and hops > 1:
        proof["parameters"] = {"alpha": parameter, "split": split}
    return proof


_Key = tuple[tuple[int, ...], int]
_Proof = tuple[int, float, float, int]


class Service:
    """One service over the whole network; answers for the kinds that ask for it.

    Raises TooManyPaths where paths cannot be numbered in 62 bits.
    """

    def __init__(self, network: Network, kind: Kind) -> None:
        self.network = network
        self.arrival, self.deadline = kind.arrival, kind.deadline
        self.biased, self.log_epsilon = kind.biased, kind.log_epsilon
        order = self.order = np.argsort(network.stage, kind="stable")
        pure = np.where(network.guardrail, 0.0, network.latency)[order]
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
        self._theta = math.log(theta)
        self.graph = Graph(
            np.concatenate([[0], np.cumsum(sizes)]),
            network.row[order],
            network.domain[order],
            lags,
            pure,
            network.fixed[order],
            cap,
            network.link_delay,
            network.link_cost,
            self.windows,
            np.where(floor <= cap, floor, math.inf),
        )
        self._key = self._content(lags, pure)
        remembered = take(self._key) if self._key is not None else None
        # by path and window: the least scale and its proof, or what it exceeds and nothing
        self._sized: dict[_Key, tuple[float, _Proof | None]] = {}
        if remembered is not None:
            self.memory, sized, caps = remembered
            if np.array_equal(caps, cap):  # where a cap held, a scale is another
                self._sized = sized
            return
        last = np.tile(neighbour(network.stages, 1.05, theta, 1.4), (network.stages + 1, 1))
        self.memory = Memory(np.full(4096, -1), np.empty(4096), np.zeros(1, dtype=np.int64), last)
        self._typical(network.prices_of_rates())

    def _content(self, lags: np.ndarray, pure: np.ndarray) -> bytes | None:
        """A digest of all that scales depend on; None where a model of the user's own cannot be told from
        others."""
        net = self.network
        if any(net.model_key(int(row)) is None for row in [self.arrival, *net.row[self.order]]):
            return None
        digest = hashlib.sha256(repr((self.deadline, self.biased, self.log_epsilon)).encode())
        for row in [self.arrival, *net.row[self.order]]:
            digest.update(net.model_key(int(row)) or b"")
        links = net.link_delay[np.ix_(net.domain[self.order], net.domain[self.order])]
        for part in (lags, pure, net.stage[self.order], links, self.windows):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.digest()

    def keep(self) -> None:
        """Leave what was learned to later solves of this process; nothing may be asked of the service any
        more."""
        if self._key is None:
            return
        entries = len(self.memory.keys) + 40 * len(self._sized)
        give(self._key, (self.memory, self._sized, self.graph.cap), entries)

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
        """Where the search for scales starts: the path that is cheapest at floors."""
        leaves, _ = self.leaves(self.graph, prices, math.inf, 0.0, rough=True)
        if not len(leaves.cost):
            return
        n = int(np.argmin(leaves.cost))
        key = (tuple(int(o) for o in leaves.hops[n]), int(leaves.window[n]))
        self._size([key], np.array([math.inf]))
        scale, proof = self._sized[key]
        if proof is not None and proof[2] > 1.0:
            self.memory.last[:] = neighbour(self.network.stages, scale, proof[1], proof[2])

    def graph_of(self, kind: Kind) -> Graph:
        """The graph with what the kind may not use left out."""
        return self.graph._replace(floor=np.where(kind.allowed[self.order], self.graph.floor, math.inf))

    def leaves(
        self,
        graph: Graph,
        prices: np.ndarray,
        known: float,
        tolerance: float,
        *,
        collect: bool = False,
        rough: bool = False,
        nodes: int = 2**62,
    ) -> tuple[Leaves, float]:
        """(paths that may be cheaper than `known`, what all others cost at least)."""
        size = _LEAVES
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
                collect,
                rough,
                nodes,
                self.memory,
                leaves,
            )
            if status == MEMORY_FULL:
                self._enlarge()
            elif status == OUTPUT_FULL:
                size *= 4
            else:
                return Leaves(*(part[:found] for part in leaves)), bound

    def _enlarge(self) -> None:
        old = self.memory
        size = 4 * len(old.keys)
        keys, values = np.full(size, -1), np.empty(size)
        refill(old.keys, old.values, keys, values)
        self.memory = Memory(keys, values, old.used, old.last)

    def columns(
        self,
        kind: Kind,
        hops: np.ndarray,
        windows: np.ndarray,
        prices: np.ndarray | None = None,
        ceiling: float = math.inf,
    ) -> list[Column | None]:
        """The points of paths, positions in stage order (N, S), sized exactly; None where there is none,
        or none below a ceiling of the cost at prices."""
        keys: list[_Key] = [
            (tuple(int(o) for o in own), int(window)) for own, window in zip(hops, windows, strict=True)
        ]
        most = np.full(len(keys), math.inf)
        if prices is not None and math.isfinite(ceiling) and len(keys):
            shape = self._shape(hops, windows)
            room = ceiling - np.array([self.network.charge(own) for own in self.order[hops]])
            with np.errstate(divide="ignore", over="ignore"):
                most = room / np.maximum((shape * prices[self.order[hops]]).sum(axis=1), 1e-300)
            inside = (most[:, None] * shape < self.graph.cap[hops]).all(axis=1)
            most = np.where(inside, most * (1.0 + 1e-9), math.inf)
        open_ = {}
        for key, limit in zip(keys, most.tolist(), strict=True):
            known = self._sized.get(key)
            if known is None or (known[1] is None and known[0] < limit):
                open_[key] = limit
        self._size(list(open_), np.array(list(open_.values())))
        return [self._column(kind, key) for key in keys]

    def _size(self, keys: list[_Key], ceilings: np.ndarray) -> None:
        """Size paths by the image form without overshoot credit."""
        if not keys:
            return
        hops, windows = np.array([key[0] for key in keys]), np.array([key[1] for key in keys])
        shape, cap = self._shape(hops, windows), self.graph.cap[hops]
        for n, key in enumerate(keys):
            if not self._size_by_image(key, hops[n], shape[n], cap[n]):
                self._size_by_search(key, hops[n], shape[n], cap[n])

    def _size_by_image(self, key: _Key, hops: np.ndarray, shape: np.ndarray, cap: np.ndarray) -> bool:
        """Size one path by Newton's method, proven at the (θ, α) found; False where that fails."""
        stages = len(hops)
        work = scale_workspace(stages)
        row, lag, window = self.graph.row[hops], self.graph.lag[hops], key[1]
        models, biased, log_epsilon = self.network.models, self.biased, self.log_epsilon
        last = self.memory.last[stages].copy()
        path = (models, self.arrival, row, lag, window, biased, log_epsilon)
        estimate = image_scale(path, shape, last, work)
        if not estimate > 0.0 or (estimate * shape >= cap).any():
            return False
        theta, alpha = math.exp(last[1]), 1.0 + math.exp(last[2])
        scale = self._plain(hops, window, shape, cap, theta, alpha, estimate)
        if not scale <= estimate * (1.0 + ACCURACY):
            return False
        self._sized[key] = (float(scale), (IMAGE, theta, alpha, 0))
        return True

    def _size_by_search(self, key: _Key, hops: np.ndarray, shape: np.ndarray, cap: np.ndarray) -> None:
        """Size one path without derivatives, where Newton's method fails: at stability's edge or at a cap."""

        guess = 1.1

        def scale(point: np.ndarray) -> float:
            tilt, ratio = math.exp(min(point[0], 50.0)), 1.0 + math.exp(min(point[1], 50.0))
            found = self._plain(hops, key[1], shape, cap, tilt, ratio, guess)
            return min(found, 1e9)

        stages = len(hops)
        credited, form, theta, alpha, split = least_scales(
            np.full(1, 1 << IMAGE),
            self.network.models,
            np.full(1, self.arrival),
            self.graph.row[hops][None],
            np.full(1, stages),
            np.ones((1, stages)),
            self.graph.lag[hops][None],
            np.full(1, key[1]),
            np.full(1, self.biased),
            np.full(1, self.log_epsilon),
            np.full(1, math.exp(self._theta)),
            shape[None],
            cap[None],
            np.full(1, math.inf),
        )
        best, at = math.inf, np.zeros(2)
        if form[0] >= 0:
            guess = float(credited[0])
            centre = np.array([math.log(theta[0]), math.log(max(alpha[0] - 1.0, 1e-4))])
            moves = [(x, y) for x in (0.0, -0.1, 0.1, -0.3, 0.3) for y in (0.0, -1.5, 1.5, 3.0)]
            values = [scale(centre + move) for move in moves]
            for n in np.argsort(values)[:2]:
                start = centre + moves[int(n)]
                answer = minimize(scale, start, method="Nelder-Mead", options=_SEARCH)
                if answer.fun < best:
                    best, at = float(answer.fun), answer.x
        if best < 1e9:
            self._sized[key] = best, (IMAGE, math.exp(at[0]), 1.0 + math.exp(at[1]), 0)
        elif form[0] >= 0:
            self._sized[key] = guess, (IMAGE, float(theta[0]), float(alpha[0]), int(split[0]))
        else:
            self._sized[key] = math.inf, None

    def _plain(
        self,
        hops: np.ndarray,
        window: int,
        shape: np.ndarray,
        cap: np.ndarray,
        theta: float,
        alpha: float,
        guess: float,
    ) -> float:
        """The scale that the image form without overshoot credit proves at (θ, α)."""
        stages = len(hops)
        models, row, lag = self.network.models, self.graph.row[hops], self.graph.lag[hops]
        path = (models, self.arrival, row, np.ones(stages), lag, window, self.biased, self.log_epsilon)
        work = (np.empty((4, stages + 1)), np.empty(stages))
        cut = np.arange(stages + 1)
        found = scale_at_theta(
            PLAIN_IMAGE, path, theta, alpha, cut, shape, cap, guess, 0.0, math.inf, True, work
        )
        return float(found[0])

    def _shape(self, hops: np.ndarray, windows: np.ndarray) -> np.ndarray:
        """Floors along paths, shape (N, S)."""
        position = np.searchsorted(self.windows, windows)
        return np.ascontiguousarray(self.graph.floor[position[:, None], hops])

    def _column(self, kind: Kind, key: _Key) -> Column | None:
        scale, proof = self._sized[key]
        if proof is None:
            return None
        own, window = key
        hops = np.array(own)
        offers = self.order[hops]
        shape = self._shape(hops[None], np.array([window]))[0]
        sizes = np.diff(self.graph.first) + 1
        path = 0
        for s, hop in enumerate(own):
            path = path * int(sizes[s]) + hop - int(self.graph.first[s]) + 1
        return Column(
            kind.index,
            path,
            path,
            offers,
            np.minimum(scale * shape, self.graph.cap[hops]),
            self.network.charge(offers),
            proof_of(proof, len(own)),
        )

    def price(
        self, kind: Kind, prices: np.ndarray, known: float, tolerance: float, keep: int, nodes: int
    ) -> tuple[float, list[Column]]:
        """(bound, columns cheaper than `known`, cheapest first), as `Oracle.price` has it."""
        leaves, bound = self.leaves(self.graph_of(kind), prices, known, tolerance, nodes=nodes)
        lower = np.where(leaves.sure > 0, leaves.cost * (1.0 - 2.0 * ACCURACY), leaves.cost)
        best, found, waiting = known, [], np.argsort(lower, kind="stable")
        while len(waiting) and (best == math.inf or lower[waiting[0]] < best - tolerance * abs(best)):
            batch, waiting = waiting[:keep], waiting[keep:]
            columns = self.columns(kind, leaves.hops[batch], leaves.window[batch], prices, best)
            for column in columns:
                if column is not None and column.cost(prices) < known:
                    found.append(column)
                    best = min(best, column.cost(prices))
        found.sort(key=lambda column: column.cost(prices))
        return min(bound, best, float(lower[waiting].min(initial=math.inf))), found[:keep]

    def rough(self, kind: Kind, prices: np.ndarray, known: float) -> list[Column]:
        """The cheapest path cheaper than `known` if all paths needed the same scale; nothing is proven of
        it."""
        scale = float(self.memory.last[-1, 0])
        leaves, _ = self.leaves(self.graph_of(kind), scale * prices, known, 1e-6, rough=True)
        if not len(leaves.cost):
            return []
        n = int(np.argmin(leaves.cost))
        shape = self._shape(leaves.hops[n : n + 1], leaves.window[n : n + 1])[0]
        offers = self.order[leaves.hops[n]]
        return [Column(kind.index, 0, 0, offers, scale * shape, self.network.charge(offers))]

    def within(self, kind: Kind, prices: np.ndarray, limit: float) -> list[Column]:
        """All points below a limit."""
        leaves, _ = self.leaves(self.graph_of(kind), prices, limit, 0.0, collect=True)
        columns = self.columns(kind, leaves.hops, leaves.window, prices, limit)
        return [column for column in columns if column is not None and column.cost(prices) < limit]

    def along(self, kind: Kind, paths: np.ndarray) -> list[Column]:
        """The points of given paths in proportion to floors, offer indices (N, S) in stage order; paths
        that leave no window are left out."""
        where = np.empty(len(self.order), dtype=np.int64)
        where[self.order] = np.arange(len(self.order))
        pure = self.graph.pure[where[paths]].sum(axis=1)
        windows = np.floor(self.deadline - pure - self.network.links(paths) + 1e-9)
        good = windows >= 0
        hops, windows = where[paths[good]], windows[good].astype(np.int64)
        possible = np.isfinite(self.graph.floor[np.searchsorted(self.windows, windows)[:, None], hops]).all(1)
        hops, windows = hops[possible], windows[possible]
        found = self.columns(kind, hops, windows)
        return [column for column in found if column is not None]
