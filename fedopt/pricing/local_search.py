"""Cheaper reservations near a column's: any shape, not only those of the catalogue.

At given prices the rates of one domain after the other are raised and lowered by a part, and the least
multiple of the new shape that any form proves is found anew (`fedopt.calculus.scaling`); the cheapest counts.
Coarse steps come first, then finer ones.  Last, every rate is lowered as far as the others allow.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np

from fedopt.calculus import split
from fedopt.calculus.forms import ALL, FORMS
from fedopt.calculus.minplus import Evaluation, evaluate, slower_rates, verify
from fedopt.pricing.network import TenantClass
from fedopt.pricing.profiles import MinplusSizing
from fedopt.pricing.services import proof_of
from fedopt.pricing.sizing import Column

__all__ = ["cheaper"]

_STEPS = (0.5, 0.15, 0.04, 0.01, 0.0025)
"""Parts by which a rate moves; the last is below what a reader would call rounding."""
_MOST_MOVES = 5  # of each size
_GAIN = 1e-6  # of the cost, below which a move is not worth its time
_NEEDED = 0.996
"""A rate is needed if this part of it is not enough."""
_LOWER = np.array([0.3, 0.5, 0.7, 0.85, 0.93, 0.97, 0.985, _NEEDED])


def cheaper(
    sizing: MinplusSizing, kind: TenantClass, column: Column, prices: np.ndarray, *, thorough: bool
) -> Column:
    """A column on the same path that costs less at prices per work/slot, shape (offers,), or the same one.

    thorough: whether every rate is lowered until the bound itself, searched anew, says that it is needed;
    where there are guardrails that is done in any case, for they cost θRT however fast they are.
    """
    network = sizing.network
    if network.speed[column.offers].any() or network.objects[kind.arrival].per_stage:
        return column  # whole servers have nothing between two of them; whole requests have one form alone
    search = _Search(sizing, kind, column, prices)
    search.turn()
    search.lower(thorough or bool(search.path.rate_latency.any()))
    return search.split() or search.column()


class _Search:
    """The best rates so far, their cost at the prices and what proves them."""

    def __init__(self, sizing: MinplusSizing, kind: TenantClass, column: Column, prices: np.ndarray) -> None:
        self.sizing, self.kind, self.start = sizing, kind, column
        network = sizing.network
        self.own, self.cap = prices[column.offers], network.most[column.offers]
        self.path = network.path(kind, column.offers, float(network.links(column.offers[None], kind)[0]))
        self.rates, self.proof = column.rates, dict[str, Any](column.proof)
        self.cost = float(self.own @ column.rates)
        self.forms = ALL

    def turn(self) -> None:
        """Raise and lower one rate at a time, then one against another, and scale all, while that saves
        something."""
        if not self.own.max() > 0.0:
            return
        one = np.eye(len(self.own))
        singles = np.concatenate([one, -one])
        pairs = np.array([one[i] - one[j] for i, j in permutations(range(len(one)), 2)]).reshape(-1, len(one))
        self._take(self.sizing.shapes(self.kind, self.start.offers, self.own))
        for step in _STEPS:
            # small steps hardly ever change which form is the best, and one form is far quicker than six
            self.forms = ALL if step == _STEPS[0] else 1 << FORMS.index(self.proof["form"])
            for _ in range(_MOST_MOVES):
                slower = slower_rates(self.path, self.rates, self.proof)
                if self._take(np.vstack([self.rates * np.exp(step * singles), slower])):
                    continue
                if not (len(pairs) and self._take(self.rates * np.exp(step * pairs))):
                    break

    def _take(self, shapes: np.ndarray) -> bool:
        """Keep the cheapest of shapes (N, L), each at its least multiple, if it is cheaper."""
        ceilings = self.cost / np.maximum(shapes @ self.own, 1e-300)
        scale, *found = self.sizing.scales(self.kind, self.start.offers, shapes, ceilings, self.forms)
        finite = np.isfinite(scale)
        sized = np.minimum(np.where(finite, scale, 0.0)[:, None] * shapes, self.cap)
        cost = np.where(finite, sized @ self.own, np.inf)
        n = int(np.argmin(cost))
        if not cost[n] < self.cost * (1.0 - _GAIN):
            return False
        self.rates, self.cost = sized[n], float(cost[n])
        self.proof = proof_of(tuple(part[n].item() for part in found), len(self.own))
        return True

    def lower(self, thorough: bool) -> None:
        """Lower each rate by itself as far as something is still proven."""
        for i in np.argsort(-self.own * self.rates, kind="stable"):
            while self._lowered(int(i), np.array([_NEEDED])) and self._lowered(int(i), _LOWER):
                pass
        if not thorough:
            return
        for i in range(len(self.rates)):
            for part in (*_LOWER[::-1], *[_NEEDED] * _MOST_MOVES):
                if not self._still_proven(i, part):
                    break

    def _still_proven(self, i: int, part: float) -> bool:
        """Lower one rate to a part of it if the proof at hand, or the best that a new search finds, still
        keeps the promise."""
        rates, target = self.rates.copy(), self.path.log_epsilon
        rates[i] *= part
        stated = Evaluation(
            target,
            self.proof["form"],
            self.proof["theta"],
            self.proof.get("block"),
            self.proof.get("parameters", {}),
        )
        if not verify(self.path, rates, stated) <= target:
            stated = evaluate(self.path, rates, self.sizing.mask)
            if not stated.log_bound <= target:
                return False
        offers = self.start.offers
        if not self.sizing.kept(self.kind, offers, rates):
            return False
        self.proof = {"form": stated.form, "theta": stated.theta, "parameters": stated.parameters}
        if stated.block is not None:
            self.proof["block"] = stated.block
        lower = np.minimum(slower_rates(self.path, rates, self.proof), rates)
        self.rates = lower if self.sizing.kept(self.kind, offers, lower) else rates
        self.cost = float(self.own @ self.rates)
        return True

    def _lowered(self, i: int, parts: np.ndarray) -> bool:
        """Take the smallest of these parts of a rate with which the others, as they are, are enough."""
        shapes = np.tile(self.rates, (len(parts), 1))
        shapes[:, i] *= parts
        scale, *found = self.sizing.scales(self.kind, self.start.offers, shapes, np.ones(len(parts)))
        enough = np.flatnonzero(scale <= 1.0)
        if not len(enough):
            return False
        n = int(enough[0])
        self.rates = np.minimum(scale[n] * shapes[n], self.cap)
        self.cost = float(self.own @ self.rates)
        self.proof = proof_of(tuple(part[n].item() for part in found), len(self.own))
        return True

    def split(self) -> Column | None:
        """The cheapest rates under split, where a share of deadline and budget for each domain costs less.

        That may be where there are guardrails, of which it counts no θRT; what all domains promise by
        themselves the path keeps.
        """
        start, net = self.start, self.sizing.network
        if self.sizing.mask != ALL or not self.path.rate_latency.any():
            return None
        own = net.instance.theta
        thetas = None if own is None else np.array(own, float)
        found = split.size(self.path, self.own, thetas, highs=self.cap, refine=True)
        if not (
            found.cost < self.cost * (1.0 - _GAIN) and self.sizing.kept(self.kind, start.offers, found.rates)
        ):
            return None
        proof = {
            "form": "split",
            "theta": found.theta,
            "deadlines": found.deadlines,
            "budgets": found.budgets,
        }
        return Column(start.kind, start.path, -1, start.offers, found.rates, start.charge, proof)

    def column(self) -> Column:
        """What was found; the column that the search began with if that is it."""
        start = self.start
        if self.rates is start.rates:
            return start
        stated = self.sizing.stated(self.proof, start.offers)
        rates = self.sizing.settled(self.kind, start.offers, self.rates)
        return Column(start.kind, start.path, -1, start.offers, rates, start.charge, stated)
