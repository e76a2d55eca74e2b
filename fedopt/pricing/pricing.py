"""The cheapest way to serve a unit of a kind at given prices, and a lower bound on it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from fedopt.errors import InputError
from fedopt.plan.milestones import has_milestones, refuse_milestones
from fedopt.pricing.milestones import MilestoneSizing
from fedopt.pricing.network import Abandoned, Network, TenantClass
from fedopt.pricing.papers import PaperLocalSizing, PaperPathSizing
from fedopt.pricing.profiles import MinplusSizing
from fedopt.pricing.regions import SplitSizing
from fedopt.pricing.services import ALL, Service
from fedopt.pricing.sizing import Column, Sizing

__all__ = ["Oracle", "Priced", "sizing_for"]

_BATCH = 48
_AT_ONCE = 256  # paths sized between two looks whether to stop


@dataclass(frozen=True, eq=False)
class Priced:
    """The answer of the oracle for one kind.

    Attributes:
        bound: no admissible way to serve a unit costs less (charge and priced reservations); +inf if there
        is none.
        columns: the columns met on the way, cheapest first; empty where nothing is cheaper than `known`.
    """

    bound: float
    columns: list[Column]


class Oracle:
    """Prices paths of a network under one sizing: best-first over lower bounds, exact on what survives."""

    def __init__(self, network: Network, sizing: Sizing) -> None:
        self.network = network
        self.sizing = sizing

    @property
    def large(self) -> bool:
        """Whether some kind has too many paths to list."""
        return not all(self._listed(kind) for kind in self.network.kinds)

    def keep(self) -> None:
        """Leave what was learned about paths to later solves of this process."""
        if isinstance(self.sizing, MinplusSizing):
            self.sizing.keep()

    def _service(self, kind: TenantClass) -> Service | None:
        return self.sizing.service(kind) if isinstance(self.sizing, MinplusSizing) else None

    def _listed(self, kind: TenantClass) -> bool:
        return self.sizing.listed(kind) if isinstance(self.sizing, MinplusSizing) else True

    def price(
        self,
        kind: TenantClass,
        prices: np.ndarray,
        known: float = math.inf,
        *,
        tolerance: float = 1e-9,
        keep: int = 4,
        effort: int | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Priced:
        """The cheapest column at prices per work/slot, shape (offers,), to a relative tolerance.

        known: a cost already at hand; only cheaper columns are returned, but the bound holds all the same.
        effort: the most paths to size (or the most nodes of a tree, a hundred each); the bound is then
        that of the paths left over. So it is where `stop` says that time is over.
        """
        bound = math.inf
        found: list[Column] = []
        service = self._service(kind)
        if service is not None:
            nodes = ALL if effort is None else 100 * effort
            bound, found = service.price(kind, prices, known, tolerance, keep, nodes, stop)
        if self._listed(kind):
            least = min([known, *(column.cost(prices) for column in found)])
            listed = self._among_listed(kind, prices, least, tolerance, effort, stop)
            bound = min(bound, listed.bound)
            found = found + listed.columns
        found.sort(key=lambda column: column.cost(prices))
        return Priced(bound, found[:keep])

    def _among_listed(
        self,
        kind: TenantClass,
        prices: np.ndarray,
        known: float,
        tolerance: float,
        effort: int | None,
        stop: Callable[[], bool],
    ) -> Priced:
        """`price` among the sizing's points of listed paths."""
        paths = self.network.paths(kind)
        if not len(paths):
            return Priced(math.inf, [])
        lower = paths.charge + self.sizing.least(kind, prices)
        found: list[Column] = []
        best = known
        remaining = lower.copy()
        left = len(remaining) if effort is None else effort
        while left > 0 and not (stop() and (found or math.isfinite(known))):
            size = min(_BATCH, len(remaining), left)
            batch = np.argpartition(remaining, size - 1)[:size]
            limit = best - tolerance * abs(best) if math.isfinite(best) else math.inf
            batch = batch[remaining[batch] < limit]
            if not len(batch):
                break
            if not math.isfinite(best):  # one first answer prunes much of the rest
                batch = batch[np.argsort(remaining[batch])][:8]
            left -= len(batch)
            for columns in self.sizing.size(kind, batch, prices, best - paths.charge[batch]):
                found.extend(columns)
            if found:
                best = min(best, min(column.cost(prices) for column in found))
            remaining[batch] = math.inf
        return Priced(min(best, float(remaining.min())), found)

    def cheapest(self, kind: TenantClass, prices: np.ndarray, count: int) -> Priced:
        """The least cost and the columns of about so many cheapest paths, cheapest first."""
        found = self.price(kind, prices, keep=count)
        service = self._service(kind)
        if service is None:
            return found
        ways = {(column.offers.tobytes(), column.rates.tobytes()): column for column in found.columns}
        for column in service.cheapest(kind, prices, count):
            ways[column.offers.tobytes(), column.rates.tobytes()] = column
        return Priced(found.bound, sorted(ways.values(), key=lambda column: column.cost(prices))[:count])

    def price_all(
        self,
        prices: np.ndarray,
        known: np.ndarray,
        *,
        tolerance: float = 1e-9,
        effort: int | None = None,
        rough: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[Priced]:
        """`price` for every kind, known: shape (kinds,); each family once, services side by side.

        stop: once it says so the families left over go without columns and with no bound (−inf).
        rough: columns as if all paths of a service needed the same scale, and no bounds.
        """
        answers: dict[int, Priced] = {}

        def work(members: list[TenantClass]) -> None:
            limit = max(float(known[kind.index]) for kind in members)
            if stop():
                found = Priced(-math.inf, [])
            elif rough and isinstance(self.sizing, MinplusSizing):
                found = Priced(-math.inf, self.sizing.rough(members[0], prices, limit))
            else:
                found = self.price(members[0], prices, limit, tolerance=tolerance, effort=effort, stop=stop)
            for kind in members:
                own = [
                    column if column.kind == kind.index else replace(column, kind=kind.index)
                    for column in found.columns
                    if column.cost(prices) < known[kind.index]
                ]
                answers[kind.index] = Priced(min(found.bound, float(known[kind.index])), own)

        self._each_family(work)
        return [answers[kind.index] for kind in self.network.kinds]

    def relaxed(self, prices: np.ndarray) -> tuple[np.ndarray, list[Column]]:
        """(least cost of a unit of each kind, shape (kinds,), columns that reach it) with every domain at its
        floor: a lower bound on whatever the guarantee proves, be it in the catalogue or not."""
        least = np.full(len(self.network.kinds), math.inf)
        columns: list[Column] = []

        def work(members: list[TenantClass]) -> None:
            kind = members[0].relaxed
            service = self._service(kind)
            if service is not None:
                bound, column = service.relaxed(kind, prices)
            else:
                bound, column = self._relaxed_list(kind, prices)
            for kind in members:
                least[kind.index] = bound
                if column is not None:
                    columns.append(replace(column, kind=kind.index))

        self._each_family(work)
        return least, sorted(columns, key=lambda column: column.kind)

    def _relaxed_list(self, kind: TenantClass, prices: np.ndarray) -> tuple[float, Column | None]:
        paths = self.network.paths(kind)
        floors = self.sizing.floors(kind)
        possible = (floors <= self.network.most[paths.offers]).all(axis=1)
        if not possible.any():
            return math.inf, None
        rates = np.where(possible[:, None], floors, 0.0)
        cost = paths.charge + (prices[paths.offers] * rates).sum(axis=1)
        best = int(np.argmin(np.where(possible, cost, math.inf)))
        offers, charge = paths.offers[best], float(paths.charge[best])
        return float(cost[best]), Column(kind.index, best, 0, offers, rates[best], charge)

    def first(self, prices: np.ndarray, stop: Callable[[], bool] = lambda: False) -> list[list[Column]]:
        """A good column or a few for every kind at prices, quickly; none for a kind that nothing serves.

        Raises Abandoned where `stop` says so.
        """
        answers: dict[int, list[Column]] = {}

        def work(members: list[TenantClass]) -> None:
            kind, found = members[0], []
            if stop():
                raise Abandoned("told to stop")
            service = self._service(kind)
            if service is not None:
                rough = service.rough(kind, prices, math.inf)
                found = service.along(kind, np.array([column.offers for column in rough])) if rough else []
            found = found or self.price(kind, prices, effort=4).columns or self.price(kind, prices).columns
            for kind in members:
                answers[kind.index] = [replace(column, kind=kind.index) for column in found]

        self._each_family(work)
        return [answers[kind.index] for kind in self.network.kinds]

    def _each_family(self, work: Callable[[list[TenantClass]], None]) -> None:
        """Do something for the kinds of each family; services side by side, a service's families in turn."""
        families: dict[int, list[TenantClass]] = {}
        for kind in self.network.kinds:
            families.setdefault(kind.family, []).append(kind)
        services: dict[object, list[list[TenantClass]]] = {}
        for members in families.values():
            key = members[0].service if self._service(members[0]) is not None else None
            services.setdefault(key, []).append(members)

        def serve(group: list[list[TenantClass]]) -> None:
            for members in group:
                work(members)

        listed = services.pop(None, [])  # sizes its lists side by side itself
        if services:
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                list(pool.map(serve, services.values()))
        serve(listed)

    def along(self, kind: TenantClass, paths: np.ndarray, prices: np.ndarray) -> list[Column]:
        """The columns of given paths, offer indices (N, L), at prices; paths that are not admissible are left
        out."""
        if not len(paths):
            return []
        paths = paths[kind.allowed[paths].all(axis=1)]
        service = self._service(kind)
        columns = service.along(kind, paths) if service is not None else []
        if not self._listed(kind):
            return columns
        known = {tuple(int(o) for o in own): p for p, own in enumerate(self.network.paths(kind).offers)}
        wanted = sorted({known[key] for own in paths if (key := tuple(int(o) for o in own)) in known})
        if wanted:
            sized = self.sizing.size(kind, np.array(wanted), prices, np.full(len(wanted), math.inf))
            columns += [column for own in sized for column in own]
        return columns

    def within_all(
        self,
        prices: np.ndarray,
        limits: np.ndarray,
        most: int = ALL,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[Column]:
        """`within` for every kind, limits: shape (kinds,); each family once, services side by side.

        Raises Abandoned where columns, or paths to be sized for them, are more than `most` in all, or where
        `stop` says so.
        """
        answers: dict[int, list[Column]] = {}

        def work(members: list[TenantClass]) -> None:
            left = most - sum(len(own) for own in tuple(answers.values()))
            if left < 0 or stop():
                raise Abandoned("told to stop" if left >= 0 else f"more than {most} columns")
            limit = max(float(limits[kind.index]) for kind in members)
            found = self.within(members[0], prices, limit, left, stop)
            for kind in members:
                answers[kind.index] = [
                    column if column.kind == kind.index else replace(column, kind=kind.index)
                    for column in found
                    if column.cost(prices) < limits[kind.index]
                ]

        self._each_family(work)
        columns = [column for kind in self.network.kinds for column in answers[kind.index]]
        if len(columns) > most:
            raise Abandoned(f"more than {most} columns")
        return columns

    def within(
        self,
        kind: TenantClass,
        prices: np.ndarray,
        limit: float,
        most: int = ALL,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[Column]:
        """All points of a catalogue whose cost at the prices is below the limit (for `points` sizings).

        Raises Abandoned where the paths to be sized are more than `most`, or where `stop` says so.
        """
        service = self._service(kind)
        columns = service.within(kind, prices, limit, most, stop) if service is not None else []
        if not self._listed(kind):
            return columns
        paths = self.network.paths(kind)
        lower = paths.charge + self.sizing.least(kind, prices)
        candidates = np.flatnonzero(lower < limit)
        if len(candidates) > most or stop():
            raise Abandoned(f"more than {most} paths" if len(candidates) > most else "told to stop")
        for begin in range(0, len(candidates), _AT_ONCE):
            if stop():
                raise Abandoned("told to stop")
            part = candidates[begin : begin + _AT_ONCE]
            answers = self.sizing.size(kind, part, prices, limit - paths.charge[part])
            columns += [column for own in answers for column in own]
        return columns


def sizing_for(guarantee: str, network: Network) -> Sizing:
    """The sizing of a guarantee: minplus, minplus:FORM, split, paper-path or paper-local."""
    family, _, form = guarantee.partition(":")
    if network.speed.any() and family != "minplus":
        raise InputError(f"pools of servers are planned under minplus, not under {guarantee}")
    if family != "minplus" and any(network.objects[kind.arrival].per_stage for kind in network.kinds):
        raise InputError(
            f"sizes drawn anew at each stage are planned under minplus, not under {guarantee}: all other "
            "guarantees are about work that keeps its size"
        )
    if family == "minplus":
        several = has_milestones(network.instance)
        return (MilestoneSizing if several else MinplusSizing)(network, form or None)
    refuse_milestones(network.instance, f"the guarantee {guarantee}")
    makers: dict[str, Callable[[Network], Sizing]] = {
        "split": SplitSizing,
        "paper-path": PaperPathSizing,
        "paper-local": PaperLocalSizing,
    }
    if family not in makers:
        raise ValueError(f"there is no sizing for the guarantee {guarantee!r}")
    return makers[family](network)
