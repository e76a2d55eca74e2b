"""The domain step in closed form, for cost curves and capacities that an instance can state.

minimise  Σ_o v_o(z_o) − p_o z_o + ρ_o/2 (z_o − x_o)²   subject to  Σ_o w_o z_o ≤ C,  z ≥ 0

with the cost curves v_o, the work factors w_o and the capacity C private. Given the multiplier μ of the
capacity the offers part, each a problem in one unknown; μ is found by bisection. `problem.default_problem` is
the same problem in cvxpy. Loads are work per unit of time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from fedopt.errors import FedoptError
from fedopt.instance import Domain, Linear, Piecewise, Quadratic

__all__ = ["InUnits", "PrivateDomain", "ProblemError", "Subproblem", "offers_of"]

Floats = npt.NDArray[np.float64]
_HALVINGS = 200
ROOM = 1e-9
"""Relative rounding allowed when loads are compared with the capacity, as in the book of reservations."""


Reason = Literal["shape", "not convex", "not parametrised", "infeasible", "unbounded", "too slow", "numerics"]


class ProblemError(FedoptError, ValueError):
    """A private problem that cannot be used; `reason` is one word for it. The message holds no number of the
    problem, so an agent may pass it on.
    """

    exit_code = 2

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason: Reason = reason
        super().__init__(f"the private problem is {reason}: {message}" if reason != "shape" else message)


class Subproblem(Protocol):
    """What a run asks of an operator's private side; arrays are in the order of its offers, loads in work per
    unit of time.

    `free`: cost counts as nothing, only what can be carried matters.
    """

    def quote(self) -> Floats:
        """Marginal costs to open with, shape (offers,)."""

    def step(self, loads: Floats, prices: Floats, penalties: Floats, free: bool = False) -> Floats:
        """The loads z of the domain step at x, p and ρ > 0."""

    def support(self, prices: Floats, free: bool = False) -> float:
        """The least v(z) − prices·z over all loads that can be carried, safely rounded down."""

    def cost(self, loads: Floats) -> float:
        """v(loads), rounded up; infinite where they cannot be carried."""


class PrivateDomain:
    """A `Subproblem` of one domain's cost curves and capacity; arrays are in the order of its offers."""

    def __init__(self, domain: Domain) -> None:
        self.capacity = float(domain.capacity)
        self.factor = np.array([offer.work_factor for offer in domain.offers])
        self.curves: list[Any] = [offer.cost for offer in domain.offers]
        self.most = self.capacity / self.factor

    def cost(self, loads: Floats) -> float:
        """Variable cost of loads ≥ 0; infinite where they exceed the capacity."""
        if float(self.factor @ loads) > self.capacity * (1.0 + ROOM):
            return math.inf
        return sum(float(curve.variable(z)) for curve, z in zip(self.curves, loads, strict=True) if z > 0.0)

    def quote(self) -> Floats:
        """Marginal cost of the first unit of each offer, shape (offers,)."""
        return np.array([float(curve.marginal(0.0)) for curve in self.curves])

    def step(self, loads: Floats, prices: Floats, penalties: Floats, free: bool = False) -> Floats:
        """The loads z of the domain step at x, p and ρ > 0; `free`: cost counts as nothing."""
        curves = [_FREE] * len(self.curves) if free else self.curves

        def at(multiplier: float) -> Floats:
            worth = prices - multiplier * self.factor
            terms = zip(curves, worth, penalties, loads, self.most, strict=True)
            return np.array([_preferred(curve, q, rho, x, most) for curve, q, rho, x, most in terms])

        most = float(((prices + penalties * loads) / self.factor).max())  # there z is 0
        return self._within_capacity(at, most)[0]

    def support(self, prices: Floats, free: bool = False) -> float:
        """The least cost(y) − prices·y over all y within the capacity, safely rounded down.

        min over y equals max over μ ≥ 0 of −μC + Σ_o min over y_o of v_o(y_o) − (p_o − μ w_o) y_o, and any μ
        gives a bound.
        """
        curves = [_FREE] * len(self.curves) if free else self.curves

        def at(multiplier: float) -> Floats:
            worth = prices - multiplier * self.factor
            return np.array(
                [
                    _preferred(curve, q, 0.0, 0.0, most)
                    for curve, q, most in zip(curves, worth, self.most, strict=True)
                ]
            )

        y, multiplier = self._within_capacity(at, float((prices / self.factor).max()))
        parts = [-multiplier * self.capacity]
        for curve, p, w, load in zip(curves, prices, self.factor, y, strict=True):
            parts.extend((float(curve.variable(load)), -float(p - multiplier * w) * float(load)))
        return sum(parts) - 1e-13 * sum(abs(part) for part in parts)

    def _within_capacity(self, at: Callable[[float], Floats], most: float) -> tuple[Floats, float]:
        """The loads at the least multiplier of the capacity that makes them fit, and that multiplier."""
        z = at(0.0)
        if float(self.factor @ z) <= self.capacity:
            return z, 0.0
        low, high = 0.0, max(most, 0.0)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            low, high = (middle, high) if float(self.factor @ at(middle)) > self.capacity else (low, middle)
        return at(high), high


_FREE = Linear(rate=0.0)


def _preferred(curve: Any, q: float, rho: float, x: float, most: float) -> float:
    """argmin over 0 ≤ z ≤ most of v(z) − q z + ρ/2 (z − x)²; ρ may be 0."""
    pull = q + rho * x
    if isinstance(curve, Linear | Quadratic):
        curvature = rho + (2.0 * curve.quad if isinstance(curve, Quadratic) else 0.0)
        if curvature == 0.0:
            return most if pull > curve.rate else 0.0
        return min(max((pull - curve.rate) / curvature, 0.0), most)
    if isinstance(curve, Piecewise):
        return _on_lines(curve, pull, rho, most)
    low, high = 0.0, most
    if float(curve.marginal(most)) + rho * most <= pull:
        return most
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (middle, high) if float(curve.marginal(middle)) + rho * middle <= pull else (low, middle)
    return low


def _on_lines(curve: Piecewise, pull: float, rho: float, most: float) -> float:
    """The same on straight lines: the first place where slope + ρ z reaches the pull."""
    starts = [rate for rate, _ in curve.points[:-1]]
    for start, end, slope in zip(starts, [*starts[1:], most], curve.slopes, strict=True):
        if slope + rho * start >= pull:
            return min(start, most)
        if rho > 0.0 and slope + rho * end >= pull:
            return min((pull - slope) / rho, most)
    return most


class InUnits:
    """A subproblem whose loads are told in units of the operator's own (split guarantee): a load z stands for
    z/units of work per unit of time; money stays money."""

    def __init__(self, inner: Subproblem, units: Floats) -> None:
        self._inner, self._units = inner, units

    def quote(self) -> Floats:
        """Marginal costs of a unit."""
        return self._inner.quote() / self._units

    def step(self, loads: Floats, prices: Floats, penalties: Floats, free: bool = False) -> Floats:
        """The domain step."""
        u = self._units
        return self._inner.step(loads / u, prices * u, penalties * u**2, free) * u

    def support(self, prices: Floats, free: bool = False) -> float:
        """The support."""
        return self._inner.support(prices * self._units, free)

    def cost(self, loads: Floats) -> float:
        """The cost."""
        return self._inner.cost(loads / self._units)


def offers_of(domains: Sequence[Domain]) -> tuple[str, ...]:
    """The offers of domains as fedopt names and orders them: "domain/offer"."""
    return tuple(f"{domain.id}/{offer.id}" for domain in domains for offer in domain.offers)
