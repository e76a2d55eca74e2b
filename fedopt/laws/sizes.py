"""Sizes of requests: one table of laws, each with what bounds, samplers and descriptions need.

A law with a `maximum` is the law given that the size is at most that. Sizes that are not fixed,
exponential, gamma
or uniform are bounded by their atoms: quantiles, each rounded up to the next, so that no moment is too small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import optimize, stats

from fedopt.laws.protocol import Values

__all__ = ["KINDS", "Size"]

_CELLS = np.concatenate([np.linspace(0.0, 0.9, 451), 1.0 - np.geomspace(0.0995, 1e-10, 550), [1.0]])
"""Boundaries of the atoms, as probabilities: a five-hundredth in the bulk, 2 % of what is left in the
tail."""


@dataclass(frozen=True)
class _Kind:
    """A row of the table: parameters in order, the law of scipy, and the tilts at which it has moments."""

    parameters: tuple[str, ...]
    law: Callable[..., Any] | None
    tilt: Callable[..., float]


KINDS: dict[str, _Kind] = {
    "fixed": _Kind(("value",), None, lambda value: math.inf),
    "exponential": _Kind(("mean",), lambda mean: stats.expon(scale=mean), lambda mean: 1.0 / mean),
    "gamma": _Kind(
        ("mean", "cv"),
        lambda mean, cv: stats.gamma(1.0 / cv**2, scale=mean * cv**2),
        lambda mean, cv: 1.0 / (mean * cv**2),
    ),
    "uniform": _Kind(
        ("low", "high"), lambda low, high: stats.uniform(low, high - low), lambda low, high: math.inf
    ),
    "lognormal": _Kind(
        ("mean", "cv"),
        lambda mean, cv: stats.lognorm(math.sqrt(math.log1p(cv**2)), scale=mean / math.sqrt(1.0 + cv**2)),
        lambda mean, cv: 0.0,
    ),
    "pareto": _Kind(
        ("minimum", "shape"),
        lambda minimum, shape: stats.pareto(shape, scale=minimum),
        lambda minimum, shape: 0.0,
    ),
    "discrete": _Kind(("sizes", "weights"), None, lambda sizes, weights: math.inf),
}


@dataclass(frozen=True)
class Size:
    """The law of the work of one request.

    Attributes:
        kind: a key of `KINDS`.
        parameters: as `KINDS` names them, work; mean and cv are those of the law without `maximum`.
        maximum: no request is larger, work; +inf for none.

    Raises:
        ValueError: for a law without moments (lognormal, pareto) that has no maximum, and one whose maximum
            leaves nothing.
    """

    kind: str
    parameters: tuple[Any, ...]
    maximum: float = math.inf

    def __post_init__(self) -> None:
        row = KINDS[self.kind]
        if len(self.parameters) != len(row.parameters):
            raise ValueError(f"{self.kind} sizes take {', '.join(row.parameters)}")
        if not (math.isfinite(self.maximum) or row.tilt(*self.parameters) > 0.0):
            raise ValueError(f"{self.kind} sizes have no exponential moments: state their maximum")
        if not self.cdf(self.maximum) > 0.0:
            raise ValueError(f"no {self.kind} size is as small as the maximum {self.maximum:g}")

    @cached_property
    def _law(self) -> Any:
        make = KINDS[self.kind].law
        return make(*self.parameters) if make is not None else None

    @cached_property
    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        """Values and probabilities of a fixed or discrete law, ascending, before the maximum cuts."""
        if self.kind == "fixed":
            return np.array([float(self.parameters[0])]), np.ones(1)
        values, weights = (np.asarray(part, float) for part in self.parameters)
        order = np.argsort(values)
        return values[order], weights[order] / weights.sum()

    def cdf(self, size: float) -> float:
        """P(B ≤ size) before the maximum cuts."""
        if self._law is not None:
            return float(self._law.cdf(size)) if size < math.inf else 1.0
        values, weights = self._points
        return float(weights[values <= size].sum())

    @cached_property
    def max_size(self) -> float:
        """The largest size there is, work."""
        if self._law is not None:
            return min(self.maximum, float(self._law.support()[1]))
        values, _ = self._points
        return float(values[values <= self.maximum].max())

    @cached_property
    def atoms(self) -> tuple[np.ndarray, np.ndarray]:
        """Values, ascending, and probabilities of a law that is no smaller; exact for fixed and discrete
        sizes."""
        if self._law is None:
            values, weights = self._points
            kept = values <= self.maximum
            return values[kept], weights[kept] / weights[kept].sum()
        tops = self._law.ppf(_CELLS[1:] * self.cdf(self.maximum))
        tops[-1] = self.max_size
        return np.minimum(tops, self.max_size), np.diff(_CELLS)

    @property
    def theta_max(self) -> float:
        """Supremum of the tilts at which E e^{θB} is finite, 1/work."""
        return math.inf if math.isfinite(self.max_size) else KINDS[self.kind].tilt(*self.parameters)

    @cached_property
    def mean(self) -> float:
        """Mean work of a request, or a little above."""
        if self._law is not None and math.isinf(self.maximum):
            return float(self._law.mean())
        values, weights = self.atoms
        return float(values @ weights)

    def log_moment(self, theta: Values) -> Values:
        """log E e^{θB} (at least), for θ of either sign; +inf outside the domain."""
        theta = np.asarray(theta, float)
        with np.errstate(all="ignore"):
            if math.isinf(self.maximum) and self.kind in ("exponential", "gamma"):
                mean, cv = (*self.parameters, 1.0)[:2]
                x = theta * mean * cv**2
                return np.where(x < 1.0, -np.log1p(-x) / cv**2, np.inf)[()]
            above, weights = self.atoms
            below = above if self._law is None else np.concatenate([[self._law.support()[0]], above[:-1]])
            values = np.where(theta[..., None] > 0.0, above, below)  # whichever has the larger moment
            top = theta * np.where(theta > 0.0, above[-1], below[0])
            return (top + np.log(np.exp(theta[..., None] * values - top[..., None]) @ weights))[()]

    def exceeding(self, size: float) -> tuple[float, float]:
        """P(B > size) and E (B − size)^+ (at least)."""
        if math.isinf(self.maximum) and self.kind in ("exponential", "gamma"):
            mean, cv = (*self.parameters, 1.0)[:2]
            shape, scale = 1.0 / cv**2, mean * cv**2
            tail = float(stats.gamma.sf(size, shape, scale=scale))
            return tail, max(mean * float(stats.gamma.sf(size, shape + 1.0, scale=scale)) - size * tail, 0.0)
        values, weights = self.atoms
        over = values > size
        return float(weights[over].sum()), float((values[over] - size) @ weights[over])

    def least_exceeded(self, probability: float) -> float:
        """The least size that is exceeded with at most this probability, work."""
        if math.isinf(self.max_size):
            return float(self._law.isf(probability))
        values, weights = self.atoms
        after = 1.0 - np.cumsum(weights)
        return float(values[np.flatnonzero(after <= probability * (1.0 + 1e-12) + 1e-15)[0]])

    def barrier(self, broken: float, rate: float, slope: float, own: float) -> float:
        """The least b with own·P(B > b) + rate·E(B − b)^+/slope ≤ broken."""

        def above(size: float) -> float:
            tail, excess = self.exceeding(size)
            return math.log(max(own * tail + rate * excess / slope, 1e-300)) - math.log(broken)

        if above(0.0) <= 0.0:
            return 0.0
        high = self.mean
        while above(high) > 0.0:
            high *= 2.0
        least = float(optimize.brentq(above, 0.0, high, rtol=1e-10)) * (1.0 + 1e-9)
        return min(least, self.max_size)

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Sizes of so many requests, work, shape (count,)."""
        if self._law is not None:
            return np.asarray(self._law.ppf(rng.random(count) * self.cdf(self.maximum)))
        values, weights = self.atoms
        return rng.choice(values, count, p=weights)

    def __str__(self) -> str:
        told = [
            f"{name} {value:g}"
            for name, value in zip(KINDS[self.kind].parameters, self.parameters, strict=True)
            if isinstance(value, int | float)
        ]
        cut = "" if math.isinf(self.maximum) else f", at most {self.maximum:g}"
        return f"{self.kind} ({', '.join(told)}{cut})" if told else f"{self.kind}{cut}"
