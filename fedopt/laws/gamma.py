"""Independent gamma-distributed work in every slot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedopt.laws.protocol import Law, Shape, Values

__all__ = ["GammaWork"]


@dataclass(frozen=True)
class GammaWork(Law):
    """Work of a slot ~ Gamma(shape, scale): log-moment −shape·log(1 − θ·scale) for θ < 1/scale, no burst.

    Attributes:
        shape: of one slot.
        scale: work.
    """

    shape: float
    scale: float

    @property
    def theta_max(self) -> float:
        """1/scale, excluded."""
        return 1.0 / self.scale

    @property
    def mean(self) -> float:
        """shape·scale, work per slot."""
        return self.shape * self.scale

    def log_rate(self, theta: Values) -> Values:
        """−shape·log(1 − θ·scale) for θ of either sign."""
        x = np.asarray(theta, float) * self.scale
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(x < 1.0, -self.shape * np.log1p(-x), np.inf)[()]

    def request_log_bias(self, theta: Values) -> Values:
        """log(Λ'(θ)/Λ'(0)) = −log(1 − θ·scale): the slot of a unit of work is size-biased."""
        x = np.asarray(theta, float) * self.scale
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(x < 1.0, -np.log1p(-x), np.inf)[()]

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Work per slot, shape `slots`."""
        return rng.gamma(self.shape, self.scale, slots)
