"""The cheapest way to serve a head of a kind at given prices, and a lower bound on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fedopt.oracle.network import Kind, Network
from fedopt.oracle.sizing import Column, Sizing

__all__ = ["Oracle", "Priced"]

_BATCH = 48


@dataclass(frozen=True, eq=False)
class Priced:
    """The answer of the oracle for one kind.

    Attributes:
        bound: no admissible way to serve a head costs less (charge and priced reservations); +inf if there
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

    def price(
        self,
        kind: Kind,
        prices: np.ndarray,
        known: float = math.inf,
        *,
        tolerance: float = 1e-9,
        keep: int = 4,
        effort: int | None = None,
    ) -> Priced:
        """The cheapest column at prices per work/slot, shape (offers,), to a relative tolerance.

        known: a cost already at hand; only cheaper columns are returned, but the bound holds all the same.
        effort: the most paths to size; the bound is then that of the paths left unsized.
        """
        paths = self.network.paths(kind)
        if not len(paths):
            return Priced(math.inf, [])
        lower = paths.charge + self.sizing.least(kind, prices)
        best, found = known, []
        remaining = lower.copy()
        left = len(remaining) if effort is None else effort
        while left > 0:
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
        least = float(remaining.min())
        found.sort(key=lambda column: column.cost(prices))
        return Priced(min(best, least), found[:keep])

    def within(self, kind: Kind, prices: np.ndarray, limit: float) -> list[Column]:
        """All points of a catalogue whose cost at the prices is below the limit (for `points` sizings)."""
        paths = self.network.paths(kind)
        lower = paths.charge + self.sizing.least(kind, prices)
        candidates = np.flatnonzero(lower < limit)
        if not len(candidates):
            return []
        answers = self.sizing.size(kind, candidates, prices, limit - paths.charge[candidates])
        return [column for columns in answers for column in columns]
