"""Listed columns as arrays, sorted by kind: what a search looks through at every step."""

from __future__ import annotations

import numpy as np

from fedopt.pricing import Column, Network

__all__ = ["Catalogue"]


class Catalogue:
    """N columns of K kinds over paths of L offers; work per slot.

    Attributes:
        columns: the columns, those of a kind side by side, equal ones once.
        kind: kind of each column, shape (N,).
        start: where each kind's columns begin and the last kind's end, shape (K + 1,).
        offers: offer indices, shape (N, L).
        rates: reservations, shape (N, L).
        charge: fixed and link charges of a head, shape (N,).
    """

    def __init__(self, network: Network, columns: list[Column]) -> None:
        self.network = network
        once: dict[tuple[int, bytes, bytes], Column] = {}
        for column in columns:
            once.setdefault((column.kind, column.offers.tobytes(), column.rates.tobytes()), column)
        self.columns = sorted(once.values(), key=lambda column: column.kind)
        self.kind = np.array([column.kind for column in self.columns], dtype=np.int64)
        self.start = np.searchsorted(self.kind, np.arange(len(network.kinds) + 1))
        shape = (len(self.columns), network.stages)
        self.offers = np.array([column.offers for column in self.columns], dtype=np.int64).reshape(shape)
        self.rates = np.array([column.rates for column in self.columns], dtype=float).reshape(shape)
        self.charge = np.array([column.charge for column in self.columns], dtype=float)

    def __len__(self) -> int:
        return len(self.columns)

    def priced(self, prices: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Cost of the columns `which` at prices per work/slot of each offer."""
        return self.charge[which] + (prices[self.offers[which]] * self.rates[which]).sum(axis=1)
