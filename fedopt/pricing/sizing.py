"""How much to reserve along a path: one interface for every guarantee.

A sizing knows, for a kind of tenant, a catalogue of admissible reservations of each of its paths.  `least`
bounds the priced cost of every path from below without solving anything; `size` finds it exactly.  Minplus
offers two points a path (`profiles`), paper-path and paper-local one, split a convex region.  A plan's
certificate does not refer to the catalogue but to `floors`, which hold for every reservation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fedopt.pricing.network import TenantClass

__all__ = ["Column", "Sizing"]


@dataclass(frozen=True, eq=False)
class Column:
    """One way to serve a unit of a kind: a path, reservations, and what proves the promise.

    Attributes:
        kind: index of the kind.
        path: index in the kind's path set.
        piece: which convex set of reservations of that path it belongs to; columns of one piece may be mixed.
        offers: offer indices along the path, shape (L,).
        rates: reservations, work/slot, shape (L,).
        charge: fixed and link charges of a unit.
        proof: form, θ and the other parameters of the guarantee, as a plan entry states them.
    """

    kind: int
    path: int
    piece: int
    offers: np.ndarray
    rates: np.ndarray
    charge: float
    proof: dict[str, Any] = field(default_factory=dict)

    def cost(self, prices: np.ndarray) -> float:
        """Charge and priced reservations; prices per work/slot, shape (offers,)."""
        return self.charge + float(prices[self.offers] @ self.rates)


class Sizing(Protocol):
    """Reservations of paths under one guarantee."""

    points: bool
    """Whether the catalogue of a path is finite: columns are then chosen whole, never mixed."""

    def least(self, kind: TenantClass, prices: np.ndarray) -> np.ndarray:
        """Lower bounds on the priced reservations of each path of a kind, shape (P,); +inf where none is
        enough."""

    def floors(self, kind: TenantClass) -> np.ndarray:
        """Rates below which no proof of the guarantee goes, whatever is reserved in the other domains, for
        each listed path, shape (P, L)."""

    def size(
        self, kind: TenantClass, paths: np.ndarray, prices: np.ndarray, ceilings: np.ndarray
    ) -> list[list[Column]]:
        """For each path asked, its columns cheaper than its ceiling (priced reservations), the cheapest
        among them.

        A catalogue of points returns all its points below the ceiling.
        """
