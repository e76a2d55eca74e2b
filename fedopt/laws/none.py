"""A domain that always gives the rate that was reserved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedopt.laws.protocol import Law, Shape, Values

__all__ = ["NoImpairment"]


@dataclass(frozen=True)
class NoImpairment(Law):
    """No work at all: κ = η = 0 for every θ."""

    @property
    def continuous(self) -> bool:
        """Nothing happens, at any time."""
        return True

    @property
    def theta_max(self) -> float:
        """Every tilt is usable."""
        return np.inf

    @property
    def mean(self) -> float:
        """0."""
        return 0.0

    def log_rate(self, theta: Values) -> Values:
        """0 for every θ."""
        return np.zeros_like(np.asarray(theta, float))[()]

    def request_log_bias(self, theta: Values) -> Values:
        """0: there is no request."""
        return self.log_rate(theta)

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Zeros of shape `slots`."""
        return np.zeros(slots)
