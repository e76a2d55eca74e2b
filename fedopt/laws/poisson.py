"""Requests of a Poisson process, of fixed or exponentially distributed work."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fedopt.laws.protocol import Law, Shape, Values

__all__ = ["Poisson"]


@dataclass(frozen=True)
class Poisson(Law):
    """Compound Poisson work: log E e^{θ·work of a slot} = rate·(E e^{θB} − 1), no burst.

    Attributes:
        rate: requests per slot.
        size: the work of a request, or its mean where `exponential` is set.
        exponential: whether the work of a request is exponentially distributed.
    """

    rate: float
    size: float = 1.0
    exponential: bool = False

    @property
    def continuous(self) -> bool:
        """A Poisson process knows no slots."""
        return True

    @property
    def max_size(self) -> float:
        """The size, or +inf where it is exponential."""
        return math.inf if self.exponential else self.size

    @property
    def mean_size(self) -> float:
        """The mean size."""
        return self.size

    def barrier(self, broken: float, slope: float, own: bool) -> float:
        """Earlier requests are Poisson points of their own (Slivnyak): ∫ rate·P(B > b + slope·x) dx and,
        for the request itself, P(B > b), of exponential sizes of mean m: e^{−b/m}(own + rate·m/slope)."""
        return self.size * math.log((own + self.rate * self.size / slope) / broken)

    @property
    def theta_max(self) -> float:
        """1/size for exponential sizes (excluded), else every tilt is usable."""
        return 1.0 / self.size if self.exponential else np.inf

    @property
    def mean(self) -> float:
        """rate·size, work per slot."""
        return self.rate * self.size

    def log_rate(self, theta: Values) -> Values:
        """rate·(E e^{θB} − 1) for θ of either sign."""
        x = np.asarray(theta, float) * self.size
        with np.errstate(over="ignore", divide="ignore"):
            surplus = np.where(x < 1.0, x / (1.0 - x), np.inf) if self.exponential else np.expm1(x)
            return (self.rate * surplus)[()]

    def request_log_bias(self, theta: Values) -> Values:
        """log E e^{θB}: by Slivnyak's theorem a request finds the stationary process, and itself."""
        x = np.asarray(theta, float) * self.size
        if not self.exponential:
            return x[()]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(x < 1.0, -np.log1p(-x), np.inf)[()]

    def sample_requests(self, rng: np.random.Generator, slots: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Work and number of requests per slot, each of shape `slots`."""
        count = rng.poisson(self.rate, slots)
        if not self.exponential:
            return count * self.size, count
        work = rng.standard_gamma(np.maximum(count, 1)) * self.size
        return np.where(count > 0, work, 0.0), count

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Work per slot, shape `slots`."""
        return self.sample_requests(rng, slots)[0]
